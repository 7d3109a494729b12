"""The seam to the clouds: what the relay needs of MNS, OSS and OMS, with the values and limits that pass it.

The clients in `worker/clients` are the real ones; the simulation and the tests have models of them. Each call
raises `CallFailed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from worker.events.event import Message

# So many messages MNS hands out, shows or deletes in one call (batchreceivemessage, batchdeletemessage).
BATCH = 16
# OSS error code: the object exists, and `x-oss-forbid-overwrite` was asked for (PutObject).
NAME_TAKEN = "FileAlreadyExists"
# CreateSyncEvents, OMS API reference: "maximum 10 objects", beside a generated limit of 100.
KEYS_DOCUMENTED = 10


class Counts(NamedTuple):
    """How many messages wait, are in somebody's hands, and are not yet visible."""

    active: int
    inactive: int
    delayed: int

    @property
    def total(self) -> int:
        """All messages of the queue."""
        return sum(self)


@dataclass(frozen=True, slots=True)
class QueueAttributes:
    """What the relay needs to know about a queue. The three counters are approximate and being retired."""

    visibility_seconds: int
    retention_seconds: int
    active_messages: int
    inactive_messages: int
    delayed_messages: int

    def counts(self, seen: int | None) -> Counts | None:
        """Return the counters, or None where they are not to be believed.

        `seen` is how many messages are known to be there, None where nobody could look. MNS announces that
        the counters will read 0 (page getqueueattributes, 2026-01): all 0 is true only of a queue that was
        seen to be empty.
        """
        counts = Counts(self.active_messages, self.inactive_messages, self.delayed_messages)
        return counts if counts.total or seen == 0 else None


@dataclass(frozen=True, slots=True)
class TaskState:
    """What ShowSyncTask says. `status` is SYNCHRONIZING, STOPPED, or empty where it may not be read."""

    status: str
    details: Mapping[str, Any]

    @property
    def is_synchronizing(self) -> bool:
        """Whether the task is known to take events now."""
        return self.status == "SYNCHRONIZING"

    @property
    def source_bucket(self) -> str:
        """The bucket that the task copies; empty where it does not say."""
        return str(self.details.get("src_bucket") or "")


class Queue(Protocol):
    """One MNS queue, as the flow uses it."""

    async def receive(self, wait_seconds: int) -> list[Message]:
        """Long-poll for up to 16 messages."""
        ...

    async def delete(self, handles: list[str]) -> dict[str, str]:
        """Delete up to 16 messages; return what failed, by handle."""
        ...

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        """Return the new handle; None if the lease is lost."""
        ...

    async def attributes(self) -> QueueAttributes:
        """Return the queue's attributes."""
        ...


class QueueView(Protocol):
    """One MNS queue, as it is looked at. Nothing here changes a message."""

    async def attributes(self) -> QueueAttributes:
        """Return the queue's attributes."""
        ...

    async def peek(self) -> list[Message]:
        """Return up to 16 visible messages."""
        ...


class Store(Protocol):
    """OSS: the log bucket that takes records, and the source bucket that may be looked at."""

    async def put(
        self, bucket: str, key: str, body: bytes, content_type: str, *, may_replace: bool = True
    ) -> None:
        """Write an object; returning means confirmed. Without `may_replace`, a taken name is refused."""
        ...

    async def exists(self, bucket: str, key: str) -> bool | None:
        """Say whether an object is there; None where this identity may not look."""
        ...


class Sink(Protocol):
    """One OMS sync task."""

    async def post(self, keys: Sequence[str]) -> str:
        """Announce the keys; return a request id. Returning means accepted."""
        ...

    async def show(self) -> TaskState:
        """Return the task's state."""
        ...
