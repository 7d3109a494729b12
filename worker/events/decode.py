"""Decode: from the body of an MNS message to the object events in it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from worker.events.envelope import as_object, kind_of, raw_events, shown
from worker.events.event import Kind, ObjectEvent, Undecodable

# The longest object name that OSS takes, in bytes of UTF-8 (OSS object naming conventions).
KEY_BYTES_MAX = 1023
TEXT_CHARS_MAX = 1024

# A bucket becomes part of a host name when the source is looked at, so it may hold nothing else.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_FINISHED = "putobject postobject copyobject appendobject completemultipartupload putsymlink mirror"
# Event names of the OSS event notification page, in lower case; `*` is every other name of the family.
_KINDS: dict[tuple[str, str], Kind] = {
    **{("objectcreated", name): Kind.CREATED for name in _FINISHED.split()},
    ("objectcreated", "initiatemultipartupload"): Kind.UNFINISHED,
    ("objectcreated", "uploadpart"): Kind.UNFINISHED,
    ("objectcreated", "uploadpartcopy"): Kind.UNFINISHED,
    ("objectmodified", "*"): Kind.MODIFIED,
    ("objectreplication", "objectcreated"): Kind.REPLICATED,
    ("objectreplication", "objectmodified"): Kind.REPLICATED,
    ("objectreplication", "objectremoved"): Kind.REMOVED,
    # It removes the parts of an upload, and no object.
    ("objectremoved", "abortmultipartupload"): Kind.UNFINISHED,
    ("objectremoved", "*"): Kind.REMOVED,
    ("objectdownloaded", "*"): Kind.DOWNLOADED,
    ("objectrestore", "*"): Kind.RESTORED,
}


def decode(body: str) -> tuple[ObjectEvent, ...]:
    """Answer the events of one message body, at least one, in their order; raises `Undecodable`.

    One event that can't be read makes the whole message undecodable: it is then kept whole as a
    dead letter, while answering the others would lose that one when the message is deleted.
    """
    events = []
    for index, raw in enumerate(raw_events(body)):
        try:
            events.append(_event(raw))
        except Undecodable as error:
            raise Undecodable(f"event {index}: {error.reason}") from None
    return tuple(events)


@lru_cache(maxsize=256)  # there are a dozen names
def classify(name: str) -> Kind:
    """Answer what an event name means, whatever its case and with or without an `oss:` prefix."""
    family, _, action = name.lower().removeprefix("oss:").partition(":")
    return _KINDS.get((family, action)) or _KINDS.get((family, "*"), Kind.UNKNOWN)


def _event(raw: Any) -> ObjectEvent:
    event = as_object(raw, "it")
    oss = as_object(event.get("oss"), "oss")
    thing = as_object(oss.get("object"), "oss.object")
    name = _required(event.get("eventName"), "eventName")
    # The documentation draws the next two inside `oss`, every capture has them beside it.
    answer = event.get("responseElements", oss.get("responseElements"))
    answer = {} if answer is None else as_object(answer, "responseElements")
    return ObjectEvent(
        name=name[4:] if name[:4].lower() == "oss:" else name,
        kind=classify(name),
        bucket=_bucket(as_object(oss.get("bucket"), "oss.bucket").get("name")),
        key=_key(thing.get("key")),
        time=_optional(event.get("eventTime"), "eventTime"),
        etag=_optional(thing.get("eTag"), "oss.object.eTag"),
        request_id=_optional(answer.get("requestId"), "responseElements.requestId"),
    )


def _optional(value: Any, name: str) -> str:
    return "" if value is None else _text(value, name)


def _required(value: Any, name: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    text = _text(value, name, chars_max)
    if not text:
        raise Undecodable(f"{name} is empty")
    return text


def _text(value: Any, name: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    if not isinstance(value, str):
        raise Undecodable(f"{name} is {kind_of(value)}, not a string")
    if len(value) > chars_max:
        raise Undecodable(f"{name} is longer than {chars_max} characters")
    return value


def _key(value: Any) -> str:
    # Where keys are URL-encoded, three characters stand for one byte of the name.
    key = _required(value, "oss.object.key", 3 * KEY_BYTES_MAX)
    if len(key) > KEY_BYTES_MAX // 4 and _name_bytes(key) > KEY_BYTES_MAX:
        raise Undecodable(f"oss.object.key is longer than {KEY_BYTES_MAX} bytes")
    return key


def _name_bytes(key: str) -> int:
    return len(key.encode()) - 2 * len(_ESCAPE.findall(key))


def _bucket(value: Any) -> str:
    bucket = _required(value, "oss.bucket.name")
    if not is_bucket(bucket):
        raise Undecodable(f"oss.bucket.name is no bucket name: {shown(bucket)}")
    return bucket


@lru_cache(maxsize=256)  # a queue tells of few buckets
def is_bucket(name: str) -> bool:
    """Answer whether text can be the name of a bucket, and of nothing else."""
    return _BUCKET.fullmatch(name) is not None
