"""receive: long polls that stop when there is no room, no need, or no point.

Vendor facts (MNS receivemessage, flow control): an empty queue answers 404 after the wait, and so does a
queue with too many concurrent long polls, but *at once* and billed. An early 404 means: poll less. So few
long polls wait for the first messages, and while much comes, short ones fetch beside them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from worker.clock import is_set_within
from worker.errors import CallFailed
from worker.events.event import Message
from worker.flow.lease import Held, Leases
from worker.outages.retry import Backoff
from worker.outages.service import Service
from worker.outages.trial import Gate, Watched
from worker.ports import BATCH, Queue

GATE_SECONDS = 0.25
# A change of a breaker ends this wait; its own end only shows that the poller lives.
OPEN_SECONDS = 30.0
# MNS's answer to who takes too much (HTTP).
THROTTLED = 429
# MNS may cut an answer short although more is waiting.
PLENTY = BATCH // 2
# A poll that has waited so long at a pause or a stop is cut: the queue had nothing for it until then.
CUT_SECONDS = 2.0


class Receiver:
    """What all pollers of a process share. `throttled` hears that MNS refuses to hand out as much."""

    def __init__(
        self,
        queue: Queue,
        service: Service,
        leases: Leases,
        breakers: Iterable[Watched],
        rng: random.Random,
        *,
        wait_seconds: int,
        throttled: Callable[[], None],
        is_paused: bool = False,
    ) -> None:
        self._queue = queue
        self._service = service
        self._leases = leases
        self._backoff = Backoff(rng)
        self._wait_seconds = wait_seconds
        self._throttled = throttled
        self._early = 0
        self._failed = 0
        self._is_stopping = False
        self._is_paused = is_paused
        self._open_polls: dict[asyncio.Timeout, float] = {}
        self._nudge = asyncio.Event()
        self._backlog = asyncio.Semaphore(0)
        self.alive_at = service.clock.monotonic()
        watched = tuple(breakers)
        self._gate = Gate(watched)
        for breaker in watched:
            breaker.listeners.append(self._nudge.set)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopping

    def stop(self) -> None:
        """Take no more: no new poll starts, and those under way return or are cut, as `_cut` says."""
        self._is_stopping = True
        self._nudge.set()
        self._backlog.release()
        self._cut()

    @property
    def is_paused(self) -> bool:
        """Whether nothing is taken for now, although every service may work."""
        return self._is_paused

    def pause(self, is_paused: bool) -> None:
        """Take nothing for now, or take again; polls under way return or are cut, as `_cut` says."""
        if is_paused == self._is_paused:
            return
        self._is_paused = is_paused
        self._nudge.set()
        if is_paused:
            self._cut()

    def _cut(self) -> None:
        """End each poll two seconds after it began: it might wait for messages for half a minute more.

        One that had any was answered by then. If MNS answers at that very moment, or never hears that nobody
        waits any more, those messages come back when their visibility ends, delivered once more.
        """
        for limit, began in self._open_polls.items():
            limit.reschedule(began + CUT_SECONDS)

    async def backlog_permit(self) -> None:
        """Wait until a poll brought so much that one more beside it pays, or the receiver stops.

        Each such poll lets one caller through.
        """
        await self._backlog.acquire()
        if self.is_stopping:
            self._backlog.release()

    async def receive(self, *, is_short: bool = False) -> list[Held]:
        """Wait until there is room and every service works, poll once, and return what is new in hand.

        A short poll takes what is there: it waits neither for messages nor for room. An empty list may mean
        an empty queue, no room, a failed poll, or that the receiver is stopping.
        """
        if not await self._may_poll(is_short=is_short):
            return []
        # What a failed trial has left in hand is to be tried again soon, whether or not more is waiting.
        is_short = is_short or (self._gate.is_on_trial and bool(self._leases.in_hand))
        started = self._service.clock.monotonic()
        try:
            messages, held = await self._poll(0 if is_short else self._wait_seconds)
        except CallFailed as failed:
            self._failed += 1
            if failed.failure.status == THROTTLED:
                self._throttled()
            if not is_short:
                asked = failed.failure.retry_after_seconds
                await self._pause(self._backoff.seconds(self._failed, asked))
            return []
        self._failed = 0
        journal = self._service.journal
        journal.received(len(messages))
        for each in held:
            each.trace = journal.traced(each.message.enqueue_time_ms, started)
        if len(messages) >= PLENTY and self._backlog.locked():
            self._backlog.release()
        if not is_short and not self.is_paused:
            took = self._service.clock.monotonic() - started
            await self._slow_down_if_early(bool(messages), took)
        return held

    async def _poll(self, wait_seconds: int) -> tuple[list[Message], list[Held]]:
        """Poll once, with room promised meanwhile; return what came, and what of it is new in hand."""
        self._leases.reserve(BATCH)
        try:
            with self._gate.poll():
                # Not repeated here: a repeated poll would know nothing of a stop, nor of the other services.
                async with self._cuttable():
                    messages = await self._service.once(
                        "BatchReceiveMessage", lambda: self._queue.receive(wait_seconds)
                    )
                    return messages, self._leases.hold(messages)
        except TimeoutError:
            # Cut by a pause or a stop: no failure of MNS, and nothing to wait for.
            return [], []
        finally:
            self._leases.unreserve(BATCH)

    @asynccontextmanager
    async def _cuttable(self) -> AsyncIterator[None]:
        async with asyncio.Timeout(None) as limit:
            self._open_polls[limit] = asyncio.get_running_loop().time()
            try:
                yield
            finally:
                del self._open_polls[limit]

    @property
    def is_open(self) -> bool:
        """Whether every service works, as far as is known."""
        return self._gate.is_open

    async def _may_poll(self, *, is_short: bool) -> bool:
        while not self.is_stopping:
            self.alive_at = self._service.clock.monotonic()
            if self.is_paused:
                await self._pause(OPEN_SECONDS)
            elif not self._leases.has_room(BATCH):
                if is_short:
                    return False
                await self._leases.changed()
            elif not self.is_open:
                await self._pause(OPEN_SECONDS)
            elif not self._gate.lets_pass(len(self._leases.in_hand)):
                await self._pause(GATE_SECONDS)
            else:
                return True
        return False

    async def _slow_down_if_early(self, is_full: bool, took_seconds: float) -> None:
        if is_full or took_seconds >= self._wait_seconds / 2:
            self._early = 0
            return
        self._early += 1
        await self._pause(self._backoff.seconds(self._early))

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond a stop or a change of a breaker."""
        if self._is_stopping:
            return
        self._nudge.clear()
        await is_set_within(self._nudge, seconds)
