"""A model of one MNS queue: visibility, rotating handles, dequeue counts, and every liberty MNS takes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.bodies import Letter
from simulation.loop import EPOCH, VirtualLoop
from simulation.wire import Exchange, Wire
from worker.events.event import Message
from worker.ports import BATCH, QueueAttributes

if TYPE_CHECKING:
    from simulation.oracles import Oracles
    from simulation.process import Process

POLL_EXTRA_SECONDS = 20.0
CALL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Habits:
    """What MNS does now and then. `exposed_share`: of messages handed out and still visible to others."""

    visibility_seconds: int = 30
    exposed_share: float = 0.0
    is_short: bool = True
    undeleted_share: float = 0.0
    gone_poll_share: float = 0.3


@dataclass(slots=True, eq=False)
class Lease:
    """A message handed out: to whom, and whether the holder has let it go or was given no fair chance."""

    process: Process
    troubles: int
    is_delivered: bool = False
    is_let_go: bool = False
    is_exposed: bool = False
    is_doubtful: bool = False


@dataclass(slots=True, eq=False)
class Stored:
    """A message in the queue."""

    message_id: str
    letter: Letter
    sent_at: float
    visible_at: float = 0.0
    dequeue_count: int = 0
    leases: int = 0
    lease: Lease | None = None
    was_exposed: bool = False

    @property
    def handle(self) -> str:
        """The only receipt handle that is good now."""
        return f"{self.message_id}-{self.leases}"


class QueueModel:
    """The service's side."""

    def __init__(
        self, loop: VirtualLoop, habits: Habits, rng: random.Random, oracles: Oracles
    ) -> None:
        self.habits = habits
        self.messages: dict[str, Stored] = {}
        self._loop = loop
        self._rng = rng
        self._oracles = oracles
        self._polls: list[tuple[Exchange[list[Message]], Process]] = []
        self._sent = 0
        self._is_empty = asyncio.Event()

    def send(self, letter: Letter) -> None:
        """Take a message in."""
        self._sent += 1
        stored = Stored(f"M{self._sent:04}", letter, self._loop.time(), self._loop.time())
        self.messages[stored.message_id] = stored
        self._is_empty.clear()
        self._oracles.sent(stored)
        self._serve_polls()

    def poll(self, exchange: Exchange[list[Message]], process: Process, wait_seconds: int) -> None:
        """Answer with what is visible, or wait for it; at the latest a little before the time is up."""
        if exchange.is_early:
            exchange.answer([])
            return
        self._polls.append((exchange, process))
        self._serve_polls()
        if (exchange, process) in self._polls:
            seconds = wait_seconds * self._rng.uniform(0.8, 1.0)
            self._loop.call_later(seconds, self._end_poll, exchange, process)

    def delete(
        self, exchange: Exchange[dict[str, str]], process: Process, handles: list[str]
    ) -> None:
        """Delete under live handles; dead ones count as deleted, as the client reports them."""
        failed = {}
        for handle in handles:
            stored = self._live(handle, process)
            if stored is None:
                continue
            if self._rng.random() < self.habits.undeleted_share:
                process.troubled("mns")
                failed[handle] = "InternalError"
                continue
            self._oracles.deleting(process, stored)
            del self.messages[stored.message_id]
            if not self.messages:
                self._is_empty.set()
        exchange.answer(failed)

    def change(
        self, exchange: Exchange[str | None], process: Process, handle: str, seconds: int
    ) -> None:
        """Let a message stay invisible for so long from now, under a new handle."""
        stored = self._live(handle, process)
        if stored is None:
            exchange.answer(None)
            return
        stored.leases += 1
        self._lease_until(stored, self._loop.time() + seconds)
        self._oracles.ledger.note(process.name, "visibility", (stored.message_id, seconds))
        exchange.answer(stored.handle)

    def attributes(self) -> QueueAttributes:
        """Tell of the queue; what was handed out is inactive until it is deleted or its visibility ends."""
        inactive = self.in_hand()
        seconds = self.habits.visibility_seconds
        return QueueAttributes(seconds, 345_600, len(self.messages) - inactive, inactive, 0)

    def in_hand(self) -> int:
        """Count what is in somebody's hands, or hidden after it was."""
        now = self._loop.time()
        return sum(each.visible_at > now for each in self.messages.values())

    async def emptied(self, seconds: float) -> None:
        """Wait until no message is left, but not for ever."""
        try:
            async with asyncio.timeout(seconds):
                while self.messages:
                    await self._is_empty.wait()
        except TimeoutError:
            pass

    def held_by(self, handle: str) -> Stored | None:
        """Return the message that this handle, live or stale, was made for."""
        return self.messages.get(handle.partition("-")[0])

    def _live(self, handle: str, process: Process) -> Stored | None:
        stored = self.held_by(handle)
        if stored is None:
            return None
        if stored.handle != handle or stored.visible_at <= self._loop.time():
            self._oracles.stale_handle(process, stored, handle)
            return None
        return stored

    def _lease_until(self, stored: Stored, at: float) -> None:
        stored.visible_at = at
        self._loop.call_at(at, self._serve_polls)

    def _serve_polls(self) -> None:
        waiting = self._polls
        while waiting and (visible := self._visible()):
            exchange, process = waiting.pop(int(self._rng.random() * len(waiting)))
            if exchange.is_gone and self._rng.random() >= self.habits.gone_poll_share:
                continue
            self._rng.shuffle(visible)
            count = self._rng.randint(1, BATCH) if self.habits.is_short else BATCH
            exchange.answer([self._hand_out(each, process) for each in visible[:count]])

    def _visible(self) -> list[Stored]:
        now = self._loop.time()
        return [
            each
            for each in self.messages.values()
            if each.visible_at <= now or (each.lease is not None and each.lease.is_exposed)
        ]

    def _hand_out(self, stored: Stored, process: Process) -> Message:
        self._oracles.handing_out(process, stored)
        stored.dequeue_count += 1
        stored.leases += 1
        before, stored.lease = stored.lease, Lease(process, process.troubles)
        is_early = before is not None and stored.visible_at > self._loop.time()
        stored.lease.is_doubtful = is_early or stored.message_id in process.in_hand
        stored.lease.is_exposed = self._rng.random() < self.habits.exposed_share
        stored.was_exposed |= stored.lease.is_exposed
        self._lease_until(stored, self._loop.time() + self.habits.visibility_seconds)
        return Message(
            stored.message_id,
            stored.letter.body,
            stored.handle,
            stored.dequeue_count,
            int((EPOCH + stored.sent_at) * 1000),
        )

    def _end_poll(self, exchange: Exchange[list[Message]], process: Process) -> None:
        if (exchange, process) in self._polls:
            self._polls.remove((exchange, process))
            exchange.answer([])


class QueuePort:
    """The near side: what `worker.clouds.mns.MnsClient` is in production."""

    def __init__(self, model: QueueModel, wire: Wire, process: Process, oracles: Oracles) -> None:
        self._model = model
        self._wire = wire
        self._process = process
        self._oracles = oracles

    async def receive(self, wait_seconds: int) -> list[Message]:
        """Long-poll for up to 16 messages."""
        await self._process.breathe()
        messages: list[Message] = await self._wire.call(
            "receive",
            lambda exchange: self._model.poll(exchange, self._process, wait_seconds),
            wait_seconds + POLL_EXTRA_SECONDS,
        )
        self._oracles.received(self._process, messages)
        return messages

    async def delete(self, handles: list[str]) -> dict[str, str]:
        """Delete up to 16 messages; return what failed, by handle."""
        await self._process.breathe()
        self._oracles.delete_asked(self._process, handles)
        return await self._wire.call(
            "delete",
            lambda exchange: self._model.delete(exchange, self._process, handles),
            CALL_SECONDS,
        )

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        """Return the new handle; None if the lease is lost."""
        await self._process.breathe()
        self._oracles.change_asked(self._process, handle, seconds)
        return await self._wire.call(
            "renew" if seconds == self._model.habits.visibility_seconds else "release",
            lambda exchange: self._model.change(exchange, self._process, handle, seconds),
            CALL_SECONDS,
        )

    async def attributes(self) -> QueueAttributes:
        """Return the queue's attributes."""
        return await self._wire.call(
            "attributes", lambda exchange: exchange.answer(self._model.attributes()), CALL_SECONDS
        )
