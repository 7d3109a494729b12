from __future__ import annotations

import asyncio
import json
import random

import pytest

from doubles.build import Heard, breaker_of, failure, looking, one_route
from doubles.clock import HandClock, settle
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from simulation.loop import LoopClock, VirtualLoop
from worker.errors import Blame, CallFailed
from worker.events.event import Message
from worker.flow.relay import Capacity, Stops
from worker.flow.source_lookup import BLIND_SECONDS, Looks
from worker.outages.breaker import State
from worker.process.assembly import Plan, Ports, assemble

PASSING = failure(service="oss", operation="HeadObject", status=503)


class Bench:
    """Looks at a bucket that holds `there`, and says so when it is let."""

    def __init__(self) -> None:
        self.clock, self.heard, self.store = HandClock(), Heard(), ModelStore()
        self.store.objects["there"] = b""
        self.service = looking(self.clock, self.heard.journal)
        self.looks = Looks(self.store, self.service)

    async def look(self, key: str = "there") -> bool | None:
        return await self.looks.exists("films", key)

    @property
    def made(self) -> int:
        return len(self.store.called("exists"))

    def counted(self, result: str) -> float:
        names = {"service": "oss", "operation": "HeadObject", "result": result}
        return self.heard.count("call_seconds_count", **names)


class Hanging(ModelStore):
    """Answers no look before it is told how."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def exists(self, bucket: str, key: str) -> bool | None:
        self.play("exists", (bucket, key))
        return await asyncio.shield(self.answer)

    def fail(self, *_: object) -> None:
        self.answer.set_exception(CallFailed(PASSING))
        self.answer = asyncio.get_running_loop().create_future()


async def test_a_look_says_whether_the_object_is_there() -> None:
    bench = Bench()
    assert await bench.look() is True
    assert await bench.look("gone") is False
    assert bench.counted("ok") == 2


async def test_nobody_looks_while_it_is_no_use() -> None:
    bench = Bench()
    bench.service.breaker.state = State.OPEN
    assert await bench.look() is None
    assert bench.made == 0
    bench.service.breaker.state = State.CLOSED
    assert await bench.look() is True


async def test_looks_tell_the_breaker_nothing() -> None:
    bench = Bench()
    breaker = bench.service.breaker
    breaker.state = State.TRIAL
    assert await bench.look() is True
    assert breaker.state is State.TRIAL
    bench.store.fail("exists", failure(Blame.CREDENTIALS, service="oss"))
    assert await bench.look() is None
    assert breaker.state is State.TRIAL


@pytest.mark.parametrize("blame", [Blame.PASSING, Blame.CREDENTIALS])
async def test_a_failed_look_says_nothing_and_spares_the_next_ones_for_a_while(
    blame: Blame,
) -> None:
    bench = Bench()
    bench.store.fail("exists", failure(blame, service="oss"))
    assert await bench.look() is None
    assert bench.counted(blame) == 1
    assert await bench.look() is None
    assert bench.made == 1
    bench.clock.advance(BLIND_SECONDS)
    assert await bench.look() is True
    assert await bench.look() is True
    assert bench.made == 3


async def test_looks_that_hang_hold_up_one_message_at_a_time() -> None:
    bench = Bench()
    store = bench.looks._store = Hanging()
    first = [asyncio.create_task(bench.look()) for _ in range(5)]
    await settle()
    assert len(store.called("exists")) == 1, "the limit begins with one call"
    store.fail()
    assert await asyncio.gather(*first) == [None] * 5
    assert len(store.called("exists")) == 1, "those that waited for their place were spared"
    bench.clock.advance(BLIND_SECONDS)
    trial = asyncio.create_task(bench.look())
    await settle()
    bench.clock.advance(30.0)
    assert [await bench.look() for _ in range(5)] == [None] * 5
    store.answer.set_result(True)
    assert await trial is True
    assert await bench.look() is True


async def test_a_trial_that_is_cancelled_lets_another_be_made() -> None:
    bench = Bench()
    bench.store.fail("exists", PASSING)
    await bench.look()
    bench.clock.advance(BLIND_SECONDS)
    good, bench.looks._store = bench.looks._store, Hanging()
    trial = asyncio.create_task(bench.look())
    await settle()
    trial.cancel()
    await asyncio.wait((trial,))
    bench.looks._store = good
    assert await bench.look() is True
    assert bench.service.limit.in_flight == 0


class Brisk(ModelQueue):
    """Its long polls return as soon as there is something."""

    async def receive(self, wait_seconds: int) -> list[Message]:
        for _ in range(wait_seconds * 10 + 1):
            await asyncio.sleep(0.1)
            if found := await super().receive(wait_seconds):
                return found
        return []


class Halved(ModelStore):
    """Its source bucket (`exists`) or its log bucket (`put`) fails in passing; the other one works."""

    failing = ""

    async def put(
        self, bucket: str, key: str, body: bytes, content_type: str, *, may_replace: bool = True
    ) -> None:
        await self.answer("put")
        await super().put(bucket, key, body, content_type, may_replace=may_replace)

    async def exists(self, bucket: str, key: str) -> bool | None:
        await self.answer("exists")
        return bucket == "films" and "%" in key

    async def answer(self, operation: str) -> None:
        await asyncio.sleep(0.01)
        if operation == self.failing:
            raise CallFailed(failure(service="oss", operation=operation, status=503))


def body(key: str) -> str:
    oss = {"bucket": {"name": "films"}, "object": {"key": key}}
    return json.dumps({"events": [{"eventName": "ObjectCreated:PutObject", "oss": oss}]})


class World:
    """A relay, an ambiguous key each second, and half of OSS down from the first to the tenth minute."""

    def __init__(self) -> None:
        self.loop = VirtualLoop(random.Random(1))
        clock = LoopClock(self.loop)
        self.queue, self.store, self.sink = Brisk(clock), Halved(), ModelSink()
        self.queue.send(*(body(f"a%20b/{number}") for number in range(600)))
        for number, stored in enumerate(self.queue.stored.values()):
            stored.visible_at = float(number)
        ports = Ports(self.queue, one_route(self.sink), self.store, clock, random.Random(1))
        plan = Plan("w-1", "task", "logs", Capacity(4, 10, 0.02, 45.0))
        self.assembled = assemble(ports, plan, Heard().journal)
        self.seconds_open = self.deliveries_max = 0

    def live(self, failing: str) -> None:
        try:
            self.loop.run(self.loop.create_task(self._live(failing)))
        finally:
            self.loop.close()

    async def _live(self, failing: str) -> None:
        stops = Stops()
        running = asyncio.create_task(self.assembled.relay.run(stops))
        await asyncio.sleep(60)
        self.store.failing = failing
        for _ in range(540):
            await asyncio.sleep(1)
            self.seconds_open += breaker_of(self.assembled, "oss").is_open
        counts = [each.dequeue_count for each in self.queue.stored.values()]
        self.deliveries_max = max(counts, default=0)
        self.store.failing = ""
        await asyncio.sleep(300)
        stops.taking.set()
        await running

    def records(self) -> int:
        return sum("/success_object/" in name for name in self.store.objects)


def test_looks_that_work_do_not_hide_that_no_record_can_be_written() -> None:
    world = World()
    world.live("put")
    assert world.seconds_open > 500
    assert world.deliveries_max <= 3
    assert not world.queue.stored
    assert not any("dead_letter" in name for name in world.store.objects)
    assert world.records() >= 600


def test_looks_that_fail_do_not_stop_what_can_be_done_without() -> None:
    world = World()
    world.live("exists")
    assert world.seconds_open == 0
    assert not world.queue.stored
    assert {f"a%20b/{number}" for number in range(600)} <= set(world.sink.accepted)
    # Those whose names were not known are posted under each.
    assert 500 < sum(key.startswith("a b/") for key in world.sink.accepted) <= 540
