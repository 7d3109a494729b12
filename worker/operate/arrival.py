"""Whether what OMS accepted has arrived: what the workers tell of it, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import floor
from typing import Any

from worker.advice import Cause, cause_from
from worker.arrival.history import ArrivalSpan, span_from, together

# "99.9 % within 15 minutes": below that people are told.
PROMISED_SHARE = 0.999


@dataclass(frozen=True, slots=True)
class Told:
    """What one worker tells. `copy_backlog` is None where it is not known.

    `copy_backlog_seconds` is how long ago that was read, None where an older worker does not tell it.

    `cause` says why the destination cannot be looked at; None while it can.
    """

    hour: ArrivalSpan
    day: ArrivalSpan
    promised_seconds: float
    pending: int
    copy_backlog: int | None
    cause: Cause | None = None
    copy_backlog_seconds: float | None = None

    def aged(self, seconds: float) -> Told:
        """Return what was told so long ago as it is now."""
        age = self.copy_backlog_seconds
        return replace(self, copy_backlog_seconds=None if age is None else age + seconds)


def told_from(ready: Mapping[str, Any]) -> Told | None:
    """Read it from an answer of `/readyz`; None where the worker follows nothing, or is an older one.

    Raises LookupError, TypeError or ValueError where it has another form.
    """
    found = ready.get("arrival")
    if found is None:
        return None
    backlog, cause = found["copy_backlog"], found["cause"]
    age = found.get("copy_backlog_seconds")
    return Told(
        span_from(found["1h"]),
        span_from(found["24h"]),
        float(found["promised_seconds"]),
        int(found["pending"]),
        None if backlog is None else int(backlog),
        None if cause is None else cause_from(cause),
        None if age is None else float(age),
    )


class Sight(StrEnum):
    """`SEEN`: a worker tells it. `OFF`: nobody is to look. `UNKNOWN`: somebody is to, and none tells it."""

    SEEN = "seen"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ArrivalStatus:
    """What all workers tell. `hour` and `day` are None unless it is `SEEN`.

    `copy_backlog_seconds` is how long ago the backlog was read, None where that is not told.
    `is_backlog_of_task`: the task's own counters say it, now.
    """

    sight: Sight
    hour: ArrivalSpan | None = None
    day: ArrivalSpan | None = None
    promised_seconds: float | None = None
    pending: int | None = None
    copy_backlog: int | None = None
    causes: tuple[Cause, ...] = ()
    copy_backlog_seconds: float | None = None
    is_backlog_of_task: bool = False

    def as_object(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "sight": str(self.sight),
            "1h": self.hour and self.hour.as_object(),
            "24h": self.day and self.day.as_object(),
            "promised_seconds": self.promised_seconds,
            "pending": self.pending,
            "copy_backlog": self.copy_backlog,
            "copy_backlog_seconds": self.copy_backlog_seconds,
            "causes": [each.as_object() for each in self.causes],
        }


def arrival_of(
    told: Iterable[Told | None], *, is_set: bool, owed: int | None = None
) -> ArrivalStatus:
    """Take together what workers tell; `is_set` says whether `OBS_ENDPOINT` is set where this is asked.

    `owed` is what the task's counters say now: a bound that was read earlier and is below it no longer holds.
    """
    found = [each for each in told if each is not None]
    if not found:
        return ArrivalStatus(Sight.UNKNOWN if is_set else Sight.OFF)
    # All ask for the same task: the one that asked last may be any of them.
    backlog, age = max(
        (
            (each.copy_backlog, each.copy_backlog_seconds)
            for each in found
            if each.copy_backlog is not None
        ),
        key=lambda each: each[0],
        default=(None, None),
    )
    is_of_task = backlog is not None and owed is not None and owed > backlog
    if is_of_task:
        backlog, age = owed, 0.0
    return ArrivalStatus(
        Sight.SEEN,
        together(each.hour for each in found),
        together(each.day for each in found),
        max(each.promised_seconds for each in found),
        sum(each.pending for each in found),
        backlog,
        tuple({str(each.cause): each.cause for each in found if each.cause}.values()),
        age,
        is_of_task,
    )


class Promise(StrEnum):
    """`KEPT` and `BROKEN` are known. `UNKNOWN`: nothing was due, or too much of it could not be looked at."""

    KEPT = "kept"
    BROKEN = "broken"
    UNKNOWN = "unknown"


def promise_of(span: ArrivalSpan) -> Promise:
    """Judge a span: what nobody could see is not in time, and not known to be late either."""
    if span.share is not None and span.share >= PROMISED_SHARE:
        return Promise.KEPT
    seen = span.in_time + span.late
    is_broken = seen > 0 and span.in_time / seen < PROMISED_SHARE
    return Promise.BROKEN if is_broken else Promise.UNKNOWN


def percent(share: float) -> str:
    """Write a share; never 100% while anything is missing from it."""
    return "100%" if share == 1 else f"{floor(share * 10_000) / 100:.2f}%"
