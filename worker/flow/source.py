"""Which bucket a sync task copies, and what else it has said of itself."""

from __future__ import annotations

from worker.ports import TaskState


class Source:
    """The bucket that the task copies, empty while it is not known, and what else ShowSyncTask told.

    A route that names its bucket believes its own word: the task's must be the same, or the route is down.
    """

    def __init__(self, bucket: str = "") -> None:
        self.bucket = bucket
        self.task: TaskState | None = None
        self._is_given = bool(bucket)

    def learn(self, task: TaskState) -> None:
        """Take what the task says of itself."""
        self.task = task
        if not self._is_given:
            self.bucket = task.source_bucket

    def is_foreign(self, bucket: str) -> bool:
        """Whether the task is known to copy another bucket; while it is not known, none is foreign."""
        return bool(self.bucket) and bucket != self.bucket
