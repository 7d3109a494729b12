from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doubles.build import failure
from harness.ops import connected, put_letter, put_object
from harness.relay import HurriedClock, free_port, relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.oms.task import Statistic
from worker.commands.status import _lines, as_object, needs_you
from worker.errors import Blame, CallFailed
from worker.ledger.names import BRAKE
from worker.operate import status
from worker.operate.arrival import Sight
from worker.operate.status import StatusBoard
from worker.operate.workers import Sample, rates


async def test_every_part_is_told(cloud: LocalCloud) -> None:
    cloud.prepare(dead_letter_queue="dead")
    now = cloud.oms.clock.now()
    task = next(iter(cloud.oms.tasks.values()))
    for statistic, count in ((Statistic.REQUEST, 9), (Statistic.FAILURE, 2), (Statistic.SKIP, 1)):
        task.count(statistic, count, now)
    cloud.mns.clock.offset_seconds = -86_400
    cloud.mns.publish("oss-events", "old")
    cloud.mns.clock.offset_seconds = 0
    cloud.mns.publish("oss-events", "new")
    cloud.mns.publish("dead", "buried")
    put_letter(cloud, 1)
    put_letter(cloud, 2)
    put_letter(cloud, 3, cause="undecodable")
    async with connected(cloud) as clients:
        found = await StatusBoard(clients).look()
    assert not found.errors
    assert found.queue is not None
    assert found.dead_letter_queue is not None
    assert found.task is not None
    assert (found.queue.active, found.queue.inactive, found.queue.delayed) == (2, 0, 0)
    assert found.queue.oldest_seconds == pytest.approx(86_400, abs=100)
    assert found.queue.retention_share == pytest.approx(0.25, abs=0.01)
    assert (found.dead_letter_queue.name, found.dead_letter_queue.active) == ("dead", 1)
    assert found.task.source_bucket == "source"
    assert found.is_log_source is False
    assert found.events is not None
    assert found.events.text == "unknown: no visible message can be read"
    assert found.dead_letters == {"rejected": 2, "undecodable": 1}
    assert (found.task.accepted, found.task.failed, found.task.skipped) == (9, 2, 1)


async def test_an_empty_relay_is_told_as_empty(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with connected(cloud) as clients:
        found = await StatusBoard(clients).look()
    assert found.queue is not None
    assert (found.queue.oldest_seconds, found.queue.retention_share) == (None, 0.0)
    assert (found.dead_letter_queue, found.dead_letters, found.workers) == (None, {}, ())


@pytest.mark.parametrize(
    ("service", "missing"),
    [
        ("mns", {"queue"}),
        ("oss", {"dead_letters", "brake", "last_account", "fleet"}),
        ("oms", {"task"}),
    ],
)
async def test_a_part_that_cannot_be_read_hides_no_other(
    cloud: LocalCloud, service: str, missing: set[str]
) -> None:
    cloud.prepare()
    cloud.faults.add(Fault(service, action=Action.STATUS, status=403))
    async with connected(cloud) as clients:
        found = await StatusBoard(clients).look()
    assert found.errors.keys() == missing
    assert all(failure.status == 403 for failure in found.errors.values())
    parts = {
        "queue": found.queue,
        "dead_letters": found.dead_letters,
        "task": found.task,
        "fleet": found.fleet,
    }
    assert {name for name, part in parts.items() if part is None} == missing & parts.keys()


async def test_workers_are_asked_how_fast_and_how_well_they_work(cloud: LocalCloud) -> None:
    cloud.prepare()
    gone = f"http://127.0.0.1:{free_port()}"
    async with relaying(cloud) as relay, connected(cloud) as clients:
        board = StatusBoard(clients, [relay.admin_url, gone])
        await relay.until(lambda: not relay.breaker("oms").is_open, "a relay that works")
        await board.look()
        cloud.oss.put_many("source", {f"k{n}": b"content" for n in range(20)})
        await relay.settle()
        found = await board.look()
        alive, dead = found.workers
        assert alive.sample.is_ready
        assert alive.sample.services.keys() == {"mns", "mns-acks", "oss", "oms"}
        assert alive.rates is not None
        assert alive.rates.recorded * alive.rates.over_seconds == pytest.approx(20)
        assert alive.rates.lag_seconds is not None
        assert (dead.rates, dead.sample.error) == (None, "Connection refused")
        cloud.faults.add(Fault("oms", action=Action.STATUS, status=404))
        cloud.oss.put("source", "another", b"content")
        await relay.until(
            lambda: (failure := relay.breaker("oms").failure) and failure.blame is Blame.SERVICE,
            "an open breaker",
        )
        sample = (await board.look()).workers[0].sample
    assert not sample.is_ready
    assert any("oms" in reason for reason in sample.reasons)


async def test_whether_copies_arrive_is_told_by_the_workers(cloud: LocalCloud) -> None:
    cloud.prepare()
    named = cloud.settings(with_destination=True)
    following = named | {"RELAY_ARRIVAL_RATIO": "1"}
    async with (
        relaying(cloud, settings=following) as relay,
        connected(cloud, settings=named) as clients,
    ):
        board = StatusBoard(clients, [relay.admin_url])
        await relay.until(lambda: not relay.breaker("obs").is_open, "a destination that is seen")
        before = (await board.look()).arrival
        assert (before.sight, before.hour and before.hour.share) == (Sight.SEEN, None)
        cloud.oss.put_many("source", {f"k{n}": b"content" for n in range(5)})
        await relay.until(lambda: relay.arrivals("arrived") == 5, "five copies")
        found = await board.look()
    assert found.arrival.hour is not None
    assert found.arrival.day is not None
    assert (found.arrival.hour.followed, found.arrival.day.share) == (5, 1.0)
    assert found.arrival.hour.p99 is not None
    assert found.arrival.promised_seconds == 900
    assert found.arrival.copy_backlog == 0
    assert (found.levels.announced, found.levels.recorded) == (5, 5)
    assert (found.levels.arrived, found.levels.proved) == (5, 5)
    assert as_object(found)["arrival"]["1h"]["in_time"] == 5
    assert as_object(found)["levels"]["announced"] == 5


async def test_refused_credentials_rest_for_five_minutes_from_the_refusal(
    cloud: LocalCloud,
) -> None:
    class Clock(HurriedClock):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    class Refusing:
        asked = 0

        async def show(self) -> None:
            self.asked += 1
            clock.now += 10.0
            raise CallFailed(failure(Blame.CREDENTIALS, status=401))

    cloud.prepare()
    clock, sink = Clock(), Refusing()
    async with connected(cloud, clock) as clients:
        board = StatusBoard(replace(clients, routes={"": cast("Any", SimpleNamespace(sink=sink))}))
        await board.look()
        clock.now = 309.0
        assert (await board.look()).errors["task"].status == 401
        assert sink.asked == 1
        clock.now = 310.0
        await board.look()
    assert sink.asked == 2


async def test_a_count_for_which_there_is_no_time_is_a_lower_bound_and_never_none(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stalling:
        """The store, whose listings do not end."""

        def __init__(self, store: Any) -> None:
            self.get = store.get
            self.stalls_at = "/dead_letter/rejected/"
            self._list = store.list

        async def list(self, bucket: str, prefix: str, **options: Any) -> AsyncIterator[Any]:
            async for page in self._list(bucket, prefix, **options):
                if self.stalls_at == "/dead_letter/" and prefix.endswith(self.stalls_at):
                    await asyncio.Event().wait()
                yield page
            if prefix.endswith(self.stalls_at):
                await asyncio.Event().wait()

    monkeypatch.setattr(status, "PART_SECONDS", 0.3)
    cloud.prepare()
    async with connected(cloud) as clients:
        store = Stalling(clients.store)
        board = StatusBoard(replace(clients, store=cast("Any", store)))
        put_letter(cloud, 1, cause="undecodable")
        assert not (await board.look()).are_more_dead
        put_letter(cloud, 2)
        found = await board.look()
        assert (found.dead_letters, found.are_more_dead) == ({"rejected": 1}, True)
        told = {name: text for name, text, _ in _lines(found)}
        assert told["dead letters"].startswith("1+ rejected; there was no time to count all")
        store.stalls_at = "/dead_letter/"
        found = await board.look()
        assert (found.dead_letters, found.are_more_dead) == (None, False)
        assert "within" in str(found.errors["dead_letters"])


async def test_something_else_than_a_worker_is_an_error(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with connected(cloud) as clients:
        found = await StatusBoard(clients, [cloud.admin.url, "no url"]).look()
    assert all(each.sample.error for each in found.workers)


def test_a_restart_between_two_looks_gives_no_rates() -> None:
    before, now = Sample("u", 0.0, received=10), Sample("u", 5.0, received=3)
    assert rates(before, now) is None
    assert rates(now, before) is None
    assert rates(before, Sample("u", 5.0, received=20)) is not None


async def test_a_brake_that_is_on_needs_somebody(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_object(cloud, BRAKE, b"")
    async with connected(cloud) as clients:
        found = await StatusBoard(clients).look()
    assert found.brake == ("",)
    assert "deletions" in needs_you(found)
