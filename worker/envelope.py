"""What OSS events arrive in: Base64, topic notifications and CloudEvents, opened one by one.

The forms are those of mns.md 4.3 to 4.6. Every refusal is an `Undecodable` of bounded length.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from json import JSONDecodeError, JSONDecoder
from typing import Any, Never
from xml.etree.ElementTree import XML, Element, ParseError

from worker.events import Undecodable

# MNS takes 64 KiB, Base64 included; the rest is room for a limit that grew or for indentation.
BODY_CHARS_MAX = 72 * 1024
ENVELOPES_MAX = 4
JSON_DEPTH_MAX = 64
EVENTS_MAX = 256

_BLANK = " \t\r\n\ufeff"
_SHOWN_CHARS_MAX = 40
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"?|([\[{])|([\]}])', re.DOTALL)


class Ambiguous(dict[str, Any]):
    """A JSON object that holds one name twice. Nothing is ever read from it."""


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
        if isinstance(content, str):
            content = _parse(content.strip(_BLANK))
        if isinstance(content, str):
            continue
        document = as_object(content, "the body")
        if "events" in document:
            return _listed(document["events"])
        if "oss" in document:
            return [document]
        content = _inner(document)
    raise Undecodable(f"the body has more than {ENVELOPES_MAX} envelopes around its events")


def as_object(value: Any, name: str) -> dict[str, Any]:
    """Answer a JSON object that can be read without a doubt, or refuse it under its name."""
    if type(value) is dict:
        return value
    if isinstance(value, Ambiguous):
        raise Undecodable(f"{name} holds the same name twice")
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
    """Open one layer of text: the answer is a text again or what the JSON holds."""
    match text[:1]:
        case "{" | "[" | '"':
            return _from_json(text)
        case "<":
            return _from_notification(text)
        case "":
            raise Undecodable("the body is empty, or an envelope in it is")
        case _:
            return _from_base64(text)


def _from_base64(text: str) -> str:
    try:
        return a2b_base64(text, strict_mode=True).decode()
    except UnicodeDecodeError:
        raise Undecodable(f"{shown(text)} is Base64 of bytes that are not UTF-8") from None
    except ValueError:
        raise Undecodable(f"{shown(text)} is neither JSON, XML nor Base64") from None


def _from_notification(text: str) -> str:
    # Without a DOCTYPE there are no entities to expand, so nothing small can grow large.
    if "<!DOCTYPE" in text:
        raise Undecodable("the XML has a DOCTYPE")
    try:
        root = XML(text)
    except (ParseError, ValueError) as error:
        raise Undecodable(f"broken XML: {str(error)[:100]}") from None
    messages = [child for child in root if _local_name(child) == "Message"]
    if _local_name(root) != "Notification" or len(messages) != 1 or len(messages[0]):
        raise Undecodable("the XML is not a Notification with one Message of text")
    return messages[0].text or ""


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _from_json(text: str) -> Any:
    if text.count("{") + text.count("[") > JSON_DEPTH_MAX:
        _refuse_depth(text)
    try:
        return _JSON.decode(text)
    except JSONDecodeError as error:
        raise Undecodable(f"broken JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        raise Undecodable("broken JSON: a number is too long") from None


def _refuse_depth(text: str) -> None:
    depth = 0
    for found in _NESTING.finditer(text):
        depth += (found[1] is not None) - (found[2] is not None)
        if depth > JSON_DEPTH_MAX:
            raise Undecodable(f"the JSON is nested deeper than {JSON_DEPTH_MAX}")


def _refuse_constant(name: str) -> Never:
    raise Undecodable(f"broken JSON: {name} is no JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else Ambiguous(made)


_JSON = JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


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
