"""The space of names as ranges: what is left of it, and where a range that is being worked is split.

A range is a value: the names after one, up to and with another. A lane works one range at a time. What nobody
works yet, what a lane gives back, and what a killed run has not told are ranges again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable
from itertools import takewhile
from typing import NamedTuple

from worker.errors import RelayError

# No name goes on with a greater character.
LAST = chr(0x10FFFF)
_ASCII_MAX = 0x7E
_SURROGATES = range(0xD800, 0xE000)
# So long may the text be that a listing begins after.
_NAME_BYTES_MAX = 1023
# So many bytes of two names are compared to tell how far apart they are.
_BYTES_COMPARED = 8


class ToldTwice(RelayError):  # noqa: N818  the name says what it is
    """A range was told that was not left: the account would be wrong."""


class Range(NamedTuple):
    """The names after `after`, up to and with `upto`. Empty: from the first name on, or to the last."""

    after: str = ""
    upto: str = ""

    def holds(self, other: Range) -> bool:
        """Whether all of another range is in this one."""
        ends_here = not self.upto or (other.upto != "" and other.upto <= self.upto)
        return self.after <= other.after and ends_here


class Left:
    """What has not been told yet. It shrinks as ranges are told, in any order, each exactly once."""

    def __init__(self, ranges: Iterable[Range] = (Range(),)) -> None:
        self._ranges = sorted(ranges)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The ranges that are left, in order, none of them next to another."""
        return tuple(self._ranges)

    def tell(self, told: Range) -> None:
        """Take a range out. Raises `ToldTwice` if it was not left as a whole."""
        place = bisect_right(self._ranges, told.after, key=lambda each: each.after) - 1
        if place < 0 or not self._ranges[place].holds(told):
            raise ToldTwice(f"the names from {told.after!a} to {told.upto!a} were told twice")
        whole = self._ranges[place]
        before = [Range(whole.after, told.after)] if told.after > whole.after else []
        behind = [Range(told.upto, whole.upto)] if told.upto != whole.upto else []
        self._ranges[place : place + 1] = before + behind


# Asks whoever works a range to end at a name; returns what that leaves, or None if it is too far.
Cutter = Callable[[str], Awaitable[Range | None]]


class Work:
    """A range while a lane works it: done up to `at`. Others may cut off the end of what is not claimed."""

    def __init__(self, whole: Range) -> None:
        self.begin = self.at = self._claimed = whole.after
        self.upto = whole.upto
        self.pages = 0
        self.pages_at_split = 0
        self.is_being_split = False
        self.cutter: Cutter | None = None
        self._is_over = False

    @property
    def rest(self) -> Range:
        """What is not done of it."""
        return Range(self.at, self.upto)

    @property
    def is_over(self) -> bool:
        """Whether it is done to its end."""
        return self._is_over

    def claim(self, name: str) -> None:
        """Keep the names up to this one for the lane that has them in hand."""
        self._claimed = name

    def advance(self, name: str) -> Range:
        """Note that it is done up to and with this name; return what that adds."""
        done = Range(self.at, name)
        self.at = self._claimed = name
        return done

    def end(self) -> Range:
        """Note that it is done to its end; return what that adds."""
        self._is_over = True
        return self.rest

    def cut(self, name: str) -> Range | None:
        """Cut off what is behind a name, and return it; None if the lane has it in hand, or it is outside."""
        if self._is_over or name <= self._claimed or (self.upto and name >= self.upto):
            return None
        behind, self.upto = Range(name, self.upto), name
        return behind

    async def cut_off(self, name: str) -> Range | None:
        """Cut off what is behind a name, as `cut` does, wherever it is worked: `cutter` is asked if set."""
        if self.cutter is None:
            return self.cut(name)
        behind = await self.cutter(name)
        # Given back meanwhile: then all of it was.
        if behind is None or self._is_over:
            return None
        self.upto = name
        return behind

    def pages_left(self) -> float:
        """Estimate how many pages are left: as dense as those before. Endless where the end is not known."""
        if not self.upto:
            return float("inf")
        if not self.pages:
            return 0.0
        shared = _shared(self.begin, self.upto)
        begin, at, upto = (_place(each, shared) for each in (self.begin, self.at, self.upto))
        return self.pages * (upto - at) / max(1, at - begin)


# The first name after a text, as a listing tells it; None if there is none.
FirstAfter = Callable[[str], Awaitable[str | None]]


async def middle(left: Range, first_after: FirstAfter) -> str | None:
    """Return a name about the middle of what is left, with names on both sides; None if none is found.

    Names that share a beginning are no obstacle: first the place is looked for where names behind
    `left.after` differ from it (a few questions), then the middle of the characters that stand there (some
    seven). It only matters for the balance: any name would do.
    """
    found = await _fork(left, first_after)
    if found is None:
        return None
    place, first = found
    head, low = left.after[:place], ord(first[place])
    shares_head = left.upto[:place] == head and len(left.upto) > place
    high = ord(left.upto[place]) if shares_head else ord(LAST)
    if low <= _ASCII_MAX < high and not await _named(left, head, _ASCII_MAX + 1, first_after):
        high = _ASCII_MAX
    while low < high:
        half = (low + high + 1) // 2
        named = await _named(left, head, half, first_after)
        low, high = (max(half, ord(named[place])), high) if named else (low, half - 1)
    here = ord(left.after[place]) if place < len(left.after) else 0
    return await _named(left, head, (here + low + 1) // 2, first_after) or first


async def _fork(left: Range, first_after: FirstAfter) -> tuple[int, str] | None:
    """Find the first place where a name of the range is greater than what the range begins after."""
    low, high = _shared(left.after, left.upto), len(left.after) - 1
    # What a listing begins after has the length of a name at most.
    while high >= low and len((left.after[: high + 1] + LAST).encode()) > _NAME_BYTES_MAX:
        high -= 1
    best = None
    while low <= high:
        half = (low + high) // 2
        name = await first_after(left.after[: half + 1] + LAST)
        if name and (not left.upto or name < left.upto):
            best, high = (half, name), half - 1
        else:
            low = half + 1
    return best


async def _named(left: Range, head: str, code: int, first_after: FirstAfter) -> str | None:
    """Return the first name of the range that goes on after `head` with this character or a greater one."""
    before = code - 1
    if before in _SURROGATES:
        before = _SURROGATES.start - 1
    name = await first_after(head + chr(before) + LAST)
    return name if name and name.startswith(head) and (not left.upto or name < left.upto) else None


def _shared(one: str, other: str) -> int:
    """Return how many characters two names begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _place(name: str, shared: int) -> int:
    return int.from_bytes(name[shared:].encode()[:_BYTES_COMPARED].ljust(_BYTES_COMPARED, b"\0"))
