"""Charts as plain values: points in, SVG paths and words out. The script only puts them into the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 120
# The shortest that holds what was seen: a console that has just started shows more than a speck.
WINDOWS_SECONDS = (60.0, 300.0, 900.0)
# A gap longer than this many usual steps is shown as one: nothing is drawn over what nobody saw.
GAP_SECONDS = 45.0

Point = tuple[float, float | None]


# So many points can be pointed at, and are rows of the table: no chart is wide enough for more.
POINTS_SHOWN_MAX = 288
# A point that stands alone is drawn so wide: narrower, it is a speck that nobody sees.
DASH = 6.0
SPANS_SECONDS = (
    *(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800),
    *(hours * 3600 for hours in (1, 2, 6, 12, 24, 48, 96, 168, 336)),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its path in a box of WIDTH x HEIGHT, its last value, None if it has none."""

    path: str
    latest: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What all lines say at one time; `x` is where that is, from 0 at the left to 1."""

    x: float
    at: float
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over the last `seconds`, on one scale from 0 to `top`; areas where they are stacked."""

    lines: tuple[Line, ...]
    top: float
    is_empty: bool
    seconds: float
    readings: tuple[Reading, ...]
    is_stacked: bool = False


def window(first: float, now: float) -> float:
    """Return how many seconds to show of what was first seen at `first`."""
    return next((each for each in WINDOWS_SECONDS if now - first <= each), WINDOWS_SECONDS[-1])


def chart(
    series: Sequence[Iterable[Point]],
    now: float,
    seconds: float,
    gap_seconds: float = GAP_SECONDS,
    round_up: Callable[[float], float] | None = None,
) -> Chart:
    """Draw each series of (time, value) of the last `seconds`; a value of None is a gap.

    `round_up` finds the top of the scale from the highest value: `nice`, or `nice_span` for lengths of time.
    """
    since = now - seconds
    seen = [[point for point in each if point[0] >= since] for each in series]
    values = [value for each in seen for _, value in each if value is not None]
    top = (round_up or nice)(max(values, default=0.0))
    lines = tuple(
        Line(_path(each, since, seconds, top, gap_seconds), _latest(each)) for each in seen
    )
    return Chart(lines, top, not values, seconds, _readings(seen, since, seconds))


def stack(series: Sequence[Iterable[Point]], now: float, seconds: float, width: float) -> Chart:
    """Draw series of the same times one above the other, each value as wide as `width` seconds before it.

    Where one of them is None, all are: a sum with an unknown part is not known.
    """
    since = now - seconds
    seen = [[point for point in each if point[0] >= since] for each in series]
    columns = [
        (each[0][0], [value for _, value in each if value is not None])
        for each in zip(*seen, strict=True)
        if all(value is not None for _, value in each)
    ]
    top = nice(max((sum(values) for _, values in columns), default=0.0))
    paths = [""] * len(seen)
    for at, values in columns:
        left = max(0.0, (at - width - since) / seconds * WIDTH)
        right, low = (at - since) / seconds * WIDTH, 0.0
        for number, value in enumerate(values):
            high = low + value
            if value > 0:
                bottom, over = HEIGHT - low / top * HEIGHT, HEIGHT - high / top * HEIGHT
                paths[number] += f"M{left:.1f} {bottom:.1f}V{over:.1f}H{right:.1f}V{bottom:.1f}z"
            low = high
    lines = tuple(Line(path, _latest(each)) for path, each in zip(paths, seen, strict=True))
    return Chart(lines, top, not columns, seconds, _readings(seen, since, seconds), is_stacked=True)


def bars(values: Sequence[float]) -> str:
    """Return a path of bars, each in a box of 6 x 20; the highest fills it, and none is too low to see."""
    top = max(values, default=0.0)
    return "".join(
        f"M{number * 6} 20v-{max(2.0, value / top * 20):.1f}h5V20z"
        for number, value in enumerate(values)
        if value > 0
    )


def nice(value: float) -> float:
    """Return the next round number at or above `value`: 1, 2 or 5 times a power of ten, at least 1."""
    step = 1.0
    while True:
        for factor in (1.0, 2.0, 5.0):
            if value <= step * factor:
                return step * factor
        step *= 10.0


def nice_span(seconds: float) -> float:
    """Return the next length of time at or above `seconds` that people would name."""
    return next((float(each) for each in SPANS_SECONDS if seconds <= each), nice(seconds))


def _latest(points: Sequence[Point]) -> float | None:
    return points[-1][1] if points else None


def _readings(seen: Sequence[Sequence[Point]], since: float, seconds: float) -> tuple[Reading, ...]:
    by_line = [dict(each) for each in seen]
    times = sorted({at for each in by_line for at in each})
    step = -(-len(times) // POINTS_SHOWN_MAX) or 1
    # Counted from the end, so that the newest is always among them.
    shown = times[::-1][::step][::-1]
    return tuple(
        Reading((at - since) / seconds, at, tuple(each.get(at) for each in by_line)) for at in shown
    )


def _path(
    points: Sequence[Point], since: float, seconds: float, top: float, gap_seconds: float
) -> str:
    runs: list[list[tuple[float, float]]] = []
    before: float | None = None
    for at, value in points:
        if value is None:
            before = None
            continue
        place = (at - since) / seconds * WIDTH, HEIGHT - min(value / top, 1.0) * HEIGHT
        if before is None or at - before > gap_seconds:
            runs.append([])
        runs[-1].append(place)
        before = at
    return "".join(map(_run, runs))


def _run(places: Sequence[tuple[float, float]]) -> str:
    if len(places) == 1:
        x, y = places[0]
        return f"M{max(0.0, x - DASH):.1f} {y:.1f}h{DASH:.1f}"
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
