"""Ranges side by side: every name once, no lane idle for long, and fewer lanes where it is throttled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles.names import Names, Part
from harness.disk import no_room
from worker.operate.lanes import Lanes, Width
from worker.operate.order import NoRoom, told_in_order
from worker.operate.ranges import Left, Range, Work, middle


def lanes_over(names: Names, width: Width, split_after_pages: int = 4) -> Lanes[Part]:
    async def split(left: Range) -> str | None:
        return await middle(left, names.first_after)

    return Lanes([names.over], split, width, split_after_pages=split_after_pages)


async def told(
    names: Names, width: Width, ranges: tuple[Range, ...] = (Range(),), split_after_pages: int = 4
) -> list[Part]:
    lanes = lanes_over(names, width, split_after_pages)
    return [each async for each in lanes.run(ranges, asyncio.Event())]


@given(
    st.sets(st.text("ab1é猫", min_size=1, max_size=6), max_size=300),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 5),
)
@settings(max_examples=60)
async def test_every_name_is_told_once_and_nothing_is_left(
    given_names: set[str], page: int, lanes: int, split_after_pages: int
) -> None:
    names = Names(given_names, page)
    found = await told(names, Width(lanes, begins_full=True), split_after_pages=split_after_pages)
    left = Left()
    for part in found:
        left.tell(part.range)
        assert all(part.range.holds(Range(part.range.after, name)) for name in part.names)
    assert left.ranges == ()
    assert sorted(name for part in found for name in part.names) == names.names


@pytest.mark.parametrize("form", ["{:09}", "one/prefix/of/all/{}", "{0:x}/{0}"])
async def test_idle_lanes_find_work_in_any_space(form: str) -> None:
    names = Names(form.format(number) for number in range(20_000))
    await told(names, Width(8, begins_full=True))
    assert names.most == 8


async def test_what_was_left_by_another_run_is_all_that_is_told() -> None:
    names = Names(f"{number:05}" for number in range(1000))
    ranges = (Range("00100", "00200"), Range("00700", "00950"))
    found = await told(names, Width(4, begins_full=True), ranges)
    expected = [name for name in names.names if "00100" < name <= "00200"]
    expected += [name for name in names.names if "00700" < name <= "00950"]
    assert sorted(name for part in found for name in part.names) == expected


async def test_short_runs_are_not_split() -> None:
    names = Names((f"{number:05}" for number in range(100)), page=10)
    await told(names, Width(8, begins_full=True), split_after_pages=40)
    assert (names.most, names.asked) == (1, 0)


async def test_throttled_lanes_give_their_ranges_back() -> None:
    names = Names(f"{number:05}" for number in range(20_000))
    width = Width(8, begins_full=True)
    lanes = lanes_over(names, width)
    found, most_after = [], 0
    async for part in lanes.run([Range()], asyncio.Event()):
        found += part.names
        if len(found) == 5000:
            width.throttled()
            width.throttled()
            width.throttled()
        if len(found) > 8000:
            most_after = max(most_after, names.open)
    assert sorted(found) == names.names
    assert names.most == 8
    assert most_after == width.now == 4, "one burst is one sign"


def test_the_width_doubles_until_it_is_throttled_and_then_grows_slowly() -> None:
    width = Width(16)
    seen = []
    for _ in range(31):
        seen.append(width.now)
        width.went_well()
    assert seen == [1] + 2 * [2] + 4 * [4] + 8 * [8] + 16 * [16]
    width.throttled()
    assert width.now == 8
    for _ in range(8 * 16):
        assert width.now == 8
        width.went_well()
    assert width.now == 9
    for _ in range(200):
        for _ in range(16):
            width.went_well()
        width.throttled()
    assert width.now == 1


async def test_a_stop_ends_all_lanes_at_once() -> None:
    names = Names(f"{number:05}" for number in range(20_000))
    stop = asyncio.Event()
    found = []
    async for part in lanes_over(names, Width(4, begins_full=True)).run([Range()], stop):
        found += part.names
        if len(found) >= 1000:
            stop.set()
    assert len(found) == 1000
    assert names.open == 0


async def test_what_a_lane_raises_is_raised_and_ends_the_others() -> None:
    names = Names(f"{number:05}" for number in range(20_000))

    async def failing(work: Work) -> AsyncGenerator[Part]:
        async for part in names.over(work):
            if part.names and part.names[0] > "15000":
                raise ValueError("broken")
            yield part

    async def split(left: Range) -> str | None:
        return await middle(left, names.first_after)

    lanes = Lanes([failing], split, Width(4, begins_full=True), split_after_pages=4)
    with pytest.raises(ValueError, match="broken"):
        [each async for each in lanes.run([Range()], asyncio.Event())]
    assert names.open == 0


@given(
    st.sets(st.text("ab", min_size=1, max_size=4), min_size=1), st.integers(0, 99), st.booleans()
)
@settings(max_examples=60)
async def test_what_comes_out_of_order_is_told_in_order(
    cuts: set[str], seed: int, has_gap: bool
) -> None:
    ends = ["", *sorted(cuts), ""]
    parts = [Part(Range(*each), [each[0]]) for each in pairwise(ends)]
    ranges = [Range()]
    if has_gap and len(parts) > 2:
        ranges = [Range("", parts[1].range.after), Range(parts[1].range.upto, "")]
        del parts[1]
    shuffled = random.Random(seed).sample(parts, len(parts))

    async def found() -> AsyncGenerator[Part]:
        for part in shuffled:
            yield part

    assert [each async for each in told_in_order(found(), ranges)] == parts


async def test_a_full_disk_is_said() -> None:
    async def found() -> AsyncGenerator[Part]:
        for number in range(50, 0, -1):
            yield Part(Range(f"{number:02}", f"{number + 1:02}"), ["x" * 100_000])

    with no_room(), pytest.raises(NoRoom, match="--unordered"):
        [each async for each in told_in_order(found(), [Range()])]
