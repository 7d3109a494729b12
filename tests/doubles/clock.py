"""Clocks that no test has to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EPOCH = 1_790_000_000.0


class QuickClock:
    """Sleeping returns at once and moves time on; every sleep is on record."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def wall(self) -> float:
        return EPOCH + self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class EndOfTestError(Exception):
    """What would go on for ever has slept as often as the test is about."""


class EndingClock(QuickClock):
    """A quick clock that ends the test at a given sleep, by raising `EndOfTestError`."""

    def __init__(self, sleeps: int) -> None:
        super().__init__()
        self._sleeps = sleeps

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if len(self.slept) >= self._sleeps:
            raise EndOfTestError


class HandClock:
    """Time moves only when the test says so, and wakes those whose sleep is over."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def wall(self) -> float:
        return EPOCH + self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, over))
        await over

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for at, over in self._sleepers:
            if at <= self.now and not over.done():
                over.set_result(None)
        self._sleepers = [(at, over) for at, over in self._sleepers if not over.done()]


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a fact. The time-out of the test run is the only limit."""
    while not is_so():  # noqa: ASYNC110  any state may be waited for, not only events
        await asyncio.sleep(0)
