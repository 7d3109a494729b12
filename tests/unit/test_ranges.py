"""What is left of the space of names, and where a range is split."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.names import Names
from worker.operate.ranges import Left, Range, ToldTwice, Work, middle

NAME = st.text("ab/é猫😀", min_size=1, max_size=3)


@given(st.sets(NAME), st.randoms())
def test_what_is_told_in_any_order_leaves_nothing_and_nothing_twice(
    cuts: set[str], rng: random.Random
) -> None:
    ends = ["", *sorted(cuts), ""]
    parts = [Range(*each) for each in pairwise(ends)]
    left = Left()
    order = list(parts)
    rng.shuffle(order)
    for number, each in enumerate(order):
        left.tell(each)
        untold: list[Range] = []
        for part in sorted(order[number + 1 :]):
            is_next = untold and untold[-1].upto == part.after
            untold[-1:] = [Range(untold[-1].after, part.upto)] if is_next else [*untold[-1:], part]
        assert left.ranges == tuple(untold)
        with pytest.raises(ToldTwice):
            left.tell(each)


def test_a_range_is_not_told_beyond_its_end() -> None:
    left = Left([Range("b", "d")])
    for wrong in (Range("a", "c"), Range("c", "e"), Range("b", ""), Range("", "")):
        with pytest.raises(ToldTwice):
            left.tell(wrong)
    left.tell(Range("c", "d"))
    assert left.ranges == (Range("b", "c"),)


def test_nothing_is_cut_off_that_a_lane_has_in_hand() -> None:
    work = Work(Range("a", "z"))
    work.claim("f")
    assert work.cut("f") is None
    assert work.cut("z") is None
    assert work.cut("k") == Range("k", "z")
    assert work.cut("p") is None, "it ends at k now"
    assert work.advance("f") == Range("a", "f")
    assert work.end() == Range("f", "k")
    assert work.cut("g") is None


def test_the_range_with_most_left_is_known_by_what_was_read() -> None:
    dense, thin, endless = Work(Range("a", "b")), Work(Range("b", "z")), Work(Range("z", ""))
    for work, at in ((dense, "a1"), (thin, "x"), (endless, "zz")):
        work.pages = 10
        work.advance(at)
    assert endless.pages_left() > dense.pages_left() > thin.pages_left() > 0


SPACES = {
    "flat": [f"{number:09}" for number in range(5000)],
    "under one prefix": [f"photos/2024/holiday/{number}.jpg" for number in range(5000)],
    "hashes": [hashlib.md5(b"%d" % number).hexdigest() for number in range(5000)],
    "one huge among others": [
        "a",
        *(f"m/{number:07}" for number in range(5000)),
        *(f"z/{number}" for number in range(10)),
    ],
    "beyond ASCII": [f"目录/{chr(0x4E00 + number % 2000)}/{number}" for number in range(5000)],
    "dates": [
        f"log/2024-{1 + number // 500:02}-{1 + number % 25:02}/{number}" for number in range(5000)
    ],
}


@pytest.mark.parametrize("space", SPACES)
async def test_a_middle_is_found_in_any_space_by_few_questions(space: str) -> None:
    names = Names(SPACES[space])
    left = Range(names.names[20])
    for _ in range(6):
        asked = names.asked
        name = await middle(left, names.first_after)
        assert name is not None
        assert names.asked - asked <= 40
        place, first = (bisect_right(names.names, each) for each in (name, left.after))
        end = bisect_right(names.names, left.upto) if left.upto else len(names.names)
        # No half is empty, and over some splits it comes down to the small.
        assert first < place < end
        left = Range(left.after, name)
    assert bisect_right(names.names, left.upto) < len(names.names) / 3


@given(st.sets(NAME, min_size=1), st.data())
async def test_a_middle_is_a_name_of_the_range_and_not_its_last(
    given_names: set[str], data: st.DataObject
) -> None:
    names = Names(given_names)
    after = data.draw(st.sampled_from(["", *names.names]))
    upto = data.draw(st.sampled_from(["", *(each for each in names.names if each > after)]))
    found = await middle(Range(after, upto), names.first_after)
    if found is not None:
        assert found in given_names
        assert after < found
        assert not upto or found < upto


async def test_names_of_the_greatest_length_can_be_split() -> None:
    names = Names(["猫" * 341, "猫" * 340 + "犬x", "a" * 1023, "a" * 1022 + "b"])
    for first in names.names:
        await middle(Range(first), names.first_after)
