from __future__ import annotations

import random
import sys
from bisect import bisect_left

import pytest

from worker.arrival.history import (
    DAY_SECONDS,
    LAG_BOUNDS_SECONDS,
    ArrivalHistory,
    ArrivalSpan,
    Count,
    quantile,
    span_from,
    together,
)

HOUR = 3600.0


def test_nothing_followed_is_not_known() -> None:
    span = ArrivalHistory(0.0).over(HOUR, 7200.0)
    assert (span.followed, span.share, span.p50, span.p99) == (0, None, None, None)
    assert span.as_object()["share"] is None


def test_the_share_counts_what_was_in_time_and_what_was_late() -> None:
    history = ArrivalHistory(0.0)
    for number in range(999):
        history.count(Count.IN_TIME, 60.0)
        history.took(10.0 + number % 3, 60.0)
    history.count(Count.LATE, 120.0)
    history.count(Count.RESENT, 120.0)
    history.count(Count.GIVEN_UP, 180.0)
    span = history.over(HOUR, 200.0)
    assert (span.followed, span.in_time, span.late) == (1000, 999, 1)
    assert (span.resent, span.given_up) == (1, 1)
    assert span.share == 0.999


def test_what_nobody_could_see_was_due_and_is_not_shown_to_be_in_time() -> None:
    history = ArrivalHistory(0.0)
    history.count(Count.IN_TIME, 60.0)
    for _ in range(3):
        history.count(Count.UNKNOWN, 60.0)
    span = history.over(HOUR, 200.0)
    assert (span.followed, span.unknown, span.share) == (4, 3, 0.25)
    assert span_from(span.as_object()) == span
    assert together([span, span]).unknown == 6


def test_a_worker_of_an_older_version_tells_no_unknown_keys() -> None:
    told = ArrivalSpan(7, 2).as_object()
    del told["unknown"]
    assert span_from(told) == ArrivalSpan(7, 2)


def test_each_span_forgets_what_is_older_than_itself() -> None:
    history = ArrivalHistory(0.0)
    history.count(Count.LATE, 0.0)
    history.count(Count.IN_TIME, 40_000.0)
    history.count(Count.IN_TIME, 80_000.0)
    assert history.over(HOUR, 80_001.0).in_time == 1
    assert history.over(HOUR, 83_700.0).in_time == 0
    day = history.over(DAY_SECONDS, 80_001.0)
    assert (day.in_time, day.late) == (2, 1)
    assert history.over(DAY_SECONDS, 86_460.0).late == 0


def test_it_says_how_much_of_a_span_it_has_seen() -> None:
    history = ArrivalHistory(100.0)
    assert history.over(HOUR, 160.0).seen_seconds == 60.0
    assert history.over(HOUR, 10_000.0).seen_seconds == HOUR


def test_it_never_outgrows_a_day() -> None:
    history = ArrivalHistory(0.0)
    for minute in range(3 * 1440):
        history.count(Count.IN_TIME, minute * 60.0)
        history.took(12.0, minute * 60.0)
    assert len(history._minutes) == 1440
    cells = sum(sys.getsizeof(each) for each in history._minutes.values())
    assert cells + sys.getsizeof(history._minutes) < 512 * 1024


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_quantiles_are_within_the_bounds_that_hold_them(share: float) -> None:
    rng = random.Random(7)
    for _ in range(200):
        lags = [rng.uniform(0, 4000) ** rng.uniform(0.3, 1) for _ in range(rng.randint(1, 500))]
        counts = [0] * (len(LAG_BOUNDS_SECONDS) + 1)
        for lag in lags:
            counts[bisect_left(LAG_BOUNDS_SECONDS, lag)] += 1
        exact = sorted(lags)[max(0, -(-int(share * 1000) * len(lags) // 1000) - 1)]
        at = bisect_left(LAG_BOUNDS_SECONDS, exact)
        found = quantile(counts, share)
        assert found is not None
        low = LAG_BOUNDS_SECONDS[at - 1] if at else 0.0
        assert low - 0.01 <= found <= LAG_BOUNDS_SECONDS[at] + 0.01


def test_what_took_longer_than_a_day_counts_as_a_day() -> None:
    history = ArrivalHistory(0.0)
    history.took(10 * DAY_SECONDS, 0.0)
    assert history.over(HOUR, 1.0).p99 == DAY_SECONDS


def test_a_span_is_told_and_read() -> None:
    span = ArrivalSpan(7, 2, 3, 1, 4.5, 60.0, 90.0)
    assert span_from(span.as_object()) == span
    assert span_from(ArrivalSpan().as_object()) == ArrivalSpan()
    with pytest.raises(LookupError):
        span_from({})


def test_several_relays_are_summed_and_the_slowest_tells_the_quantiles() -> None:
    found = together(
        [ArrivalSpan(7, 2, 3, 1, 4.5, 60.0, 90.0), ArrivalSpan(1, 0, 0, 0, 9.0, 9.5, 9.0)]
    )
    assert found == ArrivalSpan(8, 2, 3, 1, 9.0, 60.0, 90.0)
    assert together([]) == ArrivalSpan()
