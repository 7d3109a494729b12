"""A rolling day of arrivals, minute by minute: what was in time, what was not, and how long copies took.

A value without a clock: each call is told the time, in seconds of a clock that never goes back. A day takes
less than half a MiB; a minute in which nothing happened takes nothing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, pairwise
from typing import Any

MINUTE_SECONDS = 60
DAY_SECONDS = 86_400.0
# Between two of them lags are taken as evenly spread; what took longer than the last one counts as that.
LAG_BOUNDS_SECONDS = (
    *(1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0),
    *(420.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0, 7200.0, 21_600.0, DAY_SECONDS),
)  # fmt: skip


class Count(IntEnum):
    """What is counted. Each followed key is `IN_TIME`, `LATE` or `UNKNOWN`; the others are what was done.

    `UNKNOWN` is what nobody could follow to its end: it was due, and is not shown to have been in time.
    """

    IN_TIME = 0
    LATE = 1
    RESENT = 2
    GIVEN_UP = 3
    UNKNOWN = 4


@dataclass(frozen=True, slots=True)
class ArrivalSpan:
    """What became of followed keys in a span of time.

    `p50` and `p99` are the seconds from event to copy of those that arrived, None where none did.
    `seen_seconds` is how much of the span was seen: less after a start.
    """

    in_time: int = 0
    late: int = 0
    resent: int = 0
    given_up: int = 0
    p50: float | None = None
    p99: float | None = None
    seen_seconds: float = 0.0
    unknown: int = 0

    @property
    def followed(self) -> int:
        """How many keys were due: in time, late, or not known."""
        return self.in_time + self.late + self.unknown

    @property
    def share(self) -> float | None:
        """The share that is known to have been in time; None where nothing was due."""
        return self.in_time / self.followed if self.followed else None

    def as_object(self) -> dict[str, Any]:
        """Return it as the JSON in which a relay tells it; `span_from` reads it."""
        return {
            "followed": self.followed,
            "in_time": self.in_time,
            "share": self.share,
            "p50": self.p50,
            "p99": self.p99,
            "late": self.late,
            "unknown": self.unknown,
            "resent": self.resent,
            "given_up": self.given_up,
            "seen_seconds": round(self.seen_seconds),
        }


def span_from(found: Mapping[str, Any]) -> ArrivalSpan:
    """Read a span from its JSON; raises LookupError, TypeError or ValueError where it is none."""
    return ArrivalSpan(
        int(found["in_time"]),
        int(found["late"]),
        int(found["resent"]),
        int(found["given_up"]),
        _lag_from(found["p50"]),
        _lag_from(found["p99"]),
        float(found["seen_seconds"]),
        # A worker of an older version does not tell it.
        int(found.get("unknown", 0)),
    )


def _lag_from(value: Any) -> float | None:
    return None if value is None else float(value)


def together(spans: Iterable[ArrivalSpan]) -> ArrivalSpan:
    """Return what several relays saw: counts are added, the quantiles are those of the slowest relay."""
    found = tuple(spans)
    return ArrivalSpan(
        sum(each.in_time for each in found),
        sum(each.late for each in found),
        sum(each.resent for each in found),
        sum(each.given_up for each in found),
        max((each.p50 for each in found if each.p50 is not None), default=None),
        max((each.p99 for each in found if each.p99 is not None), default=None),
        max((each.seen_seconds for each in found), default=0.0),
        sum(each.unknown for each in found),
    )


class ArrivalHistory:
    """Counts and lags of the last day. `started_at` is when it began to be told."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        # In the order of time: the minute, then its counts and its lags by their bounds.
        self._minutes: dict[int, array[int]] = {}

    def count(self, what: Count, at: float) -> None:
        """Count one of these."""
        self._minute(at)[what] += 1

    def took(self, seconds: float, at: float) -> None:
        """Note how long one copy took."""
        self._minute(at)[len(Count) + bisect_left(LAG_BOUNDS_SECONDS, seconds)] += 1

    def over(self, seconds: float, at: float) -> ArrivalSpan:
        """Return what happened in the last `seconds`, to the minute; at most a day."""
        since = _minute_of(at - seconds)
        sums = [0] * _CELLS
        for minute, cells in self._minutes.items():
            if minute > since:
                sums = [total + cell for total, cell in zip(sums, cells, strict=True)]
        in_time, late, resent, given_up, unknown = sums[: len(Count)]
        p50, p99 = (quantile(sums[len(Count) :], share) for share in (0.5, 0.99))
        seen = min(seconds, at - self._started_at)
        return ArrivalSpan(in_time, late, resent, given_up, p50, p99, seen, unknown)

    def _minute(self, at: float) -> array[int]:
        minute = _minute_of(at)
        if minute not in self._minutes:
            oldest = _minute_of(at - DAY_SECONDS)
            for old in [each for each in self._minutes if each <= oldest]:
                del self._minutes[old]
            self._minutes[minute] = array("I", [0] * _CELLS)
        return self._minutes[minute]


_CELLS = len(Count) + len(LAG_BOUNDS_SECONDS) + 1


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the lag that this share does not exceed; None where nothing was counted."""
    rank = share * sum(counts)
    if not rank:
        return None
    below = 0
    bounds = pairwise(chain((0.0,), LAG_BOUNDS_SECONDS))
    for (low, high), counted in zip(bounds, counts, strict=False):
        if counted and below + counted >= rank:
            return round(low + (high - low) * (rank - below) / counted, 2)
        below += counted
    return LAG_BOUNDS_SECONDS[-1]


def _minute_of(at: float) -> int:
    return int(at // MINUTE_SECONDS)
