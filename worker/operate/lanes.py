"""Ranges worked side by side: as many lanes as the services bear, none idle while another has much left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from worker.errors import CallFailed
from worker.operate.ranges import Range, Work

LANES_MAX = 16
# Of both sides together. A smaller range is not worth the questions that find a place to split it.
SPLIT_AFTER_PAGES = 40
# Pages that each lane reads well before one lane more is tried.
PAGES_A_STEP = 16


class Told(Protocol):
    """What a lane tells of a part of its range."""

    @property
    def range(self) -> Range:
        """The part that it is about."""
        ...


S = TypeVar("S", bound=Told)


class Width:
    """How many lanes may work now: doubled until the first sign of throttling, which halves it.

    Signs count once for so many pages as there are lanes: one burst is one sign. With `begins_full` it begins
    with as many as there may be.
    """

    def __init__(self, most: int = LANES_MAX, *, begins_full: bool = False) -> None:
        self.most = most
        self.now = most if begins_full else 1
        self._is_doubling = True
        self._well = self._well_since = 0

    def went_well(self) -> None:
        """Learn from a page that came."""
        self._well += 1
        self._well_since += 1
        if self._is_doubling and self._well >= self.now:
            self.now, self._well = min(self.most, 2 * self.now), 0
        elif self._well >= PAGES_A_STEP * self.now:
            self.now, self._well = min(self.most, self.now + 1), 0

    def throttled(self) -> None:
        """Learn from a page that was refused because there were too many (429, 503)."""
        if self._is_doubling or self._well_since >= self.now:
            self.now = max(1, self.now // 2)
        self._is_doubling, self._well, self._well_since = False, 0, 0


class Lanes(Generic[S]):
    """Works ranges by `overs`, which tell of one in order and part by part; lanes take them in turn.

    `middle` finds a name in the middle of a range. An idle lane takes a range that nobody has begun, else it
    cuts off half of the one with most left.
    """

    def __init__(
        self,
        overs: Sequence[Callable[[Work], AsyncGenerator[S]]],
        middle: Callable[[Range], Awaitable[str | None]],
        width: Width,
        *,
        split_after_pages: int = SPLIT_AFTER_PAGES,
    ) -> None:
        self._overs = overs
        self._middle = middle
        self._width = width
        self._split_after_pages = split_after_pages
        self._todo: deque[Range] = deque()
        self._works: list[Work] = []
        self._busy = 0
        # A lane goes on once its part has been taken: so each holds one, and there are no more of them.
        self._found: deque[tuple[S, asyncio.Event]] = deque()
        self._news = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self, ranges: Iterable[Range], stop: asyncio.Event) -> AsyncGenerator[S]:
        """Yield what is told of all ranges, as it comes; a stop ends it at once.

        What a lane raises is raised, after all that came before it.
        """
        self._todo.extend(sorted(ranges))
        tasks = [
            asyncio.create_task(
                self._lane(self._overs[number % len(self._overs)]), name=f"lane {number}"
            )
            for number in range(self._width.most)
        ]
        stopped = asyncio.create_task(stop.wait(), name="wait for the stop")
        for task in (*tasks, stopped):
            task.add_done_callback(lambda _: self._news.set())
        try:
            while not stop.is_set():
                self._news.clear()
                while self._found and not stop.is_set():
                    part, is_taken = self._found.popleft()
                    yield part
                    is_taken.set()
                failed = next((each for each in tasks if each.done() and each.exception()), None)
                if failed is not None:
                    failed.result()
                if all(each.done() for each in tasks) and not self._found:
                    return
                await self._news.wait()
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)

    async def _lane(self, over: Callable[[Work], AsyncGenerator[S]]) -> None:
        while (work := await self._work()) is not None:
            try:
                await self._tell(over(work), work)
            finally:
                self._works.remove(work)
                self._busy -= 1
                self._notify()

    async def _tell(self, told: AsyncGenerator[S], work: Work) -> None:
        async with aclosing(told) as parts:
            async for part in parts:
                is_taken = asyncio.Event()
                self._found.append((part, is_taken))
                self._news.set()
                await is_taken.wait()
                self._notify()
                if self._busy > self._width.now and not work.is_over:
                    # What it gives back is nothing that another lane may cut any more.
                    self._todo.appendleft(work.end())
                    return

    async def _work(self) -> Work | None:
        """Return a range to work, begun or cut off another; None once nothing is left to begin."""
        while True:
            if self._busy < self._width.now:
                self._busy += 1
                fresh = self._todo.popleft() if self._todo else await self._split()
                if fresh is not None:
                    work = Work(fresh)
                    self._works.append(work)
                    return work
                self._busy -= 1
            if not self._works and not self._todo and not self._busy:
                self._notify()
                return None
            await self._changed.wait()

    async def _split(self) -> Range | None:
        """Cut off half of the range with most left; None where there is none that is worth it."""
        work = max(filter(self._may_split, self._works), key=Work.pages_left, default=None)
        if work is None:
            return None
        work.is_being_split, work.pages_at_split = True, work.pages
        try:
            name = await self._middle(work.rest)
            return await work.cut_off(name) if name else None
        except CallFailed:
            # The lanes that list meet the same failure, and say so.
            return None
        finally:
            work.is_being_split = False

    def _may_split(self, work: Work) -> bool:
        has_shown = work.pages - work.pages_at_split >= self._split_after_pages
        return has_shown and not work.is_being_split and not work.is_over

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
