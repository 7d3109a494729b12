"""Events for changes that have none: as OSS sends them, so that the relay takes them like any other."""

from __future__ import annotations

import base64
from urllib.parse import quote

import orjson

from worker.clock import iso
from worker.events.keys import KeyEncoding


def event_body(
    bucket: str, key: str, at: float, *, region: str, key_encoding: KeyEncoding, etag: str = ""
) -> str:
    """Return an event as OSS sends one for an object written at this time (epoch seconds).

    `etag` says which state of the object it is about; the record of its post keeps it.

    The key stands in it as `RELAY_KEY_ENCODING` reads it. It has no request id, so that dedupe takes each
    such message for an event of its own.
    """
    event = {
        "eventName": "ObjectCreated:PutObject",
        "eventSource": "acs:oss",
        "eventTime": iso(at),
        "eventVersion": "1.0",
        "oss": {
            "bucket": {"name": bucket},
            "object": {
                "key": quote(key) if key_encoding == "url" else key,
                **({"eTag": etag} if etag else {}),
            },
            "ossSchemaVersion": "1.0",
            "ruleId": "oms-relay",
        },
        "region": region,
    }
    return base64.b64encode(orjson.dumps({"events": [event]})).decode()
