"""A pause of the fleet: one small object, which operators write and every worker reads.

How long it lasts goes by the clock of the log bucket: from the last change of the object. The clocks of the
machine that wrote it and of those that read it do not count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.clock import iso

PAUSE_NAME = "pause.json"
PAUSE_SECONDS_MAX = 30 * 86_400.0
TEXT_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused the fleet, when, for how long and why. Without `for_seconds` it lasts until it is ended."""

    by: str
    reason: str
    since: float
    for_seconds: float | None = None

    @property
    def until(self) -> float | None:
        """When it ends by itself, in seconds since the epoch."""
        return None if self.for_seconds is None else self.since + self.for_seconds

    def is_over(self, now: float) -> bool:
        """Whether it has ended by itself; `now` is the time of the log bucket."""
        return self.until is not None and now >= self.until

    def as_object(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "by": self.by,
            "reason": self.reason,
            "since": iso(self.since, "seconds"),
            "until": None if self.until is None else iso(self.until, "seconds"),
        }


def pause_body(by: str, reason: str, for_seconds: float | None) -> bytes:
    """Return the object that begins a pause."""
    told = {"by": by[:TEXT_CHARS_MAX], "reason": reason[:TEXT_CHARS_MAX]}
    return json.dumps(told | {"for_seconds": for_seconds}, indent=1).encode()


def pause_from(body: bytes, since: float) -> Pause:
    """Read the object, last changed at `since`. Raises ValueError if it is no pause."""
    try:
        found = json.loads(body)
        seconds = found["for_seconds"]
        seconds = None if seconds is None else min(float(seconds), PAUSE_SECONDS_MAX)
        by, reason = (str(found[name])[:TEXT_CHARS_MAX] for name in ("by", "reason"))
    except (LookupError, TypeError) as error:
        raise ValueError(f"not a pause: {error!r}") from error
    return Pause(by, reason, since, seconds)


def pause_told(found: Any) -> Pause | None:
    """Read what `as_object` gave; None for none. Raises LookupError, TypeError or ValueError."""
    if found is None:
        return None
    since, until = _seconds(found["since"]), found["until"]
    seconds = None if until is None else _seconds(until) - since
    return Pause(str(found["by"]), str(found["reason"]), since, seconds)


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
