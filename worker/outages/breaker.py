"""Whether a service may be called: closed while it works, open while it does not, on trial in between.

A breaker starts open: the first probe, at once, is what finds a wrong endpoint or a wrong key at start.

An open breaker keeps messages in the queue (G3) and credentials from being hammered (G5): receiving stops,
what is in hand is released, and one probe at a time asks whether the service is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from math import inf

from worker.clock import Clock, is_set_within
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.observe.journal import Journal
from worker.outages.retry import RETRY_AFTER_SECONDS_MAX

# So many failures open the breaker with no success between them: one key or one name that is refused for ever
# must not stop all others. Passing faults open it only when they have lasted as well.
FAILURES_MIN = 5
PATIENCE_SECONDS = 5.0

PROBE_SECONDS_FIRST = 1.0
PROBE_SECONDS_MAX = 30.0
# Huawei locks an access key for 5 minutes after more than 5 refusals in a row (devg-apisign, api-sign-0001).
PROBE_SECONDS_CREDENTIALS = 300.0


class State(StrEnum):
    """`TRIAL`: the probe succeeded, and the first real call decides; what may pass until then: `trial.py`."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


class BreakerOpen(CallFailed):
    """Nothing was sent: the breaker is open, for the reason given."""


class Breaker:
    """The state of one service. Every call reports to it; only a successful probe and call close it.

    `succeeded_at` is when a real call last worked, by the monotonic clock. `name` is that of the
    service, with the route where the journal is of one.
    """

    def __init__(self, service: str, clock: Clock, journal: Journal) -> None:
        self.service = service
        self.name = f"{service}/{journal.route}" if journal.route else service
        self.state = State.OPEN
        self.failure: Failure | None = None
        self.succeeded_at = -inf
        self._clock = clock
        self._journal = journal
        self._changed = asyncio.Event()
        self._failures = 0
        self._failing_since: float | None = None
        self._probe_seconds = 0.0
        self._probe_now = asyncio.Event()
        self._is_passable = asyncio.Event()
        self._is_judged = asyncio.Event()
        self._is_stopping = False
        self.listeners: list[Callable[[], None]] = []

    @property
    def is_open(self) -> bool:
        """Whether calls must not be made."""
        return self.state is State.OPEN

    def refuse_if_open(self) -> None:
        """Raise `BreakerOpen` while calls must not be made."""
        if self.is_open:
            raise BreakerOpen(self.failure or _not_probed(self.service))

    def succeeded(self) -> None:
        """Note a real call that worked."""
        self.succeeded_at = self._clock.monotonic()
        self._failures, self._failing_since = 0, None
        if self.state is State.TRIAL:
            self._probe_seconds = PROBE_SECONDS_FIRST
            self._become(State.CLOSED, None)

    def failed(self, failure: Failure) -> None:
        """Note a real call that failed, and open once it is clear that the service itself is to blame."""
        if failure.blame is Blame.ITEM:
            return
        self._failures += 1
        now = self._clock.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        is_lasting = (
            failure.blame is not Blame.PASSING or now - self._failing_since >= PATIENCE_SECONDS
        )
        is_sure = failure.blame is Blame.CREDENTIALS or self.state is State.TRIAL
        if is_sure or (is_lasting and self._failures >= FAILURES_MIN):
            self.open(failure)

    def open(self, failure: Failure) -> None:
        """Stop all calls until a probe succeeds; `failure` is the reason shown to operators."""
        # Refused credentials stay the reason: what fails beside them must not bring the next probe forward.
        if self.is_open and (failure.blame is Blame.PASSING or self._is_refused()):
            return
        self._become(State.OPEN, failure)

    def hear_refusal(self, failure: Failure) -> None:
        """Stop all calls as if this refusal had been met here: it was met with the same key elsewhere."""
        if not (self.is_open and self._is_refused()):
            self._become(State.OPEN, failure)

    def probe_now(self) -> None:
        """Bring the next probe forward, as when credentials have changed."""
        if self.is_open:
            self._probe_now.set()

    async def passable(self) -> bool:
        """Wait while it is open; return False if the relay stops."""
        while self.is_open and not self._is_stopping:
            await self._is_passable.wait()
        return not self._is_stopping

    async def judged(self) -> None:
        """Wait until the first probe has ended, whatever came of it, or the relay stops."""
        if self.is_open and self.failure is None:
            await self._is_judged.wait()

    def stop(self) -> None:
        """Hold no call any longer: the relay is stopping."""
        self._is_stopping = True
        self._is_passable.set()
        self._is_judged.set()

    async def keep_probing(self, probe: Callable[[], Awaitable[None]]) -> None:
        """While open, call `probe` again and again until it succeeds; run for ever. Never two at a time."""
        while True:
            while self.state is not State.OPEN:
                self._changed.clear()
                await self._changed.wait()
            await self._until_probe_is_due()
            # Asked for during this probe, the next one comes at once: this one may still use the old keys.
            self._probe_now.clear()
            try:
                await probe()
            except CallFailed as failed:
                self._become(State.OPEN, failed.failure)
            else:
                self._failures, self._failing_since = 0, None
                self._become(State.TRIAL, self.failure)

    async def _until_probe_is_due(self) -> None:
        asked = self.failure.retry_after_seconds if self.failure else None
        patience = max(self._probe_seconds, min(asked or 0.0, RETRY_AFTER_SECONDS_MAX))
        seconds = PROBE_SECONDS_CREDENTIALS if self._is_refused() else patience
        self._probe_seconds = min(
            PROBE_SECONDS_MAX, max(PROBE_SECONDS_FIRST, self._probe_seconds * 2)
        )
        while not await is_set_within(self._probe_now, seconds):
            # A call that was still under way may have been refused in the meantime.
            if not self._is_refused() or seconds == PROBE_SECONDS_CREDENTIALS:
                break
            seconds = PROBE_SECONDS_CREDENTIALS

    def _is_refused(self) -> bool:
        return self.failure is not None and self.failure.blame is Blame.CREDENTIALS

    def _become(self, state: State, failure: Failure | None) -> None:
        # Calls that were under way together fail alike, each with a request id of its own: one piece of news.
        is_news = state is not self.state or _kind(failure) != _kind(self.failure)
        self.state, self.failure = state, failure
        self._is_judged.set()
        if not self.is_open:
            self._probe_now.clear()
            self._is_passable.set()
        elif not self._is_stopping:
            self._is_passable.clear()
        self._changed.set()
        for hear in self.listeners:
            hear()
        if is_news:
            self._journal.breaker(self.service, state, failure)


def _not_probed(service: str) -> Failure:
    return Failure(service, "probe", Outcome.RETRY_LATER, Blame.PASSING, message="not probed yet")


def _kind(failure: Failure | None) -> object:
    return failure.kind if failure else None
