"""A worker's last day, as its pulse carries it: what it counted in each stretch of some minutes.

A stretch is told by its length, never by a time: the newest one ended when the pulse was written, each other
one where the next begins. So OSS's clock dates them all, whatever the worker's own clock says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

STEP_SECONDS = 300.0
STRETCHES_MAX = 288
# With the rest of the pulse this stays below what is read of one.
TEXT_CHARS_MAX = 48_000
# The bounds of the buckets of lags. Pulses of several versions are added up: other bounds need another field.
LAG_BOUNDS_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
COUNTS = ("received", "done", "accepted", "rejected", "retry_later", "unknown", "dead")


@dataclass(frozen=True, slots=True)
class Tally:
    """Counters at one moment of the monotonic clock: `counts` in the order of `COUNTS`.

    `live` and `resent` are how many lags fell into each bucket, the last one without a bound. `waiting` and
    `oldest_seconds` are the queue's, None where they are not known.
    """

    at: float
    counts: tuple[float, ...]
    live: tuple[float, ...]
    resent: tuple[float, ...]
    waiting: float | None = None
    oldest_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was counted in `seconds`; of the queue the most that was seen, None where nothing was."""

    seconds: float
    counts: tuple[float, ...]
    live: tuple[float, ...]
    resent: tuple[float, ...]
    waiting: float | None
    oldest_seconds: float | None

    def __str__(self) -> str:
        lists = (self.counts, self.live, self.resent)
        numbers = "|".join(_numbers(each) for each in lists)
        return (
            f"{self.seconds:.0f}|{numbers}|{_number(self.waiting)}|{_number(self.oldest_seconds)}"
        )


class DayKeeper:
    """Keeps the last day of one worker, from tallies that are told to it about once a minute."""

    def __init__(self, start: Tally) -> None:
        self._begin = self._latest = start
        self._waiting = start.waiting
        self._oldest = start.oldest_seconds
        self._done: deque[str] = deque(maxlen=STRETCHES_MAX - 1)

    def tell(self, now: Tally) -> str:
        """Take a tally; return the day until then, as `stretches` reads it."""
        self._latest = now
        self._waiting = _most(self._waiting, now.waiting)
        self._oldest = _most(self._oldest, now.oldest_seconds)
        current = str(self._stretch())
        told = [*self._done, current]
        if now.at - self._begin.at >= STEP_SECONDS:
            self._done.append(current)
            self._begin, self._waiting, self._oldest = now, None, None
        while len(text := ";".join(told)) > TEXT_CHARS_MAX:
            told.pop(0)
        return text

    def _stretch(self) -> Stretch:
        begin, now = self._begin, self._latest
        return Stretch(
            now.at - begin.at,
            _more(begin.counts, now.counts),
            _more(begin.live, now.live),
            _more(begin.resent, now.resent),
            self._waiting,
            self._oldest,
        )


def stretches(text: str) -> list[Stretch]:
    """Read a day, oldest first. Raises ValueError if it is none."""
    found = []
    for each in text.split(";") if text else ():
        seconds, counts, live, resent, waiting, oldest = each.split("|")
        found.append(
            Stretch(
                float(seconds),
                _read(counts),
                _read(live),
                _read(resent),
                float(waiting) if waiting else None,
                float(oldest) if oldest else None,
            )
        )
    return found


def quantile(share: float, counts: Sequence[float]) -> float | None:
    """Return the value below which that share of what the buckets count lies; None if they count nothing.

    Within a bucket values are taken as evenly spread; beyond the last bound no more is known than that.
    """
    bounds, total = LAG_BOUNDS_SECONDS, sum(counts)
    if total <= 0:
        return None
    wanted, below = share * total, 0.0
    for number, count in enumerate(counts[: len(bounds)]):
        if count and below + count >= wanted:
            low = bounds[number - 1] if number else 0.0
            return low + (bounds[number] - low) * (wanted - below) / count
        below += count
    return bounds[-1]


def tally(at: float, totals: Mapping[str, float], lags: Mapping[str, Sequence[float]]) -> Tally:
    """Take what counts from the totals of the metrics, and cumulative lag buckets by origin."""
    is_queue_known = totals.get("queue_retention_seconds", 0.0) > 0
    return Tally(
        at,
        (
            totals.get("messages_received_total", 0.0),
            totals.get("messages_deleted_total", 0.0),
            *(totals.get(f"keys_posted_total:{each}", 0.0) for each in COUNTS[2:6]),
            totals.get("messages_ended_total:dead_letter", 0.0),
        ),
        _apart(lags.get("live", ())),
        _apart(lags.get("resent", ())),
        _known(totals.get("queue_messages")) if is_queue_known else None,
        _known(totals.get("queue_oldest_seconds")) if is_queue_known else None,
    )


def added(one: Iterable[float], other: Sequence[float], share: float = 1.0) -> list[float]:
    """Return the sums of two lists, the second one weighed; the shorter one counts as zeros at its end."""
    if not any(other):
        return list(one)
    return [a + b * share for a, b in zip_longest(one, other, fillvalue=0.0)]


def _apart(cumulative: Sequence[float]) -> tuple[float, ...]:
    return tuple(now - before for before, now in zip((0.0, *cumulative), cumulative, strict=False))


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else value  # noqa: PLR0124  NaN is unknown


def _more(before: Iterable[float], now: Iterable[float]) -> tuple[float, ...]:
    return tuple(b - a for a, b in zip_longest(before, now, fillvalue=0.0))


def _most(one: float | None, other: float | None) -> float | None:
    known = [each for each in (one, other) if each is not None]
    return max(known, default=None)


def _numbers(values: Iterable[float]) -> str:
    whole = [round(each) for each in values]
    while whole and not whole[-1]:
        whole.pop()
    return " ".join(map(str, whole))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _read(text: str) -> tuple[float, ...]:
    return tuple(float(each) for each in text.split())
