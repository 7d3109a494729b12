"""The life of a relay: take until told to stop, finish what is in hand, release what cannot be finished (G7).

All of it runs on ports (queue, sink, store) and an injected clock, so that simulations run it unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from worker.flow.flow import Flow
from worker.flow.route import Route
from worker.observe.journal import Journal
from worker.outages.breaker import Breaker

CARRIES_MAX = 128
SHORT_POLLS_EACH = 3
# Kept back from the grace time for releasing what could not be finished.
RELEASE_RESERVE_SECONDS = 3.0
RELEASE_NOW_SECONDS = 0.8
# MNS refuses a visibility of 0.
RELEASE_SECONDS = 1


@dataclass(slots=True)
class Stops:
    """The two stops: take no more and finish, or release and leave."""

    taking: asyncio.Event = field(default_factory=asyncio.Event)
    working: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much at once: polls, keys in a post, the wait to fill one, and the time to finish after a stop."""

    pollers: int
    batch_keys: int
    linger_seconds: float
    grace_seconds: float

    @property
    def short_polls(self) -> int:
        """How many short polls may run beside the long ones while much comes."""
        return SHORT_POLLS_EACH * self.pollers

    @property
    def polls(self) -> int:
        """How many polls may run at once."""
        return self.pollers + self.short_polls


Probe = Callable[[], Awaitable[None]]
Side = Callable[[], Coroutine[Any, Any, None]]


class Relay:
    """Runs one flow with its side tasks. If one of them dies, the relay stops and `run` raises its error."""

    def __init__(
        self,
        flow: Flow,
        probes: Iterable[tuple[Breaker, Probe]],
        sides: Iterable[Side],
        capacity: Capacity,
        journal: Journal,
    ) -> None:
        self.flow = flow
        self._probes = tuple(probes)
        self._sides = tuple(sides)
        self._capacity = capacity
        self._log = journal.log

    async def run(self, stops: Stops) -> None:
        """Work until a stop; return when nothing is in hand any more, at most the grace time later."""
        try:
            async with asyncio.TaskGroup() as group:
                sides = [
                    group.create_task(self.flow.leases.keep(), name="renew leases"),
                    group.create_task(self.flow.deleter.run(), name="delete"),
                    *(
                        group.create_task(
                            breaker.keep_probing(probe), name=f"probe {breaker.service}"
                        )
                        for breaker, probe in self._probes
                    ),
                    *(group.create_task(side(), name=side.__qualname__) for side in self._sides),
                ]
                work = group.create_task(self._work(), name="work")
                await self._until_done(stops, work)
                work.cancel()
                await asyncio.wait((work,))
                await self._release_all(RELEASE_RESERVE_SECONDS)
                for side in sides:
                    side.cancel()
        finally:
            await self._release_all(RELEASE_NOW_SECONDS)

    async def _work(self) -> None:
        """Take, carry and delete until the receiver is stopped and nothing is in hand."""
        async with asyncio.TaskGroup() as carries:
            for route in self.flow.routes:
                name = f"post {route.name}".rstrip()
                carries.create_task(self._post_loop(route, carries), name=name)
            async with asyncio.TaskGroup() as pollers:
                for number in range(self._capacity.pollers):
                    pollers.create_task(self._take_on(), name=f"receive {number}")
                for number in range(self._capacity.short_polls):
                    pollers.create_task(self._short_poll_loop(), name=f"receive more {number}")
            for route in self.flow.routes:
                route.dedupe.close()
        await self.flow.leases.wait_empty()

    async def _take_on(self) -> None:
        while not self.flow.receiver.is_stopping:
            await self.flow.take()

    async def _short_poll_loop(self) -> None:
        """Take while long polls bring much: a few of them alone are bound by latency, not by the core."""
        while not self.flow.receiver.is_stopping:
            await self.flow.receiver.backlog_permit()
            await self.flow.take(is_short=True)

    async def _post_loop(self, route: Route, carries: asyncio.TaskGroup) -> None:
        places = asyncio.Semaphore(CARRIES_MAX)
        while True:
            # A place first, then the batch: the longer keys wait, the more of them merge.
            await places.acquire()
            batch = await route.dedupe.batch(route.poster.keys_max, self._capacity.linger_seconds)
            if not batch:
                return
            carry = self.flow.carry(route, batch)
            task = carries.create_task(carry, name=f"carry {len(batch)} keys")
            task.add_done_callback(lambda _: places.release())

    async def _until_done(self, stops: Stops, work: asyncio.Task[None]) -> None:
        """Return when the work is done, the grace time is used up, or the second stop comes."""
        await _first(work, stops.taking)
        self.flow.receiver.stop()
        for breaker, _ in self._probes:
            breaker.stop()
        self._log.info(
            "stopping: no new polls; open polls return within 2 seconds, what is in hand is finished. "
            "Signal again to release it and leave at once",
            action="stop",
            in_hand=len(self.flow.leases.in_hand),
        )
        try:
            async with asyncio.timeout(
                max(0.0, self._capacity.grace_seconds - RELEASE_RESERVE_SECONDS)
            ):
                await _first(work, stops.working)
        except TimeoutError:
            self._log.warning(
                "the grace time is used up: what is still in hand is made visible again",
                action="stop",
                in_hand=len(self.flow.leases.in_hand),
            )

    async def _release_all(self, seconds: float) -> None:
        leases = self.flow.leases
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as releases:
                for held in tuple(leases.in_hand.values()):
                    releases.create_task(
                        leases.release(held, RELEASE_SECONDS, "the relay stopped"),
                        name=f"release {held.message.message_id}",
                    )
        except TimeoutError:
            self._log.warning(
                "not all messages could be released in time; they come back when their visibility ends",
                action="stop",
                in_hand=len(leases.in_hand),
            )


async def _first(work: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Wait for whichever comes first; neither is cancelled."""
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
