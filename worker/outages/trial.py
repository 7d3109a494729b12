"""The trial: after a probe has succeeded, one small thing may pass, and the first real call decides.

A probe is cheap and proves little: a service may answer it and fail on every real call. So a breaker that
was open does not close at once. It comes to be on trial (`State.TRIAL`), and this is the course of it:

1. `Gate`: one poll at a time leaves, however many pollers there are, so that few dequeue counts are burned
   (G3).
2. `Trial.wants_one_ahead`: after an outage a batch sends one key ahead. A key that the service always fails
   on must not fail the trial for its neighbours (G4).
3. The first real call decides: its success closes the breaker, its failure opens it again (`breaker.py`).
4. `Trial.held`: what failed waits for the next trial, with its messages in hand. Given back and received
   again for each trial, they would burn a dequeue count each time (G3).
5. It gives way: in the next trial it waits a moment longer, and `Gate` lets one more poll leave beside what
   is in hand. So that trial begins with something else, and one bad key or name cannot keep a service that
   works for all others from being found to work.
6. Once another call has worked, it is held no longer: then it is not the service. A batch may go on in parts
   (`Trial.may_go_on`), until what the service fails on stands alone.

Why a state, beside a limit that restarts at one call: the limit bounds the calls to one service, but a trial
has to bound what is received for it, under the limit of another service. And a limit forgives, where here
nothing may be forgiven: a closed breaker lets a few failures pass. Without the state, an hour in which posts
are refused while the task answers costs a message 20 deliveries instead of 2; one of refused deletes, 120.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from worker.clock import Clock
from worker.errors import Blame, CallFailed, Failure
from worker.outages.breaker import Breaker, BreakerOpen, State
from worker.ports import BATCH

T = TypeVar("T")

GIVE_WAY_SECONDS = 1.0
GIVE_WAYS_MAX = 3
# As many messages of failed trials stay in hand.
TRIED_MAX = 4 * BATCH


class Watched(Protocol):
    """A breaker, or several of which one is enough, as `Gate` sees it."""

    listeners: list[Callable[[], None]]

    @property
    def state(self) -> State:
        """The state of the service."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether calls must not be made."""
        ...


class Gate:
    """What may be received: nothing while a breaker is open, one poll at a time while one is on trial."""

    def __init__(self, breakers: Iterable[Watched]) -> None:
        self._polls = 0
        self._breakers = tuple(breakers)
        self._has_next = False
        for breaker in self._breakers:
            breaker.listeners.append(partial(self._hear, breaker))

    @property
    def is_open(self) -> bool:
        """Whether every service works, as far as is known."""
        return not any(breaker.is_open for breaker in self._breakers)

    @property
    def is_on_trial(self) -> bool:
        """Whether a service is on trial."""
        return any(breaker.state is State.TRIAL for breaker in self._breakers)

    def lets_pass(self, in_hand: int) -> bool:
        """Whether a poll may leave now, with so many messages in hand.

        On trial it is the only one. Beside what failed trials have left in hand, one leaves in each trial:
        were it a bad key that fails, nothing else would ever be tried.
        """
        is_next = self._has_next and in_hand <= TRIED_MAX
        may_try = not self._polls and (not in_hand or is_next)
        return self.is_open and (may_try or not self.is_on_trial)

    @contextmanager
    def poll(self) -> Iterator[None]:
        """Count a poll while it is under way."""
        self._polls += 1
        self._has_next = False
        try:
            yield
        finally:
            self._polls -= 1

    def _hear(self, breaker: Watched) -> None:
        """Let one more poll leave for each trial that begins."""
        self._has_next |= breaker.state is State.TRIAL


class Door:
    """What one of several routes lets in: all while it works, nothing while it is down, little on trial.

    `Gate` is for all of them together, so messages of a route that is down are received all the same. On
    trial the route lets in as many as one poll brings, and as many more in each next trial. `back_at` is when
    it was last found not to be down any more, in seconds since the epoch.
    """

    def __init__(self, breaker: Breaker, clock: Clock) -> None:
        self.back_at = clock.wall()
        self._breaker = breaker
        self._clock = clock
        self._left = 0
        breaker.listeners.append(self._hear)

    def lets_in(self, unsettled: int) -> bool:
        """Whether a message may be let in now, with so many changes of the route not settled yet."""
        if self._breaker.state is not State.TRIAL:
            return not self._breaker.is_open
        # What was let in may have been known already, so that nothing was tried: then one more has to come.
        if unsettled > TRIED_MAX or (unsettled and not self._left):
            return False
        self._left = max(0, self._left - 1)
        return True

    def _hear(self) -> None:
        if self._breaker.state is State.TRIAL:
            self._left = BATCH
            self.back_at = self._clock.wall()


class Trial:
    """One service on trial, as its callers meet it: who goes first, who is held, who may go on.

    Without `holds`, as for one of several routes, nothing waits for a trial: what fails goes back. In hand it
    would keep the others from being received while a service that they share is on trial.
    """

    def __init__(self, breaker: Breaker, clock: Clock, *, holds: bool = True) -> None:
        self._holds = holds
        self._breaker = breaker
        self._clock = clock
        self._held = 0
        self._is_batch_waiting = False

    @property
    def wants_one_ahead(self) -> bool:
        """Whether a batch is to send one key ahead of the others: on trial after a failure, not at start."""
        return self._breaker.state is State.TRIAL and self._breaker.failure is not None

    async def next(self) -> bool:
        """Wait for the next trial while the breaker is open; return False if the relay stops."""
        return not self._holds or await self._breaker.passable()

    async def held(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns; on trial, hold it until a trial succeeds or a stop comes.

        Raises the last `CallFailed` of a call that is not held: it began while the service worked, or its
        failure did not open the breaker, or another call has worked since it began.
        """
        # Where calls are held, more is received on trial only; this one may come too late for that trial.
        is_on_trial = self._breaker.state is State.TRIAL or self._held > 0
        began, failures = self._clock.monotonic(), 0
        while True:
            try:
                return await call()
            except CallFailed as failed:
                failures += not isinstance(failed, BreakerOpen)
                is_alone = self._breaker.is_open and not self._has_worked_since(began)
                is_held = self._holds and is_on_trial and is_alone
                if not (is_held and await self._give_way(failures)):
                    raise

    async def may_go_on(self, failure: Failure, began: float) -> bool:
        """Whether a batch that failed may be tried in parts; it has been under way since `began`.

        Only if one of its keys may be the reason: others have worked meanwhile, or the service refused the
        batch and is not known to be down. If it is, one such batch at a time waits here for the next trial.
        """
        has_worked = self._has_worked_since(began)
        if not self._breaker.is_open:
            return has_worked or failure.blame is Blame.SERVICE
        if self._is_batch_waiting or not has_worked or not self._holds:
            return False
        self._is_batch_waiting = True
        try:
            return await self.next()
        finally:
            self._is_batch_waiting = False

    async def _give_way(self, failures: int) -> bool:
        """Wait for the next trial, and let others go first in it; return False if the relay stops."""
        self._held += 1
        try:
            if not await self.next():
                return False
            await self._clock.sleep(GIVE_WAY_SECONDS * min(failures, GIVE_WAYS_MAX))
            return True
        finally:
            self._held -= 1

    def _has_worked_since(self, began: float) -> bool:
        return self._breaker.succeeded_at > began
