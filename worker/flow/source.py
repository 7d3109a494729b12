"""The bucket that the sync task copies: an event is only for the task that copies its bucket."""

from __future__ import annotations


class Source:
    """What the task has said of its source (`src_bucket` of ShowSyncTask); empty while that is not known."""

    def __init__(self, bucket: str = "") -> None:
        self.bucket = bucket

    def learn(self, bucket: str) -> None:
        """Take what the task says of its source."""
        self.bucket = bucket

    def is_foreign(self, bucket: str) -> bool:
        """Whether the task is known to copy another bucket; while it is not known, none is foreign."""
        return bool(self.bucket) and bucket != self.bucket
