"""The seam to the clouds: what the relay needs of MNS, OSS and OMS, with the values and limits that pass it.

The clients in `worker/clients` are the real ones; the simulation and the tests have models of them. Each call
raises `CallFailed`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from worker.events.event import Message

# So many messages MNS hands out, shows or deletes in one call (batchreceivemessage, batchdeletemessage).
BATCH = 16
# The state of a sync task in which it takes keys.
SYNCHRONIZING = "SYNCHRONIZING"
# OSS error code: the object exists, and `x-oss-forbid-overwrite` was asked for (PutObject).
NAME_TAKEN = "FileAlreadyExists"
# OSS error code: the signature is more than 15 minutes off by OSS's clock (EC 0002-00000504).
TOO_LATE = "RequestTimeTooSkewed"
# CreateSyncEvents, OMS API reference: "maximum 10 objects", beside a generated limit of 100.
KEYS_DOCUMENTED = 10


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a store tells of one object. `last_modified` is epoch seconds, 0 where it is not said.

    `etag` has no quotes. `crc64` is CRC-64/XZ, None where none is told. `kind` is Normal, Multipart,
    Appendable or Symlink. Empty or None: not known.
    """

    size: int
    last_modified: float
    etag: str = ""
    crc64: int | None = None
    kind: str = ""
    storage_class: str = ""
    is_encrypted: bool | None = None


class Listed(NamedTuple):
    """One object as a listing shows it; `last_modified` is seconds since the epoch.

    `etag` has no quotes. `kind` (Normal, Multipart, Appendable, Symlink) and `storage_class` are empty where
    the listing does not say.
    """

    key: str
    size: int
    last_modified: float
    etag: str = ""
    kind: str = ""
    storage_class: str = ""

    @property
    def facts(self) -> ObjectFacts:
        """What a listing tells of it: no CRC64, and not whether it is encrypted."""
        return ObjectFacts(
            self.size, self.last_modified, self.etag, None, self.kind, self.storage_class
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing. An empty `next_token` ends it; with OBS it is the marker of the next page.

    `at` is when the store answered, by its own clock: seconds since the epoch, 0 where it did not say.
    """

    objects: tuple[Listed, ...]
    prefixes: tuple[str, ...] = ()
    next_token: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as read. Its last change, and the time of the answer `at`, are those of the store's clock.

    Both are seconds since the epoch, 0 where the store did not say.
    """

    body: bytes
    last_modified: float = 0.0
    at: float = 0.0


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
        return self.status == SYNCHRONIZING

    @property
    def source_bucket(self) -> str:
        """The bucket that the task copies; empty where it does not say."""
        return str(self.details.get("src_bucket") or "")

    @property
    def destination_bucket(self) -> str:
        """The bucket that the task copies to; empty where it does not say."""
        return str(self.details.get("dst_bucket") or "")

    @property
    def never_overwrites(self) -> bool:
        """Whether the task leaves alone what is there already (`object_overwrite_mode`)."""
        return self.details.get("object_overwrite_mode") == "NO_OVERWRITE"

    @property
    def skips_equal_sizes(self) -> bool:
        """Whether an object of equal size whose copy is not older is known to be skipped, whatever it holds.

        OMS API reference, ShowSyncTask and CreateSyncTask: so it is by default; a task created with
        `consistency_check=crc64` compares contents.
        """
        mode = self.details.get("object_overwrite_mode")
        is_by_content = self.details.get("consistency_check") == "crc64"
        return mode == "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE" and not is_by_content


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


class Reads(Protocol):
    """OSS, where single objects of the log bucket are read."""

    async def get(self, bucket: str, key: str) -> Stored | None:
        """Read an object whole; None if it is not there."""
        ...


class CopyCounts(NamedTuple):
    """What OMS counted between two times: keys accepted, and copies made, skipped or failed."""

    requested: int
    done: int


class Objects(Protocol):
    """Objects that are looked at one by one: the source, or the destination."""

    async def facts(self, bucket: str, key: str) -> ObjectFacts | None:
        """Return what is told of an object; None if it is not there."""
        ...


class SourceObjects(Objects, Protocol):
    """The source, where it also has to say for certain that an object is gone."""

    async def has(self, bucket: str, key: str) -> bool:
        """Whether the object is there. False only if the store says that this very object does not exist."""
        ...


class Destination(Objects, Protocol):
    """Where OMS copies to. Nothing is ever written there, and deleted only where deletions are propagated."""

    async def read(self, bucket: str, key: str, start: int = 0) -> bytes:
        """Return a part of an object from a byte on; empty at its end, or if it is not there."""
        ...

    def list(
        self, bucket: str, prefix: str = "", *, start_after: str = "", keys_max: int = 1000
    ) -> AsyncGenerator[Page]:
        """List what begins with `prefix`, page by page."""
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there counts as deleted."""
        ...


class Statistics(Protocol):
    """What OMS counts of a task."""

    async def copies(self, since: float, until: float) -> CopyCounts:
        """Return what it counted between two times (epoch seconds), as far as it is final."""
        ...


class Sink(Protocol):
    """One OMS sync task."""

    async def post(self, keys: Sequence[str]) -> str:
        """Announce the keys; return a request id. Returning means accepted."""
        ...

    async def show(self) -> TaskState:
        """Return the task's state."""
        ...
