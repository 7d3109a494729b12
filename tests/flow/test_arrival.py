"""Accepted keys are followed to the destination; what does not arrive is announced again, or given up."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from harness.incident import deny
from harness.relay import Running, relaying
from harness.until import until
from localcloud.cloud import TASK_ID, LocalCloud
from localcloud.faults import Action, Fault
from localcloud.oms import Consistency
from localcloud.oss import EventRule
from worker.errors import Blame

FOLLOW_ALL = {"RELAY_ARRIVAL_RATIO": "1", "RELAY_ARRIVAL_SECONDS": "1"}
ROOT = "oms_source_record"


def following(cloud: LocalCloud, **settings: str) -> Any:
    """Run a relay that follows every key, and is told after a second that one is late."""
    named = cloud.settings(with_destination=True)
    return relaying(cloud, settings=named | FOLLOW_ALL | settings)


def lose(cloud: LocalCloud, times: int, how: str = "copy_lost") -> None:
    cloud.faults.add(Fault("oms", "CopyObject", Action.CUSTOM, name=how, times=times))


def letters(cloud: LocalCloud, cause: str) -> list[dict[str, Any]]:
    """Return the dead letters of a cause."""
    bucket = cloud.oss.buckets["relay-log"]
    found = []
    for name in bucket.keys():  # noqa: SIM118  a bucket is no dict
        stored = cloud.oss.read("relay-log", name) if f"/dead_letter/{cause}/" in name else None
        if stored is not None:
            found.append(orjson.loads(stored.data))
    return found


def data_of(cloud: LocalCloud, name: str) -> bytes:
    stored = cloud.oss.read("relay-log", name)
    assert stored is not None
    return stored.data


async def arrived(relay: Running, count: int) -> None:
    await relay.until(lambda: relay.arrivals("arrived") == count, f"{count} to have arrived")


async def test_what_arrives_is_measured_and_proved(cloud: LocalCloud) -> None:
    cloud.prepare()
    # A machine that is busy may need more than a second for a copy.
    async with following(cloud, RELAY_ARRIVAL_SECONDS="60") as relay:
        for number in range(20):
            cloud.oss.put("source", f"a/{number}", b"content")
        await arrived(relay, 20)
        _, body = await relay.ready()
    sample = relay.metrics.registry.get_sample_value
    assert sample("oms_relay_arrival_seconds_count") == 20
    assert relay.metric("arrivals_proved") == 20
    assert sample("oms_relay_arrivals_pending") == 0
    told = body["arrival"]["1h"]
    assert (told["followed"], told["in_time"], told["share"]) == (20, 20, 1.0)
    assert told["p50"] <= told["p99"] <= 60.0
    assert body["arrival"]["24h"] | {"seen_seconds": 0} == told | {"seen_seconds": 0}
    assert (body["arrival"]["pending"], body["arrival"]["cause"]) == (0, None)
    assert relay.arrivals("late") == 0
    assert relay.breaker("obs").state == "closed"
    # One call more for each key: the event tells the MD5.
    looks = sum(n for (name, _), n in cloud.obs.counts.items() if name == "HeadObject")
    assert looks == 20


async def test_a_lost_copy_is_announced_again_and_arrives(cloud: LocalCloud) -> None:
    cloud.prepare()
    lose(cloud, 2)
    async with following(cloud) as relay:
        for number in range(5):
            cloud.oss.put("source", f"a/{number}", b"content")
        await arrived(relay, 5)
        told = (await relay.ready())[1]["arrival"]["1h"]
    assert (relay.arrivals("late"), relay.arrivals("resent")) == (2, 2)
    assert (told["followed"], told["late"], told["resent"], told["share"]) == (5, 2, 2, 0.6)
    assert sorted(cloud.obs.keys("destination", "a/")) == [f"a/{number}" for number in range(5)]


async def test_a_failed_copy_is_announced_again_though_nothing_is_followed(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    lose(cloud, 1, "copy_fails")
    async with following(cloud, RELAY_ARRIVAL_RATIO="0") as relay:
        cloud.oss.put("source", "a, b\t中+%41", b"content")
        await relay.until(lambda: relay.arrivals("resent") == 1, "the key to be announced again")
        await arrived(relay, 1)
    copied = cloud.obs.read("destination", "a, b\t中+%41")
    assert copied is not None
    assert copied.data == b"content"
    assert relay.arrivals("late") == 0


async def test_a_change_that_is_gone_from_the_source_is_no_trouble(cloud: LocalCloud) -> None:
    cloud.prepare()
    lose(cloud, 1)
    async with following(cloud) as relay:
        cloud.oss.put("source", "short-lived", b"content")
        await relay.until(lambda: relay.metric("messages_deleted") == 1, "its event to be done")
        cloud.oss.remove("source", "short-lived")
        sample = relay.metrics.registry.get_sample_value
        await relay.until(
            lambda: sample("oms_relay_arrivals_pending") == 0, "nobody to wait for it"
        )
    assert relay.arrivals("resent") == 0
    assert relay.arrivals("given_up") == 0


async def test_a_silent_skip_is_given_up_with_the_way_out(cloud: LocalCloud) -> None:
    """By its default rule OMS would skip it again and again: announced endlessly, it would never arrive."""
    cloud.prepare(consistency_check=Consistency.SIZE_LAST_MODIFIED)
    cloud.oms.copier.copy_seconds = 60.0
    async with following(cloud) as relay:
        cloud.oss.put("source", "report", b"first.")
        await relay.until(lambda: cloud.oms.copier.is_copying, "the first copy to be under way")
        cloud.oss.put("source", "report", b"second")
        await relay.until(lambda: relay.metric("messages_deleted") == 2, "both events to be done")
        cloud.oms.clock.offset_seconds += 60.0
        cloud.oms.copier.copy_seconds = 0.0
        await cloud.oms.drained()
        await relay.until(lambda: relay.arrivals("given_up") == 1, "it to be given up")
        posts = cloud.oms.posts_accepted
        told = (await relay.ready())[1]["arrival"]["1h"]
    assert (told["given_up"], told["late"], told["in_time"]) == (1, 1, 0)
    assert relay.metric("silent_skips") == 1
    assert relay.arrivals("resent") == 0
    assert posts == 2
    (letter,) = letters(cloud, "not_arrived")
    assert "consistency check CRC64" in letter["error"]
    failed = cloud.oss.read("relay-log", f"{ROOT}/{TASK_ID}/failed_object/report")
    assert failed is not None
    record = orjson.loads(failed.data)
    assert record["outcome"] == "not_arrived"
    assert record["reason"].startswith("not arrived: equal size, other content")


async def test_with_a_crc64_task_the_same_skip_cannot_happen(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oms.copier.copy_seconds = 60.0
    async with following(cloud) as relay:
        cloud.oss.put("source", "report", b"first.")
        await relay.until(lambda: cloud.oms.copier.is_copying, "the first copy to be under way")
        cloud.oss.put("source", "report", b"second")
        await relay.until(lambda: relay.metric("messages_deleted") == 2, "both events to be done")
        cloud.oms.clock.offset_seconds += 60.0
        cloud.oms.copier.copy_seconds = 0.0
        await cloud.oms.drained()
        await arrived(relay, 1)
    assert relay.arrivals("given_up") == 0


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_what_was_announced_again_has_a_record(cloud: LocalCloud, layout: str) -> None:
    cloud.prepare()
    lose(cloud, 1)
    async with relaying(
        cloud,
        settings=cloud.settings(with_destination=True) | FOLLOW_ALL,
        record_layout=layout,
    ) as relay:
        cloud.oss.put("source", "a", b"content")
        await arrived(relay, 1)
    folder = "log" if layout == "log" else "success_object"
    bucket = cloud.oss.buckets["relay-log"]
    lines = [
        line
        for name in bucket.keys()  # noqa: SIM118  a bucket is no dict
        if f"/{folder}/" in name
        for line in data_of(cloud, name).splitlines()
    ]
    # In layout `object` the newer record stands in the place of the older one.
    assert len(lines) == (2 if layout == "log" else 1)
    assert orjson.loads(lines[-1])["message_id"] == ""


async def test_an_outage_of_obs_stops_only_the_following(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("obs"))
    async with following(cloud) as relay:
        for number in range(10):
            cloud.oss.put("source", f"a/{number}", b"content")
        await relay.until(lambda: relay.metric("messages_deleted") == 10, "all to be done")
        status, body = await relay.ready()
        assert (status, body["services"]["obs"]) == (200, "open")
        assert body["arrival"]["1h"]["share"] is None
        assert body["arrival"]["cause"]["what"].startswith("obs ListObjects")
        assert relay.arrivals("late") == 0
        cloud.faults.clear()
        await arrived(relay, 10)


async def test_a_refused_signature_is_the_last_call(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with following(cloud, OBS_AK="LOCALAK", OBS_SK="wrong") as relay:
        cloud.oss.put("source", "a", b"content")

        def is_refused() -> bool:
            failure = relay.breaker("obs").failure
            return failure is not None and failure.blame is Blame.CREDENTIALS

        # Not by `relay.until`, which brings probes forward.
        await until(is_refused, "the signature to be refused", 30.0)
        await asyncio.sleep(0.3)
        assert sum(cloud.obs.counts.values()) == 1


async def test_two_relays_follow_a_failed_copy_once(cloud: LocalCloud) -> None:
    cloud.prepare()
    lose(cloud, 3, "copy_fails")
    async with (
        following(cloud, RELAY_ARRIVAL_RATIO="0") as one,
        following(cloud, RELAY_ARRIVAL_RATIO="0") as two,
    ):
        for number in range(3):
            cloud.oss.put("source", f"a/{number}", b"content")
        await one.until(
            lambda: one.arrivals("arrived") + two.arrivals("arrived") == 3, "all three to arrive"
        )
    assert one.arrivals("resent") + two.arrivals("resent") == 3


async def test_what_arrived_late_while_nobody_could_look_is_late(cloud: LocalCloud) -> None:
    """The destination tells when it arrived, so an outage of OBS hides no late copy."""
    cloud.prepare()
    cloud.oms.copier.copy_seconds = 60.0
    cloud.faults.add(Fault("obs", "HeadObject", status=503))
    async with following(cloud) as relay:
        cloud.oss.put("source", "a", b"content")
        await relay.until(lambda: cloud.oms.copier.is_copying, "the copy to be under way")
        for service in (cloud.obs, cloud.oms):
            service.clock.offset_seconds += 60.0
        cloud.oms.copier.copy_seconds = 0.0
        await cloud.oms.drained()
        cloud.faults.clear()
        await arrived(relay, 1)
        told = (await relay.ready())[1]["arrival"]["1h"]
    assert relay.arrivals("late") == 1
    assert (told["followed"], told["in_time"], told["late"]) == (1, 0, 1)
    assert told["p50"] > 30


async def test_without_a_destination_nothing_is_told_of_arrival(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with relaying(cloud) as relay:
        _, body = await relay.ready()
    assert "arrival" not in body


async def test_at_start_the_destination_is_asked_for_once_the_task_was_read(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oms", "ShowSyncTask", Action.LATENCY, seconds=0.2))
    async with following(cloud) as relay:
        _, body = await relay.ready()
        assert body["arrival"]["cause"] is None
        await relay.until(lambda: not relay.breaker("obs").is_open, "a destination that is seen")
    assert [line for line in relay.logs if line["log_level"] == "error"] == []


async def test_while_the_task_was_not_read_the_destination_is_not_yet_known(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oms", "ShowSyncTask", status=500, times=1000))
    async with following(cloud) as relay:
        await relay.until(lambda: relay.breaker("obs").failure is not None, "a probe")
        _, body = await relay.ready()
    assert body["arrival"]["cause"]["what"].endswith("the sync task was not read yet")
    assert body["arrival"]["cause"]["advice"]["name"] == "obs.not_yet"
    told = [line for line in relay.logs if line.get("service") == "obs"]
    assert {line["log_level"] for line in told} == {"info"}


async def test_without_the_task_the_set_bucket_is_followed_and_the_doubt_is_told(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    deny(cloud, "oms:synctask:get")
    lose(cloud, 1)
    async with following(cloud, OBS_BUCKET="destination") as relay:
        for number in range(3):
            cloud.oss.put("source", f"a/{number}", b"content")
        await arrived(relay, 3)
        _, body = await relay.ready()
    assert (relay.arrivals("late"), relay.arrivals("resent")) == (1, 1)
    assert body["arrival"]["cause"] is None
    (notice,) = body["notices"]
    assert notice.startswith("the destination is taken to be destination, as OBS_BUCKET says")
    assert "oms:synctask:get" in notice


async def test_without_the_task_events_of_two_buckets_leave_the_source_unknown(
    cloud: LocalCloud,
) -> None:
    prepared = cloud.prepare()
    deny(cloud, "oms:synctask:get")
    cloud.oss.create_bucket("songs")
    cloud.oss.rules.append(EventRule("songs", prepared.queue, ("ObjectCreated:*",)))
    async with following(cloud, OBS_BUCKET="destination") as relay:
        cloud.oss.put("songs", "b", b"content")
        cloud.oss.put("source", "a", b"content")
        await relay.until(lambda: relay.metric("messages_deleted") == 2, "both to be done")
        _, body = await relay.ready()
    assert body["arrival"]["cause"]["advice"]["name"] == "obs.several_sources"
    assert relay.arrivals("resent") == 0


async def test_a_task_that_says_otherwise_counts_before_the_set_bucket(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.obs.create_bucket("another")
    async with following(cloud, OBS_BUCKET="another") as relay:
        cloud.oss.put("source", "a", b"content")
        await relay.until(lambda: relay.metric("messages_deleted") == 1, "it to be done")
        await relay.until(
            lambda: "copies to another bucket" in str(relay.breaker("obs").failure), "the reason"
        )
        _, body = await relay.ready()
    assert body["arrival"]["cause"]["advice"]["name"] == "obs.other_bucket"
    assert not any(name == "HeadObject" for name, _ in cloud.obs.counts)
