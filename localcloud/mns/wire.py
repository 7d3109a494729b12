"""XML in and out, in the form that live MNS was recorded to use.

Answers are indented and their namespace has no final slash, against the documentation; `Style` can
switch both. Requests are read by local name, so either namespace, or none, will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import md5
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from localcloud.mns.errors import MnsError
from localcloud.mns.message import Attributes, Counts, Message, Property
from localcloud.mns.queue import Queue

NAMESPACE = "http://mns.aliyuncs.com/doc/v1"
CONTENT_TYPE = "text/xml;charset=utf-8"
_ROOT_START = re.compile(r"<[^?!]")
# What XML 1.0 cannot carry: MNS could neither take such a text nor give it out again.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Style:
    """How answers look: `compact` drops line breaks and indentation, as the documentation says."""

    compact: bool = False
    namespace: str = NAMESPACE

    def pad(self, depth: int) -> str:
        """Return what stands before an element at this depth."""
        return "" if self.compact else "\n" + "  " * depth

    def document(self, root: str, content: str) -> str:
        """Wrap elements into an answer."""
        end = self.pad(0)
        return (
            f'<?xml version="1.0" ?>{end}<{root} xmlns="{self.namespace}">{content}{end}</{root}>'
        )

    def fields(self, pairs: Iterable[tuple[str, object]], depth: int = 1) -> str:
        """One element for each name and value."""
        pad = self.pad(depth)
        return "".join(f"{pad}<{name}>{escape(str(value))}</{name}>" for name, value in pairs)

    def group(self, name: str, content: str, depth: int = 1) -> str:
        """Wrap elements into an element."""
        pad = self.pad(depth)
        return f"{pad}<{name}>{content}{pad}</{name}>"


def is_xml_text(text: str) -> bool:
    """Whether XML 1.0 can carry the text."""
    return _NOT_XML.search(text) is None


def parse(body: bytes, *roots: str) -> ET.Element:
    """Return the root element, which must be one of `roots`; else MalformedXML."""
    try:
        text = body.decode("utf-8-sig")
        start = _ROOT_START.search(text)
        if start is None or "<!DOCTYPE" in text[: start.start()]:
            raise MnsError("MalformedXML")
        # The text holds no DOCTYPE, so there are no entities of its own to expand.
        root = ET.fromstring(text)
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise MnsError("MalformedXML") from error
    if local_name(root) not in roots:
        raise MnsError("MalformedXML")
    return root


def local_name(element: ET.Element) -> str:
    """Return the name without its namespace."""
    return element.tag.rpartition("}")[2]


def texts(element: ET.Element) -> dict[str, str]:
    """Return the text of each child by local name."""
    return {local_name(child): child.text or "" for child in element}


def properties(message: ET.Element, group: str) -> tuple[Property, ...]:
    """Read `UserProperties` or `SystemProperties` of a sent message."""
    for child in message:
        if local_name(child) == group:
            rows = (texts(entry) for entry in child)
            return tuple(
                Property(row.get("Name", ""), row.get("Value", ""), row.get("Type", "STRING"))
                for row in rows
            )
    return ()


def body_md5(message: Message) -> str:
    """Return MessageBodyMD5: of the text as stored, in upper case.

    Recordings of messages with user properties carry another digest, whose formula is not known.
    Assumption: any other digest will do; a client that verifies it is found out.
    """
    text = message.body + ("\0" if message.user_properties else "")
    return md5(text.encode(), usedforsecurity=False).hexdigest().upper()


def message_xml(message: Message, style: Style, depth: int, *, is_leased: bool) -> str:
    """Return the elements of one message in the recorded order; a peek shows no lease."""
    pad = style.pad(depth)
    handle = f"{pad}<ReceiptHandle>{message.handle}</ReceiptHandle>" if is_leased else ""
    due = f"{pad}<NextVisibleTime>{message.next_visible_ms}</NextVisibleTime>" if is_leased else ""
    first_ms = message.first_dequeue_ms or message.enqueue_ms
    extras = _extras(message, style, depth) if _has_extras(message) else ""
    return (
        f"{pad}<MessageId>{message.id}</MessageId>"
        f"{pad}<MessageBodyMD5>{body_md5(message)}</MessageBodyMD5>"
        f"{pad}<MessageBody>{escape(message.body)}</MessageBody>"
        f"{handle}"
        f"{pad}<EnqueueTime>{message.enqueue_ms}</EnqueueTime>"
        # Never received: the first dequeue time is the enqueue time (vendor's page on peeking).
        f"{pad}<FirstDequeueTime>{first_ms}</FirstDequeueTime>"
        f"{due}"
        f"{pad}<DequeueCount>{message.dequeue_count}</DequeueCount>"
        f"{pad}<Priority>{message.priority}</Priority>"
        f"{extras}"
    )


def sent_xml(message: Message, style: Style, depth: int, *, shows_handle: bool = True) -> str:
    """Return the elements that answer a send; only a delayed message has a handle to show.

    Assumption: a batch shows no handles; the recorded entries have an id and a digest only.
    """
    pairs = [("MessageId", message.id), ("MessageBodyMD5", body_md5(message))]
    if message.handle and shows_handle:
        pairs.append(("ReceiptHandle", message.handle))
    return style.fields(pairs, depth)


def queue_fields(queue: Queue, counts: Counts) -> list[tuple[str, object]]:
    """Return all 14 elements of the recorded GetQueueAttributes; times are in seconds."""
    attributes = queue.attributes
    return [
        ("QueueName", queue.name),
        ("DelaySeconds", attributes.delay_seconds),
        ("MaximumMessageSize", attributes.maximum_message_size),
        ("MessageRetentionPeriod", attributes.message_retention_period),
        ("VisibilityTimeout", attributes.visibility_timeout),
        ("CreateTime", queue.created_ms // 1000),
        ("LastModifyTime", queue.modified_ms // 1000),
        ("PollingWaitSeconds", attributes.polling_wait_seconds),
        ("ActiveMessages", counts.active),
        ("InactiveMessages", counts.inactive),
        ("DelayMessages", counts.delayed),
        ("LoggingEnabled", attributes.logging_enabled),
        ("MessageType", 0),
        ("EnableSSE", False),
    ]


def error_xml(error: MnsError, request_id: str, host: str, style: Style) -> str:
    """Answer a refused request; HostId is the endpoint's URL (recorded)."""
    pairs = [
        ("Code", error.code),
        ("Message", error.message),
        ("RequestId", request_id),
        ("HostId", host),
    ]
    return style.document("Error", style.fields(pairs))


def attributes_from(element: ET.Element, base: Attributes) -> Attributes:
    """Read the settable attributes of a `<Queue>` over `base`; out of range is InvalidArgument."""
    given = texts(element)
    return Attributes(
        delay_seconds=_number(given, "DelaySeconds", base.delay_seconds, 0, 604_800),
        maximum_message_size=_number(
            given, "MaximumMessageSize", base.maximum_message_size, 1024, 65_536, "bytes"
        ),
        message_retention_period=_number(
            given, "MessageRetentionPeriod", base.message_retention_period, 60, 604_800
        ),
        visibility_timeout=_number(given, "VisibilityTimeout", base.visibility_timeout, 1, 43_200),
        polling_wait_seconds=_number(given, "PollingWaitSeconds", base.polling_wait_seconds, 0, 30),
        logging_enabled=_truth(given, "LoggingEnabled", base.logging_enabled),
    )


def bounded(name: str, text: str, low: int, high: int, unit: str = "seconds") -> int:
    """Return the number in `text`; outside low..high the vendor's InvalidArgument text."""
    if re.fullmatch(r"-?[0-9]{1,10}", text) is None or not low <= int(text) <= high:
        raise MnsError(
            "InvalidArgument", f"The value of {name} should between {low} and {high} {unit}."
        )
    return int(text)


def _number(
    given: Mapping[str, str], name: str, default: int, low: int, high: int, unit: str = "seconds"
) -> int:
    return bounded(name, given[name], low, high, unit) if name in given else default


def _truth(given: Mapping[str, str], name: str, default: bool) -> bool:
    text = given.get(name, str(default)).lower()
    if text not in {"true", "false"}:
        raise MnsError("InvalidArgument", f"The value of {name} should be True or False.")
    return text == "true"


def _has_extras(message: Message) -> bool:
    return bool(message.user_properties or message.system_properties or message.group_id)


def _extras(message: Message, style: Style, depth: int) -> str:
    parts = (
        [style.fields([("MessageGroupId", message.group_id)], depth)] if message.group_id else []
    )
    groups = (
        ("UserProperties", "PropertyValue", message.user_properties),
        ("SystemProperties", "SystemPropertyValue", message.system_properties),
    )
    for name, entry, values in groups:
        rows = (
            style.fields(
                (("Name", value.name), ("Value", value.value), ("Type", value.type)), depth + 2
            )
            for value in values
        )
        content = "".join(style.group(entry, row, depth + 1) for row in rows)
        if content:
            parts.append(style.group(name, content, depth))
    return "".join(parts)
