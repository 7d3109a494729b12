"""What a world sends: OSS events as MNS carries them, and messages made of them."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote

from worker.events.keys import readings
from worker.ledger.names import ROOT

SOURCE_BUCKET = "photos"
FOREIGN_BUCKET = "films"
LOG_BUCKET = "relay-log"
TASK_ID = "task-7"

CHANGE_NAMES = (
    "ObjectCreated:PutObject",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectCreated:CopyObject",
    "ObjectModified:UpdateObjectMeta",
)
OTHER_NAMES = (
    "ObjectRemoved:DeleteObject",
    "ObjectCreated:UploadPart",
    "ObjectDownloaded:GetObject",
)
UNDECODABLE = (
    "",
    "not base64 at all!",
    base64.b64encode(b'{"events":[]}').decode(),
    base64.b64encode(b'{"events":[{"eventName":"ObjectCreated:PutObject"}]}').decode(),
    '{"events": [',
)


class Content(StrEnum):
    """What a message is about."""

    CHANGES = "changes"
    NOTHING = "nothing to sync"
    UNDECODABLE = "undecodable"


@dataclass(slots=True, eq=False)
class Event:
    """One event of one object. `number` tells it from all others; `sent` is where the ledger has it first."""

    number: int
    name: str
    bucket: str
    key: str
    request_id: str
    sent: int = 0

    @property
    def is_change(self) -> bool:
        """Whether the object has to be posted."""
        return self.name in CHANGE_NAMES and self.bucket not in (FOREIGN_BUCKET, LOG_BUCKET)


@dataclass(slots=True, eq=False)
class Letter:
    """One message to be sent: when, its body, and what is really in it."""

    at: float
    body: str
    content: Content
    events: tuple[Event, ...] = ()

    @property
    def changes(self) -> list[Event]:
        """The events that have to be posted."""
        return [event for event in self.events if event.is_change]

    @property
    def is_unrouted(self) -> bool:
        """Whether some of it is about a bucket that the task does not copy."""
        return any(
            event.bucket == FOREIGN_BUCKET and event.name in CHANGE_NAMES for event in self.events
        )


@dataclass(slots=True)
class Mix:
    """What the letters of a world are made of."""

    letters: int = 60
    span_seconds: float = 60.0
    plain_keys: int = 30
    poison_keys: int = 0
    ambiguous_keys: int = 0
    unrecordable_keys: int = 0
    undecodable_share: float = 0.03
    nothing_share: float = 0.06
    repeated_share: float = 0.05
    nameless_share: float = 0.05
    foreign_share: float = 0.03
    events_max: int = 3
    is_url_encoded: bool = False
    buckets: tuple[str, ...] = (SOURCE_BUCKET,)
    poison: frozenset[str] = field(default=frozenset())
    unrecordable: frozenset[str] = field(default=frozenset())


class Writer:
    """Draws letters. Overwrites name the same key again under another request id."""

    def __init__(self, mix: Mix, rng: random.Random) -> None:
        self.mix = mix
        self._rng = rng
        self._foreign = random.Random("foreign")
        self._number = 0
        self.poison = [f"poison/{n}?.bin" for n in range(mix.poison_keys)]
        self.unrecordable = [f"cursed/{n}.bin" for n in range(mix.unrecordable_keys)]
        plain = [_plain(n) for n in range(mix.plain_keys)]
        ambiguous = [f"a+b%2{n % 10}c/{n}" for n in range(mix.ambiguous_keys)]
        self.keys = plain + ambiguous + self.poison + self.unrecordable

    def letters(self) -> list[Letter]:
        """Return the letters in the order in which they are sent."""
        times = sorted(self._rng.uniform(0, self.mix.span_seconds) for _ in range(self.mix.letters))
        written: list[Letter] = []
        for at in times:
            old = self._rng.choice(written) if written else None
            is_repeated = self._rng.random() < self.mix.repeated_share
            if old is not None and is_repeated and all(event.request_id for event in old.events):
                # OSS announces the very same change twice: another message, the same events.
                written.append(Letter(at, old.body, old.content, old.events))
            else:
                written.append(self._letter(at))
        return written

    def _letter(self, at: float) -> Letter:
        rng, drawn = self._rng, self._rng.random()
        if drawn < self.mix.undecodable_share:
            return Letter(at, rng.choice(UNDECODABLE), Content.UNDECODABLE)
        if drawn < self.mix.undecodable_share + self.mix.nothing_share:
            event = self._event(rng.choice(self.keys), rng.choice(OTHER_NAMES))
            if rng.random() < 0.3:
                event.name, event.bucket = CHANGE_NAMES[0], LOG_BUCKET
                event.key = f"{ROOT}/{TASK_ID}/success_object/x"
            return self.letter(at, (event,))
        names = CHANGE_NAMES if rng.random() < 0.9 else CHANGE_NAMES + OTHER_NAMES
        events = [
            self._event(rng.choice(self.keys), rng.choice(names))
            for _ in range(rng.randint(1, self.mix.events_max))
        ]
        if rng.random() < 0.1:
            events.append(self._event(events[0].key, CHANGE_NAMES[0]))
        if self._foreign.random() < self.mix.foreign_share:
            # A namesake in another bucket, alone or beside changes of our own.
            self._foreign.choice(events).bucket = FOREIGN_BUCKET
        return self.letter(at, tuple(events))

    def letter(self, at: float, events: tuple[Event, ...]) -> Letter:
        """Return a letter with these events."""
        body = body_of(events, at, is_url_encoded=self.mix.is_url_encoded)
        has_changes = any(event.is_change for event in events)
        return Letter(at, body, Content.CHANGES if has_changes else Content.NOTHING, events)

    def change(self, key: str) -> Event:
        """Return a new change of a key."""
        return self._event(key, CHANGE_NAMES[0])

    def _event(self, key: str, name: str) -> Event:
        self._number += 1
        is_nameless = self._rng.random() < self.mix.nameless_share
        request_id = "" if is_nameless else f"65A0{self._number:020X}"
        return Event(self._number, name, bucket_of(key, self.mix.buckets), key, request_id)


def bucket_of(key: str, buckets: Sequence[str]) -> str:
    """Return the bucket that a key is in: always the same one."""
    return buckets[zlib.crc32(key.encode()) % len(buckets)]


def spellings(event: Event, *, is_url_encoded: bool) -> tuple[str, ...]:
    """Return the keys that may be posted for an event whose key reads more than one way."""
    return readings(quote(event.key) if is_url_encoded else event.key, "auto")


def body_of(events: Sequence[Event], at: float, *, is_url_encoded: bool) -> str:
    """Return the Base64 body of a message from a rule with a queue endpoint."""
    told = [_told(event, at, is_url_encoded=is_url_encoded) for event in events]
    return base64.b64encode(json.dumps({"events": told}, ensure_ascii=False).encode()).decode()


def _told(event: Event, at: float, *, is_url_encoded: bool) -> dict[str, object]:
    # Seconds only: two changes of one key often share their time, and their ETag too.
    minutes, seconds = divmod(int(at), 60)
    return {
        "eventName": event.name,
        "eventSource": "acs:oss",
        "eventTime": f"2026-03-01T{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}.000Z",
        "eventVersion": "1.0",
        "oss": {
            "bucket": {"name": event.bucket},
            "object": {
                "eTag": "D41D8CD98F00B204E9800998ECF8427E",
                "key": quote(event.key) if is_url_encoded else event.key,
                "size": 7,
            },
            "ossSchemaVersion": "1.0",
        },
        "region": "cn-hangzhou",
        "responseElements": {"requestId": event.request_id},
    }


def _plain(number: int) -> str:
    match number % 10:
        case 7:
            return f"图片/{number} é.jpg"
        case 9:
            return f"deep/{'x' * 980}/{number}"
        case _:
            return f"dir/{number}.jpg"
