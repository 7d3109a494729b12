from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from doubles.build import failure
from harness.ops import calls, put_letter
from harness.relay import Running, relaying
from harness.site import Site, site
from harness.until import until
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.advice import Cause
from worker.clock import SystemClock
from worker.console.overview import overview
from worker.console.words import load
from worker.operate.status import QueueStatus, Status, TaskStatus, WorkerStatus
from worker.operate.workers import Sample

CHINESE = {"Accept_Language": "zh-CN,zh;q=0.9,en;q=0.5"}


@pytest.fixture
def cloud(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    return cloud


async def test_the_overview_tells_that_no_worker_answers(cloud: LocalCloud) -> None:
    async with site(cloud, watches=True) as console:
        await looked(console)
        page = await console.get("/")
        assert "No worker answers at http://127.0.0.1:9." in page.text
        assert "Nothing is lost" in page.text


async def test_the_overview_is_alive_with_a_relay_at_work(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    async with relaying(cloud) as relay, watching(cloud, relay) as console:
        await looked(console)
        cloud.oss.put("source", "a", b"x")
        await until(lambda: bool(flow(console)), "a second look at the worker")
        view = await console.json("/api/overview")
        assert view["headline"]["text"] == "The relay works. Waiting for a decision: 1 dead letter."
        assert [each["name"] for each in view["charts"]] == [
            "flow", "lag", "depth", "in_flight", "oms", "dead",
        ]  # fmt: skip
        assert view["charts"][0]["lines"][0]["path"].startswith("M")
        assert view["workers"][0]["state"] == "ok"
        assert {each["name"] for each in view["workers"][0]["services"]} >= {"MNS", "OSS", "OMS"}
        assert view["causes"][0]["href"] == "/letters?cause=rejected"


async def test_an_open_breaker_is_shown_with_its_reason_and_the_next_step(
    cloud: LocalCloud,
) -> None:
    async with relaying(cloud) as relay, watching(cloud, relay) as console:
        assert cloud.prepared is not None
        cloud.oms.tasks[cloud.prepared.task_id].stop()
        cloud.oss.put("source", "a", b"x")
        await relay.not_ready("oms")
        await console.get("/")
        await until(
            lambda: any(not each.sample.is_ready for each in console.here.watch.workers),
            "a look at the worker that is not ready",
        )
        await looked(console)
        view = await console.json("/api/overview")
        assert view["headline"]["state"] == "bad"
        assert "STOPPED" in view["headline"]["text"]
        page = await console.get("/", **CHINESE)
        assert "不可用" in page.text
        assert "请检查 SYNC_URL" in page.text or "请在 OMS 控制台启动该任务" in page.text, (
            "the hint in the reader's language"
        )


async def test_parts_that_cannot_be_read_are_named_with_the_next_step(cloud: LocalCloud) -> None:
    cloud.faults.add(Fault("mns", "*", Action.STATUS, 403))
    async with site(cloud, watches=True) as console:
        await looked(console)
        view = await console.json("/api/overview")
        assert [each["part"] for each in view["problems"]] == ["Queue"]
        assert view["problems"][0]["next"].startswith("Check ")


async def test_watching_never_locks_a_key_that_oms_refuses(cloud: LocalCloud) -> None:
    cloud.faults.add(Fault("oms", "ShowSyncTask", Action.STATUS, 401))
    async with site(cloud, watches=True) as console:
        await looked(console)
        await until(lambda: len(console.here.watch.depths) > 3, "several looks")
        view = await console.json("/api/overview")
    assert calls(cloud, "oms", "ShowSyncTask") == 1
    assert view["problems"][0]["part"] == "OMS task"
    assert "lock the key" in view["problems"][0]["next"]


WELL = Sample("http://w", 1.0, is_ready=True, services={"mns": "closed", "new": "odd"})
QUEUE = QueueStatus("q", 5, 1, 0, 1000, 10.0)
TASK = TaskStatus("SYNCHRONIZING", 7, 6, 1, 0)


@pytest.mark.parametrize(
    ("workers", "changes", "state", "text"),
    [
        ([WELL], {}, "ok", "Everything works."),
        ([], {}, "unknown", "Looking at"),
        ([WELL], {"dead_letters": {"rejected": 2}}, "warn", "2 dead letters"),
        ([WELL], {"errors": {"queue": failure()}}, "warn", "Not everything"),
        ([WELL, Sample("http://b", 1.0, "refused")], {}, "warn", "http://b does not answer"),
        ([WELL], {"task": replace(TASK, status="STOPPED")}, "bad", "OMS task is STOPPED"),
        ([WELL], {"queue": replace(QUEUE, oldest_seconds=600.0)}, "bad", "waited 10 min"),
        ([replace(WELL, is_ready=False, causes=(Cause("stopping"),))], {}, "bad", "stopping"),
        ([Sample("http://b", 1.0, "refused")], {}, "bad", "No worker answers"),
    ],
)
async def test_the_worst_comes_first_in_one_sentence(
    cloud: LocalCloud, workers: list[Sample], changes: dict[str, Any], state: str, text: str
) -> None:
    async with site(cloud) as console:
        watch = console.here.watch
        watch.workers = tuple(WorkerStatus(each, None) for each in workers)
        watch.status = replace(Status(0.0, QUEUE, None, {}, TASK, ()), **changes)
        for language in ("en", "zh"):
            view = overview(watch, load()[language], 0.0)
            assert view["headline"]["state"] == state
            assert view["headline"]["next"]
            if language == "en":
                assert text in view["headline"]["text"]
        assert (await console.get("/")).status == 200


@pytest.mark.parametrize(
    ("language", "value", "note"),
    [
        ("en", "unknown", "MNS's counters all read 0; 3 visible"),
        ("zh", "未知", "MNS 的计数器均为 0；可见 3 条"),  # noqa: RUF001  as it is written
    ],
)
async def test_a_queue_that_mns_does_not_count_is_unknown_and_not_empty(
    cloud: LocalCloud, language: str, value: str, note: str
) -> None:
    async with site(cloud) as console:
        watch = console.here.watch
        watch.workers = (WorkerStatus(WELL, None),)
        queue = QueueStatus("q", None, None, None, 1000, 10.0, 3)
        watch.status = Status(0.0, queue, None, {}, TASK, ())
        words = load()[language]
        tiles = {each["label"]: each for each in overview(watch, words, 0.0)["tiles"]}
        tile = tiles[words("tile.depth")]
        assert (tile["value"], tile["note"], tile["state"]) == (value, note, "")
        page = await console.get("/")
        assert page.status == 200


async def test_the_chart_of_the_depth_has_a_gap_where_mns_does_not_count(cloud: LocalCloud) -> None:
    cloud.mns.behaviour.counters_read_zero = True
    cloud.oss.put("source", "a", b"x")
    async with site(cloud, watches=True) as console:
        await looked(console)
        assert console.here.watch.depths[0].waiting is None


def watching(cloud: LocalCloud, relay: Running) -> AbstractAsyncContextManager[Site]:
    # On the machine's own clock: a look every 50 ms would keep the relay's queue from being quiet.
    return site(cloud, clock=SystemClock(), watches=True, workers=(relay.admin_url,))


def flow(console: Site) -> list[float]:
    return [each.rate_in for each in console.here.watch.moments if each.rate_in is not None]


async def looked(console: Site) -> None:
    watch = console.here.watch
    await console.get("/")
    await until(lambda: watch.status is not None and bool(watch.workers), "a first look")
