"""Deletions that are propagated: through the queue and real services to the destination and the records."""

from __future__ import annotations

from typing import Any

import orjson

from harness import account
from harness.relay import relaying
from harness.until import until
from localcloud.cloud import TASK_ID, LocalCloud
from localcloud.faults import Action, Fault
from localcloud.oss import EventRule
from worker.flow.deletion import AT_ONCE, IN_HAND_MAX

SETTINGS = {"RELAY_DELETIONS": "propagate", "RELAY_ARRIVAL_SECONDS": "1"}


def prepare(cloud: LocalCloud) -> dict[str, str]:
    """Prepare a cloud whose event rule announces deletions, too; return the settings."""
    prepared = cloud.prepare()
    patterns = ("ObjectCreated:*", "ObjectRemoved:*")
    cloud.oss.rules[:] = [EventRule(prepared.source_bucket, prepared.queue, patterns)]
    return cloud.settings(with_destination=True) | SETTINGS


def record(cloud: LocalCloud, key: str) -> Any:
    """Return the record of a deletion."""
    stored = cloud.oss.read("relay-log", f"oms_source_record/{TASK_ID}/deleted_object/{key}")
    assert stored is not None
    return orjson.loads(stored.data)


async def test_a_deletion_arrives_after_its_grace(cloud: LocalCloud) -> None:
    settings = prepare(cloud)
    async with relaying(cloud, settings=settings) as relay:
        for key in ("a", "b", "目/c"):
            cloud.oss.put("source", key, b"content")
        await relay.until(lambda: len(cloud.obs.keys("destination")) >= 3, "the copies")
        await relay.settle()
        cloud.oss.remove("source", "b")
        cloud.oss.remove("source", "目/c")
        await relay.until(
            lambda: not {"b", "目/c"} & set(cloud.obs.keys("destination")), "copies to be deleted"
        )
        await relay.settle()
    assert "a" in cloud.obs.keys("destination")
    assert record(cloud, "b")["outcome"] == "deleted"
    assert relay.metrics.registry.get_sample_value(
        "oms_relay_messages_ended_total", {"end": "postponed"}
    )


async def test_what_is_created_again_stays(cloud: LocalCloud) -> None:
    settings = prepare(cloud)
    async with relaying(cloud, settings=settings) as relay:
        cloud.oss.put("source", "a", b"first")
        await relay.until(lambda: cloud.obs.read("destination", "a"), "the copy")
        cloud.oss.remove("source", "a")
        cloud.oss.put("source", "a", b"again")
        await relay.settle()
    copied = cloud.obs.read("destination", "a")
    assert copied is not None
    assert copied.data == b"again"
    assert not account.log_objects(cloud, "deleted_object")


async def test_a_destination_that_hangs_holds_up_deletions_and_no_change(cloud: LocalCloud) -> None:
    """More deletions than are taken in hand at a time, and none of them comes to an end."""
    settings = prepare(cloud) | {"RELAY_ARRIVAL_RATIO": "0"}
    many = AT_ONCE + IN_HAND_MAX + 8
    async with relaying(cloud, settings=settings) as relay:
        for number in range(many):
            cloud.oss.put("source", f"k{number}", b"content")
        await relay.until(lambda: len(cloud.obs.keys("destination", "k")) == many, "the copies")
        await relay.settle()
        cloud.faults.add(Fault("obs", "HeadObject", Action.HANG))
        for number in range(many):
            cloud.oss.remove("source", f"k{number}")
        await relay.until(lambda: relay.in_hand >= AT_ONCE, "deletions in hand")
        done = relay.metric("messages_deleted")
        for number in range(20):
            cloud.oss.put("source", f"new{number}", b"content")
        await relay.until(lambda: relay.metric("messages_deleted") >= done + 20, "the changes")
        assert len(cloud.obs.keys("destination", "k")) == many
        cloud.faults.clear()


async def test_beyond_the_brake_deletions_become_dead_letters(cloud: LocalCloud) -> None:
    settings = prepare(cloud) | {"RELAY_DELETIONS_PER_HOUR": "2"}
    async with relaying(cloud, settings=settings) as relay:
        for number in range(6):
            cloud.oss.put("source", f"k{number}", b"content")
        await relay.until(lambda: len(cloud.obs.keys("destination", "k")) == 6, "the copies")
        await relay.settle()
        for number in range(6):
            cloud.oss.remove("source", f"k{number}")
        await relay.settle()
    # Once it is on it holds those back as well that waited already.
    assert len(cloud.obs.keys("destination", "k")) == 6
    assert len(account.dead_letters(cloud, "deletion_held")) == 6
    assert [line for line in relay.logged("delete") if "held back" in line["event"]]


async def test_deletions_are_ignored_unless_asked_for(cloud: LocalCloud) -> None:
    settings = prepare(cloud) | {"RELAY_DELETIONS": "ignore"}
    async with relaying(cloud, settings=settings) as relay:
        cloud.oss.put("source", "a", b"content")
        await relay.until(lambda: cloud.obs.read("destination", "a"), "the copy")
        cloud.oss.remove("source", "a")
        await relay.settle()
    assert cloud.obs.read("destination", "a") is not None


async def test_a_source_bucket_that_is_gone_deletes_nothing(cloud: LocalCloud) -> None:
    """A HEAD would say no more than 404 there, for every object."""
    settings = prepare(cloud)
    async with relaying(cloud, settings=settings) as relay:
        cloud.oss.put("source", "a", b"content")
        await relay.until(lambda: cloud.obs.read("destination", "a"), "the copy")
        await relay.settle()
        cloud.oss.remove("source", "a")
        del cloud.oss.buckets["source"]
        # Not by `relay.until`: it would move the clock of MNS by each wait of the deletion.
        await until(
            lambda: cloud.oss.counts[("GetObject", 404)] > 0, "the source to be looked at", 30.0
        )
    assert cloud.obs.read("destination", "a") is not None
