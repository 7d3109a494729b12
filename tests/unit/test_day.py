"""The last day: kept by a worker, carried by its pulse, added up for the console."""

from __future__ import annotations

import pytest

from worker.ledger.day import (
    COUNTS,
    STEP_SECONDS,
    STRETCHES_MAX,
    TEXT_CHARS_MAX,
    DayKeeper,
    Tally,
    quantile,
    stretches,
    tally,
)
from worker.ledger.pulse import PULSE_BYTES_MAX
from worker.operate.day import day_of
from worker.operate.fleet import Fleet, Member, Presence
from worker.operate.workers import Sample, WorkerStatus

NOW = 1_790_000_220.0


def at(seconds: float, received: float = 0.0, **more: float) -> Tally:
    return Tally(seconds, (received, *[0.0] * (len(COUNTS) - 1)), (), (), **more)


def worker(day: str, age_seconds: float = 0.0) -> Member:
    status = WorkerStatus(Sample("w", 0.0), None)
    return Member("w", "h", "1", Presence.READY, age_seconds, 1.0, status, day)


def test_a_day_is_kept_in_stretches_of_five_minutes_and_no_more_of_them() -> None:
    keeper = DayKeeper(at(0.0))
    text = ""
    for minute in range(1, 2 * 24 * 60 + 1):
        text = keeper.tell(at(minute * 60.0, minute * 10.0))
    found = stretches(text)
    assert len(found) == STRETCHES_MAX
    assert {(each.seconds, each.counts) for each in found} == {(STEP_SECONDS, (50.0,))}


def test_the_stretch_that_has_not_ended_is_told_too() -> None:
    keeper = DayKeeper(at(0.0))
    keeper.tell(at(300.0, 100.0))
    first, second = stretches(keeper.tell(at(360.0, 107.0)))
    assert (first.counts, second.seconds, second.counts) == ((100.0,), 60.0, (7.0,))


def test_of_the_queue_the_most_is_kept_and_what_was_not_seen_is_unknown() -> None:
    keeper = DayKeeper(at(0.0))
    keeper.tell(at(60.0, waiting=7.0, oldest_seconds=30.0))
    found = stretches(keeper.tell(at(120.0, waiting=5.0)))[0]
    assert (found.waiting, found.oldest_seconds) == (7.0, 30.0)
    keeper = DayKeeper(at(0.0))
    found = stretches(keeper.tell(at(60.0)))[0]
    assert (found.waiting, found.oldest_seconds) == (None, None)


def test_a_busy_day_fits_into_a_pulse() -> None:
    keeper, text = DayKeeper(at(0.0)), ""
    for number in range(1, STRETCHES_MAX + 5):
        many = (number * 9_999_999.0,) * 13
        text = keeper.tell(Tally(number * STEP_SECONDS, many[:7], many, many, 1e9, 1e6))
    assert len(text) <= TEXT_CHARS_MAX < PULSE_BYTES_MAX
    assert stretches(text)


@pytest.mark.parametrize("text", ["x", "1|2", "1|a||||", "1||||x|", ";"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        stretches(text)


def test_quantiles_lie_within_their_bucket_and_nothing_counted_is_not_known() -> None:
    assert quantile(0.5, [10]) == 0.25
    assert quantile(0.99, [0, 100]) == pytest.approx(0.995)
    assert quantile(0.5, [50, 0, 0, 50]) == 0.5
    assert quantile(0.99, [0.0] * 12 + [1.0]) == 86_400
    assert quantile(0.5, []) is None
    assert quantile(0.5, [0.0]) is None


def test_the_queue_is_unknown_until_somebody_has_looked_at_it() -> None:
    unseen = tally(0.0, {"queue_oldest_seconds": 0.0, "queue_retention_seconds": 0.0}, {})
    assert (unseen.waiting, unseen.oldest_seconds) == (None, None)
    totals = {"queue_retention_seconds": 60.0, "queue_oldest_seconds": float("nan")}
    seen = tally(0.0, totals | {"queue_messages": 3.0}, {"live": [1.0, 4.0, 4.0]})
    assert (seen.waiting, seen.oldest_seconds, seen.live) == (3.0, None, (1.0, 3.0, 0.0))


async def test_workers_are_added_up_and_what_nobody_tells_is_a_gap() -> None:
    fleet = Fleet((worker("300|300||||;60|60||||"), worker("300|600||||", 60.0), worker("odd")))
    slots = await day_of(fleet, NOW)
    known = [each for each in slots if each.is_known]
    assert sum(each.counts[0] for each in slots) == pytest.approx(960.0)
    rates = [each.rate("received") or 0.0 for each in known]
    assert rates == pytest.approx([3.0, (120 + 2 * 60) / 120])
    assert slots[0].rate("received") is None
    assert slots[-1].until >= NOW > slots[-1].until - STEP_SECONDS


async def test_the_queue_that_all_look_at_is_not_added_up() -> None:
    fleet = Fleet((worker("100||||7|3"), worker("100||||5|")))
    last = (await day_of(fleet, NOW))[-1]
    assert (last.waiting, last.oldest_seconds) == (7.0, 3.0)
