"""Deletions in the source beside the flow: carried over to the destination, put off, or held for people."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from worker.clock import Clock
from worker.events.event import ObjectEvent
from worker.flow.bury import DeadLetters
from worker.flow.delete import Deleter
from worker.flow.lease import Held, Leases
from worker.ledger.letter import Cause
from worker.ports import QueueAttributes

AT_ONCE = 8
IN_HAND_MAX = 64
# When there is no room, a message comes back so much later.
CROWDED_SECONDS = 60
# Until MNS has said how long the queue keeps a message.
KEEPS_SECONDS_MIN = 86_400.0
# So late a message that was put off may come back.
LATE_SECONDS = 3600.0


class Deletion(NamedTuple):
    """With neither a wait nor `is_held` all is done. `why` says why it is not."""

    wait_seconds: int = 0
    why: str = ""
    is_held: bool = False


DONE = Deletion()


class Deletions(Protocol):
    """Carries deletions over to the destination."""

    async def carry(
        self, deletions: Sequence[tuple[ObjectEvent, str]], *, deliveries: int = 1
    ) -> Deletion:
        """Carry out the deletions of one message; each is an event and the key that it names.

        `deliveries` says how often the message was delivered.
        """
        ...


class Propagation:
    """Ends messages that announce deletions, a few at a time: a slow destination holds up no change.

    `routes` has for each route its deletions, and where its dead letters go.
    """

    def __init__(
        self,
        routes: Mapping[str, tuple[Deletions, DeadLetters]],
        leases: Leases,
        deleter: Deleter,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._leases = leases
        self._deleter = deleter
        self._clock = clock
        self._keeps_seconds = KEEPS_SECONDS_MIN
        self._waiting: asyncio.Queue[Held] = asyncio.Queue(IN_HAND_MAX)

    def see(self, found: QueueAttributes) -> None:
        """Learn how long the queue keeps a message."""
        self._keeps_seconds = float(found.retention_seconds) or KEEPS_SECONDS_MIN

    def _is_forgotten_in(self, held: Held, seconds: int) -> bool:
        """Whether the queue may forget a message before it comes back and can be kept."""
        age = self._clock.wall() - held.message.enqueue_time_ms / 1000
        margin = min(LATE_SECONDS, self._keeps_seconds / 4)
        return age + seconds > self._keeps_seconds - margin

    async def take(self, held: Held) -> None:
        """Take a message whose changes are all done; without room it is put off at once."""
        try:
            self._waiting.put_nowait(held)
        except asyncio.QueueFull:
            await self._leases.postpone(held, CROWDED_SECONDS, "many deletions are on their way")

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self._work(), name=f"delete copies {number}")

    async def _work(self) -> None:
        while True:
            held = await self._waiting.get()
            # It may have been released meanwhile, at the end of the grace time.
            if not held.is_leaving:
                await self._end(held)

    async def _end(self, held: Held) -> None:
        for route in dict.fromkeys(each.route for each in held.deletions):
            deletions, dead_letters = self._routes[route]
            removals = [(each.event, each.key) for each in held.deletions if each.route == route]
            end = await deletions.carry(removals, deliveries=held.message.dequeue_count)
            if end.is_held:
                await self._hold(held, dead_letters, end.why)
                return
            if end.wait_seconds and self._is_forgotten_in(held, end.wait_seconds):
                why = f"put off until the queue would have forgotten it, then redrive: {end.why}"
                await self._hold(held, dead_letters, why)
                return
            if end.wait_seconds:
                await self._leases.postpone(held, end.wait_seconds, end.why)
                return
        self._deleter.delete(held)

    async def _hold(self, held: Held, dead_letters: DeadLetters, why: str) -> None:
        cause = Cause.DELETION_HELD
        failure = await dead_letters.write(held.message, cause, why, held.rejected)
        if failure is None:
            self._deleter.delete(held, end="dead_letter", why=f"{cause}: {why}")
        else:
            await self._leases.give_back(held, str(failure))
