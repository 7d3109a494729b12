from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.disk import no_room
from worker.operate.sorted_names import NoRoom, Seen, SortedNames, laid_side_by_side

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)
SEEN = st.builds(Seen, st.floats(1, 5), st.sampled_from(["", "A"]), st.floats(0, 5))


async def stream(found: Mapping[str, Seen]) -> AsyncIterator[tuple[str, Seen]]:
    for name in sorted(found, key=str.encode):
        yield name, found[name]


@given(st.lists(st.dictionaries(NAMES, SEEN), min_size=1, max_size=4))
async def test_every_name_comes_once_in_order_with_what_each_stream_has_of_it(
    streams: list[dict[str, Seen]],
) -> None:
    found = [each async for each in laid_side_by_side(*map(stream, streams))]
    names = sorted({name for each in streams for name in each}, key=str.encode)
    assert found == [(name, [each.get(name) for each in streams]) for name in names]


@given(st.lists(st.lists(st.tuples(NAMES, SEEN))))
async def test_names_come_back_in_order_as_they_were_seen_last(
    seen: list[list[tuple[str, Seen]]],
) -> None:
    newest: dict[str, Seen] = {}
    with closing(SortedNames()) as names:
        for some in seen:
            names.add(some)
            for name, each in some:
                if name not in newest or each.at >= newest[name].at:
                    newest[name] = each
        found = [each async for each in names.read()]
    assert found == sorted(newest.items(), key=lambda each: each[0].encode())


def test_a_disk_that_takes_nothing_is_said_with_what_to_do() -> None:
    with closing(SortedNames()) as names, no_room(), pytest.raises(NoRoom) as raised:
        names.add((f"{number:0100}", Seen(1.0)) for number in range(100_000))
    assert "I/O error" in str(raised.value)
    assert "Set TMPDIR to a folder" in str(raised.value)
    assert "150 MB for each million" in str(raised.value)


async def test_a_disk_that_is_lost_while_names_are_read_is_said_as_well() -> None:
    with closing(SortedNames()) as names:
        names.add([("a", Seen(1.0)), ("b", Seen(1.0))])
        names._file.execute("DROP TABLE seen")
        with pytest.raises(NoRoom, match="after 2 keys"):
            await anext(names.read())
