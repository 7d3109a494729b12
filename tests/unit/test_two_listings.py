"""Two sorted listings become one, page by page, and nothing is missing that was not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.operate.two_listings import Unordered, stretches
from worker.ports import Listed, Page

Names = list[list[str]]


async def listing(pages: Names, then: Exception | None = None) -> AsyncGenerator[Page]:
    for names in pages:
        yield Page(tuple(Listed(name, 1, 1.0) for name in names))
    if then:
        raise then


async def merged(source: Names, destination: Names) -> list[tuple[str, bool, bool]]:
    found = stretches(listing(source), listing(destination))
    return [
        (pair.key, pair.source is not None, pair.destination is not None)
        async for pairs in found
        for pair in pairs
    ]


def in_pages(names: set[str], size: int) -> Names:
    ordered = sorted(names, key=str.encode)
    return [ordered[at : at + size] for at in range(0, len(ordered), size)] or [[]]


NAMES = st.sets(st.text("ab/ +~é猫😀\uffff", min_size=1, max_size=3))


@given(NAMES, NAMES, st.integers(1, 4), st.integers(1, 4))
def test_every_name_comes_once_and_in_the_order_of_its_bytes(
    source: set[str], destination: set[str], ours: int, theirs: int
) -> None:
    found = asyncio.run(merged(in_pages(source, ours), in_pages(destination, theirs)))
    assert found == [
        (name, name in source, name in destination)
        for name in sorted(source | destination, key=str.encode)
    ]


async def test_empty_pages_end_nothing() -> None:
    found = await merged([[], ["a"], [], ["c"]], [["b"], [], []])
    assert found == [("a", True, False), ("b", False, True), ("c", True, False)]


@pytest.mark.parametrize("is_source", [True, False])
async def test_what_a_broken_listing_did_not_come_to_is_not_missing(is_source: bool) -> None:
    whole = listing([["a", "b"], ["c", "d"], ["e"]])
    broken = listing([["a", "b"], ["c"]], ValueError("broken"))
    sides = (broken, whole) if is_source else (whole, broken)
    seen = []

    async def read() -> None:
        async for pairs in stretches(*sides):
            seen.extend(pairs)

    with pytest.raises(ValueError, match="broken"):
        await read()
    assert [pair.key for pair in seen] == ["a", "b", "c"]
    assert all(pair.source and pair.destination for pair in seen)


@pytest.mark.parametrize("names", [[["b", "a"]], [["a"], ["b"], ["b"]], [["猫", "a"]]])
async def test_a_listing_without_order_is_refused(names: Names) -> None:
    with pytest.raises(Unordered, match=r"destination does not list its names in order.*parallel"):
        await merged([["a", "b", "猫"]], names)


async def test_one_page_is_read_ahead_and_no_more() -> None:
    asked = 0

    async def pages() -> AsyncGenerator[Page]:
        nonlocal asked
        for number in range(10):
            asked += 1
            yield Page((Listed(f"{number}", 1, 1.0),))

    found = stretches(pages(), listing([["0"]]))
    await anext(found)
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked == 2
    await found.aclose()
    assert asked == 2
