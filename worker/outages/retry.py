"""How long to wait before the next attempt, and how often to try."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from worker.clock import Clock
from worker.errors import Blame, CallFailed

T = TypeVar("T")

ATTEMPTS_MAX = 6
BASE_SECONDS = 0.2
CAP_SECONDS = 20.0
RETRY_AFTER_SECONDS_MAX = 60.0


class Backoff:
    """Exponential back-off with full jitter; a server's Retry-After is waited out in full, up to a minute.

    Full jitter draws from 0 to the bound, so that many workers that failed together do not return together.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def seconds(self, attempt: int, retry_after_seconds: float | None = None) -> float:
        """Return the wait after the given attempt (1 for the first)."""
        bound = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(attempt - 1, 30))
        jitter = self._rng.uniform(0.0, bound)
        if retry_after_seconds is None:
            return jitter
        return min(retry_after_seconds, RETRY_AFTER_SECONDS_MAX) + jitter


class Retry:
    """Repeats a call that failed in passing, until it succeeds, fails for good, or attempts run out."""

    def __init__(self, clock: Clock, backoff: Backoff, attempts_max: int = ATTEMPTS_MAX) -> None:
        self._clock = clock
        self._backoff = backoff
        self._attempts_max = attempts_max

    def at_most(self, attempts: int) -> Retry:
        """Return the same with less patience."""
        return Retry(self._clock, self._backoff, attempts)

    async def call(
        self, attempt: Callable[[], Awaitable[T]], *, may_retry: Callable[[], bool]
    ) -> T:
        """Return the first success of `attempt`; raise its last `CallFailed`.

        `may_retry` is asked before each wait; when it says no, the last failure is raised at once.
        """
        try:
            return await attempt()
        except CallFailed as failed:
            # The common case is one good attempt: tenacity is set up only when there is something to repeat.
            first: CallFailed | None = failed

        async def again() -> T:
            nonlocal first
            if first is not None:
                failed, first = first, None
                raise failed
            return await attempt()

        def is_passing(error: BaseException) -> bool:
            return (
                isinstance(error, CallFailed)
                and error.failure.blame is Blame.PASSING
                and may_retry()
            )

        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=stop_after_attempt(self._attempts_max),
            wait=self._wait,
            retry=retry_if_exception(is_passing),
            reraise=True,
        )
        return await retrying(again)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.failure.retry_after_seconds if isinstance(error, CallFailed) else None
        return self._backoff.seconds(state.attempt_number, asked)
