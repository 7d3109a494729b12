"""What OSS events arrive in: Base64, topic notifications and CloudEvents, opened one by one.

Forms: OSS event notifications (Base64 of `{"events": [...]}`), MNS topic subscriptions with XML or JSON
content, EventBridge's MNS target. Every refusal is an `Undecodable` of bounded length.
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import Any
from xml.etree.ElementTree import XML, Element, ParseError

import orjson

from worker.events.event import Undecodable

# MNS takes 64 KiB, Base64 included; the rest is room for a limit that grew or for indentation.
BODY_CHARS_MAX = 72 * 1024
ENVELOPES_MAX = 4
EVENTS_MAX = 256

_BLANK = " \t\r\n\ufeff"
_SHOWN_CHARS_MAX = 40


def raw_events(body: str) -> list[Any]:
    """Open every envelope around the events of one message body; raises only `Undecodable`.

    The answer has 1 to `EVENTS_MAX` entries as parsed from JSON, none of them checked. Base64 is
    read strictly: blanks around it are dropped, anything else outside its alphabet is refused,
    line breaks too, because lenient decoding turns plain text into noise without a complaint.
    """
    if len(body) > BODY_CHARS_MAX:
        raise Undecodable(f"the body is longer than {BODY_CHARS_MAX} characters")
    content: Any = body
    for _ in range(ENVELOPES_MAX + 1):
        if isinstance(content, bytes):
            content = _parse_bytes(content)
        elif isinstance(content, str):
            content = _parse(content.strip(_BLANK))
        if isinstance(content, (str, bytes)):
            continue
        document = as_object(content, "the body")
        if "events" in document:
            return _listed(document["events"])
        if "oss" in document:
            return [document]
        content = _inner(document)
    raise Undecodable(f"the body has more than {ENVELOPES_MAX} envelopes around its events")


def as_object(value: Any, name: str) -> dict[str, Any]:
    """Answer a JSON object, or refuse what is none under its name."""
    if type(value) is dict:
        return value
    raise Undecodable(f"{name} is {kind_of(value)}, not an object")


def kind_of(value: Any) -> str:
    """Name the JSON type of a value, for people."""
    if value is None:
        return "missing or null"
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def shown(text: str) -> str:
    """Quote the start of a text that came from outside, in ASCII and in bounded length."""
    quoted = ascii(text[:_SHOWN_CHARS_MAX])[: 2 * _SHOWN_CHARS_MAX]
    return quoted if len(text) <= _SHOWN_CHARS_MAX else f"{quoted}..."


def _parse(text: str) -> Any:
    """Open one layer of text: the answer is text or bytes again, or what the JSON holds."""
    match text[:1]:
        case "{" | "[" | '"':
            return _from_json(text)
        case "<":
            return _from_notification(text)
        case "":
            raise Undecodable("the body is empty, or an envelope in it is")
        case _:
            return _from_base64(text)


def _from_base64(text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        raise Undecodable(f"{shown(text)} is neither JSON, XML nor Base64") from None


def _parse_bytes(content: bytes) -> Any:
    # The usual case, JSON in Base64, is parsed without a detour over text.
    if content.startswith(b"{"):
        return _from_json(content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Undecodable(f"the body is Base64 of {content[:20]!r}, which is not UTF-8") from None
    return _parse(text.strip(_BLANK))


def _from_notification(text: str) -> str:
    # Without a DOCTYPE there are no entities to expand, so nothing small can grow large.
    if "<!DOCTYPE" in text:
        raise Undecodable("the XML has a DOCTYPE")
    try:
        root = XML(text)
    except (ParseError, ValueError, LookupError) as error:
        raise Undecodable(f"broken XML: {str(error)[:100]}") from None
    messages = [child for child in root if _local_name(child) == "Message"]
    if _local_name(root) != "Notification" or len(messages) != 1 or len(messages[0]):
        raise Undecodable("the XML is not a Notification with one Message of text")
    return messages[0].text or ""


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _from_json(text: str | bytes) -> Any:
    # orjson bounds the depth itself, and refuses NaN and halves of surrogate pairs.
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"broken JSON: {str(error)[:100]}") from None


def _listed(events: Any) -> list[Any]:
    if not isinstance(events, list):
        raise Undecodable(f"events is {kind_of(events)}, not a list")
    if not events:
        raise Undecodable("events is an empty list")
    if len(events) > EVENTS_MAX:
        raise Undecodable(f"events holds more than {EVENTS_MAX} entries")
    return events


def _inner(document: dict[str, Any]) -> Any:
    """Answer what a topic notification or a CloudEvent carries."""
    if "Message" in document and "TopicName" in document:
        return _as_text(document["Message"], "Message")
    if "data_base64" in document:
        return _as_text(document["data_base64"], "data_base64")
    if "data" not in document:
        raise Undecodable("the JSON is no OSS event, topic notification or CloudEvent")
    data = document["data"]
    if isinstance(data, str):
        return data
    # A CloudEvent names its kind twice; its `type` stands in where `data` has no name.
    return {"eventName": document.get("type"), **as_object(data, "data")}


def _as_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Undecodable(f"{name} is {kind_of(value)}, not a string")
    return value
