from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.source import stored
from localcloud.oms import Consistency, Overwrite, Statistic, Status, SyncTask
from localcloud.oms.task import FIVE_MINUTES_SECONDS, MONTHS_KEPT, SLOTS_KEPT, must_copy
from localcloud.storage.stored import StoredObject

NOW = 1_767_323_045.0
DAY = 24 * 3600


def task(**more: Any) -> SyncTask:
    return SyncTask("t", "p", "src", "dst", created_at=NOW, **more)


def of(size: int, at: float, byte: bytes = b"x", *, has_crc64: bool = True) -> StoredObject:
    return stored("k", byte * size, at, has_crc64=has_crc64)


@pytest.mark.parametrize("check", [Consistency.SIZE_LAST_MODIFIED, Consistency.TRANSMISSION])
def test_by_default_a_copy_is_made_for_another_size_or_a_newer_source_only(
    check: Consistency,
) -> None:
    one = task(consistency_check=check)
    assert must_copy(one, of(1, 0), None)
    assert must_copy(one, of(1, 0), of(2, 9))
    assert must_copy(one, of(1, 9), of(1, 8))
    assert not must_copy(one, of(1, 8), of(1, 8))
    assert not must_copy(one, of(1, 7, b"y"), of(1, 8))


@pytest.mark.parametrize(
    "rule", [{"consistency_check": Consistency.CRC64}, {"object_overwrite_mode": Overwrite.CRC64}]
)
def test_with_crc64_only_equal_contents_are_left_alone(rule: dict[str, Any]) -> None:
    one = task(**rule)
    assert must_copy(one, of(1, 0), None)
    assert must_copy(one, of(1, 7, b"y"), of(1, 8))
    assert not must_copy(one, of(1, 9), of(1, 8))


@pytest.mark.parametrize(("here", "there"), [(False, True), (True, False), (False, False)])
def test_where_a_checksum_is_missing_size_and_time_decide(here: bool, there: bool) -> None:
    one = task(consistency_check=Consistency.CRC64)
    assert not must_copy(one, of(1, 7, b"y", has_crc64=here), of(1, 8, has_crc64=there))
    assert must_copy(one, of(1, 9, has_crc64=here), of(1, 8, has_crc64=there))
    assert must_copy(one, of(2, 7, has_crc64=here), of(1, 8, has_crc64=there))


@pytest.mark.parametrize("check", Consistency)
def test_two_modes_compare_nothing(check: Consistency) -> None:
    never = task(object_overwrite_mode=Overwrite.NO_OVERWRITE, consistency_check=check)
    assert must_copy(never, of(1, 0), None)
    assert not must_copy(never, of(2, 9), of(1, 8))
    always = task(object_overwrite_mode=Overwrite.FULL, consistency_check=check)
    assert must_copy(always, of(1, 7), of(1, 8))


def test_a_task_starts_and_stops_once() -> None:
    one = task()
    assert one.status is Status.SYNCHRONIZING
    assert not one.start(NOW + 1)
    assert one.last_started_at == NOW
    assert one.stop()
    assert not one.stop()
    assert one.start(NOW + 2)
    assert one.last_started_at == NOW + 2


def test_a_month_begins_at_the_regions_midnight() -> None:
    one = task()
    february = 1_769_875_200.0  # 2026-02-01 00:00 +08:00
    one.count(Statistic.SUCCESS, 1, february - 1)
    one.count(Statistic.SUCCESS, 2, february)
    assert one.monthly(Statistic.SUCCESS, NOW) == 1
    assert one.monthly(Statistic.SUCCESS, february) == 2
    assert one.monthly(Statistic.SUCCESS, february + 60 * DAY) == 0


@given(st.lists(st.tuples(st.integers(0, 3 * DAY), st.integers(1, 9)), max_size=30))
def test_five_minutes_and_hours_have_the_same_sum(counts: list[tuple[int, int]]) -> None:
    one = task()
    for after, number in counts:
        one.count(Statistic.SIZE, number, NOW + after)
    end = NOW + 3 * DAY
    fine = one.series(Statistic.SIZE, NOW, end, FIVE_MINUTES_SECONDS)
    coarse = one.series(Statistic.SIZE, NOW, end, 3600)
    assert sum(number for _, number in fine) == sum(number for _, number in coarse)
    assert sum(number for _, number in fine) == sum(number for _, number in counts)
    assert all(at % 3600 == 0 for at, _ in coarse)
    assert all(left[0] < right[0] for left, right in pairwise(fine))


def test_a_range_of_more_than_a_day_is_served_by_the_hour() -> None:
    one = task()
    wanted = [Statistic.REQUEST, Statistic.SKIP]
    assert one.statistics(wanted, NOW, NOW + DAY)["statistic_time_type"] == "FIVE_MINUTES"
    answer = one.statistics(wanted, NOW, NOW + DAY + 1)
    assert answer["statistic_time_type"] == "ONE_HOUR"
    assert [series["data_type"] for series in answer["statistic_datas"]] == ["REQUEST", "SKIP"]


def test_counters_of_long_ago_are_forgotten() -> None:
    one = task()
    for slot in range(SLOTS_KEPT + 10):
        one.count(Statistic.SUCCESS, 1, NOW + slot * FIVE_MINUTES_SECONDS)
    series = one.series(Statistic.SUCCESS, 0, NOW * 2, FIVE_MINUTES_SECONDS)
    assert len(series) == SLOTS_KEPT
    for month in range(MONTHS_KEPT + 2):
        one.count(Statistic.SKIP, 1, NOW + month * 31 * DAY)
    assert one.monthly(Statistic.SKIP, NOW) == 0
