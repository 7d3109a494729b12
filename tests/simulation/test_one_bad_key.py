"""One key, or one record name, that a service always fails on while it works for all others."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence

import pytest

from doubles.build import Heard, one_route
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from simulation.loop import LoopClock, VirtualLoop
from simulation.mutants_of_trial import STARVING, Planted
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.events.event import Message
from worker.flow.relay import Capacity, Stops
from worker.process.assembly import Assembled, Plan, Ports, assemble

# Measured elsewhere, line for line, and far slower under the tracer.
pytestmark = pytest.mark.no_cover

HOURS = 2
FAILURES = {
    "500": Failure("oms", "CreateSyncEvents", Outcome.RETRY_LATER, Blame.PASSING, 500),
    "403": Failure("oms", "CreateSyncEvents", Outcome.RETRY_LATER, Blame.SERVICE, 403),
}
OF_A_RECORD = {
    "500": Failure("oss", "PutObject", Outcome.UNKNOWN, Blame.PASSING, 500),
    "403": Failure("oss", "PutObject", Outcome.RETRY_LATER, Blame.SERVICE, 403, "AccessDenied"),
    "409": Failure("oss", "PutObject", Outcome.RETRY_LATER, Blame.SERVICE, 409, "FileImmutable"),
}


def event(key: str) -> str:
    about = {"bucket": {"name": "films"}, "object": {"key": key}}
    return json.dumps({"events": [{"eventName": "ObjectCreated:PutObject", "oss": about}]})


class SlowQueue(ModelQueue):
    """A queue in memory whose calls take time, and whose long polls wait."""

    async def receive(self, wait_seconds: int) -> list[Message]:
        await asyncio.sleep(0.02)
        found = await super().receive(wait_seconds)
        await asyncio.sleep(0.0 if found else wait_seconds)
        return found

    async def delete(self, handles: list[str]) -> dict[str, str]:
        await asyncio.sleep(0.02)
        return await super().delete(handles)


class BadSink(ModelSink):
    """A sync task that fails on posts with the key `bad`."""

    def __init__(self, failure: Failure | None) -> None:
        super().__init__()
        self.failure = failure

    async def post(self, keys: Sequence[str]) -> str:
        await asyncio.sleep(0.05)
        if "bad" in keys and self.failure is not None:
            raise CallFailed(self.failure)
        return await super().post(keys)


class BadStore(ModelStore):
    """A bucket that never takes the record of the key `unrecordable`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure

    async def put(
        self, bucket: str, key: str, body: bytes, content_type: str, *, may_replace: bool = True
    ) -> None:
        await asyncio.sleep(0.02)
        if key.endswith("/unrecordable"):
            raise CallFailed(self.failure)
        await super().put(bucket, key, body, content_type, may_replace=may_replace)


class World:
    """A relay over these services, a full queue at first and a new object each half hour."""

    def __init__(
        self,
        keys: Sequence[str],
        failure: Failure | None = None,
        of_a_record: Failure = OF_A_RECORD["500"],
    ) -> None:
        rng = random.Random(1)
        self.loop = VirtualLoop(rng)
        self.clock = LoopClock(self.loop)
        self.queue, self.sink = SlowQueue(self.clock), BadSink(failure)
        self.queue.send(*map(event, keys))
        self.later: list[str] = []
        self.store, self.heard = BadStore(of_a_record), Heard()
        ports = Ports(self.queue, one_route(self.sink), self.store, self.clock, rng)
        plan = Plan("w", "t", "logs", Capacity(4, 10, 0.02, 45.0), max_deliveries=5, wait_seconds=1)
        self.relay: Assembled = assemble(ports, plan, self.heard.journal)

    def live(self) -> None:
        try:
            self.loop.run(self.loop.create_task(self._live()))
        finally:
            self.loop.close()

    async def _live(self) -> None:
        stops = Stops()
        running = asyncio.create_task(self.relay.relay.run(stops))
        for number in range(2 * HOURS):
            await asyncio.sleep(1800.0)
            self.later.append(f"later {number}")
            self.queue.send(event(self.later[-1]))
        await asyncio.sleep(600.0)
        stops.taking.set()
        stops.working.set()
        await running


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("status", FAILURES)
def test_a_key_that_oms_always_fails_on_sinks_no_other(status: str, is_first: bool) -> None:
    good = [f"good {number}" for number in range(40)]
    world = World(["bad", *good] if is_first else [*good, "bad"], FAILURES[status])
    world.live()
    assert set(world.sink.accepted) == {*good, *world.later}
    assert not world.queue.stored, "it ends as a dead letter, since the service works for others"


@pytest.mark.parametrize("status", OF_A_RECORD)
def test_a_record_that_oss_always_fails_on_sinks_no_other(status: str) -> None:
    good = [f"good {number}" for number in range(40)]
    world = World(["unrecordable", *good], of_a_record=OF_A_RECORD[status])
    world.live()
    assert set(world.sink.accepted) == {"unrecordable", *good, *world.later}
    assert not world.queue.stored


class QuietWorld(World):
    """The same, after a first probe that fails, until shortly before the first new object."""

    async def _live(self) -> None:
        self.sink.fail("show", FAILURES["500"])
        stops = Stops()
        running = asyncio.create_task(self.relay.relay.run(stops))
        await asyncio.sleep(1500.0)
        stops.taking.set()
        stops.working.set()
        await running


@pytest.mark.parametrize("keys", ["bad a b c", "a bad b c", "a b c bad"])
@pytest.mark.parametrize("status", FAILURES)
def test_after_an_outage_a_bad_key_sinks_none_of_its_batch_though_nothing_else_comes(
    status: str, keys: str
) -> None:
    world = QuietWorld(keys.split(), FAILURES[status])
    world.live()
    assert set(world.sink.accepted) == {"a", "b", "c"}


@pytest.mark.parametrize("bug", STARVING)
def test_a_bug_in_the_trial_lets_a_bad_key_sink_others(bug: Callable[[], Planted]) -> None:
    good, many = ([f"good {number}" for number in range(count)] for count in (40, 100))
    with bug():
        worlds = [
            QuietWorld(["bad", "good"], FAILURES["500"]),
            World(["bad", *good], FAILURES["500"]),
            World([*many, "bad"], FAILURES["403"]),
        ]
        for world in worlds:
            world.live()
    expected = ({"good"}, {*good, *worlds[1].later}, {*many, *worlds[2].later})
    assert any(
        keys - set(world.sink.accepted) for keys, world in zip(expected, worlds, strict=True)
    )


class BusyWorld(World):
    """The same, with 20 new objects a second for two minutes, the bad one after a while."""

    async def _live(self) -> None:
        stops = Stops()
        running = asyncio.create_task(self.relay.relay.run(stops))
        for number in range(20 * 120):
            await asyncio.sleep(0.05)
            self.later.append(f"later {number}")
            self.queue.send(event(self.later[-1]))
            if number == 100:
                self.queue.send(event("bad"), event("unrecordable"))
        await asyncio.sleep(5.0)
        stops.taking.set()
        await running

    @property
    def openings(self) -> list[str]:
        return [line["why"] for line in self.heard.lines if line["log_level"] == "error"]


@pytest.mark.parametrize("of_a_record", ["403", "409"])
def test_what_is_refused_for_ever_never_stops_what_works(of_a_record: str) -> None:
    world = BusyWorld([], FAILURES["403"], OF_A_RECORD[of_a_record])
    world.live()
    assert world.openings == []
    assert set(world.sink.accepted) == {"unrecordable", *world.later}
    dead = [name for name in world.store.objects if "/dead_letter/max-deliveries/" in name]
    assert len(dead) == 2
    assert not world.queue.stored
