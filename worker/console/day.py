"""The last day as charts, by the workers' pulses; the last days of dead letters, by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from worker.console.charts import Point, chart, nice, nice_span, stack
from worker.console.figures import figure
from worker.console.watch import Watch
from worker.console.words import Words
from worker.ledger.day import STEP_SECONDS, quantile
from worker.operate.day import DAY_SECONDS, Slot
from worker.operate.status import DEAD_COUNT_MAX

OUTCOMES = ("accepted", "retry_later", "unknown", "rejected")
DAYS_SHOWN = 14
CAUSES_SHOWN_MAX = 7
# The line of the queue's retention is drawn where the oldest message has come so near to it.
RETENTION_SHARE_SHOWN = 0.1


def last_day(watch: Watch, slots: list[Slot] | None, t: Words, now: float) -> dict[str, Any]:
    """Return the section of the overview. `slots` is None where the pulses could not be read."""
    known = [each for each in slots or () if each.is_known]
    covered = sum(each.covered_seconds for each in known)
    note = t("day.covered", span=t.span(covered)) if known else t("day.unknown")
    unread = watch.fleet.unread if watch.fleet is not None else 0
    if unread:
        note = f"{note} {t.count('day.unread', unread)}"
    return {
        "note": note,
        "charts": [
            *_flow(watch, _ended(slots or []), t, now),
            _dead(watch.dead_days, t, now),
        ],
    }


def last_days(now: float) -> list[str]:
    """Return the dates of the days that are shown, today last."""
    return [_day(each) for each in _ends(now)]


def _ends(now: float) -> list[float]:
    last = int(now // DAY_SECONDS)
    return [(number + 1) * DAY_SECONDS for number in range(last - DAYS_SHOWN + 1, last + 1)]


def _ended(slots: list[Slot]) -> list[Slot]:
    """Leave out the slot that has just begun: a worker tells of it with its next pulse."""
    return slots[:-1] if slots and not slots[-1].is_known else slots


def _flow(watch: Watch, slots: list[Slot], t: Words, now: float) -> Iterator[dict[str, Any]]:
    until = max((each.until for each in slots), default=now)

    def drawn(name: str, write: Any, **lines: list[Point]) -> dict[str, Any]:
        names = [t(f"line.{each}") for each in lines]
        round_up = nice_span if write == t.span else nice
        found = chart(tuple(lines.values()), until, DAY_SECONDS, STEP_SECONDS * 1.5, round_up)
        return figure(t, name, names, found, write)

    yield drawn(
        "day_lag",
        t.span,
        p50=[(each.until, quantile(0.5, each.live)) for each in slots],
        p99=[(each.until, quantile(0.99, each.live)) for each in slots],
    )
    yield drawn(
        "day_resent",
        t.span,
        p50=[(each.until, quantile(0.5, each.resent)) for each in slots],
        p99=[(each.until, quantile(0.99, each.resent)) for each in slots],
    )
    oldest: list[Point] = [(each.until, each.oldest_seconds) for each in slots]
    keeps = watch.status.queue.retention_seconds if watch.status and watch.status.queue else None
    worst = max((each for _, each in oldest if each is not None), default=0.0)
    is_near = keeps is not None and worst >= keeps * RETENTION_SHARE_SHOWN
    limit: dict[str, list[Point]] = (
        {"retention": [(each.until, keeps) for each in slots]} if is_near else {}
    )
    yield drawn("day_oldest", t.span, oldest=oldest, **limit)
    yield drawn("day_waiting", t.number, waiting=[(each.until, each.waiting) for each in slots])
    outcomes = [[(each.until, each.rate(name)) for each in slots] for name in OUTCOMES]
    names = [t(f"line.{each}") for each in OUTCOMES]
    found = stack(outcomes, until, DAY_SECONDS, STEP_SECONDS)
    yield figure(t, "day_outcomes", names, found, t.rate)
    yield drawn(
        "day_flow",
        t.rate,
        **{"in": [(each.until, each.rate("received")) for each in slots]},
        out=[(each.until, each.rate("done")) for each in slots],
    )


def _dead(days: Mapping[str, Mapping[str, int]] | None, t: Words, now: float) -> dict[str, Any]:
    """Draw how many dead letters of each cause died on each day; where they were not counted, nothing."""
    ends = _ends(now)
    largest = sorted(days or {}, key=lambda cause: -sum((days or {})[cause].values()))
    shown = [cause for cause in largest if (days or {})[cause]][:CAUSES_SHOWN_MAX]
    series = [[(end, _died((days or {})[cause], end)) for end in ends] for cause in shown]
    drawn = stack(series, ends[-1], DAYS_SHOWN * DAY_SECONDS, DAY_SECONDS * 0.9)
    found = figure(t, "dead_days", shown, drawn, t.number, _day)
    if days is None:
        return found | {"empty": t("day.dead_unknown")}
    return found | ({} if shown else {"empty": t("day.no_dead")})


def _died(days: Mapping[str, int], end: float) -> float | None:
    """Return how many died on the day; None for days that counting did not come to."""
    is_cut = sum(days.values()) >= DEAD_COUNT_MAX
    if is_cut and _day(end) >= max(days):
        return None
    return days.get(_day(end), 0)


def _day(end: float) -> str:
    return datetime.fromtimestamp(end - 1.0, UTC).date().isoformat()
