"""Every way in which source and destination can differ, and how sure each answer is."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import account
from harness.ops import ODD_KEYS, CommandLine, bodies, calls, put_object
from harness.relay import relaying
from harness.two_sides import (
    HOUR,
    comparing,
    judged,
    put_both,
    put_copy,
    put_source,
    standings,
)
from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from localcloud.identity import HUAWEI
from localcloud.oms import Consistency
from localcloud.oms.task import Overwrite
from localcloud.storage.stored import Described, Kind
from worker.errors import CallFailed
from worker.operate.announce import Announcer
from worker.operate.destination_reconcile import Judged, Standing
from worker.operate.two_listings import Unordered
from worker.ports import ObjectFacts

PROVED, PENDING, UNPROVED, MISSING, DIFFERENT, EXTRA, UNREADABLE = Standing
PARTS = 100_000
BIG = b"b" * (2 * PARTS + 1)
ROTTEN = b"c" * len(BIG)
WRONG = "<Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message><RequestId>1</RequestId></Error>"


async def one(cloud: LocalCloud, **question: Any) -> Judged:
    [found] = await judged(cloud, **question)
    return found


async def test_equal_etags_prove_an_object_without_a_call_of_its_own(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, *ODD_KEYS)
    assert await standings(cloud) == dict.fromkeys(ODD_KEYS, PROVED)
    assert calls(cloud, "obs", "HeadObject") == calls(cloud, "oss", "HeadObject") == 0


@pytest.mark.parametrize(("age", "standing"), [(1000, MISSING), (800, PENDING)])
async def test_what_is_not_there_is_missing_once_it_had_time(
    cloud: LocalCloud, age: float, standing: Standing
) -> None:
    cloud.prepare()
    put_source(cloud, "a", age=age)
    found = await one(cloud)
    assert (found.standing, found.why) == (standing, "not in the destination")
    assert calls(cloud, "obs", "HeadObject") == (standing is MISSING)


@pytest.mark.parametrize(("age", "standing"), [(1000, DIFFERENT), (800, PENDING)])
async def test_another_size_is_different_once_it_had_time(
    cloud: LocalCloud, age: float, standing: Standing
) -> None:
    cloud.prepare()
    put_source(cloud, "a", b"12345", age=age)
    put_copy(cloud, "a", b"123")
    found = await one(cloud)
    assert (found.standing, found.why) == (standing, "5 and 3 bytes")


async def test_another_content_of_equal_size_is_found_whatever_the_times_say(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    put_source(cloud, "a", b"v2")
    put_copy(cloud, "a", b"v1", age=0)
    found = await one(cloud)
    assert (found.standing, found.why) == (DIFFERENT, "equal size, other content")
    assert found.calls_for_event, "this task compares contents"


async def test_what_is_made_of_parts_is_not_proved_and_says_why(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_source(cloud, "a", BIG)
    put_copy(cloud, "a", BIG, part_bytes=PARTS)
    found = await one(cloud)
    assert (found.standing, found.why) == (
        UNPROVED,
        "made of parts in the destination: its ETag is no MD5",
    )
    assert calls(cloud, "obs", "HeadObject") == 0


@pytest.mark.parametrize(
    ("content", "has_crc64", "standing"),
    [(BIG, True, PROVED), (ROTTEN, True, DIFFERENT), (ROTTEN, False, UNPROVED)],
)
async def test_deep_looks_for_the_checksums_of_both_sides(
    cloud: LocalCloud, content: bytes, has_crc64: bool, standing: Standing
) -> None:
    cloud.prepare()
    put_source(cloud, "a", BIG)
    put_copy(cloud, "a", content, part_bytes=PARTS, has_crc64=has_crc64)
    assert (await one(cloud)).standing is UNPROVED
    assert (await one(cloud, is_deep=True)).standing is standing


@pytest.mark.parametrize(("has_crc64", "standing"), [(False, UNPROVED), (True, DIFFERENT)])
async def test_what_is_encrypted_differs_only_by_its_crc64(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, has_crc64: bool, standing: Standing
) -> None:
    cloud.prepare()
    put_source(cloud, "a", b"v2")
    put_copy(cloud, "a", b"v1", has_crc64=has_crc64)
    serve = cloud.oss.serve

    async def encrypted(call: Any) -> Any:
        reply = await serve(call)
        if cloud.oss.operation(call) == "HeadObject":
            reply.headers["x-oss-server-side-encryption"] = "KMS"
        return reply

    monkeypatch.setattr(cloud.oss, "serve", encrypted)
    found = await one(cloud)
    assert found.standing is standing
    assert (found.why == "encrypted in the source: its ETag is no MD5") is not has_crc64


async def test_a_copy_that_is_older_and_not_proved_is_different(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_source(cloud, "a", BIG)
    put_copy(cloud, "a", BIG, part_bytes=PARTS, has_crc64=False, age=2 * HOUR)
    found = await one(cloud)
    assert (found.standing, found.why) == (DIFFERENT, "the copy is older than the source")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": Kind.SYMLINK}, "a symbolic link: what it points to is not compared"),
        ({"kind": Kind.APPENDABLE, "etag": "A" * 32}, "appendable in the source"),
        ({"kind": Kind.MULTIPART, "etag": f"{'A' * 32}-2"}, "made of parts in the source"),
        (
            {"described": Described(storage_class="Archive"), "etag": "none"},
            "archived in the source",
        ),
    ],
)
async def test_what_cannot_be_compared_says_why(
    cloud: LocalCloud, fields: dict[str, Any], why: str
) -> None:
    cloud.prepare()
    put_source(cloud, "a", **fields)
    put_copy(cloud, "a", b"another")
    found = await one(cloud)
    assert found.standing is UNPROVED
    assert found.why.startswith(why)


async def test_a_symbolic_link_is_not_compared_however_deep(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_source(cloud, "a", kind=Kind.SYMLINK)
    put_copy(cloud, "a", b"another")
    assert (await one(cloud, is_deep=True)).standing is UNPROVED
    assert (await one(cloud, sample=5)).standing is UNPROVED


async def test_a_link_whose_copy_comes_while_it_is_compared_is_not_compared(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    put_both(cloud, "target")
    put_source(cloud, "a", b"", kind=Kind.SYMLINK, symlink_target="target")
    async with comparing(cloud, key_prefix="a") as (clients, comparison):
        assert clients.destination is not None
        facts = clients.destination.facts

        async def copy_first(bucket: str, key: str) -> ObjectFacts | None:
            put_copy(cloud, "a", b"another")
            return await facts(bucket, key)

        monkeypatch.setattr(clients.destination, "facts", copy_first)
        found = [each.standing async for each in comparison.findings()]
    assert found == [UNPROVED]


async def test_what_only_the_destination_has_is_extra_and_no_gap(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, "a", "c")
    put_copy(cloud, "b")
    put_copy(cloud, "d/", b"")
    found = {each.key: each for each in await judged(cloud)}
    assert {key: each.standing for key, each in found.items()} == {
        "a": PROVED,
        "b": EXTRA,
        "c": PROVED,
        "d/": EXTRA,
    }
    assert found["d/"].why == "a folder without content"
    assert not any(each.calls_for_event for each in found.values())


async def test_the_lists_of_oms_are_passed_over_and_objects_of_that_name_are_not(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    put_copy(cloud, "oms/sync_task/1/failed_object_lists/x/1.failed_list.txt")
    put_both(cloud, "oms/a")
    put_source(cloud, "oms/b")
    assert await standings(cloud) == {"oms/a": PROVED, "oms/b": MISSING}


async def test_own_records_are_compared_on_neither_side(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, "oms_source_record/1/x", "z")
    put_copy(cloud, "oms_source_record/1/y")
    settings = {"LOG_BUCKET": "source"}
    async with comparing(cloud, settings) as (_, comparison):
        found = [each.key async for each in comparison.findings()]
    assert found == ["z"]


async def test_a_prefix_narrows_both_sides(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_source(cloud, "a/1")
    put_copy(cloud, "a/2")
    put_source(cloud, "b/1")
    put_copy(cloud, "b/2")
    assert await standings(cloud, key_prefix="b/") == {"b/1": MISSING, "b/2": EXTRA}


async def test_only_the_span_that_is_asked_for_is_judged_and_the_rest_is_counted(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    for name, age in (("new", 0.0), ("old", 2 * HOUR), ("older", 5 * HOUR)):
        put_source(cloud, name, age=age)
    put_copy(cloud, "extra", age=9 * HOUR)
    now = time.time()
    async with comparing(cloud, since=now - 3 * HOUR, until=now - HOUR) as (_, comparison):
        assert [each.key async for each in comparison.findings()] == ["old"]
    assert comparison.effort.not_looked_at == 3


@pytest.mark.parametrize("is_plus", [True, False])
async def test_blanks_and_pluses_are_told_apart_however_obs_writes_them(
    cloud: LocalCloud, is_plus: bool
) -> None:
    cloud.prepare()
    cloud.obs.behaviour.plus_is_space_in_keys = is_plus
    # A wrongly read marker would pass over the names between a blank and a plus.
    between = [f"a!{number:04}" for number in range(1500)]
    names = ["a b", "a+b", "c d", "e+f", "g%2Bh i", *between]
    put_both(cloud, *names)
    put_source(cloud, "x y")
    put_copy(cloud, "x+y")
    expected = dict.fromkeys(names, PROVED) | {"x y": MISSING, "x+y": EXTRA}
    assert await standings(cloud) == expected


@pytest.mark.parametrize("is_plus", [True, False])
async def test_a_listing_of_blanks_alone_is_asked_what_they_are(
    cloud: LocalCloud, is_plus: bool
) -> None:
    cloud.prepare()
    cloud.obs.behaviour.plus_is_space_in_keys = is_plus
    put_both(cloud, "a b", "c d")
    assert await standings(cloud) == dict.fromkeys(["a b", "c d"], PROVED)
    assert calls(cloud, "obs", "ListObjects") == (2 if is_plus else 1)


async def test_names_that_were_misread_all_the_same_are_looked_up(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    cloud.obs.behaviour.plus_is_space_in_keys = True
    put_both(cloud, "a b", "c")
    put_copy(cloud, "x y")
    async with comparing(cloud) as (clients, comparison):
        monkeypatch.setattr(clients.destination, "_plus_is_blank", False)
        found = [(each.key, each.standing) async for each in comparison.findings()]
    assert found == [("a b", PROVED), ("c", PROVED)]


async def test_names_of_many_pages_meet_their_copies(cloud: LocalCloud) -> None:
    cloud.prepare()
    expected = {}
    for number in range(3000):
        key = f"key {number:04}"
        expected[key] = EXTRA if number % 500 == 0 else PROVED if number % 7 else MISSING
        if expected[key] is not EXTRA:
            put_source(cloud, key)
        if expected[key] is not MISSING:
            put_copy(cloud, key)
    assert await standings(cloud) == expected
    assert calls(cloud, "obs", "ListObjects") == calls(cloud, "oss", "ListObjectsV2") == 3


@pytest.mark.parametrize(
    ("service", "operation"), [("obs", "ListObjects"), ("oss", "ListObjectsV2")]
)
async def test_a_page_that_fails_makes_nothing_missing_or_extra(
    cloud: LocalCloud, service: str, operation: str
) -> None:
    cloud.prepare()
    put_both(cloud, *(f"{number:05}" for number in range(4000)))
    found: list[Judged] = []

    async def read() -> None:
        async for each in comparison.findings():
            found.append(each)
            if len(found) == 1:
                cloud.faults.add(Fault(service, operation, status=404))

    async with comparing(cloud) as (_, comparison):
        with pytest.raises(CallFailed):
            await read()
    assert {each.standing for each in found} == {PROVED}
    assert 1000 <= len(found) < 4000


async def test_a_stop_ends_it_soon_and_makes_nothing_missing(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, *(f"{number:05}" for number in range(9000)))
    found = []
    async with comparing(cloud) as (clients, comparison):
        async for each in comparison.findings():
            found.append(each.standing)
            clients.stop.set()
    assert found == [PROVED]
    assert calls(cloud, "obs", "ListObjects") <= 2
    assert calls(cloud, "oss", "ListObjectsV2") <= 2


@pytest.mark.parametrize("operation", ["ListObjects", "HeadObject"])
async def test_throttling_is_waited_out(cloud: LocalCloud, operation: str) -> None:
    cloud.prepare()
    put_both(cloud, "a")
    put_source(cloud, "b")
    cloud.faults.add(Fault("obs", operation, status=503, times=3))
    assert await standings(cloud) == {"a": PROVED, "b": MISSING}


async def test_a_refused_key_ends_it_with_one_call(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, "a")
    fault = Fault("obs", status=403, body=WRONG, content_type="application/xml")
    fault.headers = {"x-obs-request-id": "1"}
    cloud.faults.add(fault)
    with pytest.raises(CallFailed, match="SignatureDoesNotMatch"):
        await judged(cloud)
    assert calls(cloud, "obs") == 1


async def test_a_key_that_is_refused_on_the_way_ends_it_after_one_look(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    names = [f"{number:02}" for number in range(40)]
    for name in names:
        put_source(cloud, name)
    async with comparing(cloud) as (clients, comparison):
        assert clients.destination is not None
        list_page = clients.destination._list_page

        async def replace_the_key(bucket: str, query: Mapping[str, str]) -> bytes:
            page = await list_page(bucket, query)
            cloud.huawei.add(replace(HUAWEI, secret="another one"))
            return page

        monkeypatch.setattr(clients.destination, "_list_page", replace_the_key)
        with pytest.raises(CallFailed, match="SignatureDoesNotMatch"):
            [each async for each in comparison.findings()]
    # The listing before, one look that does not say why it is refused, and one listing that does.
    assert (calls(cloud, "obs", "HeadObject"), calls(cloud, "obs", "ListObjects")) == (1, 2)


async def test_a_look_that_is_denied_is_said_and_the_rest_goes_on(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, "a", "z")
    put_source(cloud, "m")
    cloud.huawei.add(replace(HUAWEI, denied=("obs:object:GetObject",)))
    found = {each.key: each for each in await judged(cloud)}
    assert {key: each.standing for key, each in found.items()} == {
        "a": PROVED,
        "m": UNREADABLE,
        "z": PROVED,
    }
    assert "obs HeadObject answered 403" in found["m"].why


async def test_a_look_at_the_source_that_is_denied_is_said(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_source(cloud, "m")
    cloud.faults.add(Fault("oss", "HeadObject", status=403))
    found = await one(cloud)
    assert found.standing is UNREADABLE
    assert "oss HeadObject answered 403" in found.why


@pytest.mark.parametrize(
    ("change", "standing"),
    [
        (lambda cloud: put_source(cloud, "m", b"newer", age=1000), PENDING),
        (lambda cloud: put_copy(cloud, "m"), PROVED),
        (lambda cloud: cloud.oss.remove("source", "m"), None),
    ],
)
async def test_what_changes_while_it_is_compared_is_no_gap(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[LocalCloud], Any],
    standing: Standing | None,
) -> None:
    cloud.prepare()
    put_source(cloud, "m")
    async with comparing(cloud) as (clients, comparison):
        assert clients.destination is not None
        facts = clients.destination.facts

        async def change_first(bucket: str, key: str) -> ObjectFacts | None:
            change(cloud)
            return await facts(bucket, key)

        monkeypatch.setattr(clients.destination, "facts", change_first)
        found = [each.standing async for each in comparison.findings()]
    assert found == ([standing] if standing else [])


async def test_a_destination_without_order_is_refused(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, "a", "b")
    cloud.obs.buckets["destination"].keys()
    cloud.obs.buckets["destination"]._order.reverse()
    with pytest.raises(Unordered, match="parallel file system"):
        await judged(cloud)


async def test_a_sample_is_looked_at_and_counted_by_what_was_found(cloud: LocalCloud) -> None:
    cloud.prepare()
    for number in range(30):
        put_source(cloud, f"{number:02}", BIG)
        put_copy(cloud, f"{number:02}", ROTTEN if number % 2 else BIG, part_bytes=PARTS)
    put_both(cloud, "proved")
    async with comparing(cloud, sample=10) as (_, comparison):
        found = [each async for each in comparison.findings()]
    assert len({each.key for each in found}) == len(found) == 31
    counts = Counter(each.standing for each in found)
    assert counts[UNPROVED] == 20
    assert counts[PROVED] + counts[DIFFERENT] == 11
    assert counts[DIFFERENT], "some are seen by chance"
    effort = comparison.effort
    assert (effort.sampled, effort.may_be_sampled, effort.head_requests) == (10, 30, 20)


async def test_a_gap_that_the_task_skips_again_is_futile(cloud: LocalCloud) -> None:
    cloud.prepare(consistency_check=Consistency.SIZE_LAST_MODIFIED)
    put_source(cloud, "a", b"v2")
    put_copy(cloud, "a", b"v1", age=0)
    put_source(cloud, "b")
    skipped, missing = await judged(cloud)
    assert (skipped.standing, skipped.calls_for_event) == (DIFFERENT, False)
    assert "create a new task with consistency check CRC64" in skipped.futile
    assert missing.calls_for_event


async def test_a_task_that_never_overwrites_makes_every_difference_futile(
    cloud: LocalCloud,
) -> None:
    task = cloud.oms.tasks[cloud.prepare().task_id]
    task.object_overwrite_mode = Overwrite.NO_OVERWRITE
    put_source(cloud, "a", b"12345")
    put_copy(cloud, "a", b"123")
    put_source(cloud, "b")
    different, missing = await judged(cloud)
    assert "the task overwrites nothing" in different.futile
    assert missing.calls_for_event


@pytest.mark.parametrize("encoding", ["raw", "url", "auto"])
async def test_gaps_that_are_sent_arrive_and_a_second_run_finds_none(
    cloud: LocalCloud, encoding: str
) -> None:
    cloud.prepare()
    settings = {"RELAY_KEY_ENCODING": encoding}
    for key in ODD_KEYS:
        put_source(cloud, key, key.encode())
    put_copy(cloud, "plain.txt", b"another")
    async with comparing(cloud, settings) as (clients, comparison):
        announcer = Announcer(clients, "source")
        sent = [each async for each in announcer.announced(comparison.findings())]
    assert [bool(each.message_id) for each in sent] == [True] * len(ODD_KEYS)
    async with relaying(cloud, settings=settings) as relay:
        await relay.settle()
    assert await standings(cloud) == dict.fromkeys(ODD_KEYS, PROVED)
    assert account.unlike(cloud) == []


def compared(relayctl: CommandLine, *arguments: str, **settings: str) -> Any:
    named = relayctl.cloud.settings(with_destination=True) | settings
    return relayctl("reconcile", "source", *arguments, **named)


def furnish(cloud: LocalCloud) -> None:
    """Make one name of each kind."""
    put_both(cloud, "same/1", "same/2")
    put_source(cloud, "big", BIG)
    put_copy(cloud, "big", BIG, part_bytes=PARTS)
    put_source(cloud, "different", b"12345")
    put_copy(cloud, "different", b"123")
    put_copy(cloud, "extra")
    put_source(cloud, "missing\x07")
    put_source(cloud, "young", age=0.0)


def rows(printed: str) -> list[tuple[str, str]]:
    lines = [
        line for line in printed.splitlines() if line[:2] in {f"{sign} " for sign in "=~?+*-!"}
    ]
    return [(line.split()[0], line.split()[-1]) for line in lines if "20" in line[:6]]


def test_the_command_compares_with_the_destination_where_it_is_known(
    relayctl: CommandLine,
) -> None:
    relayctl.within(furnish)
    looked = compared(relayctl)
    assert looked.exit_code == 1
    assert rows(looked.stdout) == [("*", "different"), ("+", r"missing\x07")]
    lines = looked.stdout.splitlines()
    assert "source/ and destination/ of OBS, all objects:" in lines
    counted = {line[0]: line.split()[1] for line in lines if line[:1] in "=~?+*-!" and "  " in line}
    assert [(sign, counted[sign]) for sign in "=?~+*-!"] == list(
        zip("=?~+*-!", "2111110", strict=True)
    )
    assert "Proved: 2 of 6 objects of the source (33.33 %), 12 B of 195.3 KiB." in lines
    assert any("made of parts in the destination" in line for line in lines)
    assert "--deep looks for the CRC64 of all" in looked.stdout
    assert "--send sends an event for each of the 2 gaps" in looked.stdout


@pytest.mark.parametrize("age", [0.0, None], ids=["all on the way", "nothing there"])
def test_no_proof_is_no_success(relayctl: CommandLine, age: float | None) -> None:
    if age is not None:
        relayctl.within(lambda cloud: put_source(cloud, "a", age=age))
    looked = compared(relayctl)
    assert looked.exit_code == 4
    assert compared(relayctl, "--send", "--yes").exit_code == 4
    relayctl.within(lambda cloud: put_both(cloud, "b"))
    assert compared(relayctl, "--key", "b").exit_code == 0
    assert compared(relayctl, "--key", "holds-nothing/").exit_code == 4


def test_status_names_what_the_last_comparison_left_open(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: put_source(cloud, "a", age=0.0))
    compared(relayctl)
    shown = " ".join(relayctl("status").stdout.split())
    assert "0 of 1 objects proved, 0 missing, 0 different, 1 pending, 0 unproved," in shown


def test_what_is_not_proved_is_no_gap_and_no_success(relayctl: CommandLine) -> None:
    def arrive(cloud: LocalCloud) -> None:
        put_source(cloud, "big", BIG)
        put_copy(cloud, "big", BIG, part_bytes=PARTS)

    relayctl.within(arrive)
    looked = compared(relayctl)
    assert looked.exit_code == 4
    assert "Proved: 0 of 1 objects" in looked.stdout
    deep = compared(relayctl, "--deep")
    assert deep.exit_code == 0
    assert "Proved: 1 of 1 objects of the source (100 %)" in deep.stdout


def test_a_name_that_cannot_be_looked_at_fails_and_says_what_to_do(relayctl: CommandLine) -> None:
    def deny(cloud: LocalCloud) -> None:
        put_source(cloud, "m")
        cloud.huawei.add(replace(HUAWEI, denied=("obs:object:GetObject",)))

    relayctl.within(deny)
    looked = compared(relayctl)
    assert looked.exit_code == 1
    assert "!           1" in looked.stdout
    assert "grant obs:object:GetObject" in " ".join(looked.stdout.split())


def test_json_has_what_is_known_of_both_sides(relayctl: CommandLine) -> None:
    relayctl.within(furnish)
    looked = compared(relayctl, "--json", "--show", "different", "--show", "missing")
    different, missing = (json.loads(line) for line in looked.stdout.splitlines())
    assert (different["key"], different["sign"], different["state"]) == (
        "different",
        "*",
        "different",
    )
    assert (different["source_size"], different["destination_size"]) == (5, 3)
    assert different["why"] == "5 and 3 bytes"
    assert different["source_etag"] != different["destination_etag"]
    assert different["source_changed_at"] < different["destination_changed_at"]
    assert (missing["key"], missing["destination_size"]) == ("missing\x07", None)
    assert "Proved: 2 of 6" in looked.stderr


def test_the_report_has_all_but_the_proved_and_the_account(
    relayctl: CommandLine, tmp_path: Path
) -> None:
    relayctl.within(furnish)
    path = tmp_path / "report.jsonl"
    compared(relayctl, "--report", str(path), "--limit", "1")
    *names, last = (json.loads(line) for line in path.read_text().splitlines())
    assert [(each["sign"], each["key"]) for each in names] == [
        *(("?", "big"), ("*", "different"), ("-", "extra")),
        *(("+", "missing\x07"), ("~", "young")),
    ]
    assert last["is_complete"]
    assert last["objects"]["proved"] == 2
    again = compared(relayctl, "--report", str(path))
    assert again.exit_code == 2
    assert "cannot be written: File exists" in again.stderr
    every = tmp_path / "every.jsonl"
    compared(relayctl, "--report", str(every), *(f"--show={each}" for each in Standing))
    assert len(every.read_text().splitlines()) == 8


def test_the_command_sends_gaps_and_fails_until_they_have_arrived(relayctl: CommandLine) -> None:
    relayctl.within(furnish)
    dry = compared(relayctl, "--send", "--dry-run")
    assert "2 events would be sent. Nothing was changed: this was a dry run." in dry.stdout
    unsure = compared(relayctl, "--send")
    assert unsure.exit_code == 2
    assert "asks before it acts" in unsure.stderr
    assert relayctl.within(bodies) == []
    sent = compared(relayctl, "--send", "--yes")
    assert sent.exit_code == 1
    assert "2 of 2 gaps were sent to the queue." in sent.stdout
    assert len(relayctl.within(bodies)) == 2


def test_a_gap_that_the_task_skips_again_is_not_sent_and_the_way_out_is_named(
    relayctl: CommandLine,
) -> None:
    def skip(cloud: LocalCloud) -> None:
        task = cloud.oms.tasks[account.prepared(cloud).task_id]
        task.consistency_check = Consistency.SIZE_LAST_MODIFIED
        put_source(cloud, "a", b"v2")
        put_copy(cloud, "a", b"v1", age=0)
        put_source(cloud, "b")

    relayctl.within(skip)
    sent = compared(relayctl, "--send", "--yes")
    said = " ".join(sent.stdout.split())
    assert "Not announced: 1 of 2 gaps. OMS skips an object of equal size" in said
    assert "create a new task with consistency check CRC64" in said
    assert "1 of 2 gaps were sent" in said
    assert len(relayctl.within(bodies)) == 1


def test_the_span_is_said_and_what_was_not_looked_at(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: put_source(cloud, "missing"))
    looked = compared(relayctl, "--since", "30m")
    assert looked.exit_code == 4
    assert "1 names were not looked at, because they changed at other times" in looked.stdout
    assert "all objects" not in looked.stdout
    assert compared(relayctl, "--since", "2h").exit_code == 1


def test_a_sample_says_how_many_of_how_many(relayctl: CommandLine) -> None:
    def arrive(cloud: LocalCloud) -> None:
        for number in range(5):
            put_source(cloud, f"{number}", BIG)
            put_copy(cloud, f"{number}", BIG, part_bytes=PARTS)

    relayctl.within(arrive)
    looked = compared(relayctl, "--sample", "2")
    assert "Sample: 2 of 5 that were not proved were looked at once more" in looked.stdout
    assert "Proved: 2 of 5 objects" in looked.stdout


def test_a_long_run_says_what_it_costs(relayctl: CommandLine) -> None:
    def fill(cloud: LocalCloud) -> None:
        names = [f"{number:05}" for number in range(11_000)]
        cloud.oss.rules.clear()
        cloud.oss.put_many("source", dict.fromkeys(names, b"content"))
        for name in names:
            cloud.obs.write("destination", name, b"content")

    relayctl.within(fill)
    looked = compared(relayctl)
    assert looked.exit_code == 0
    assert "each million objects take about 2" in looked.stderr
    assert "0.01 CNY per 10,000" in looked.stderr
    expecting = compared(relayctl, "--expect", "20000")
    assert "the 20000 objects that are expected take about 4" in expecting.stderr


def test_a_listing_that_fails_ends_the_account_openly(
    relayctl: CommandLine, tmp_path: Path
) -> None:
    relayctl.within(lambda cloud: put_source(cloud, "a"))
    relayctl.within(lambda cloud: cloud.obs.buckets.clear())
    path = tmp_path / "report.jsonl"
    failed = compared(relayctl, "--report", str(path))
    assert failed.exit_code == 1
    assert "It ended before the last name" in failed.stdout
    assert "there is no bucket destination" in failed.stderr
    assert "+           0" in failed.stdout
    assert not json.loads(path.read_text().splitlines()[-1])["is_complete"]


def test_ctrl_c_ends_it_with_an_account_of_what_was_read(
    relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    relayctl.within(lambda cloud: put_both(cloud, *(f"{number:05}" for number in range(5000))))
    serve, pages = relayctl.cloud.obs.serve, 0

    async def interrupt(call: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return await serve(call)

    monkeypatch.setattr(relayctl.cloud.obs, "serve", interrupt)
    stopped = compared(relayctl)
    assert stopped.exit_code == 130
    assert "It ended before the last name" in stopped.stdout
    assert "+           0" in stopped.stdout
    assert "-           0" in stopped.stdout
    assert "Finishing what is in hand" in stopped.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "why"),
    [
        (("--with", "destination"), {"OBS_ENDPOINT": ""}, "OBS_ENDPOINT is not set"),
        (("--deep",), {"OBS_ENDPOINT": ""}, "--deep needs --with destination"),
        (("--with", "records", "--sample", "5"), {}, "--sample needs --with destination"),
        (("--with", "records", "--show", "extra"), {}, "is a state of the other comparison"),
        (("--show", "gone"), {}, "is a state of the other comparison"),
        (("--deep", "--sample", "5"), {}, "nothing to --sample"),
        (("--since", "1h", "--until", "2h"), {}, "leaves nothing before"),
        (("--send", "--yes"), {"OBS_BUCKET": "another"}, "copies into the bucket destination"),
    ],
)
def test_what_does_not_fit_is_refused(
    relayctl: CommandLine, arguments: tuple[str, ...], settings: dict[str, str], why: str
) -> None:
    relayctl.within(furnish)
    refused = compared(relayctl, *arguments, **settings)
    assert refused.exit_code == 2
    assert why in " ".join(refused.stderr.replace("│", " ").split())
    assert relayctl.within(bodies) == []


def test_a_destination_that_nobody_names_is_said(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: cloud.faults.add(Fault("oms", "ShowSyncTask", status=403)))
    refused = compared(relayctl)
    assert refused.exit_code == 2
    assert "the destination bucket is not known" in refused.stderr
    assert "oms ShowSyncTask answered 403" in refused.stderr
    assert "set OBS_BUCKET" in refused.stderr
    relayctl.within(lambda cloud: put_both(cloud, "a"))
    named = compared(relayctl, OBS_BUCKET="destination")
    assert named.exit_code == 0
    assert "Whether the task copies from source is not known" in named.stdout


@pytest.mark.parametrize("against", ["destination", "records"])
def test_nothing_is_sent_where_it_is_not_known_that_the_task_copies_the_bucket(
    relayctl: CommandLine, against: str
) -> None:
    def prepare(cloud: LocalCloud) -> None:
        put_source(cloud, "a", age=HOUR)
        cloud.faults.add(Fault("oms", "ShowSyncTask", status=403, times=1000))

    relayctl.within(prepare)
    how = ("--with", against, "--send")
    refused = compared(relayctl, *how, "--yes", OBS_BUCKET="destination")
    assert refused.exit_code == 2
    assert "copies from the bucket source is not known" in " ".join(refused.stderr.split())
    assert relayctl.within(bodies) == []
    assert compared(relayctl, *how, "--dry-run", OBS_BUCKET="destination").exit_code == 1


def test_another_bucket_than_the_tasks_is_compared_and_said(relayctl: CommandLine) -> None:
    def arrive(cloud: LocalCloud) -> None:
        put_source(cloud, "a")
        put_copy(cloud, "a", bucket="another")

    relayctl.within(arrive)
    looked = compared(relayctl, OBS_BUCKET="another")
    assert looked.exit_code == 0
    assert "The sync task copies to destination, and not to the bucket compared." in looked.stdout


@pytest.mark.parametrize("offset", [-1000.0, 1000.0])
def test_the_grace_is_by_the_clock_of_oss(relayctl: CommandLine, offset: float) -> None:
    def prepare(cloud: LocalCloud) -> None:
        cloud.oss.clock.offset_seconds = offset * 0.5
        put_source(cloud, "a", age=850.0)

    relayctl.within(prepare)
    assert "~           1" in compared(relayctl).stdout


def last_account(relayctl: CommandLine) -> Any:
    return json.loads(relayctl("status", "--json").stdout)["last_account"]


def test_the_account_is_kept_for_status(relayctl: CommandLine) -> None:
    def arrive(cloud: LocalCloud) -> None:
        put_both(cloud, "a", "b")
        put_source(cloud, "c", age=HOUR)

    relayctl.within(arrive)
    assert compared(relayctl).exit_code == 1
    told = last_account(relayctl)
    assert (told["is_whole"], told["is_proof"]) == (True, False)
    assert (told["objects"]["proved"], told["objects"]["missing"]) == (2, 1)
    shown = " ".join(relayctl("status").stdout.split())
    assert "ago: 2 of 3 objects proved, 1 missing, 0 different" in shown
    relayctl.within(lambda cloud: put_copy(cloud, "c"))
    assert compared(relayctl).exit_code == 0
    assert last_account(relayctl)["is_proof"] is True
    # A part of the bucket proves nothing of the rest.
    assert compared(relayctl, "--key", "a").exit_code == 0
    told = last_account(relayctl)
    assert (told["is_whole"], told["is_proof"]) == (False, False)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"at": 5, "objects": {}}'])
def test_an_account_that_cannot_be_read_is_none(relayctl: CommandLine, body: bytes) -> None:
    relayctl.within(lambda cloud: put_object(cloud, "reconcile/last.json", body))
    assert last_account(relayctl) is None


def test_without_the_right_to_keep_the_account_the_comparison_stands(relayctl: CommandLine) -> None:
    def arrive(cloud: LocalCloud) -> None:
        put_both(cloud, "a")
        cloud.faults.add(Fault("oss", "PutObject", status=403))

    relayctl.within(arrive)
    done = compared(relayctl)
    assert done.exit_code == 0
    assert "`status` does not know this account" in done.stdout
