"""What the sync task has said of itself: an event is only for the task that copies its bucket."""

from __future__ import annotations

from worker.ports import TaskState


class Source:
    """The bucket that the task copies, empty while it is not known, and what else ShowSyncTask told."""

    def __init__(self, bucket: str = "") -> None:
        self.bucket = bucket
        self.task: TaskState | None = None

    def learn(self, task: TaskState) -> None:
        """Take what the task says of itself."""
        self.bucket, self.task = task.source_bucket, task

    def is_foreign(self, bucket: str) -> bool:
        """Whether the task is known to copy another bucket; while it is not known, none is foreign."""
        return bool(self.bucket) and bucket != self.bucket
