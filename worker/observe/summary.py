"""What went through the relay in a minute, as one log line; the single messages are told at level debug."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil

SUMMARY_SECONDS = 60.0
LAGS_MAX = 4096


class Lags:
    """Lags of one minute, for quantiles: all of them, or evenly spaced ones where they are too many."""

    def __init__(self, lags_max: int = LAGS_MAX) -> None:
        self._lags_max = lags_max
        self._kept: list[float] = []
        self._seen = 0
        self._stride = 1

    def add(self, seconds: float) -> None:
        """Take one lag."""
        if self._seen % self._stride == 0:
            if len(self._kept) >= self._lags_max:
                self._kept = self._kept[::2]
                self._stride *= 2
            self._kept.append(seconds)
        self._seen += 1

    def quantiles(self) -> dict[str, float]:
        """Return the median and the 99th percentile in seconds; nothing if there were no lags."""
        ordered = sorted(self._kept)
        if not ordered:
            return {}
        return {
            f"lag_{name}_seconds": round(ordered[ceil(share * len(ordered)) - 1], 3)
            for name, share in (("p50", 0.5), ("p99", 0.99))
        }


@dataclass(slots=True)
class Tally:
    """What was counted since the last summary, and the queue as it was seen last.

    `waiting` and `oldest_seconds` are None where they are not known.
    """

    counts: Counter[str] = field(default_factory=Counter)
    lags: Lags = field(default_factory=Lags)
    waiting: int | None = None
    oldest_seconds: float | None = None

    def taken(self) -> dict[str, int | float]:
        """Return the fields of a summary and begin anew; nothing if nothing came and nothing went."""
        if not self.counts:
            return {}
        names = ("received", "deleted", "merged", "refused", "dead_letter", "released", "lapsed")
        found = {name: self.counts[name] for name in names} | self.lags.quantiles()
        known = {"waiting": self.waiting, "oldest_seconds": self.oldest_seconds}
        self.counts, self.lags = Counter(), Lags()
        return found | {name: value for name, value in known.items() if value is not None}
