"""The body of an OSS event message, in every form a consumer may meet.

Shapes follow captures and documentation of OSS events through MNS: the bare body, Base64-coded,
from a rule with a queue endpoint; the same wrapped by a topic subscription (XML, JSON or
SIMPLIFIED); and the CloudEvent that EventBridge sends.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, quote_plus

from localcloud.oss.turn import Change
from localcloud.oss.wire import ACCOUNT_ID
from localcloud.storage.xml import element, iso_time

SOURCE_ADDRESS = "127.0.0.1"
_NAMESPACE = "http://mns.aliyuncs.com/doc/v1/"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

Event = dict[str, Any]


class Path(StrEnum):
    """How an event reaches its queue."""

    QUEUE = "queue"
    TOPIC = "topic"
    EVENTBRIDGE = "eventbridge"


class Form(StrEnum):
    """What a message looks like.

    `BASE64` is the real form of a rule with a queue endpoint. `PLAIN` is the same JSON uncoded.
    `DOCUMENTED` is Base64 JSON nested as the documentation's sample has it: region,
    requestParameters, responseElements and userIdentity inside `oss`. `TOPIC_XML`, `TOPIC_JSON` and
    `SIMPLIFIED` are the three NotifyContentFormats of a topic subscription. `CLOUD_EVENT` and
    `CLOUD_EVENT_BASE64` are EventBridge's, by its target's IsBase64Encode.
    """

    BASE64 = "base64"
    PLAIN = "plain"
    DOCUMENTED = "documented"
    TOPIC_XML = "topic_xml"
    TOPIC_JSON = "topic_json"
    SIMPLIFIED = "simplified"
    CLOUD_EVENT = "cloud_event"
    CLOUD_EVENT_BASE64 = "cloud_event_base64"

    @property
    def path(self) -> Path:
        """How messages of this form travel."""
        return _PATHS.get(self, Path.QUEUE)


_PATHS = {
    Form.TOPIC_XML: Path.TOPIC,
    Form.TOPIC_JSON: Path.TOPIC,
    Form.SIMPLIFIED: Path.TOPIC,
    Form.CLOUD_EVENT: Path.EVENTBRIDGE,
    Form.CLOUD_EVENT_BASE64: Path.EVENTBRIDGE,
}


class KeyForm(StrEnum):
    """How a key stands in an event. Assumption: whether real OSS encodes it is not documented."""

    RAW = "raw"
    QUOTE = "quote"
    QUOTE_PLUS = "quote_plus"

    def of(self, key: str) -> str:
        """Return the key in this form.

        Assumption: encoded forms leave `/` alone, as the events of S3 do.
        """
        return _KEY_FORMS[self](key)


_KEY_FORMS: dict[KeyForm, Callable[[str], str]] = {
    KeyForm.RAW: str,
    KeyForm.QUOTE: quote,
    KeyForm.QUOTE_PLUS: lambda key: quote_plus(key, safe="/"),
}


@dataclass(frozen=True, slots=True)
class Announcement:
    """What all events of one call share. `request_id` is the `x-oss-request-id` of its answer."""

    bucket: str
    region: str
    request_id: str
    at: float


def body_of(
    form: Form, key_form: KeyForm, rule: str, changes: Sequence[Change], about: Announcement
) -> str:
    """Return one message body for some changes of one call; a CloudEvent takes only the first."""
    events = [_event(change, key_form.of(change.key), rule, about) for change in changes]
    if form.path is Path.EVENTBRIDGE:
        cloud_event = _json(_cloud_event(events[0], changes[0], about))
        return _base64(cloud_event) if form is Form.CLOUD_EVENT_BASE64 else cloud_event
    if form is Form.DOCUMENTED:
        events = [_documented(event) for event in events]
    bare = _json({"events": events})
    match form:
        case Form.PLAIN:
            return bare
        case Form.TOPIC_XML:
            return _topic_xml(_wrapper(_base64(bare), rule, about))
        case Form.TOPIC_JSON:
            return _json(_wrapper(_base64(bare), rule, about))
        case _:
            return _base64(bare)


def _event(change: Change, key: str, rule: str, about: Announcement) -> Event:
    return {
        "eventName": change.name,
        "eventSource": "acs:oss",
        "eventTime": iso_time(about.at),
        "eventVersion": "1.0",
        "oss": {
            "bucket": {
                "arn": f"acs:oss:{about.region}:{ACCOUNT_ID}:{about.bucket}",
                "name": about.bucket,
                "ownerIdentity": ACCOUNT_ID,
                "virtualBucket": "",
            },
            "object": _object(change, key),
            "ossSchemaVersion": "1.0",
            "ruleId": rule,
        },
        "region": about.region,
        "requestParameters": {"sourceIPAddress": SOURCE_ADDRESS},
        "responseElements": {"requestId": about.request_id},
        "userIdentity": {"principalId": ACCOUNT_ID},
    }


def _object(change: Change, key: str) -> Event:
    told: Event = {
        "deltaSize": change.delta_bytes,
        "eTag": change.etag,
        "key": key,
        "size": change.size,
    }
    if change.mime_type:
        # Assumption: MNS bodies have objectMeta as events of Function Compute do since 2023.
        told["objectMeta"] = {"mimeType": change.mime_type}
    if change.position is not None:
        told["position"] = change.position
    if change.read is not None:
        told["readFrom"], told["readTo"] = change.read
    return told


def _documented(event: Event) -> Event:
    inner = ("region", "requestParameters", "responseElements", "userIdentity")
    outer = {name: value for name, value in event.items() if name not in inner}
    return outer | {"oss": event["oss"] | {name: event[name] for name in inner}}


def _cloud_event(event: Event, change: Change, about: Announcement) -> Event:
    """Wrap one event as EventBridge does (eventbridge/user-guide/oss-events)."""
    data = {name: value for name, value in event.items() if name != "oss"}
    data["oss"] = {name: value for name, value in event["oss"].items() if name != "ruleId"}
    return {
        "id": _message_id(about, change.name, change.key),
        "source": "acs.oss",
        "specversion": "1.0",
        "type": f"oss:{change.name}",
        "datacontenttype": "application/json; charset=utf-8",
        "subject": f"acs:oss:{about.region}:{ACCOUNT_ID}:{about.bucket}/{change.key}",
        "time": iso_time(about.at).replace(".000Z", "Z"),
        "aliyunaccountid": ACCOUNT_ID,
        "aliyunpublishtime": iso_time(about.at),
        "aliyunoriginalaccountid": ACCOUNT_ID,
        "aliyuneventbusname": "default",
        "aliyunregionid": about.region,
        "aliyunpublishaddr": SOURCE_ADDRESS,
        "data": data,
    }


def _wrapper(message: str, rule: str, about: Announcement) -> dict[str, str]:
    """Return what a topic subscription puts around a message; every value is a string."""
    published_ms = int(about.at * 1000)
    return {
        "TopicOwner": ACCOUNT_ID,
        "Message": message,
        "Subscriber": ACCOUNT_ID,
        "PublishTime": str(published_ms),
        "SubscriptionName": f"mns-en-subs-oss-{rule}-0-{published_ms}",
        "MessageMD5": hashlib.md5(message.encode(), usedforsecurity=False).hexdigest().upper(),
        "TopicName": f"mns-en-topics-oss-{rule}-{published_ms}",
        "MessageId": _message_id(about, message),
    }


def _topic_xml(wrapper: dict[str, str]) -> str:
    inside = "".join(element(name, value) for name, value in wrapper.items())
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f'{head}<Notification xmlns="{_NAMESPACE}">{inside}</Notification>'


def _message_id(about: Announcement, *parts: str) -> str:
    text = "\n".join((about.request_id, *parts)).encode("utf-8", "surrogateescape")
    return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()


def _json(value: object) -> str:
    # Assumption: like the captures, compact and with keys as UTF-8, not escaped.
    return _ENCODER.encode(value)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
