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
from worker import __version__
from worker.advice import Cause
from worker.arrival.history import ArrivalSpan
from worker.clock import SystemClock
from worker.console.overview import empty_in, overview
from worker.console.watch import Moment
from worker.console.words import load
from worker.operate.arrival import Told
from worker.operate.status import QueueStatus, Status, TaskStatus
from worker.operate.workers import Sample, WorkerStatus

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
            lambda: any(
                "STOPPED" in str(each.sample.reasons) for each in console.here.watch.workers
            ),
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
TASK = TaskStatus("SYNCHRONIZING", 7, 6, 0, 1)
FAILING = {"task": replace(TASK, failed=270)}
SPAN = ArrivalSpan(9_990, 10, 12, 0, 8.0, 41.0, 3600.0)
TOLD = Told(SPAN, SPAN, 900.0, 3, 120)
SEEN = replace(WELL, announced=12, accepted=11, arrived=5, proved=4, arrival=TOLD)


def told(**changes: Any) -> Sample:
    return replace(SEEN, arrival=replace(TOLD, **changes))


LATE = told(hour=ArrivalSpan(99, 1))
GIVEN_UP = told(day=replace(SPAN, given_up=1))
UNSEEN = told(cause=Cause("obs refused", None, "grant it"))


@pytest.mark.parametrize(
    ("workers", "changes", "state", "text"),
    [
        ([WELL], {}, "ok", "The relay works. Whether copies arrive is not looked at."),
        ([], {}, "unknown", "Looking at"),
        ([WELL], {"dead_letters": {"rejected": 2}}, "warn", "2 dead letters"),
        ([WELL], {"errors": {"queue": failure()}}, "unknown", "could be read: Queue."),
        ([WELL], {"task": replace(TASK, status="")}, "unknown", "does not tell its state"),
        ([WELL, Sample("http://b", 1.0, "refused")], {}, "warn", "http://b does not answer"),
        ([WELL], {"task": replace(TASK, status="STOPPED")}, "bad", "OMS task is STOPPED"),
        ([WELL], {"queue": replace(QUEUE, oldest_seconds=600.0)}, "bad", "waited 10 min"),
        ([replace(WELL, is_ready=False, causes=(Cause("stopping"),))], {}, "bad", "stopping"),
        ([Sample("http://b", 1.0, "refused")], {}, "bad", "No worker answers"),
        ([SEEN], {}, "ok", "Everything works."),
        ([WELL], FAILING, "bad", "failed to copy 270 objects this month, and nothing announces"),
        ([SEEN], FAILING, "bad", "OMS failed to copy 270 objects this month."),
        ([GIVEN_UP], {}, "bad", "1 change did not arrive"),
        ([LATE], {}, "bad", "99.00% of the last hour were there within 15 min"),
        ([told(day=ArrivalSpan())], {}, "unknown", "Whether copies arrive is not known"),
        ([told(hour=ArrivalSpan(5, unknown=1))], {}, "unknown", "Of 1 of 6 followed keys"),
        ([told(day=ArrivalSpan(5, unknown=1))], {}, "unknown", "Of many followed keys"),
        ([told(hour=ArrivalSpan(98, 2, unknown=9))], {}, "bad", "89.90% of the last hour"),
        ([UNSEEN], {}, "warn", "whether copies arrive cannot be seen: obs refused"),
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


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_five_levels_and_what_was_in_time_are_shown(
    cloud: LocalCloud, language: str
) -> None:
    async with site(cloud) as console:
        watch, words = console.here.watch, load()[language]
        watch.workers = (WorkerStatus(SEEN, None), WorkerStatus(LATE, None))
        watch.status = Status(0.0, QUEUE, None, {}, TASK, ())
        shown = overview(watch, words, 0.0)["arrival"]
        levels = [(each["label"], each["value"], each["state"]) for each in shown["levels"]]
        assert levels == [
            (words("level.announced"), "24", ""),
            (words("level.recorded"), "22", ""),
            (words("level.done"), "7", ""),
            (words("level.arrived"), "10", ""),
            (words("level.proved"), "8", ""),
        ]
        tiles = {each["label"]: each for each in shown["tiles"]}
        hour, day = tiles[words("tile.share_hour")], tiles[words("tile.share_day")]
        assert (hour["value"], hour["state"]) == ("99.89%", "bad")
        assert (day["value"], day["state"]) == ("99.90%", "ok")
        assert tiles[words("tile.late")]["value"] == "20"
        assert tiles[words("tile.backlog")]["value"] == "120"
        assert [each["name"] for each in shown["charts"]] == ["arrival", "backlog"]
        page = await console.get("/", **(CHINESE if language == "zh" else {}))
        assert words("tile.backlog.note") in page.text


@pytest.mark.parametrize(
    ("sample", "has_levels"), [(WELL, False), (told(hour=ArrivalSpan()), True)]
)
async def test_what_nobody_followed_is_unknown_and_never_green(
    cloud: LocalCloud, sample: Sample, has_levels: bool
) -> None:
    async with site(cloud) as console:
        watch = console.here.watch
        watch.workers = (WorkerStatus(sample, None),)
        watch.status = Status(0.0, QUEUE, None, {}, TASK, ())
        shown = overview(watch, load()["en"], 0.0)["arrival"]
        assert (shown["tiles"][0]["value"], shown["tiles"][0]["state"]) == ("unknown", "unknown")
        arrived = shown["levels"][3]
        assert (arrived["state"] == "unknown") is not has_levels
        assert ("Not looked at" in shown["note"]) is not has_levels


async def test_what_could_not_be_looked_at_stands_beside_the_share_and_is_never_green(
    cloud: LocalCloud,
) -> None:
    async with site(cloud) as console:
        watch = console.here.watch
        watch.workers = (WorkerStatus(told(hour=ArrivalSpan(5, unknown=1)), None),)
        watch.status = Status(0.0, QUEUE, None, {}, TASK, ())
        hour = overview(watch, load()["en"], 0.0)["arrival"]["tiles"][0]
        assert (hour["value"], hour["state"]) == ("83.33%", "unknown")
        assert hour["note"] == "5 of 6 followed keys, 1 unknown"


async def test_a_destination_that_no_worker_looks_at_is_unknown(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        watch = console.here.watch
        watch.workers = (WorkerStatus(WELL, None),)
        watch.status = Status(0.0, QUEUE, None, {}, TASK, ())
        watch._is_destination_set = True
        view = overview(watch, load()["en"], 0.0)
        assert view["headline"]["state"] == "unknown"
        assert "no worker looks" in view["headline"]["text"]


async def test_what_a_relay_follows_comes_to_the_page(cloud: LocalCloud) -> None:
    following = cloud.settings(with_destination=True) | {"RELAY_ARRIVAL_RATIO": "1"}
    async with relaying(cloud, settings=following) as relay, watching(cloud, relay) as console:
        for number in range(3):
            cloud.oss.put("source", f"a/{number}", b"x")
        await relay.until(lambda: relay.arrivals("arrived") == 3, "three copies")
        await looked(console)
        watch = console.here.watch
        await until(lambda: watch.levels.arrived == 3, "a look at what arrived")
        shown = (await console.json("/api/overview"))["arrival"]
        assert [each["value"] for each in shown["levels"]][:2] == ["3", "3"]
        assert [each["value"] for each in shown["levels"]][3:] == ["3", "3"]
        assert (shown["tiles"][0]["value"], shown["tiles"][0]["state"]) == ("100%", "ok")


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
        assert (tile["value"], tile["note"], tile["state"]) == (value, note, "unknown")
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


@pytest.mark.parametrize(
    ("rates", "waiting", "told"),
    [
        ([(5.0, 15.0)], 600, "empty in 1 min at this speed"),
        ([(0.0, 0.0), (5.0, 25.0)], 600, "empty in 1 min at this speed"),
        ([(5.0, 5.0)], 600, "not getting emptier now"),
        ([(15.0, 5.0)], 600, "not getting emptier now"),
        ([(None, None)], 600, "time until empty unknown"),
        ([], 600, "time until empty unknown"),
    ],
)
def test_it_is_told_when_the_queue_will_be_empty(
    rates: list[tuple[float | None, float | None]], waiting: int, told: str
) -> None:
    moments = [Moment(float(number), *each) for number, each in enumerate(rates)]
    old = [Moment(-1000.0, 0.0, 99.0)] if rates else []
    assert empty_in(waiting, [*old, *moments], load()["en"]) == told


async def test_the_oldest_message_is_told_with_the_time_that_is_left_to_it(
    cloud: LocalCloud,
) -> None:
    async with site(cloud) as console:
        watch, words = console.here.watch, load()["en"]
        queue = QueueStatus("q", 5, 0, 0, 4 * 86_400, 20 * 3600.0, 5)
        watch.status = Status(0.0, queue, None, {}, TASK, ())
        tiles = {each["label"]: each for each in overview(watch, words, 0.0)["tiles"]}
        assert tiles["Oldest waiting"]["note"] == "3 d 4 h left of the 4 d that MNS keeps it"


async def test_every_page_says_which_relay_it_is_about(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        assert cloud.prepared is not None
        settings = console.here.clients.settings
        for path in ("/", "/letters", "/letters/list", "/operations", "/search", "/nowhere"):
            page = await console.get(path)
            for part in (
                f"Queue {settings.mns_queue}",
                f"Log bucket {settings.log_bucket}",
                f"Task {cloud.prepared.task_id}",
                "Region cn-",
                f"Version {__version__}",
            ):
                assert part in page.text, path
        await console.post("/logout")
        assert settings.mns_queue not in (await console.get("/login")).text
