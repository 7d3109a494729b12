"""One remote service as the verbs use it: limited, timed, retried, and behind its breaker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.clock import Clock
from worker.errors import Blame, CallFailed
from worker.observe.journal import Journal
from worker.outages.breaker import Breaker, BreakerOpen
from worker.outages.limit import AdaptiveLimit
from worker.outages.retry import Retry
from worker.outages.trial import Trial

T = TypeVar("T")


class Pace:
    """A fixed ceiling on calls per second, evenly spaced; None means no ceiling."""

    def __init__(self, clock: Clock, calls_per_second: float | None) -> None:
        self._clock = clock
        self._gap_seconds = 1.0 / calls_per_second if calls_per_second else 0.0
        self._next_at = 0.0

    async def wait(self) -> None:
        """Return when the next call may leave."""
        if not self._gap_seconds:
            return
        now = self._clock.monotonic()
        at = max(now, self._next_at)
        self._next_at = at + self._gap_seconds
        if at > now:
            await self._clock.sleep(at - now)


class Service:
    """Calls to MNS, OSS or OMS go through `call`, and nowhere else is it decided whether to repeat one.

    Without `tells_breaker` the breaker lets calls through or not, and learns nothing from what they meet.
    `holds`: see `Trial`.
    """

    def __init__(
        self,
        breaker: Breaker,
        limit: AdaptiveLimit,
        retry: Retry,
        pace: Pace,
        clock: Clock,
        journal: Journal,
        *,
        tells_breaker: bool = True,
        holds: bool = True,
    ) -> None:
        self.breaker = breaker
        self.trial = Trial(breaker, clock, holds=holds)
        self._tells_breaker = tells_breaker
        self.limit = limit
        self._retry = retry
        self._pace = pace
        self.clock = clock
        self.journal = journal

    async def call(self, operation: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, repeated while it fails in passing and the breaker is not open.

        Raises the last `CallFailed`; with the breaker open, the failure that opened it, and nothing is sent.
        """
        return await self._retry.call(
            lambda: self.once(operation, attempt), may_retry=lambda: not self.breaker.is_open
        )

    async def persist(self, operation: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Like `call`, but what fails on trial waits for the next one, as `Trial.held` says."""
        return await self.trial.held(lambda: self.call(operation, attempt))

    async def once(self, operation: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Like `call`, without repeating: for callers that come back by themselves."""
        self.breaker.refuse_if_open()
        await self._pace.wait()
        await self.limit.acquire()
        started = self.clock.monotonic()
        try:
            # Another call may have opened the breaker while this one waited for its place.
            self.breaker.refuse_if_open()
            result = await attempt()
        except CallFailed as failed:
            self._learn_failure(operation, failed, started)
            raise
        else:
            seconds = self.clock.monotonic() - started
            self.limit.succeeded(seconds)
            if self._tells_breaker:
                self.breaker.succeeded()
            self.journal.called(self.breaker.service, operation, "ok", seconds)
            return result
        finally:
            self.limit.release()

    async def works(self, operation: str, attempt: Callable[[], Awaitable[T]]) -> bool:
        """Whether this call works now."""
        try:
            await self.once(operation, attempt)
        except CallFailed:
            return False
        return True

    def _learn_failure(self, operation: str, failed: CallFailed, started: float) -> None:
        if isinstance(failed, BreakerOpen):
            return
        seconds = self.clock.monotonic() - started
        self.journal.called(self.breaker.service, operation, failed.failure.blame, seconds)
        if failed.failure.blame is Blame.PASSING:
            self.limit.congested()
        if not self._tells_breaker:
            return
        was_open = self.breaker.is_open
        self.breaker.failed(failed.failure)
        if self.breaker.is_open and not was_open:
            self.limit.restart()
