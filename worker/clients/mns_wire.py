"""Reading MNS answers: by local name, tolerant of indentation and namespaces, never losing a whole batch.

Live answers differ from the documentation in both (recorded traffic, reference protocol 2015-06-06), and
the SDK's own decoder drops all 16 messages of a batch when one body displeases it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from xml.etree import ElementTree as ET

from worker.events import Message

# Where characters that XML forbids are parked while parsing; decode then sees them again as they were.
_PARKING = 0xE000
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_FORBIDDEN_REFERENCE = re.compile(r"&#(?:x0*([0-9a-fA-F]{1,2})|0*([0-9]{1,2}));")
_PARKED = re.compile("[\ue000-\ue01f]")


class Damaged(ValueError):  # noqa: N818  a verdict about an answer
    """The answer cannot be read as what was asked for."""


@dataclass(frozen=True, slots=True)
class QueueAttributes:
    """What the relay needs to know about a queue. The three counters are approximate and being retired."""

    visibility_seconds: int
    retention_seconds: int
    active_messages: int
    inactive_messages: int
    delayed_messages: int


def messages(body: bytes) -> list[Message]:
    """Read the answer of BatchReceiveMessage. Raises `Damaged` if it is not one."""
    root, is_parked = _parse(body)
    if _name(root) != "Messages":
        raise Damaged(f"expected <Messages>, found <{_name(root)}>")
    found = [_message(_fields(child)) for child in root if _name(child) == "Message"]
    return [replace(each, body=_restore(each.body)) for each in found] if is_parked else found


def attributes(body: bytes) -> QueueAttributes:
    """Read the answer of GetQueueAttributes. Raises `Damaged` if it is not one."""
    fields = _fields(_parse(body)[0])
    return QueueAttributes(
        visibility_seconds=_number(fields, "VisibilityTimeout"),
        retention_seconds=_number(fields, "MessageRetentionPeriod"),
        active_messages=int(fields.get("ActiveMessages", "0")),
        inactive_messages=int(fields.get("InactiveMessages", "0")),
        delayed_messages=int(fields.get("DelayMessages", "0")),
    )


def receipt_handle(body: bytes) -> str:
    """Read the new receipt handle from the answer of ChangeMessageVisibility. Raises `Damaged`."""
    handle = _fields(_parse(body)[0]).get("ReceiptHandle", "")
    if not handle:
        raise Damaged("the answer holds no new receipt handle")
    return handle


def _message(fields: dict[str, str]) -> Message:
    try:
        return Message(
            message_id=fields["MessageId"],
            body=fields.get("MessageBody", ""),
            receipt_handle=fields["ReceiptHandle"],
            dequeue_count=int(fields.get("DequeueCount", "1")),
            enqueue_time_ms=int(fields.get("EnqueueTime", "0")),
            next_visible_time_ms=int(fields.get("NextVisibleTime", "0")),
        )
    except (KeyError, ValueError) as error:
        raise Damaged(f"a message lacks a usable {error}") from error


def _parse(body: bytes) -> tuple[ET.Element, bool]:
    """Return the root, and whether forbidden characters had to be parked."""
    if b"<!DOCTYPE" in body[:1024]:
        raise Damaged("the answer declares a DOCTYPE, which MNS never does")
    try:
        return ET.fromstring(body), False
    except ET.ParseError:
        pass
    # One body that is not XML-safe must not cost its 15 neighbours: park what XML forbids and read again.
    text = _FORBIDDEN.sub(_park, body.decode("utf-8", "surrogateescape"))
    text = _FORBIDDEN_REFERENCE.sub(_park_reference, text).encode("utf-8", "replace").decode()
    try:
        return ET.fromstring(text), True
    except ET.ParseError as error:
        raise Damaged(f"not readable as XML ({error})") from error


def _park(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_PARKING + code) if code < 0x20 else "�"


def _park_reference(found: re.Match[str]) -> str:
    code = int(found[1], 16) if found[1] else int(found[2])
    legal = code >= 0x20 or code in (0x9, 0xA, 0xD)
    return found[0] if legal else chr(_PARKING + code)


def _restore(text: str) -> str:
    return _PARKED.sub(lambda found: chr(ord(found[0]) - _PARKING), text)


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _fields(parent: ET.Element) -> dict[str, str]:
    return {_name(child): child.text or "" for child in parent}


def _number(fields: dict[str, str], name: str) -> int:
    try:
        return int(fields[name])
    except (KeyError, ValueError) as error:
        raise Damaged(f"no usable <{name}> in the answer") from error
