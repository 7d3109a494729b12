"""SIGTERM and SIGINT: the first one stops, the second one leaves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.clock import Clock
from worker.flow.relay import Stops


class Signals:
    """SIGTERM or SIGINT once: finish and leave with 0. Again: release and leave with 128 + its number."""

    def __init__(self, clock: Clock, grace_seconds: float) -> None:
        self.exit_code = 0
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._heard_at: float | None = None

    @asynccontextmanager
    async def heard(self, stops: Stops) -> AsyncIterator[None]:
        """Turn signals into stops while the context lasts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear, stops, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def seconds_left(self) -> float:
        """Return what is left of the grace time: all without a signal, nothing after a second one."""
        if self.exit_code:
            return 0.0
        if self._heard_at is None:
            return self._grace_seconds
        return max(0.0, self._heard_at + self._grace_seconds - self._clock.monotonic())

    def _hear(self, stops: Stops, number: int) -> None:
        if stops.taking.is_set():
            self.exit_code = 128 + number
            stops.working.set()
        else:
            self._heard_at = self._clock.monotonic()
        stops.taking.set()
