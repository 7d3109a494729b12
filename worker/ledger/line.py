"""One record: what became of one key in one post. One line of JSON, as an object of its own or in a log.

The function that Huawei's tutorial offers wrote empty objects under the same names: for those, name and time
are the whole record.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from worker.clock import iso, seconds_of

# The keys of a post have its time in common.
_iso = lru_cache(maxsize=256)(iso)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of one key. `name` is the object that holds it; `posted_at` is ISO 8601 or empty."""

    key: str
    outcome: str
    name: str
    posted_at: str
    event_time: str = ""
    etag: str = ""
    message_id: str = ""
    oms_request_id: str = ""
    attempts: int = 0
    reason: str = ""

    @classmethod
    def of_line(cls, name: str, line: bytes) -> Record:
        """Read one line of the object `name`; whatever it holds, the answer is a record."""
        return _parsed(name, fields_of(line))

    @classmethod
    def of_object(
        cls, name: str, body: bytes, *, key: str, is_success: bool, written_at: float
    ) -> Record:
        """Read the record object of a key; an empty one is told by its name and time."""
        fields = fields_of(body)
        if "key" in fields:
            return _parsed(name, fields)
        return cls(key, "accepted" if is_success else "rejected", name, iso(written_at))

    @property
    def posted_at_seconds(self) -> float:
        """The time of the post in seconds since the epoch; 0 where it is not known."""
        return seconds_of(self.posted_at) or 0.0


def line_of(*, posted_at: float, **fields: str | int) -> bytes:
    """Return a record as one line without its line break: the fields of `Record` but its name.

    `posted_at` is in seconds since the epoch.
    """
    fields["posted_at"] = _iso(posted_at)
    return orjson.dumps(fields)


def fields_of(line: bytes) -> dict[str, Any]:
    """Return the fields of one line; none if it is damaged."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(name: str, fields: dict[str, Any]) -> Record:
    texts = {
        each: str(fields.get(each, ""))
        for each in ("key", "outcome", "posted_at", "event_time", "etag", "message_id")
    }
    attempts = fields.get("attempts", 0)
    return Record(
        name=name,
        **texts,
        oms_request_id=str(fields.get("oms_request_id", "")),
        attempts=attempts if isinstance(attempts, int) else 0,
        reason=str(fields.get("reason", "")),
    )
