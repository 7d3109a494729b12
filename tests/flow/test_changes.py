"""What happens to objects over time, and what the relay makes of the events about it."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace

import oss2
import pytest

from harness import account, deletes
from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import ALIBABA, HUAWEI, Identity
from localcloud.oss import EventRule

LAYOUTS = ("object", "log")


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_overwrites_end_with_the_last_content(cloud: LocalCloud, layout: str) -> None:
    cloud.prepare()
    async with relaying(cloud, record_layout=layout) as relay:
        for version in range(10):
            cloud.oss.put("source", "照片/a", f"version {version}".encode())
            await relay.until(lambda: account.waiting(cloud) < 3, "most versions taken")
        await relay.settle()
    account.check(cloud, {"照片/a"})
    copy = cloud.obs.read("destination", "照片/a")
    assert copy is not None
    assert copy.data == b"version 9"


async def test_events_of_one_key_that_wait_together_are_posted_once(cloud: LocalCloud) -> None:
    cloud.prepare()
    for version in range(16):
        cloud.oss.put("source", "a", bytes(version))
    async with relaying(cloud) as relay:
        await relay.settle()
        assert relay.metric("keys_merged") == 15
    account.check(cloud, {"a"})
    assert account.posted(cloud) == {"a": 1}


async def test_removals_and_parts_are_deleted_without_a_post(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.rules[:] = [
        replace(rule, event_patterns=("ObjectCreated:*", "ObjectRemoved:*"))
        for rule in cloud.oss.rules
    ]
    auth = oss2.Auth(ALIBABA.access_key, ALIBABA.secret)
    bucket = oss2.Bucket(auth, cloud.oss.url, "source")
    cloud.oss.put("source", "gone", b"x")
    await asyncio.to_thread(bucket.delete_object, "gone")
    await asyncio.to_thread(_upload_in_parts, bucket)
    announced = account.waiting(cloud)
    async with relaying(cloud) as relay:
        await relay.settle()
    assert announced == 7
    assert set(account.posted(cloud)) == {"gone", "big"}
    account.check(cloud, {"gone", "big"})


def _upload_in_parts(bucket: oss2.Bucket) -> None:
    upload = bucket.init_multipart_upload("big").upload_id
    parts = [
        oss2.models.PartInfo(number, bucket.upload_part("big", upload, number, b"x" * 102_400).etag)
        for number in (1, 2, 3)
    ]
    bucket.complete_multipart_upload("big", upload, parts)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_message_with_several_events_waits_for_all_of_them(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    cloud.prepare()
    cloud.oss.rules[:] = [replace(rule, events_per_message=25) for rule in cloud.oss.rules]
    early = deletes.watch(cloud, monkeypatch)
    keys = {f"键 {number}": bytes(number) for number in range(100)}
    cloud.oss.put_many("source", keys)
    assert account.waiting(cloud) == 4
    async with relaying(cloud, record_layout=layout) as relay:
        await relay.settle()
        ends = relay.logged("delete")
    account.check(cloud, set(keys))
    assert not early
    assert [end["keys"] for end in ends] == [25] * 4


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_recorded_event_that_comes_again_is_not_posted_again(
    cloud: LocalCloud, layout: str
) -> None:
    cloud.prepare()
    cloud.oss.put("source", "first", b"x")
    async with relaying(cloud, record_layout=layout) as relay:
        await relay.settle()
        # A delete is tried six times; then the messages come back when their visibility ends.
        cloud.faults.add(Fault("mns", "BatchDeleteMessage", status=500, times=6))
        cloud.oss.put_many("source", {f"key {number}": b"x" for number in range(5)})
        await relay.settle()
        repeated = relay.metric("events_repeated")
    account.check(cloud, {"first", *(f"key {number}" for number in range(5))})
    assert repeated == 5
    assert set(account.posted(cloud).values()) == {1}


async def test_an_event_that_is_announced_twice_is_synced(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oss", "PutObject", Action.CUSTOM, name="duplicate_event"))
    for number in range(20):
        cloud.oss.put("source", f"key {number}", b"x")
    assert account.waiting(cloud) == 40
    async with relaying(cloud) as relay:
        await relay.settle()
    account.check(cloud, {f"key {number}" for number in range(20)})


async def test_a_change_during_the_post_is_posted_again(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.put("source", "a", b"first")
    cloud.faults.add(Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=0.3, times=1))
    async with relaying(cloud) as relay:
        await relay.until(lambda: not list(cloud.faults), "the post under way")
        cloud.oss.put("source", "a", b"second, longer")
        await relay.settle()
    account.check(cloud, {"a"})
    assert account.posted(cloud) == {"a": 2}


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_rejected_key_stands_alone(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    cloud.prepare()
    cloud.oms.reject = ("*bad*",)
    early = deletes.watch(cloud, monkeypatch)
    good = {f"good {number}" for number in range(30)}
    bad = {"坏 bad", "very bad+1"}
    for key in sorted(good | bad):
        cloud.oss.put("source", key, key.encode())
    async with relaying(cloud, record_layout=layout) as relay:
        await relay.settle()
        ends = relay.logged("dead_letter")
    assert good <= account.recorded(cloud)
    assert account.recorded(cloud, "rejected") == bad
    assert account.unlike(cloud) == sorted(bad, key=str.encode)
    letters = account.dead_letters(cloud, "rejected")
    assert {letter["keys"][0]["key"] for letter in letters} == bad
    assert all(_keys_of(letter["body"]) <= bad for letter in letters)
    assert "OMS.0064" in letters[0]["error"]
    assert len(ends) == 2
    assert not early


async def test_a_message_with_one_rejected_key_is_kept_whole(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.rules[:] = [replace(rule, events_per_message=10) for rule in cloud.oss.rules]
    cloud.oms.reject = ("bad",)
    cloud.oss.put_many("source", {"good 1": b"1", "bad": b"2", "good 2": b"3"})
    async with relaying(cloud) as relay:
        await relay.settle()
    assert account.recorded(cloud) == {"good 1", "good 2"}
    [letter] = account.dead_letters(cloud, "rejected")
    assert _keys_of(letter["body"]) == {"good 1", "bad", "good 2"}
    assert [each["key"] for each in letter["keys"]] == ["bad"]


def _keys_of(body: str) -> set[str]:
    events = json.loads(base64.b64decode(body))["events"]
    return {event["oss"]["object"]["key"] for event in events}


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_our_own_records_are_ignored_and_make_no_loop(cloud: LocalCloud, layout: str) -> None:
    cloud.prepare(source_bucket="both", log_bucket="both")
    # Where the relay may ask for the task, it learns that it is the source, and does not even begin.
    cloud.huawei.add(
        Identity(HUAWEI.access_key, HUAWEI.secret, allowed=("oms:synctask:createEvent",))
    )
    for number in range(5):
        cloud.oss.put("both", f"key {number}", b"x")
    async with relaying(cloud, record_layout=layout) as relay:
        await relay.settle()
        puts = relay.count("oss", "PutObject")
        await relay.until(lambda: relay.count("mns", "BatchReceiveMessage") > 8, "more polls")
        assert account.waiting(cloud) == 0
        assert relay.count("oss", "PutObject") == puts
        warnings = [line for line in relay.logs if "own record" in str(line["event"])]
    assert account.recorded(cloud) == {f"key {number}" for number in range(5)}
    assert not any(key.startswith(account.ROOT) for key in account.posted(cloud))
    assert len(warnings) == puts
    assert all(line["log_level"] == "warning" for line in warnings)
    assert all("LOG_BUCKET" in str(line["event"]) for line in warnings)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_changes_of_another_bucket_are_kept_and_not_posted(
    cloud: LocalCloud, layout: str
) -> None:
    cloud.prepare()
    cloud.oss.create_bucket("other")
    cloud.oss.rules.append(EventRule("other", "oss-events"))
    for bucket in ("source", "other"):
        cloud.oss.put(bucket, "same name", b"x")
    cloud.oss.put("other", "b", b"x")
    async with relaying(cloud, record_layout=layout) as relay:
        await relay.settle()
        (line,) = [line for line in relay.logs if "does not copy" in str(line["event"])]
        assert (line["bucket"], line["source_bucket"]) == ("other", "source")
    assert account.posted(cloud) == {"same name": 1}
    assert account.recorded(cloud) == {"same name"}
    assert len(account.dead_letters(cloud, "unrouted")) == 2


async def test_two_rules_on_one_object_are_posted_at_most_twice(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.rules.append(EventRule("source", "oss-events"))
    cloud.oss.put("source", "a", b"x")
    async with relaying(cloud) as relay:
        await relay.settle()
    account.check(cloud, {"a"})
    assert account.posted(cloud)["a"] <= 2
