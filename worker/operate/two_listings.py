"""Two listings side by side: every name once, in one order, with one page ahead on each side.

Both clouds list in the order of the names' UTF-8 bytes, which is that of Python's strings. So two pages a
side are all that is held, whatever the size of the buckets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import NamedTuple

from worker.errors import RelayError
from worker.ports import Listed, Page


class Unordered(RelayError):  # noqa: N818  the name says what it is
    """A bucket does not list its names in order, so that nothing can be told from what is not there."""


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
            pairs = list(_settled(left, right))
            if not pairs:
                return
            yield pairs


class _Side:
    """One listing, read to a place in the page at hand; past its end `head` is None."""

    def __init__(self, name: str, pages: AsyncGenerator[Page]) -> None:
        self._name = name
        self._pages = pages
        self._objects: tuple[Listed, ...] = ()
        self._at = 0
        self._last = ""
        self.has_ended = False

    @property
    def head(self) -> Listed | None:
        """The next object; None where the page at hand is read."""
        return self._objects[self._at] if self._at < len(self._objects) else None

    def advance(self) -> None:
        """Go on to the next object."""
        self._at += 1

    async def fill(self) -> None:
        """Take the next page once the one at hand is read."""
        while self.head is None and not self.has_ended:
            page = await anext(self._pages, None)
            if page is None:
                self.has_ended = True
                return
            self._require_order(page)
            self._objects, self._at = page.objects, 0

    def _require_order(self, page: Page) -> None:
        for each in page.objects:
            if self._last and each.key <= self._last:
                raise Unordered(
                    f"the {self._name} does not list its names in order: {each.key!a} came after "
                    f"{self._last!a}. A parallel file system does so, and cannot be compared name by name. "
                    "Nothing after that name was compared"
                )
            self._last = each.key


def _settled(left: _Side, right: _Side) -> Iterator[Pair]:
    """Yield pairs until a side has to be asked for its next page."""
    while True:
        ours, theirs = left.head, right.head
        is_unknown = (ours is None and not left.has_ended) or (
            theirs is None and not right.has_ended
        )
        if is_unknown or (ours is None and theirs is None):
            return
        if theirs is None or (ours is not None and ours.key < theirs.key):
            theirs = None
        elif ours is None or ours.key != theirs.key:
            ours = None
        if ours is not None:
            left.advance()
        if theirs is not None:
            right.advance()
        named = ours or theirs
        if named is not None:
            yield Pair(named.key, ours, theirs)


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
