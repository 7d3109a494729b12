"""Charts as plain values: points in, SVG paths and words out. The script only puts them into the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 120
# The shortest that holds what was seen: a console that has just started shows more than a speck.
WINDOWS_SECONDS = (60.0, 300.0, 900.0)
# A gap longer than this many usual steps is shown as one: nothing is drawn over what nobody saw.
GAP_SECONDS = 45.0

Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its path in a box of WIDTH x HEIGHT, its last value, None if it has none."""

    path: str
    latest: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over the last `seconds`, on one scale from 0 to `top`."""

    lines: tuple[Line, ...]
    top: float
    is_empty: bool
    seconds: float


def window(first: float, now: float) -> float:
    """Return how many seconds to show of what was first seen at `first`."""
    return next((each for each in WINDOWS_SECONDS if now - first <= each), WINDOWS_SECONDS[-1])


def chart(series: Sequence[Iterable[Point]], now: float, seconds: float) -> Chart:
    """Draw each series of (time, value) of the last `seconds`; a value of None is a gap."""
    since = now - seconds
    seen = [[point for point in each if point[0] >= since] for each in series]
    values = [value for each in seen for _, value in each if value is not None]
    top = nice(max(values, default=0.0))
    lines = tuple(Line(_path(each, since, seconds, top), _latest(each)) for each in seen)
    return Chart(lines, top, not values, seconds)


def nice(value: float) -> float:
    """Return the next round number at or above `value`: 1, 2 or 5 times a power of ten, at least 1."""
    step = 1.0
    while True:
        for factor in (1.0, 2.0, 5.0):
            if value <= step * factor:
                return step * factor
        step *= 10.0


def _latest(points: Sequence[Point]) -> float | None:
    return points[-1][1] if points else None


def _path(points: Sequence[Point], since: float, seconds: float, top: float) -> str:
    parts: list[str] = []
    before: float | None = None
    for at, value in points:
        if value is None:
            before = None
            continue
        x = (at - since) / seconds * WIDTH
        y = HEIGHT - min(value / top, 1.0) * HEIGHT
        is_start = before is None or at - before > GAP_SECONDS
        # A lone point is drawn as a dot: a line of no length with round ends.
        parts.append(f"M{x:.1f} {y:.1f}h0" if is_start else f"L{x:.1f} {y:.1f}")
        before = at
    return "".join(parts)
