"""The long polls that wait on one queue."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType


class Pollers:
    """Waiting long polls, woken one at a time in the order they came.

    Use it as a context manager around one poll. Whoever leaves wakes the next: a poll that was
    woken and then found its caller gone must not keep the news to itself.
    """

    def __init__(self) -> None:
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return self._open

    def __enter__(self) -> None:
        self._open += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open -= 1
        self.nudge()

    def nudge(self) -> None:
        """Let the poll that has waited longest look at the queue again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def nudge_all(self) -> None:
        """Let every poll look again: the clock was set, or the queue is gone."""
        for _ in range(len(self._waiting)):
            self.nudge()

    async def wait(self, seconds: float) -> None:
        """Return when nudged, or after `seconds`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
