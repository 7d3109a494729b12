"""Which bucket a sync task copies, and what else it has said of itself."""

from __future__ import annotations

from worker.ports import TaskState


class Source:
    """The bucket that the task copies, empty while it is not known, and what else ShowSyncTask told.

    `is_unreadable`: the task may not be read (oms:synctask:get), and never could be. A route that names its
    bucket believes its own word: the task's must be the same, or the route is down.
    """

    def __init__(self, bucket: str = "") -> None:
        self.bucket = bucket
        self.task: TaskState | None = None
        self.is_unreadable = False
        self._is_given = bool(bucket)
        self._heard = ""
        self._is_heard_apart = False

    def learn(self, task: TaskState | None) -> None:
        """Take what the task says of itself; None: it may not be read. What it said before still counts."""
        if task is None:
            self.is_unreadable = self.task is None
            return
        self.is_unreadable = False
        self.task = task
        if not self._is_given:
            self.bucket = task.source_bucket

    @property
    def is_read(self) -> bool:
        """Whether the task was read, or is known to be one that may not be read."""
        return self.task is not None or self.is_unreadable

    @property
    def is_told(self) -> bool:
        """Whether the task itself names the bucket."""
        return (
            bool(self.bucket) and self.task is not None and self.task.source_bucket == self.bucket
        )

    def is_foreign(self, bucket: str) -> bool:
        """Whether the task is known to copy another bucket; while it is not known, none is foreign."""
        return bool(self.bucket) and bucket != self.bucket

    def hear(self, bucket: str) -> None:
        """Note whose events are posted, in case that the task may not say which bucket it copies."""
        if not self.bucket and bucket != self._heard:
            self._is_heard_apart = self._is_heard_apart or bool(self._heard)
            self._heard = bucket

    @property
    def has_several(self) -> bool:
        """Whether events of several buckets are posted, and the task does not say which one it copies."""
        return not self.bucket and self._is_heard_apart

    @property
    def likely_bucket(self) -> str:
        """The bucket that the task copies; where it does not say, the only one whose events are posted."""
        return self.bucket or ("" if self._is_heard_apart else self._heard)
