"""Every fault on every call that the relay makes: nothing is lost, and the final account adds up."""

from __future__ import annotations

import asyncio
import random

import pytest

from harness import account, deletes
from harness.relay import Running, relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.mns import Attributes
from worker.outages.breaker import FAILURES_MIN

# Measured elsewhere, line for line, and far slower under the tracer.
pytestmark = pytest.mark.no_cover

CALLS = (
    ("mns", "BatchReceiveMessage"),
    ("mns", "BatchDeleteMessage"),
    ("mns", "ChangeMessageVisibility"),
    ("mns", "GetQueueAttributes"),
    ("oss", "PutObject"),
    ("oss", "HeadObject"),
    ("oms", "CreateSyncEvents"),
    ("oms", "ShowSyncTask"),
)
DENIED = """<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>No.</Message>
<RequestId>5C0E</RequestId><HostId>http://127.0.0.1</HostId></Error>"""
FAULTS = {
    "503": Fault(status=503, body="busy"),
    "429": Fault(status=429, headers={"Retry-After": "1"}),
    "500": Fault(status=500, body="<html>Internal Server Error</html>", content_type="text/html"),
    "404": Fault(status=404),
    "403": Fault(status=403, body=DENIED),
    "301": Fault(status=301, headers={"Location": "http://127.0.0.1:9/"}),
    "cut before": Fault(action=Action.CUT_BEFORE),
    "cut after": Fault(action=Action.CUT_AFTER),
    "hang": Fault(action=Action.HANG, seconds=0.05),
    "hang after": Fault(action=Action.HANG_AFTER, seconds=0.05),
    "latency": Fault(action=Action.LATENCY, seconds=0.05),
    "truncate": Fault(action=Action.TRUNCATE),
}
# An ambiguous key makes the relay look at the source (HeadObject).
KEYS = ("plain", "照片/é", "a%41+b")


# A look at the source, the queue or the task goes no other way when records are lines of a log.
LOOKS = {"GetQueueAttributes", "HeadObject", "ShowSyncTask"}


@pytest.mark.parametrize(
    ("service", "operation", "layout"),
    [
        (*call, layout)
        for call in CALLS
        for layout in ("object", "log")
        if layout == "object" or call[1] not in LOOKS
    ],
)
async def test_no_fault_on_any_call_loses_anything(
    monkeypatch: pytest.MonkeyPatch, service: str, operation: str, layout: str
) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for name, fault in FAULTS.items():
            struck = Fault(
                **(fault.as_json() | {"service": service, "operation": operation, "times": 2})
            )
            side_by_side.create_task(_survive(struck, layout, monkeypatch), name=name)


async def _survive(fault: Fault, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalCloud(seed=1) as cloud:
        cloud.prepare(attributes=Attributes(visibility_timeout=2))
        early = deletes.watch(cloud, monkeypatch)
        cloud.faults.add(fault)
        async with relaying(cloud, record_layout=layout, max_deliveries=1000) as relay:
            if fault.operation == "ChangeMessageVisibility":
                await _make_give_back(relay)
            for key in KEYS:
                cloud.oss.put("source", key, key.encode())
            await relay.settle()
        assert fault.times is not None
        assert fault.times < 2, "the fault has struck nobody"
        account.check(cloud, set(KEYS))
        assert not early
        assert not account.log_objects(cloud, "dead_letter")


async def _make_give_back(relay: Running) -> None:
    """Let the next posts meet a task that takes no events, so that their messages are given back.

    A post has to succeed before: the first one of all is on trial, and held until it succeeds.
    """
    relay.cloud.oss.put("source", KEYS[0], b"first")
    await relay.settle()
    relay.cloud.faults.add(Fault("oms", "CreateSyncEvents", status=404, times=FAILURES_MIN))


STORM = (
    ("mns", Action.STATUS, 0.05),
    ("mns", Action.CUT_BEFORE, 0.03),
    ("mns", Action.CUT_AFTER, 0.05),
    ("mns", Action.TRUNCATE, 0.02),
    ("oss", Action.STATUS, 0.05),
    ("oss", Action.CUT_BEFORE, 0.03),
    ("oss", Action.CUT_AFTER, 0.05),
    ("oms", Action.STATUS, 0.05),
    ("oms", Action.CUT_BEFORE, 0.03),
    ("oms", Action.CUT_AFTER, 0.05),
)


@pytest.mark.parametrize("layout", ["object", "log"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_faults_ends_with_an_account_that_adds_up(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, seed: int, layout: str
) -> None:
    cloud.prepare()
    cloud.oms.delay_seconds = 0.0
    early = deletes.watch(cloud, monkeypatch)
    rng = random.Random(seed)
    for service, action, probability in STORM:
        cloud.faults.add(Fault(service, action=action, probability=probability))
    for name, probability in (("duplicate", 0.2), ("reorder", 0.5)):
        fault = Fault("mns", action=Action.CUSTOM, name=name, probability=probability)
        cloud.faults.add(fault)
    sent: set[str] = set()
    async with relaying(cloud, record_layout=layout, max_deliveries=1000) as relay:
        for number in range(300):
            key = f"{rng.choice(KEYS)}/{rng.randrange(200)}"
            sent.add(key)
            cloud.oss.put("source", key, bytes(number))
        await relay.settle()
    account.check(cloud, sent)
    assert not early
    assert not account.log_objects(cloud, "dead_letter")


async def test_messages_that_stay_visible_and_change_their_order_are_synced(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    early = deletes.watch(cloud, monkeypatch)
    for name in ("duplicate", "reorder"):
        cloud.faults.add(Fault("mns", action=Action.CUSTOM, name=name, times=100))
    for number in range(100):
        cloud.oss.put("source", f"key {number}", b"x")
    async with relaying(cloud) as relay:
        await relay.settle()
    account.check(cloud, {f"key {number}" for number in range(100)})
    assert not early
    assert sum(account.posted(cloud).values()) <= 110


@pytest.mark.parametrize("polls_max", [0, 1])
async def test_polls_that_are_answered_too_early_do_not_spin(
    cloud: LocalCloud, polls_max: int
) -> None:
    cloud.prepare()
    cloud.mns.behaviour.long_polls_max = polls_max
    async with relaying(cloud) as relay:
        loop_time = asyncio.get_running_loop().time
        ends_at = loop_time() + 1.0
        await relay.until(lambda: loop_time() > ends_at, "a second of an empty queue")
        assert relay.count("mns", "BatchReceiveMessage") < 100
        cloud.oss.put("source", "late", b"x")
        await relay.settle()
    account.check(cloud, {"late"})
