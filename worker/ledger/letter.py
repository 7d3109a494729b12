"""One dead letter: where it stands, what it tells, and the fingerprint of its error."""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from worker.clock import iso
from worker.events.decode import decode
from worker.events.envelope import raw_events
from worker.events.event import Message, Undecodable

GROUP_HEX_DIGITS = 6
KEYS_SHOWN_MAX = 1000

INDEX = "letter_index"

_ENTRY = re.compile(rf"{INDEX}/([^/]+/\d{{4}}-\d\d-\d\d/[^/]+)\.([0-9a-f]{{6}})\.(\d{{1,16}})")
_PLACE = re.compile(r"(dead_letter|archived)/([^/]+)/(\d{4}-\d\d-\d\d)/([^/]+)\.json")
# What differs from one failure of a kind to the next: request ids, quoted text, hex ids and numbers.
_VARIES = (
    (re.compile(r" ?\(request [^)]*\)"), ""),
    (re.compile(r"'(?:[^'\\]|\\.)*'(?:\.\.\.)?|\"(?:[^\"\\]|\\.)*\""), "'…'"),
    (re.compile(r"\b[0-9A-Fa-f]{8}[0-9A-Fa-f-]*\b"), "…"),
    (re.compile(r"\b\d+(?:\.\d+)?\b"), "#"),
)
# A status or an error code is no such number: it is the very kind of the failure.
_CODE = re.compile(r"answered \d{3}(?: [\w.]+)?|\b[A-Z]+\.\d+\b")


# The error of a deletion that the brake held: who moves such a letter has looked, and lifts the brake.
HELD_BY_BRAKE = "more deletions came in an hour than RELAY_DELETIONS_PER_HOUR allows"


class Cause(StrEnum):
    """Why a message became a dead letter."""

    UNDECODABLE = "undecodable"
    REJECTED = "rejected"
    MAX_DELIVERIES = "max-deliveries"
    UNROUTED = "unrouted"
    RECEIVE_LIMIT = "receive-limit"
    NOT_ARRIVED = "not_arrived"
    DELETION_HELD = "deletion_held"


class Place(StrEnum):
    """Where letters stand: waiting for an operator, or put aside. The value is the folder's name."""

    DEAD = "dead_letter"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Ref:
    """Where one letter stands."""

    place: Place
    cause: str
    day: str
    message_id: str

    @classmethod
    def parse(cls, name: str) -> Ref | None:
        """Read a name relative to the task's folder; None for an object that is no letter."""
        match = _PLACE.fullmatch(name)
        return cls(Place(match[1]), match[2], match[3], match[4]) if match else None

    @classmethod
    def of_death(cls, cause: Cause, at: float, message_id: str) -> Ref:
        """Return where the letter of a message stands that died at this time (epoch seconds)."""
        return cls(Place.DEAD, cause, iso(at)[:10], message_id)

    @property
    def name(self) -> str:
        """The object's name relative to the task's folder."""
        return f"{self.place}/{self.cause}/{self.day}/{self.message_id}.json"

    def index_name(self, error: str, died_at: float) -> str:
        """Return the name of the letter's entry in the index, relative to the task's folder.

        An empty object: its name holds the group and the time of death (epoch seconds), so that listings tell
        the groups. It is the same wherever the letter stands, and stays when that moves.
        """
        group, at = fingerprint(self.cause, error), int(died_at * 1000)
        return f"{INDEX}/{self.cause}/{self.day}/{self.message_id}.{group}.{at}"

    def at(self, place: Place) -> Ref:
        """Return where the same letter stands in the other place."""
        return Ref(place, self.cause, self.day, self.message_id)


class Entry(NamedTuple):
    """What the index tells of a letter: the group, and the time of death in epoch seconds."""

    group: str
    died_at_seconds: float

    @property
    def died_at(self) -> str:
        """The time of death as it stands in letters (ISO 8601)."""
        return iso(self.died_at_seconds)


def parse_index(name: str) -> tuple[str, Entry] | None:
    """Read a name of the index: `<cause>/<day>/<message id>` and what it tells; None if it is none."""
    match = _ENTRY.fullmatch(name)
    return (match[1], Entry(match[2], int(match[3]) / 1000)) if match else None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and its whole story.

    `body` is the original message text, None if the object is damaged or cannot be read; `error` then says
    how. `keys` are the refused keys, or all of the body's. `redriven_as` is the id of the message that the
    letter was sent as, `moved_at` the time it was archived, `reason` what the operator said; all three are
    empty before. `undoes` is the id of the message that the letter had been sent as when it was brought back,
    and `redrives` how often that has happened. `stored` is the object as it was read, for it is moved with
    all it holds; `written_at` is when that object was written, by OSS's clock (epoch seconds).
    """

    ref: Ref
    error: str
    body: str | None
    keys: tuple[str, ...]
    key_errors: Mapping[str, str]
    attempts: int
    worker: str
    died_at: str
    enqueued_at: str
    redriven_as: str = ""
    moved_at: str = ""
    reason: str = ""
    undoes: str = ""
    redrives: int = 0
    stored: bytes = field(default=b"", repr=False)
    written_at: float = 0.0
    is_unreadable: bool = False

    @classmethod
    def parse(cls, ref: Ref, stored: bytes, last_modified: float) -> Letter:
        """Read an object as `letter_of` made it; whatever it holds, the answer is a letter."""
        try:
            fields = json.loads(stored)
            body = fields["body"]
            rejected = {str(each["key"]): str(each["error"]) for each in fields.get("keys", ())}
            moved = fields.get("moved") or {}
            back = fields.get("brought_back") or {}
            letter = cls(
                ref=ref,
                error=str(fields.get("error", "")),
                body=body if isinstance(body, str) else None,
                keys=tuple(rejected) or _keys(str(body)),
                key_errors=rejected,
                attempts=int(fields.get("attempts", 0)),
                worker=str(fields.get("worker", "")),
                died_at=str(fields.get("died_at") or iso(last_modified)),
                enqueued_at=str(fields.get("enqueued_at", "")),
                redriven_as=str(moved.get("message_id", "")),
                moved_at=str(moved.get("at", "")),
                reason=str(moved.get("reason", "")),
                undoes=str(back.get("redriven_as", "")),
                redrives=int(back.get("redrives", 0)),
                stored=stored,
                written_at=last_modified,
            )
            datetime.fromisoformat(letter.died_at)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = f"the letter is damaged ({type(error).__name__}: {error})"
            died_at, at = iso(last_modified), last_modified
            return cls(ref, why, None, (), {}, 0, "", died_at, "", stored=stored, written_at=at)
        return letter

    @classmethod
    def unreadable(cls, ref: Ref, why: str) -> Letter:
        """Return what is known of a letter whose object cannot be read: where it stands, and why."""
        died_at = f"{ref.day}T00:00:00+00:00"
        why = f"unreadable: {why}"
        return cls(ref, why, None, (), {}, 0, "", died_at, "", is_unreadable=True)

    @property
    def group(self) -> str:
        """The fingerprint of cause and error: equal for failures of one kind."""
        return fingerprint(self.ref.cause, self.error)

    @property
    def is_held_by_brake(self) -> bool:
        """Whether the brake of deletions held this one."""
        return self.ref.cause == Cause.DELETION_HELD and self.error.startswith(HELD_BY_BRAKE)

    @property
    def died_at_seconds(self) -> float:
        """The time of death in seconds since the epoch."""
        return datetime.fromisoformat(self.died_at).timestamp()

    @property
    def intent(self) -> str:
        """What the next redrive of this letter is known by: the same until it is brought back once more.

        So a message that was sent twice, because nobody could know better, is taken for what it is.
        """
        return f"{self.ref.message_id}-{self.redrives + 1}"

    def was_sent_as(self, archived: Letter | None) -> str:
        """Return the message that this letter was sent as, by its archived copy; empty if it still waits.

        A copy that a crash left behind while the letter was brought back tells of the sending before that.
        """
        sent = archived.redriven_as if archived is not None else ""
        return "" if sent == self.undoes else sent

    def moved(self, at: float, message_id: str = "", reason: str = "") -> bytes:
        """Return the object as it stands after a move: all it held, and when, as what and why it moved."""
        return self._with({"at": iso(at), "message_id": message_id, "reason": reason})

    def restored(self, at: float, sent: str = "") -> bytes:
        """Return the object as it was before it moved; `sent` is the message whose sending that undoes."""
        if not sent or sent == self.undoes:
            return self._with(None)
        told = {"at": iso(at), "redriven_as": sent, "redrives": self.redrives + 1}
        return self._with(None, brought_back=told)

    def _with(self, story: Mapping[str, str] | None, **more: Mapping[str, Any]) -> bytes:
        if self.body is None:
            return self.stored
        fields = {name: value for name, value in json.loads(self.stored).items() if name != "moved"}
        fields |= more | ({"moved": story} if story else {})
        return json.dumps(fields, indent=1).encode()

    def content(self) -> Any:
        """Return the events inside the body; where they cannot be read, the body with Base64 taken off."""
        try:
            return raw_events(self.body or "")
        except Undecodable:
            return _unwrapped(self.body or "")


def letter_of(
    message: Message,
    cause: Cause,
    error: str,
    rejected: Sequence[tuple[str, str]],
    *,
    worker: str,
    died_at: float,
) -> bytes:
    """Return the object of a dead letter: the message with its whole story.

    `rejected` has the keys that OMS refused, and why.
    """
    fields = {
        "cause": str(cause),
        "error": error,
        "keys": [{"key": key, "error": why} for key, why in rejected],
        "message_id": message.message_id,
        "attempts": message.dequeue_count,
        "worker": worker,
        "died_at": iso(died_at),
        "enqueued_at": _enqueued_at(message.enqueue_time_ms),
        "body": message.body,
    }
    # Escaped to ASCII, so that a body of any characters, lone surrogates too, survives byte for byte.
    return json.dumps(fields, indent=1).encode()


def kind(error: str) -> str:
    """Return the error without what varies from one failure of its kind to the next."""
    parts, at = [], 0
    for match in _CODE.finditer(error):
        parts += [_unvaried(error[at : match.start()]), match[0]]
        at = match.end()
    return "".join([*parts, _unvaried(error[at:])])


def fingerprint(cause: str, error: str) -> str:
    """Return six hex digits that are the same for every failure of one kind."""
    digest = hashlib.sha256(f"{cause}\n{kind(error)}".encode("utf-8", "replace"))
    return digest.hexdigest()[:GROUP_HEX_DIGITS]


def _unvaried(text: str) -> str:
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return text


def _keys(body: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(event.key for event in decode(body)))
    except Undecodable:
        return ()


def _unwrapped(body: str) -> str:
    try:
        return b64decode(body.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return body


def _enqueued_at(milliseconds: int) -> str:
    try:
        return iso(milliseconds / 1000)
    except (OverflowError, OSError, ValueError):
        # A time beyond the calendar must not cost the letter; the number itself is what MNS said.
        return str(milliseconds)
