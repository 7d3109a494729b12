from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.disk import no_room
from worker.operate.sorted_names import NoRoom, SortedNames, laid_side_by_side

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)
TIMES = st.floats(1, 2e9)


async def stream(times: Mapping[str, float]) -> AsyncIterator[tuple[str, float]]:
    for name in sorted(times, key=str.encode):
        yield name, times[name]


@given(st.lists(st.dictionaries(NAMES, TIMES), min_size=1, max_size=4))
async def test_every_name_comes_once_in_order_with_all_its_times(
    streams: list[dict[str, float]],
) -> None:
    found = [each async for each in laid_side_by_side(*map(stream, streams))]
    names = sorted({name for times in streams for name in times}, key=str.encode)
    assert found == [(name, [times.get(name, 0.0) for times in streams]) for name in names]


@given(st.lists(st.tuples(st.lists(NAMES), TIMES)))
async def test_names_come_back_in_order_with_their_newest_time(
    seen: list[tuple[list[str], float]],
) -> None:
    newest: dict[str, float] = {}
    with closing(SortedNames()) as names:
        for keys, at in seen:
            names.add(keys, at)
            newest |= {key: max(at, newest.get(key, 0.0)) for key in keys}
        found = [each async for each in names.read()]
    assert found == sorted(newest.items(), key=lambda each: each[0].encode())


def test_a_disk_that_takes_nothing_is_said_with_what_to_do() -> None:
    with closing(SortedNames()) as names, no_room(), pytest.raises(NoRoom) as raised:
        names.add((f"{number:0100}" for number in range(100_000)), 1.0)
    assert "I/O error" in str(raised.value)
    assert "Set TMPDIR to a folder" in str(raised.value)
    assert "100 MB for each million" in str(raised.value)


async def test_a_disk_that_is_lost_while_names_are_read_is_said_as_well() -> None:
    with closing(SortedNames()) as names:
        names.add(["a", "b"], 1.0)
        names._file.execute("DROP TABLE seen")
        with pytest.raises(NoRoom, match="after 2 keys"):
            await anext(names.read())
