from __future__ import annotations

import json
from dataclasses import replace

import pytest

from doubles.build import Heard, failure
from doubles.clock import QuickClock
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from worker.advice import advise
from worker.errors import Blame, CallFailed
from worker.flow.lease import Leases
from worker.flow.source import Source
from worker.ledger.names import probe_name
from worker.outages.probes import Probes

DENIED = failure(Blame.SERVICE, status=403, code="AccessDenied")
FAILURES = [
    failure(),
    failure(Blame.SERVICE, status=404),
    failure(Blame.CREDENTIALS, status=401),
    failure(Blame.CREDENTIALS, status=403),
]


class Bench:
    def __init__(self) -> None:
        self.clock = QuickClock()
        self.heard = Heard()
        self.probes = Probes(self.clock, self.heard.journal)
        self.queue = ModelQueue(self.clock, visibility_seconds=90)
        self.leases = Leases(
            self.queue, self.clock, self.heard.journal, visibility_seconds=30, limit=100
        )
        self.sink = ModelSink()
        self.source = Source()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_the_queues_visibility_becomes_the_length_of_our_leases(bench: Bench) -> None:
    await bench.probes.queue(bench.queue, bench.leases.follow)
    assert bench.leases.visibility_seconds == 90


async def test_a_denied_look_at_the_queue_is_no_verdict_on_it(bench: Bench) -> None:
    bench.queue.fail("attributes", replace(DENIED, service="mns"))
    await bench.probes.queue(bench.queue, bench.leases.follow)
    assert bench.leases.visibility_seconds == 30
    (line,) = bench.heard.lines
    assert "grant mns:" in line["event"]


@pytest.mark.parametrize("fault", FAILURES)
async def test_a_queue_that_cannot_be_used_fails_its_probe(bench: Bench, fault: object) -> None:
    bench.queue.fail("attributes", fault)  # type: ignore[arg-type]
    with pytest.raises(CallFailed):
        await bench.probes.queue(bench.queue, bench.leases.follow)


async def test_the_store_is_probed_by_the_right_that_records_need(bench: Bench) -> None:
    store = ModelStore()
    await bench.probes.store(store, "logs", probe_name("task"))
    (body,) = store.objects.values()
    assert list(store.objects) == ["oms_source_record/task/probe/relay.json"]
    assert json.loads(body) == {"probed_at": "2026-09-21T14:13:20+00:00"}


@pytest.mark.parametrize("fault", [DENIED, *FAILURES])
async def test_a_store_that_refuses_a_write_fails_its_probe(bench: Bench, fault: object) -> None:
    store = ModelStore()
    store.fail("put", fault)  # type: ignore[arg-type]
    with pytest.raises(CallFailed):
        await bench.probes.store(store, "logs", probe_name("task"))


async def test_a_synchronizing_task_passes(bench: Bench) -> None:
    await bench.probes.sink(bench.sink, bench.source.learn, "logs")
    assert bench.heard.lines == []


@pytest.mark.parametrize(("status", "text"), [("STOPPED", "STOPPED"), ("", "an unknown state")])
async def test_a_task_that_takes_no_events_fails_its_probe(
    bench: Bench, status: str, text: str
) -> None:
    bench.sink.status = status
    with pytest.raises(CallFailed, match=text) as raised:
        await bench.probes.sink(bench.sink, bench.source.learn, "logs")
    assert raised.value.failure.blame is Blame.SERVICE


async def test_a_denied_look_at_the_task_is_no_verdict_on_it(bench: Bench) -> None:
    bench.sink.fail("show", DENIED)
    await bench.probes.sink(bench.sink, bench.source.learn, "logs")
    (line,) = bench.heard.lines
    assert "grant oms:synctask:get" in line["event"]
    assert bench.source.is_unreadable
    await bench.probes.sink(bench.sink, bench.source.learn, "logs")
    assert not bench.source.is_unreadable


@pytest.mark.parametrize("fault", FAILURES)
async def test_a_task_that_cannot_be_asked_fails_its_probe(bench: Bench, fault: object) -> None:
    bench.sink.fail("show", fault)  # type: ignore[arg-type]
    with pytest.raises(CallFailed):
        await bench.probes.sink(bench.sink, bench.source.learn, "logs")


async def test_the_probe_learns_which_bucket_the_task_copies(bench: Bench) -> None:
    bench.sink.source_bucket = "films"
    await bench.probes.sink(bench.sink, bench.source.learn, "logs")
    assert bench.source.bucket == "films"


async def test_a_task_that_copies_the_log_bucket_is_refused(bench: Bench) -> None:
    bench.sink.source_bucket = "logs"
    with pytest.raises(CallFailed, match="copies LOG_BUCKET") as raised:
        await bench.probes.sink(bench.sink, bench.source.learn, "logs")
    assert advise(raised.value.failure).name == "oms.log_is_source"
    assert raised.value.failure.blame is Blame.SERVICE
