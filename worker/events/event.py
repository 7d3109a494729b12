"""What travels between the six verbs: messages, the object events inside them, and why one cannot be read."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What an event means for the copy on the other side.

    `CREATED`, `MODIFIED`, `REPLICATED` and `UNKNOWN` are changes and are posted: a needless post
    costs nothing, a missing one loses an object. The others leave nothing to sync.
    """

    CREATED = "created"
    MODIFIED = "modified"
    REPLICATED = "replicated"
    UNKNOWN = "unknown"
    REMOVED = "removed"
    DOWNLOADED = "downloaded"
    RESTORED = "restored"
    UNFINISHED = "unfinished"

    # Looked up for every event; the hash of an enumeration is a call of Python.
    __hash__ = str.__hash__

    @property
    def is_change(self) -> bool:
        """Whether the object must be copied again."""
        return self in _CHANGES


_CHANGES = frozenset({Kind.CREATED, Kind.MODIFIED, Kind.REPLICATED, Kind.UNKNOWN})


class Message(NamedTuple):
    """One MNS message as received. Times are milliseconds since the epoch, as MNS gives them.

    `intent` names the wish of an operator who sent it (`dead redrive`); empty for what OSS sent.
    """

    message_id: str
    body: str
    receipt_handle: str
    dequeue_count: int
    enqueue_time_ms: int
    intent: str = ""


class ObjectEvent(NamedTuple):
    """One OSS event about one object. Absent text is the empty string.

    `key` stands as the event carried it; `RELAY_KEY_ENCODING` decides how to read it.
    `time` is the event's own ISO 8601 text. `request_id` is the OSS request that made the change.
    """

    name: str
    kind: Kind
    bucket: str
    key: str
    time: str = ""
    etag: str = ""
    request_id: str = ""


class Undecodable(Exception):  # noqa: N818  a verdict about a message, not a fault of the relay
    """The message carries no OSS event that can be read; `reason` says why in one short sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
