from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from doubles.build import Heard, failure, service
from doubles.clock import QuickClock, settle, until
from doubles.hurry import hurried
from doubles.vendors import ModelQueue
from worker.errors import Blame
from worker.flow.delete import LINGER_SECONDS, ROUNDS_MAX, Deleter
from worker.flow.lease import Held, Leases
from worker.ports import BATCH


class Bench:
    """A deleter over a queue in memory."""

    def __init__(self) -> None:
        self.clock = QuickClock()
        self.heard = Heard()
        journal = self.heard.journal
        self.queue = ModelQueue(self.clock)
        self.leases = Leases(self.queue, self.clock, journal, visibility_seconds=30, limit=1000)
        self.service = service(self.clock, journal, attempts_max=2)
        self.deleter = Deleter(self.queue, self.service, self.leases, self.clock, journal)

    async def take(self, count: int) -> list[Held]:
        self.queue.send(*["body"] * count)
        taken: list[Held] = []
        while len(taken) < count:
            taken += self.leases.hold(await self.queue.receive(0))
        return taken

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.deleter.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def finish(self, messages: list[Held]) -> None:
        with hurried():
            async with self.running():
                for held in messages:
                    self.deleter.delete(held)
                await until(lambda: not self.leases.in_hand)
                await settle()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_finished_messages_are_deleted_in_batches_of_sixteen(bench: Bench) -> None:
    await bench.finish(await bench.take(40))
    assert bench.queue.stored == {}
    assert sorted(len(handles) for handles in bench.queue.called("delete")) == [8, BATCH, BATCH]
    assert bench.heard.count("messages_deleted_total") == 40


async def test_a_full_batch_leaves_without_lingering(bench: Bench) -> None:
    messages = await bench.take(BATCH)
    async with bench.running():
        await settle()
        for held in messages[:-1]:
            bench.deleter.delete(held)
        await settle()
        assert bench.queue.called("delete") == []
        bench.deleter.delete(messages[-1])
        await settle()
        assert len(bench.queue.called("delete")) == 1


async def test_a_lone_message_lingers_for_company_but_not_for_long(bench: Bench) -> None:
    with hurried() as asked:
        (held,) = await bench.take(1)
        async with bench.running():
            bench.deleter.delete(held)
            await until(lambda: not bench.queue.stored)
    assert asked == [LINGER_SECONDS]


async def test_each_message_ends_with_one_line_that_says_how(bench: Bench) -> None:
    first, second = await bench.take(2)
    bench.clock.now += 1.5
    with hurried():
        async with bench.running():
            bench.deleter.delete(first)
            bench.deleter.delete(second, end="dead_letter")
            await until(lambda: len(bench.heard.lines) == 2)
    assert [(line["message_id"], line["outcome"]) for line in bench.heard.lines] == [
        ("M000", "deleted"),
        ("M001", "dead_letter"),
    ]
    assert {line["took_ms"] for line in bench.heard.lines} == {1500}


async def test_a_renewal_under_way_is_waited_for_and_its_handle_used(bench: Bench) -> None:
    (held,) = await bench.take(1)
    renewed = asyncio.Event()

    async def renew() -> None:
        await renewed.wait()
        handle = await bench.queue.change_visibility(held.receipt_handle, 30)
        assert handle
        held.receipt_handle = handle

    held.renewal = asyncio.create_task(renew())
    with hurried():
        async with bench.running():
            bench.deleter.delete(held)
            await settle()
            assert bench.queue.called("delete") == []
            renewed.set()
            await until(lambda: not bench.queue.stored)


async def test_a_slow_call_holds_up_nobody(bench: Bench) -> None:
    messages = await bench.take(2 * BATCH)
    may_end = asyncio.Event()
    delete = bench.queue.delete
    slow = [messages[0].receipt_handle]

    async def delete_slowly(handles: list[str]) -> dict[str, str]:
        if handles[:1] == slow:
            await may_end.wait()
        return await delete(handles)

    bench.queue.delete = delete_slowly  # type: ignore[method-assign]
    async with bench.running():
        for held in messages:
            bench.deleter.delete(held)
        await until(lambda: len(bench.queue.stored) == BATCH)
        may_end.set()
        await until(lambda: not bench.queue.stored)


async def test_what_fails_in_a_batch_is_repeated_alone(bench: Bench) -> None:
    messages = await bench.take(3)
    refused = {messages[1].receipt_handle: "InternalError"}
    delete, calls = bench.queue.delete, []

    async def delete_all_but_one(handles: list[str]) -> dict[str, str]:
        calls.append(handles)
        failed = refused if len(calls) == 1 else {}
        await delete([handle for handle in handles if handle not in failed])
        return failed

    bench.queue.delete = delete_all_but_one  # type: ignore[method-assign]
    await bench.finish(messages)
    assert [len(handles) for handles in calls] == [3, 1]
    assert bench.queue.stored == {}
    assert bench.heard.count("messages_deleted_total") == 3


async def test_what_fails_again_and_again_is_left_to_its_lease(bench: Bench) -> None:
    messages = await bench.take(2)
    stubborn = messages[0].receipt_handle
    calls = []

    async def refuse_one(handles: list[str]) -> dict[str, str]:
        calls.append(handles)
        return {stubborn: "InternalError"}

    bench.queue.delete = refuse_one  # type: ignore[method-assign]
    await bench.finish(messages)
    assert len(calls) == ROUNDS_MAX
    assert [line["message_id"] for line in bench.heard.lines] == ["M001"]
    assert bench.heard.count("messages_deleted_total") == 1


@pytest.mark.parametrize("blame", [Blame.PASSING, Blame.SERVICE, Blame.ITEM])
async def test_a_call_that_fails_for_good_is_harmless(bench: Bench, blame: Blame) -> None:
    """The messages come back, and dedupe knows their events."""
    messages = await bench.take(3)
    bench.queue.fail("delete", *[failure(blame)] * 2)
    await bench.finish(messages)
    assert len(bench.queue.stored) == 3
    assert bench.heard.count("messages_deleted_total") == 0
    assert [line["event"] for line in bench.heard.lines if line.get("message_id")] == []
