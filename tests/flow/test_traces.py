"""Traces of the real flow, sent to a collector on loopback: one for each message, a span for each verb."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from harness import account
from harness.collector import VERBS, Collector, collecting
from harness.relay import Running, relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.clock import SystemClock
from worker.process.app import begin_tracing

FLUSH_SECONDS = 20.0
LAYOUTS = ("object", "log")


@pytest.fixture(autouse=True)
def _no_names_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def tracing(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, *, layout: str = "object", **environ: str
) -> AsyncIterator[tuple[Running, Collector]]:
    """Run a relay that traces every message; all traces have arrived when the block ends."""
    async with collecting() as collector:
        names = collector.environ | environ
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        async with relaying(cloud, record_layout=layout) as relay:
            rng = random.Random(3)
            flush = begin_tracing(names, "worker-1", SystemClock(), rng, relay.journal)
            yield relay, collector
        await flush(FLUSH_SECONDS)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_each_message_is_one_trace_of_the_six_verbs(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    cloud.prepare()
    keys = {f"照片/{number}" for number in range(40)}
    for key in keys:
        cloud.oss.put("source", key, key.encode())
    before = time.time_ns()
    async with tracing(cloud, monkeypatch, layout=layout) as (relay, collector):
        await relay.settle()
    messages = collector.messages
    assert len(messages) == len({each.facts["message_id"] for each in messages}) == 40
    assert {each.facts["key"] for each in messages} == keys
    posts = {record["key"]: record["oms_request_id"] for record in account.records(cloud)}
    for each in messages:
        assert each.verbs == VERBS
        assert not each.is_error
        assert before <= each.root.start_time_unix_nano < each.root.end_time_unix_nano
        assert each.root.end_time_unix_nano <= time.time_ns()
        assert each.facts["outcome"] == "deleted"
        assert (each.facts["keys"], each.facts["attempt"]) == (1, 1)
        assert each.facts["oms_request_id"] == posts[each.facts["key"]]
    account.check(cloud, keys)


async def test_many_keys_are_one_trace_with_one_span_a_verb(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    cloud.oss.rules[:] = [replace(rule, events_per_message=100) for rule in cloud.oss.rules]
    cloud.oss.put_many("source", {f"k{number}": b"x" for number in range(40)})
    async with tracing(cloud, monkeypatch) as (relay, collector):
        await relay.settle()
    [one] = collector.messages
    assert one.facts["keys"] == 40
    assert sorted(one.verbs, key=VERBS.index) == VERBS
    assert one.verbs[:3] == VERBS[:3]


async def test_dead_letters_are_errors_with_the_reason(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    cloud.oms.reject = ("bad",)
    cloud.oss.put("source", "bad", b"x")
    cloud.mns.publish("oss-events", "a body that is no event")
    async with tracing(cloud, monkeypatch) as (relay, collector):
        await relay.settle()
        why = {str(line["key"]): str(line["why"]) for line in relay.logged("dead_letter")}
    found = {str(each.facts["key"]): each for each in collector.messages}
    assert found["bad"].verbs == VERBS
    assert found[""].verbs == ["receive", "decode", "record", "delete"]
    for key, each in found.items():
        assert each.is_error
        assert each.facts["outcome"] == "dead_letter"
        assert each.root.status.message == why[key]
    assert "oms_request_id" not in found[""].facts


async def test_a_message_that_goes_back_is_an_error_and_its_next_delivery_another_trace(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    # On trial, a failed write would keep its message in hand.
    cloud.oss.put("source", "before", b"x")
    async with tracing(cloud, monkeypatch) as (relay, collector):
        await relay.settle()
        cloud.faults.add(Fault("oss", "PutObject", status=403, times=1))
        cloud.oss.put("source", "key", b"x")
        await relay.settle()
    found = [each for each in collector.messages if each.facts["key"] == "key"]
    back, done = sorted(found, key=lambda each: int(each.facts["attempt"]))
    assert (back.facts["outcome"], done.facts["outcome"]) == ("released", "deleted")
    assert (back.is_error, done.is_error) == (True, False)
    assert "oss PutObject answered 403" in back.root.status.message
    assert back.facts["message_id"] == done.facts["message_id"]
    assert (back.verbs, done.verbs) == (VERBS[:-1], VERBS)


async def test_a_stop_ends_traces_where_they_are(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oms", "CreateSyncEvents", Action.HANG, seconds=60))
    cloud.oss.put("source", "key", b"x")
    async with tracing(cloud, monkeypatch) as (relay, collector):
        waiting = relay.assembled.flow.routes[0].dedupe
        await relay.until(lambda: relay.in_hand and not len(waiting), "a post under way")
    [one] = collector.messages
    assert one.facts["outcome"] == "released"
    assert one.root.status.message == "the relay stopped"
    assert one.verbs == ["receive", "decode", "dedupe"]


async def test_removals_pass_only_what_they_need(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    cloud.oss.put("source", "key", b"x")
    [message] = cloud.mns.queue("oss-events").peek(1, cloud.mns.store.now_ms())
    created = base64.b64decode(message.body).decode()
    message.body = created.replace("ObjectCreated:PutObject", "ObjectRemoved:DeleteObject")
    async with tracing(cloud, monkeypatch) as (relay, collector):
        await relay.settle()
    [one] = collector.messages
    assert one.verbs == ["receive", "decode", "delete"]
    assert one.facts["keys"] == 0


async def test_the_share_is_kept_and_the_trace_id_tells_why(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    for number in range(200):
        cloud.oss.put("source", f"key {number}", b"x")
    share = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.2"}
    async with tracing(cloud, monkeypatch, **share) as (relay, collector):
        await relay.settle()
    ids = [int.from_bytes(each.root.trace_id, "big") for each in collector.messages]
    assert 20 <= len(ids) <= 60
    assert all((each & (2**64 - 1)) / 2**64 < 0.2 for each in ids)


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_SAMPLER": "always_off"}]
)
async def test_nothing_is_sent_where_traces_are_off(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, off: dict[str, str]
) -> None:
    cloud.prepare()
    cloud.oss.put("source", "key", b"x")
    async with tracing(cloud, monkeypatch, **off) as (relay, collector):
        await relay.settle()
        assert relay.journal.traces is None
    assert not collector.bodies


async def test_no_secret_and_no_body_is_sent(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    cloud.oms.reject = ("bad",)
    for key in ("good", "bad"):
        cloud.oss.put("source", key, b"the content of an object")
    cloud.mns.publish("oss-events", "no event, " * 100)
    queue, store = cloud.mns.queue("oss-events"), cloud.mns.store
    bodies = [message.body for message in queue.peek(16, store.now_ms())]
    async with tracing(cloud, monkeypatch) as (relay, collector):
        await relay.settle()
    sent = b"".join(collector.bodies).decode(errors="replace")
    assert "good" in sent
    settings = cloud.settings()
    hidden = [settings[name] for name in settings if "KEY" in name or name.startswith("HW_")]
    assert len(hidden) >= 4
    assert not [each for each in (*hidden, *bodies, "the content") if each in sent]


async def test_the_resource_says_who_sends(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    cloud.oss.put("source", "key", b"x")
    async with tracing(cloud, monkeypatch) as (relay, collector):
        await relay.settle()
    assert collector.resource["service.name"] == "oms-relay"
    assert collector.resource["service.instance.id"] == "worker-1"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "relay-of-photos")
    cloud.oss.put("source", "other", b"x")
    async with tracing(cloud, monkeypatch) as (relay, named):
        await relay.settle()
    assert named.resource["service.name"] == "relay-of-photos"
