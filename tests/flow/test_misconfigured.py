"""Wrong settings against services that answer: /readyz says why, nothing is taken, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from harness import account
from harness.relay import Running, relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from localcloud.identity import ALIBABA, HUAWEI, Identity
from localcloud.oms.errors import account_frozen

KEYS = {"照片/a", "b", "c+d"}


@dataclass(frozen=True)
class Wrong:
    """Settings that are wrong, which service finds it, and words of the reason and of the hint."""

    settings: dict[str, str]
    service: str
    reason: str
    hint: str


SECRET = "a-secret-nobody-may-see"
WRONG = {
    "unknown queue": Wrong({"MNS_QUEUE": "nowhere"}, "mns", "QueueNotExist", "MNS_QUEUE"),
    "wrong Alibaba secret": Wrong(
        {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET},
        "mns",
        "SignatureDoesNotMatch",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not the secret",
    ),
    "wrong Alibaba secret, seen by OSS": Wrong(
        {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET},
        "oss",
        "SignatureDoesNotMatch",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not the secret",
    ),
    "unknown Alibaba key": Wrong(
        {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAInobody"},
        "mns",
        "403",
        "ALIBABA_CLOUD_ACCESS_KEY_ID names no enabled key",
    ),
    "unknown Alibaba key, seen by OSS": Wrong(
        {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAInobody"},
        "oss",
        "InvalidAccessKeyId",
        "ALIBABA_CLOUD_ACCESS_KEY_ID names no enabled key",
    ),
    "unknown log bucket": Wrong({"LOG_BUCKET": "nowhere"}, "oss", "NoSuchBucket", "LOG_BUCKET"),
    "wrong region": Wrong({"OSS_REGION": "cn-beijing"}, "oss", "signing region", "OSS_REGION"),
    "wrong Huawei secret": Wrong({"HW_SK": SECRET}, "oms", "APIGW.0301", "HW_SK"),
    "unknown Huawei key": Wrong({"HW_AK": "NOBODY"}, "oms", "APIGW.0301", "HW_AK"),
    "unknown task": Wrong({"SYNC_URL": "task"}, "oms", "404", "SYNC_URL"),
    "unknown project": Wrong({"SYNC_URL": "project"}, "oms", "404", "SYNC_URL"),
}


def settings_of(wrong: Wrong, cloud: LocalCloud) -> dict[str, str]:
    given, right = dict(wrong.settings), cloud.settings()["SYNC_URL"]
    if given.get("SYNC_URL") == "task":
        given["SYNC_URL"] = right.replace(account.prepared(cloud).task_id, "no-such-task")
    elif given.get("SYNC_URL") == "project":
        given["SYNC_URL"] = right.replace("0123456789abcdef", "f" * 16)
    return given


def send(cloud: LocalCloud) -> None:
    for key in KEYS:
        cloud.oss.put("source", key, key.encode())


def assert_logged(relay: Running, service: str, reason: str) -> None:
    lines = [each for each in relay.logged("breaker") if each["service"] == service]
    line = next(each for each in lines if each.get("why"))
    assert reason in str(line["why"])
    assert "receiving has stopped" in str(line["event"])
    assert line["hint"]
    assert SECRET not in repr(relay.logs)


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_settings_are_explained_and_cost_nothing(cloud: LocalCloud, name: str) -> None:
    cloud.prepare()
    send(cloud)
    wrong = WRONG[name]
    async with relaying(cloud, settings=settings_of(wrong, cloud)) as relay:
        told = await relay.not_ready(wrong.service)
        assert wrong.reason in told
        assert wrong.hint in told
        assert SECRET not in told
        assert_logged(relay, wrong.service, wrong.reason)
        assert relay.count("mns", "BatchReceiveMessage") == 0
    queue = cloud.mns.queue("oss-events")
    assert [each.dequeue_count for each in queue.peek(16, cloud.mns.store.now_ms())] == [0, 0, 0]
    cloud.oms.gateway.unlock()
    async with relaying(cloud) as relay:
        await relay.settle()
        assert (await relay.ready())[0] == 200
    account.check(cloud, KEYS)


@pytest.fixture
async def skip_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that puts the clock of the event loop forward: timers fall due at once."""
    skipped = 0.0

    def skip(seconds: float) -> None:
        nonlocal skipped
        skipped += seconds

    loop = asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + skipped)
    return skip


def failing_calls(cloud: LocalCloud) -> int:
    return sum(call.status == 401 for call in cloud.oms.served)


async def polls_of_readyz(relay: Running, times: int) -> None:
    for _ in range(times):
        await relay.ready()


async def test_a_wrong_huawei_secret_is_tried_once_in_five_minutes(
    cloud: LocalCloud, skip_time: Callable[[float], None]
) -> None:
    cloud.prepare()
    send(cloud)
    async with relaying(cloud, settings={"HW_SK": SECRET}) as relay:
        told = await relay.not_ready("oms")
        assert "once in 5 minutes" in told
        for _ in range(4):
            skip_time(60)
            await polls_of_readyz(relay, 20)
            assert failing_calls(cloud) == 1
        skip_time(61)
        await relay.until(lambda: failing_calls(cloud) == 2, "the second probe")
        await polls_of_readyz(relay, 20)
        assert failing_calls(cloud) == 2
        assert relay.count("oms", "CreateSyncEvents") == 0
        # The key is mended where it is kept; here at once, in production with the file or a restart.
        cloud.huawei.add(Identity(HUAWEI.access_key, SECRET))
        relay.breaker("oms").probe_now()
        await relay.settle()
    cloud.huawei.add(HUAWEI)
    account.check(cloud, KEYS)


async def test_a_huawei_secret_revoked_at_work_stops_all_posts(
    cloud: LocalCloud, skip_time: Callable[[float], None]
) -> None:
    cloud.prepare()
    async with relaying(cloud) as relay:
        send(cloud)
        await relay.settle()
        cloud.huawei.add(Identity(HUAWEI.access_key, "another"))
        more = {f"more {number}" for number in range(200)}
        for key in more:
            cloud.oss.put("source", key, key.encode())
        await relay.not_ready("oms")
        await relay.until(lambda: not relay.in_hand, "everything given back")
        failed = failing_calls(cloud)
        skip_time(240)
        await polls_of_readyz(relay, 20)
        assert failing_calls(cloud) == failed
        assert failed <= 5, "Huawei locks a key after more than five refusals in a row"
        assert not account.log_objects(cloud, "dead_letter")
        cloud.huawei.add(HUAWEI)
        relay.breaker("oms").probe_now()
        await relay.settle()
    account.check(cloud, KEYS | more)


@pytest.mark.parametrize("is_at_start", [True, False])
async def test_a_stopped_task_keeps_everything_in_the_queue(
    cloud: LocalCloud, is_at_start: bool
) -> None:
    cloud.prepare()
    task = cloud.oms.tasks[account.prepared(cloud).task_id]
    if is_at_start:
        task.stop()
    async with relaying(cloud) as relay:
        if not is_at_start:
            # Not while OMS is on trial: what is in hand then stays there until a trial succeeds.
            cloud.oss.put("source", "first", b"first")
            await relay.settle()
            task.stop()
        send(cloud)
        told = await relay.not_ready("oms")
        assert "STOPPED" in told or "SYNCHRONIZING" in told
        assert "SYNC_URL" in told or "start the task in the OMS console" in told
        await relay.until(lambda: not relay.in_hand, "everything given back")
        assert account.waiting(cloud) == len(KEYS)
        task.start(cloud.oms.clock.now())
        await relay.settle()
        assert (await relay.ready())[0] == 200
    account.check(cloud, KEYS)
    assert not account.log_objects(cloud, "dead_letter")
    assert not account.log_objects(cloud, "failed_object")


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_a_frozen_account_keeps_everything_in_the_queue(
    cloud: LocalCloud, layout: str
) -> None:
    cloud.prepare()
    keys = {f"key {number}" for number in range(200)}
    answer = account_frozen().reply("")
    cloud.faults.add(Fault("oms", "CreateSyncEvents", status=400, body=str(answer.body)))
    for key in keys:
        cloud.oss.put("source", key, key.encode())
    async with relaying(cloud, record_layout=layout) as relay:
        told = await relay.not_ready("oms")
        assert "400 OMS.0202" in told
        assert "the Huawei account is restricted, frozen" in told
        # ShowSyncTask says SYNCHRONIZING all along, so each probe lets a post try again.
        await relay.until(lambda: relay.count("oms", "CreateSyncEvents") > 10, "trials")
        assert account.waiting(cloud) == len(keys)
        assert not account.log_objects(cloud, "dead_letter")
        assert not account.log_objects(cloud, "failed_object")
        cloud.faults.clear()
        await relay.settle()
        assert (await relay.ready())[0] == 200
    account.check(cloud, keys)
    assert not account.log_objects(cloud, "dead_letter")
    assert not account.log_objects(cloud, "failed_object")


@pytest.mark.parametrize("service", ["mns", "oss", "oms"])
async def test_a_denied_right_is_named_and_works_once_granted(
    cloud: LocalCloud, service: str
) -> None:
    cloud.prepare()
    send(cloud)
    denied = {"mns": ("oss:*",), "oss": ("mns:*",), "oms": ("oms:synctask:get",)}[service]
    cloud.alibaba.add(replace(ALIBABA, allowed=denied if service != "oms" else ("*",)))
    cloud.huawei.add(replace(HUAWEI, allowed=denied if service == "oms" else ("*",)))
    async with relaying(cloud) as relay:
        told = await relay.not_ready(service)
        assert {"mns": "mns:", "oss": "oss:PutObject", "oms": "oms:synctask"}[service] in told
        cloud.alibaba.add(ALIBABA)
        cloud.huawei.add(HUAWEI)
        # A gateway's refusal of an action looks like one of the key: the next probe is far off.
        relay.breaker(service).probe_now()
        await relay.settle()
    account.check(cloud, KEYS)


async def test_a_wrong_clock_is_named(cloud: LocalCloud) -> None:
    cloud.prepare()
    send(cloud)
    cloud.oms.clock.offset_seconds = 3600
    async with relaying(cloud) as relay:
        told = await relay.not_ready("oms")
        assert "clock is 3600 s behind" in told or "clock is 3599 s behind" in told
        cloud.oms.clock.offset_seconds = 0
        relay.breaker("oms").probe_now()
        await relay.settle()
    account.check(cloud, KEYS)
