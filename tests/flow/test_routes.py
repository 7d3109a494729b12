"""Several buckets on one queue, over the wire: each change goes by the task of its route."""

from __future__ import annotations

from pathlib import Path

from harness.relay import relaying
from harness.routes import HOME, ROUTES, copies, prepare_routes, send, written
from localcloud.cloud import LocalCloud
from localcloud.identity import HUAWEI, Identity


def letters(cloud: LocalCloud) -> dict[str, str]:
    """The folder and the cause of each dead letter."""
    names = (name.split("/") for name in written(cloud) if "/dead_letter/" in name)
    return {folder: cause for folder, _, cause, *_ in names}


async def test_each_change_goes_by_the_task_of_its_route(cloud: LocalCloud, tmp_path: Path) -> None:
    settings = prepare_routes(cloud, tmp_path)
    # The same key in two buckets: two changes, and no merging.
    send(cloud, "source/a", "films/a", "source/2026/a", "source/2026/b", "films/2026/a")
    async with relaying(cloud, settings=settings) as relay:
        await relay.settle()
        status, body = await relay.ready()
        assert status == 200
        assert {each["route"]: each["state"] for each in body["routes"]} == dict.fromkeys(
            ROUTES, "closed"
        )
        assert set(body["services"]) == {"mns", "oss", "mns-acks", *(f"oms/{r}" for r in ROUTES)}
        found = relay.metrics.registry.get_sample_value
        posted = {
            name: found("oms_relay_keys_posted_total", {"outcome": "accepted", "route": name})
            for name in ROUTES
        }
    assert copies(cloud) == {
        "all/a": b"source/a",
        "new/2026/a": b"source/2026/a",
        "new/2026/b": b"source/2026/b",
        "films/a": b"films/a",
        "films/2026/a": b"films/2026/a",
    }
    assert posted == {"all": 1, "new": 2, "films": 2}
    records = {name for name in written(cloud) if "/success_object/" in name}
    assert records == {
        "task-all/success_object/a",
        "task-new/success_object/2026/a",
        "task-new/success_object/2026/b",
        "task-films/success_object/a",
        "task-films/success_object/2026/a",
    }
    # What belongs to no single route stands apart from all of them.
    assert f"{HOME}/probe/relay.json" in written(cloud)


async def test_a_route_that_is_down_stops_no_other_and_says_so(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    settings = prepare_routes(cloud, tmp_path)
    cloud.oms.tasks["task-films"].stop()
    send(cloud, "source/a", "films/a", "source/2026/a", "films/b")
    async with relaying(cloud, settings=settings) as relay:
        await relay.until(lambda: set(copies(cloud)) == {"all/a", "new/2026/a"}, "the others")
        await relay.until(lambda: relay.assembled.flow.leases.hidden.of_route("films"), "put off")
        status, body = await relay.ready()
        assert (status, body["status"]) == (200, "ready")
        (notice,) = body["notices"]
        assert notice.startswith("route films is down: ")
        assert "the sync task is STOPPED" in notice
        assert "start the task in the OMS console" in notice
        down = next(each for each in body["routes"] if each["route"] == "films")
        assert (down["state"], down["cause"]["advice"]["name"]) == ("open", "oms.start_task")
        told = [line for line in relay.logged("breaker") if line.get("route") == "films"]
        assert any("the other routes go on" in str(line["event"]) for line in told)
        cloud.oms.tasks["task-films"].start(cloud.oms.clock.now())
        await relay.settle()
    assert {"films/a", "films/b"} <= set(copies(cloud))
    assert letters(cloud) == {}


async def test_a_refused_key_of_one_route_is_its_own_trouble(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    (tmp_path / "sk").write_text("a-wrong-secret")
    more = f'hw_ak_env = "HW_AK"\nhw_sk_file = "{tmp_path / "sk"}"'
    settings = prepare_routes(cloud, tmp_path, more)
    send(cloud, "source/a", "films/a")
    async with relaying(cloud, settings=settings) as relay:
        await relay.until(lambda: set(copies(cloud)) == {"all/a"}, "the others")
        assert "APIGW.0301" in (await relay.ready())[1]["notices"][0]


async def test_a_task_that_copies_another_bucket_is_sent_nothing(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    settings = prepare_routes(cloud, tmp_path)
    cloud.oms.tasks["task-films"].src_bucket = "source"
    send(cloud, "films/a", "source/a")
    async with relaying(cloud, settings=settings) as relay:
        (films,) = (each for each in relay.assembled.flow.routes if each.name == "films")
        await relay.until(lambda: set(copies(cloud)) == {"all/a"}, "the others")
        # Routes that share a key are probed one after the other.
        await relay.until(lambda: films.breaker.failure is not None, "the probe of films")
        assert "the route has films, and the task copies source" in str(
            (await relay.ready())[1]["notices"]
        )
    assert all("films" not in post.task_id for post in cloud.oms.posts)


async def test_what_no_route_takes_is_kept_for_people(cloud: LocalCloud, tmp_path: Path) -> None:
    settings = prepare_routes(cloud, tmp_path, prefixes={"films": "new/"})
    send(cloud, "films/old", "films/new/a")
    async with relaying(cloud, settings=settings) as relay:
        await relay.settle()
        assert relay.metric("foreign_events") == 1
        assert any("no route takes" in str(line["event"]) for line in relay.logged("decode"))
    assert letters(cloud) == {HOME: "unrouted"}
    assert set(copies(cloud)) == {"films/new/a"}


async def test_refused_keys_are_letters_of_their_own_route(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    settings = prepare_routes(cloud, tmp_path)
    cloud.oms.reject = ("bad",)
    send(cloud, "films/bad", "films/good", "source/good")
    async with relaying(cloud, settings=settings) as relay:
        await relay.settle()
    assert letters(cloud) == {"task-films": "rejected"}
    assert "task-films/failed_object/bad" in written(cloud)


async def test_routes_that_share_a_key_meet_its_refusal_once(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    settings = prepare_routes(cloud, tmp_path) | {"HW_SK": "a-wrong-secret"}
    send(cloud, "source/a", "films/a")
    async with relaying(cloud, settings=settings) as relay:
        breakers = [route.breaker for route in relay.assembled.flow.routes]
        await relay.until(
            lambda: all(each.failure and each.failure.status == 401 for each in breakers),
            "refusals",
        )
        for _ in range(20):
            await relay.tick()
        # One call for all of them, and nothing is received while none works.
        assert relay.count("oms", "ShowSyncTask") == 1
        assert relay.count("mns", "BatchReceiveMessage") == 0
        assert relay.count("oms", "CreateSyncEvents") == 0
        status, body = await relay.ready()
        assert (status, body["notices"]) == (503, [])
        assert [each.partition(": ")[0] for each in body["reasons"]] == [
            f"route {name}" for name in ROUTES
        ]
        assert all("APIGW.0301" in each for each in body["reasons"])


async def test_a_key_that_is_revoked_is_tried_by_one_route_only(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    settings = prepare_routes(cloud, tmp_path)
    async with relaying(cloud, settings=settings) as relay:
        send(cloud, "source/a", "films/a", "source/2026/a")
        await relay.settle()
        cloud.huawei.add(Identity(HUAWEI.access_key, "another-secret"))
        send(cloud, "films/b")
        await relay.until(lambda: relay.breaker("oms").is_open, "the refusal")
        breakers = [route.breaker for route in relay.assembled.flow.routes]
        await relay.until(lambda: all(each.is_open for each in breakers), "the others hear of it")
        refused = [each.failure for each in breakers]
        assert all(each is not None and each.status == 401 for each in refused)
