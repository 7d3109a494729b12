"""When a batch leaves: as soon as something has arrived, and it is full or has lingered."""

from __future__ import annotations

import asyncio
from collections.abc import Sized

from worker.clock import is_set_within


class Batcher:
    """Watches what waits to leave in batches. Whoever owns it puts in, tells of it, and takes out."""

    def __init__(self, waiting: Sized) -> None:
        self._waiting = waiting
        self._arrived = asyncio.Event()
        self._is_full = asyncio.Event()
        self._is_closed = False
        self._size = 1

    def arrived(self) -> None:
        """Hear that something more waits."""
        self._arrived.set()
        if len(self._waiting) >= self._size:
            self._is_full.set()

    async def due(self, size: int, linger_seconds: float) -> None:
        """Return when a batch may leave: `size` wait, or fewer have lingered.

        Once closed, at once: with what waits, or with nothing.
        """
        self._size = size
        while not self._waiting and not self._is_closed:
            self._arrived.clear()
            await self._arrived.wait()
        if len(self._waiting) < size and not self._is_closed:
            self._is_full.clear()
            await is_set_within(self._is_full, linger_seconds)

    def close(self) -> None:
        """Say that no more will arrive."""
        self._is_closed = True
        self._arrived.set()
        self._is_full.set()
