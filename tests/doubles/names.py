"""A bucket of nothing but names, listed as a store lists them: for what splits and works ranges of names."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from worker.operate.ranges import Range, Work


@dataclass(slots=True)
class Part:
    """What a lane tells: a range, and the names in it."""

    range: Range
    names: list[str] = field(default_factory=list)


class Names:
    """Names in order. `asked` counts the questions for one name, `most` how many ranges were open at once."""

    def __init__(self, names: Iterable[str], page: int = 10) -> None:
        self.names = sorted(names)
        self.page = page
        self.asked = 0
        self.open = self.most = 0

    async def first_after(self, name: str) -> str | None:
        """The first name after this one."""
        assert len(name.encode()) <= 1023
        self.asked += 1
        await asyncio.sleep(0)
        at = bisect_right(self.names, name)
        return self.names[at] if at < len(self.names) else None

    async def over(self, work: Work) -> AsyncGenerator[Part]:
        """Tell of a range, page by page."""
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while not work.is_over:
                await asyncio.sleep(0)
                at = bisect_right(self.names, work.at)
                found = [
                    name
                    for name in self.names[at : at + self.page]
                    if not work.upto or name <= work.upto
                ]
                work.pages += 2
                if len(found) < self.page or found[-1] == work.upto:
                    rest = work.end()
                    if rest.after != rest.upto or not rest.upto:
                        yield Part(rest, found)
                    return
                work.claim(found[-1])
                await asyncio.sleep(0)
                yield Part(work.advance(found[-1]), found)
        finally:
            self.open -= 1
