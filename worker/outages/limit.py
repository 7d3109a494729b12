"""How many calls to one service run at once: a limit that finds the service's capacity by itself.

Additive increase, multiplicative decrease, on refusals and on latency, after Vector's adaptive request
concurrency. It starts at one call, so that wrong credentials or a broken service meet a single call,
and doubles until the first sign of congestion.
"""

from __future__ import annotations

import asyncio
from collections import deque

DECREASE = 0.9
# How much of each new latency sample enters the running mean and deviation.
SMOOTHING = 0.2
DEVIATIONS_MAX = 3.0
# Latency noise below this is never read as congestion: loopback and LAN calls jitter by milliseconds.
SLACK_SECONDS = 0.05


class AdaptiveLimit:
    """At most `limit` holders at a time, first come first served. One event loop; no time-out of its own.

    With `limit_min` equal to `limit_max` it stays fixed, as for long polls, whose latency says nothing.
    Adjusts once per round, a round being as many finished calls as the limit allowed at its start.
    """

    def __init__(self, limit_max: int, limit_min: int = 1) -> None:
        self.limit_max = limit_max
        self.limit_min = limit_min
        self.limit = float(limit_min)
        self.in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._doubling = True
        self._mean_seconds = 0.0
        self._deviation_seconds = 0.0
        self._round = _Round()

    @property
    def mean_seconds(self) -> float:
        """How long a call takes, as the running mean of those answered well; 0 before the first."""
        return self._mean_seconds

    async def acquire(self) -> None:
        """Wait for a place. The wait is cancellable and loses no place."""
        if self.in_flight < int(self.limit) and not self._waiters:
            self.in_flight += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The place was handed over in the same tick as the cancellation: pass it on.
                self.in_flight -= 1
                self._wake()
            elif waiter in self._waiters:
                # Not there any more if a place came free in the same tick and passed it by.
                self._waiters.remove(waiter)
            raise

    def release(self) -> None:
        """Give the place back without a verdict."""
        self.in_flight -= 1
        self._wake()

    def succeeded(self, seconds: float) -> None:
        """Learn from a call that was answered well after `seconds`."""
        self._round.was_busy |= self.in_flight >= int(self.limit)
        self._round.seconds += seconds
        self._round.answered += 1
        self._round.finished += 1
        if self._round.finished >= max(1, int(self.limit)):
            self._adjust()

    def congested(self) -> None:
        """Learn from a refusal (429, 5xx) or a time-out. Counts once per round: one burst is one sign."""
        self._round.congested = True
        self._round.finished += 1
        if self._round.finished >= max(1, int(self.limit)):
            self._adjust()

    def restart(self) -> None:
        """Begin again with the smallest limit, as after an outage."""
        self.limit, self._doubling, self._round = float(self.limit_min), True, _Round()

    def _adjust(self) -> None:
        round_, self._round = self._round, _Round()
        mean = round_.seconds / round_.answered if round_.answered else 0.0
        if round_.congested or self._is_slow(mean):
            self._doubling = False
            self.limit = max(float(self.limit_min), self.limit * DECREASE)
        elif round_.was_busy:
            self.limit = min(
                float(self.limit_max), self.limit * 2 if self._doubling else self.limit + 1
            )
        if round_.answered:
            self._learn(mean)
        self._wake()

    def _is_slow(self, seconds: float) -> bool:
        if not self._mean_seconds:
            return False
        return seconds > self._mean_seconds + max(
            SLACK_SECONDS, DEVIATIONS_MAX * self._deviation_seconds
        )

    def _learn(self, seconds: float) -> None:
        if not self._mean_seconds:
            self._mean_seconds = seconds
            return
        off = seconds - self._mean_seconds
        self._mean_seconds += SMOOTHING * off
        self._deviation_seconds += SMOOTHING * (abs(off) - self._deviation_seconds)

    def _wake(self) -> None:
        while self._waiters and self.in_flight < int(self.limit):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)


class _Round:
    """What one round of calls has shown so far."""

    __slots__ = ("answered", "congested", "finished", "seconds", "was_busy")

    def __init__(self) -> None:
        self.finished = 0
        self.answered = 0
        self.seconds = 0.0
        self.congested = False
        self.was_busy = False
