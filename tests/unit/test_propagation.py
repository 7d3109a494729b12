"""Deletions run beside the flow: however slow the destination, messages of changes go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from doubles.build import Heard, event, held, service
from doubles.clock import QuickClock, settle
from doubles.vendors import ModelQueue, ModelStore
from worker.events.event import Kind, ObjectEvent
from worker.flow.bury import DeadLetters
from worker.flow.delete import Deleter
from worker.flow.deletion import AT_ONCE, CROWDED_SECONDS, DONE, IN_HAND_MAX, Deletion, Propagation
from worker.flow.lease import Held, Leases, Removal
from worker.flow.record import Records
from worker.ports import QueueAttributes


class Slow:
    """A destination that answers when the test lets it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = asyncio.Event()
        self.end = DONE

    async def carry(
        self, deletions: Sequence[tuple[ObjectEvent, str]], *, deliveries: int = 1
    ) -> Deletion:
        assert deliveries == 1
        self.begun += [key for _, key in deletions]
        await self.may_end.wait()
        return self.end


class Bench:
    def __init__(self) -> None:
        self.clock, self.heard, self.slow = QuickClock(), Heard(), Slow()
        journal = self.heard.journal
        self.queue = ModelQueue(self.clock)
        self.leases = Leases(self.queue, self.clock, journal, visibility_seconds=30, limit=1000)
        calls = service(self.clock, journal)
        deleter = Deleter(self.queue, calls, self.leases, self.clock, journal)
        store = ModelStore()
        records = Records(store, calls, "logs", "task", self.clock, journal)
        letters = DeadLetters(records, "w", self.clock)
        self.store = store
        self.propagation = Propagation({"": (self.slow, letters)}, self.leases, deleter, self.clock)
        self.ended: list[Held] = []
        deleter.delete = lambda each, **_: self.ended.append(each)  # type: ignore[method-assign]

    async def take(self, number: int) -> Held:
        """Hand over the message of a deletion; this must never wait."""
        found = held(f"M{number}")
        key = f"k{number}"
        found.deletions = (Removal("", event(key, kind=Kind.REMOVED), key),)
        taking = asyncio.ensure_future(self.propagation.take(found))
        await settle()
        assert taking.done()
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.propagation.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_few_at_a_time_are_carried_out_and_the_others_wait(bench: Bench) -> None:
    async with bench.running():
        for number in range(AT_ONCE + 5):
            await bench.take(number)
        assert bench.slow.begun == [f"k{number}" for number in range(AT_ONCE)]
        assert bench.ended == []
        bench.slow.may_end.set()
        await settle()
        assert len(bench.ended) == AT_ONCE + 5


async def test_where_there_is_no_room_a_deletion_is_put_off_and_nobody_waits(bench: Bench) -> None:
    put_off: list[tuple[Held, int]] = []

    async def postpone(held: Held, seconds: int, why: str) -> None:
        assert why
        put_off.append((held, seconds))

    bench.leases.postpone = postpone  # type: ignore[method-assign]
    async with bench.running():
        taken = [await bench.take(number) for number in range(AT_ONCE + IN_HAND_MAX + 3)]
        assert put_off == [(each, CROWDED_SECONDS) for each in taken[-3:]]
        assert len(bench.slow.begun) == AT_ONCE


async def test_what_was_released_meanwhile_is_not_carried_out(bench: Bench) -> None:
    async with bench.running():
        for number in range(AT_ONCE):
            await bench.take(number)
        late = await bench.take(99)
        late.is_leaving = True
        bench.slow.may_end.set()
        await settle()
    assert "k99" not in bench.slow.begun
    assert late not in bench.ended


@pytest.mark.parametrize(("days", "is_kept"), [(1, False), (3.9, True), (5, True)])
async def test_before_the_queue_forgets_what_is_put_off_it_becomes_a_dead_letter(
    bench: Bench, days: float, is_kept: bool
) -> None:
    put_off: list[str] = []

    async def postpone(held: Held, seconds: int, why: str) -> None:
        put_off.append(f"{held.message.message_id} {seconds} {why}")

    bench.leases.postpone = postpone  # type: ignore[method-assign]
    bench.propagation.see(QueueAttributes(30, 345_600, 0, 0, 0))
    bench.slow.end = Deletion(21_600, "the task may not be read")
    bench.slow.may_end.set()
    async with bench.running():
        late = held("M1")
        enqueued = int((bench.clock.wall() - days * 86_400) * 1000)
        late.message = late.message._replace(enqueue_time_ms=enqueued)
        late.deletions = (Removal("", event("k", kind=Kind.REMOVED), "k"),)
        await bench.propagation.take(late)
        await settle()
    letters = [body for name, body in bench.store.objects.items() if "/dead_letter/" in name]
    assert len(letters) == len(bench.ended) == is_kept
    assert len(put_off) == (not is_kept)
    assert all(b"the task may not be read" in body for body in letters)
