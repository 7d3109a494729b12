"""A pause of the fleet as one worker hears it: by the clock of the log bucket, and through its outages."""

from __future__ import annotations

import asyncio
import random

import pytest

from doubles.build import Heard, breaker_of, failure, one_route
from doubles.clock import EPOCH, HandClock, settle
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from worker.errors import Blame
from worker.flow.relay import Capacity, Stops
from worker.ledger.pause import Pause, pause_body, pause_from, pause_told
from worker.ledger.pulse import PulseState
from worker.outages.breaker import State
from worker.ports import Stored
from worker.process.assembly import Plan, Ports, assemble
from worker.process.health import Health
from worker.process.pulse import Heart

PLAN = Plan("host-7-abc", "task", "logs", Capacity(1, 10, 0.0, 10.0))
NAME = "oms_source_record/task/fleet/pause.json"
# OSS's clock is a day ahead of this machine's.
AHEAD = 86_400.0


class Readable(ModelStore):
    """A log bucket that can be read, with a clock of its own."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self.clock = clock
        self.changed_at = 0.0

    async def get(self, bucket: str, key: str) -> Stored | None:
        self.play("get", (bucket, key))
        body = self.objects.get(key)
        return None if body is None else Stored(body, self.changed_at, self.now)

    @property
    def now(self) -> float:
        return self.clock.wall() + AHEAD

    def pause(self, for_seconds: float | None) -> None:
        self.objects[NAME] = pause_body("ann", "a move", for_seconds)
        self.changed_at = self.now


class Worker:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.store, self.heard = Readable(self.clock), Heard()
        self.queue = ModelQueue(self.clock)
        ports = Ports(
            self.queue,
            one_route(ModelSink()),
            self.store,
            self.clock,
            random.Random(0),
            reads=self.store,
        )
        self.assembled = assemble(ports, PLAN, self.heard.journal)
        self.health = Health(self.assembled, self.heard.journal.metrics, self.clock.monotonic)
        assert self.assembled.pauses is not None
        self.pauses = self.assembled.pauses

    def works(self) -> None:
        for each in self.assembled.breakers:
            each.state = State.CLOSED

    @property
    def is_paused(self) -> bool:
        return self.assembled.flow.receiver.is_paused


@pytest.fixture
def worker() -> Worker:
    found = Worker()
    found.works()
    return found


async def test_nothing_is_taken_before_the_fleet_was_asked(worker: Worker) -> None:
    assert worker.is_paused
    assert worker.health.as_object()["status"] == "ready"
    await worker.pauses.look()
    assert not worker.is_paused


async def test_a_pause_ends_by_itself_by_the_clock_of_the_log_bucket(worker: Worker) -> None:
    worker.store.pause(60)
    await worker.pauses.look()
    assert worker.is_paused
    body = worker.health.as_object()
    assert (body["status"], body["reasons"]) == ("paused", [])
    assert body["paused"]["by"] == "ann"
    assert body["paused"]["reason"] == "a move"
    assert pause_told(body["paused"]) == Pause("ann", "a move", EPOCH + AHEAD, 60.0)
    assert worker.heard.count("paused") == 1
    worker.clock.advance(59)
    await worker.pauses.look()
    assert worker.is_paused
    worker.clock.advance(1)
    await worker.pauses.look()
    assert not worker.is_paused
    assert worker.heard.count("paused") == 0
    assert [line["event"].partition(":")[0] for line in worker.heard.lines] == [
        "the fleet is paused", "the fleet is paused no longer",
    ]  # fmt: skip


async def test_a_pause_without_an_end_lasts_until_its_object_is_gone(worker: Worker) -> None:
    worker.store.pause(None)
    await worker.pauses.look()
    worker.clock.advance(90 * 86_400)
    await worker.pauses.look()
    assert worker.is_paused
    assert worker.health.as_object()["paused"]["until"] is None
    del worker.store.objects[NAME]
    await worker.pauses.look()
    assert not worker.is_paused


@pytest.mark.parametrize("blame", [Blame.PASSING, Blame.SERVICE])
async def test_an_outage_of_the_log_bucket_neither_ends_a_pause_nor_makes_it_longer(
    worker: Worker, blame: Blame
) -> None:
    worker.store.pause(60)
    await worker.pauses.look()
    worker.store.fail("get", *([failure(blame)] * 3))
    worker.clock.advance(30)
    await worker.pauses.look()
    assert worker.is_paused
    breaker_of(worker.assembled, "oss").open(failure(Blame.SERVICE))
    worker.clock.advance(30)
    await worker.pauses.look()
    assert not worker.is_paused
    assert not breaker_of(worker.assembled, "oms").is_open


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"by": "", "reason": "", "for_seconds": []}']
)
async def test_an_object_that_cannot_be_read_is_no_pause(worker: Worker, body: bytes) -> None:
    worker.store.objects[NAME] = body
    await worker.pauses.look()
    assert not worker.is_paused
    with pytest.raises(ValueError, match=r"."):
        pause_from(body, 0.0)


async def test_a_relay_that_may_not_read_works_and_says_so_once(worker: Worker) -> None:
    denied = failure(
        Blame.SERVICE, service="oss", operation="GetObject", status=403, code="AccessDenied",
        resource=f"logs/{NAME}",
    )  # fmt: skip
    worker.store.fail("get", denied, denied)
    await worker.pauses.look()
    await worker.pauses.look()
    assert not worker.is_paused
    (notice,) = worker.health.as_object()["notices"]
    assert "a pause of the fleet would not be heard" in notice
    assert "grant oss:GetObject" in notice
    assert len(worker.heard.lines) == 1
    await worker.pauses.look()
    assert worker.health.as_object()["notices"] == []


async def test_a_paused_worker_is_paused_in_its_pulse_and_not_ready_where_more_is_wrong(
    worker: Worker,
) -> None:
    worker.store.pause(None)
    await worker.pauses.look()
    metrics = worker.heard.journal.metrics
    heart = Heart(
        worker.assembled.fleet, worker.health, metrics, worker.clock, worker="w", host="h"
    )
    assert heart.state() is PulseState.PAUSED
    breaker_of(worker.assembled, "oms").open(failure(Blame.SERVICE))
    assert heart.state() == "not_ready"


async def test_a_relay_at_work_stops_taking_and_takes_again(worker: Worker) -> None:
    stops = Stops()
    task = asyncio.create_task(worker.assembled.relay.run(stops))
    await settle()

    async def hears_within(seconds: int, *, is_paused: bool) -> bool:
        for _ in range(seconds):
            if worker.is_paused is is_paused:
                return True
            worker.clock.advance(1)
            await settle()
        return False

    assert await hears_within(1, is_paused=False)
    worker.store.pause(60)
    assert await hears_within(10, is_paused=True)
    assert await hears_within(70, is_paused=False)
    worker.store.pause(None)
    assert await hears_within(10, is_paused=True)
    polls = len(worker.queue.called("receive"))
    worker.clock.advance(3600)
    await settle()
    assert len(worker.queue.called("receive")) == polls
    assert worker.health.stuck() == []
    del worker.store.objects[NAME]
    assert await hears_within(10, is_paused=False)
    assert len(worker.queue.called("receive")) > polls
    stops.taking.set()
    for _ in range(20):
        worker.clock.advance(1)
        await settle()
    await task


async def test_a_poll_that_waits_is_cut_and_no_service_is_blamed(worker: Worker) -> None:
    receiver = worker.assembled.flow.receiver
    receiver.pause(is_paused=False)
    hangs = asyncio.get_running_loop().create_future()

    async def receive(wait_seconds: int) -> list[object]:
        assert wait_seconds
        await hangs
        return []

    worker.queue.receive = receive  # type: ignore[method-assign,assignment]
    poll = asyncio.create_task(receiver.receive())
    await settle()
    for limit in receiver._open_polls:
        receiver._open_polls[limit] -= 60
    receiver.pause(is_paused=True)
    assert await poll == []
    assert hangs.cancelled()
    assert not breaker_of(worker.assembled, "mns").is_open
    assert worker.assembled.flow.leases.has_room(1000)
