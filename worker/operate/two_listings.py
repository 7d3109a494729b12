"""Two listings side by side: every name once, in one order, with one page ahead on each side.

Both clouds list in the order of the names' UTF-8 bytes, which is that of Python's strings. So two pages a
side are all that is held, whatever the size of the buckets.
"""

from __future__ import annotations

import asyncio
import gc
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import repeat
from operator import itemgetter, lt
from typing import NamedTuple

from worker.errors import RelayError
from worker.ports import Listed, Page

COLLECT_AFTER_OBJECTS = 100_000
_key = itemgetter(0)


class Unordered(RelayError):  # noqa: N818  the name says what it is
    """A bucket does not list its names in order, so that nothing can be told from what is not there."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the garbage collector look rarely: it finds nothing in listings, and took a fifth of the time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Pair(NamedTuple):
    """One name, and what each side lists of it; None where it does not."""

    key: str
    source: Listed | None
    destination: Listed | None


async def stretches(
    source: AsyncGenerator[Page], destination: AsyncGenerator[Page]
) -> AsyncGenerator[list[Pair]]:
    """Yield the names of both sides in order, as many at a time as the pages at hand settle.

    What a listing raises is raised before any name is called missing that it did not come to. Raises
    `Unordered`.
    """
    async with (
        aclosing(_read_ahead(source)) as ours,
        aclosing(_read_ahead(destination)) as theirs,
    ):
        left, right = _Side("source", ours), _Side("destination", theirs)
        while True:
            await left.fill()
            await right.fill()
            pairs = _settled(left, right)
            if not pairs:
                return
            yield pairs


class _Side:
    """One listing, read to a place in the page at hand."""

    def __init__(self, name: str, pages: AsyncGenerator[Page]) -> None:
        self._name = name
        self._pages = pages
        self._last = ""
        self.objects: Sequence[Listed] = ()
        self.keys: Sequence[str] = ()
        self.has_ended = False

    async def fill(self) -> None:
        """Take the next page once the one at hand is read."""
        while not self.keys and not self.has_ended:
            page = await anext(self._pages, None)
            if page is None:
                self.has_ended = True
                return
            self.objects, self.keys = page.objects, list(map(_key, page.objects))
            self._require_order()

    def take(self, upto: str | None) -> tuple[Sequence[Listed], Sequence[str]]:
        """Take what is at hand, up to and with a name; None for all."""
        cut = len(self.keys) if upto is None else bisect_right(self.keys, upto)
        objects, keys = self.objects[:cut], self.keys[:cut]
        self.objects, self.keys = self.objects[cut:], self.keys[cut:]
        return objects, keys

    def _require_order(self) -> None:
        keys = self.keys
        if not keys:
            return
        before = [self._last, *keys[:-1]]
        if not all(map(lt, before, keys)):
            one, other = next(pair for pair in zip(before, keys, strict=True) if pair[0] >= pair[1])
            raise Unordered(
                f"the {self._name} does not list its names in order: {other!a} came after "
                f"{one!a}. A parallel file system does so, and cannot be compared name by name. "
                "Nothing after that name was compared"
            )
        self._last = keys[-1]


def _settled(left: _Side, right: _Side) -> list[Pair]:
    """Return the pairs up to where a side has to be asked for its next page."""
    open_ends = [side.keys[-1] for side in (left, right) if side.keys and not side.has_ended]
    upto = min(open_ends, default=None)
    ours, our_keys = left.take(upto)
    theirs, their_keys = right.take(upto)
    if our_keys == their_keys:
        # As `Pair(*each)`, without a call of Python for each.
        return list(map(tuple.__new__, repeat(Pair), zip(our_keys, ours, theirs, strict=True)))
    mine, other = (
        dict(zip(*each, strict=True)) for each in ((our_keys, ours), (their_keys, theirs))
    )
    return [Pair(key, mine.get(key), other.get(key)) for key in sorted(mine.keys() | other.keys())]


async def _read_ahead(pages: AsyncGenerator[Page]) -> AsyncGenerator[Page]:
    """Yield the pages; while one is used, the next is on its way."""

    async def following() -> Page | None:
        return await anext(pages, None)

    async with aclosing(pages):
        coming = asyncio.ensure_future(following())
        try:
            while (page := await coming) is not None:
                coming = asyncio.ensure_future(following())
                yield page
        finally:
            coming.cancel()
            # Its failure, if it had one, belongs to a page that nobody wants any more.
            await asyncio.gather(coming, return_exceptions=True)
