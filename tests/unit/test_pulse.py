"""A worker tells of itself: once a minute, at once after a change, and never in the way of anything."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from doubles.build import Heard, breaker_of, failure, one_route
from doubles.clock import EndingClock, EndOfTestError, HandClock, settle
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from worker import __version__
from worker.clock import Clock
from worker.errors import Blame
from worker.flow.relay import Capacity
from worker.ledger.pulse import ADDRESS, Pulse, PulseState, pulse_from, without_addresses
from worker.observe.metrics import Metrics
from worker.outages.breaker import State
from worker.process.assembly import Assembled, Plan, Ports, assemble
from worker.process.health import Health
from worker.process.pulse import LOOK_SECONDS, Heart

PLAN = Plan("host-7-abc", "task", "logs", Capacity(1, 10, 0.0, 10.0))
NAME = "oms_source_record/task/fleet/host-7-abc.json"
PULSE = Pulse(
    "host-7-abc",
    "host",
    "1.2.3",
    PulseState.READY,
    61.0,
    {"status": "ready", "reasons": [], "services": {}, "in_flight": 0},
    {"messages_received_total": 3.0},
)


class Worker:
    """A heart on a relay that does not run, and the log bucket that it writes to."""

    def __init__(self, clock: Clock) -> None:
        self.heard, self.store = Heard(), ModelStore()
        ports = Ports(
            ModelQueue(clock), one_route(ModelSink()), self.store, clock, random.Random(0)
        )
        self.assembled: Assembled = assemble(ports, PLAN, self.heard.journal)
        health = Health(self.assembled, self.heard.journal.metrics, clock.monotonic)
        self.heart = Heart(
            self.assembled.fleet,
            health,
            self.heard.journal.metrics,
            clock,
            worker=PLAN.worker,
            host="host",
        )

    def set(self, state: State, *services: str) -> None:
        for service in services or ("mns", "oss", "oms", "mns-acks"):
            breaker_of(self.assembled, service).state = state

    @property
    def pulse(self) -> Pulse:
        return pulse_from(self.store.objects[NAME])

    @property
    def puts(self) -> int:
        return len(self.store.called("put"))


async def test_a_pulse_comes_once_a_minute_with_what_moved_since_the_one_before() -> None:
    clock = EndingClock(round(190 / LOOK_SECONDS))
    worker = Worker(clock)
    worker.set(State.CLOSED)
    worker.heard.journal.received(30)
    with suppress(EndOfTestError):
        await worker.heart.run()
    assert worker.puts == 4
    told = worker.pulse
    assert (told.state, told.version, told.host) == (PulseState.READY, __version__, "host")
    assert told.totals["messages_received_total"] == 30
    assert told.rates is not None
    assert (told.rates.received, told.rates.lag_seconds) == (0.0, None)
    assert told.rates.over_seconds == pytest.approx(60, abs=LOOK_SECONDS)


async def test_rates_are_those_of_the_time_between_two_pulses() -> None:
    clock = HandClock()
    worker = Worker(clock)
    worker.set(State.CLOSED)
    await worker.heart.beat(PulseState.READY)
    assert worker.pulse.rates is None
    clock.advance(50)
    worker.heard.journal.received(100)
    worker.heard.journal.recorded("success_object", 2, [(1.0, "live"), (2.0, "live")])
    await worker.heart.beat(PulseState.READY)
    told = worker.pulse
    assert told.rates is not None
    assert (told.rates.received, told.rates.recorded, told.rates.lag_seconds) == (2.0, 0.04, 1.5)
    assert told.uptime_seconds == 50


async def test_a_change_of_state_is_told_within_seconds() -> None:
    clock = HandClock()
    worker = Worker(clock)
    worker.set(State.CLOSED)
    task = asyncio.create_task(worker.heart.run())
    await settle()
    for seconds, puts in ((LOOK_SECONDS, 1), (LOOK_SECONDS, 1)):
        clock.advance(seconds)
        await settle()
        assert worker.puts == puts
    breaker_of(worker.assembled, "oms").open(failure(Blame.SERVICE, message="no such task"))
    clock.advance(LOOK_SECONDS)
    await settle()
    assert worker.pulse.state == "not_ready"
    assert "no such task" in worker.pulse.ready["reasons"][0]
    worker.assembled.flow.receiver.stop()
    clock.advance(LOOK_SECONDS)
    await settle()
    assert worker.pulse.state == "stopping"
    task.cancel()


async def test_a_pulse_that_fails_is_no_trouble_and_tells_no_breaker() -> None:
    clock = EndingClock(3)
    worker = Worker(clock)
    worker.set(State.CLOSED)
    for blame in (Blame.SERVICE, Blame.CREDENTIALS):
        worker.store.fail("put", failure(blame))
    with suppress(EndOfTestError):
        await worker.heart.run()
    assert worker.puts == 2
    assert not breaker_of(worker.assembled, "oss").is_open
    await worker.heart.beat(PulseState.READY)
    assert worker.pulse.state is PulseState.READY


async def test_nothing_is_sent_while_the_log_bucket_cannot_be_used() -> None:
    worker = Worker(EndingClock(30))
    with suppress(EndOfTestError):
        await worker.heart.run()
    await worker.heart.stop(10.0)
    assert worker.puts == 0


@pytest.mark.parametrize(("seconds", "puts"), [(10.0, 1), (0.0, 0)])
async def test_the_last_pulse_says_stopped_unless_the_time_is_used_up(
    seconds: float, puts: int
) -> None:
    worker = Worker(HandClock())
    worker.set(State.CLOSED)
    await worker.heart.stop(seconds)
    assert worker.puts == puts
    if puts:
        assert worker.pulse.state is PulseState.STOPPED


async def test_a_last_pulse_that_hangs_holds_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(HandClock())
    worker.set(State.CLOSED)

    async def hang(*_: Any, **__: Any) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(worker.store, "put", hang)
    await worker.heart.stop(0.01)


def test_a_pulse_is_read_as_it_was_written() -> None:
    assert pulse_from(PULSE.as_bytes()) == PULSE
    more = json.loads(PULSE.as_bytes()) | {"of_a_later_version": 1}
    assert pulse_from(json.dumps(more).encode()) == PULSE


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"7", b"\xff", b"null"),
        *(
            json.dumps(json.loads(PULSE.as_bytes()) | wrong).encode()
            for wrong in ({"state": "asleep"}, {"totals": 3}, {"ready": 3}, {"rates": 3})
        ),
    ],
)
def test_what_is_no_pulse_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        pulse_from(body)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "check https://oms.cn-north-4.myhuaweicloud.com/v2/p1/sync-tasks/t now",
            f"check {ADDRESS} now",
        ),
        ("no answer from 10.0.0.7:8080", f"no answer from {ADDRESS}"),
        ("queue q at 1234.mns.cn-hangzhou.aliyuncs.com:443, gone", f"queue q at {ADDRESS}, gone"),
        (
            "grant acs:oss:*:*:logs/oms_source_record/*",
            "grant acs:oss:*:*:logs/oms_source_record/*",
        ),
        ("version 1.2.3", "version 1.2.3"),
    ],
)
def test_no_address_is_told(text: str, told: str) -> None:
    ready = {"reasons": [text], "causes": [{"advice": {"values": {"endpoint": text}}}]}
    found = json.loads(replace(PULSE, ready=ready).as_bytes())["ready"]
    assert found == {"reasons": [told], "causes": [{"advice": {"values": {"endpoint": told}}}]}
    assert without_addresses(7) == 7


def test_totals_are_those_of_the_registry() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.recorded("success_object", 2)
    metrics.recorded("failed_object", 1)
    found = metrics.totals()
    assert found["records_written_total"] == 3
    assert found["records_written_total:success_object"] == 2
