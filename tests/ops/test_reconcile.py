"""Every way in which objects and records can differ, and gaps that are closed by the relay itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from harness import account
from harness.disk import no_room
from harness.ops import ODD_KEYS, CommandLine, bodies, calls, connected, put_object
from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from localcloud.oss.eventbody import KeyForm
from localcloud.service import Call, Reply
from worker.cli import commands
from worker.errors import CallFailed
from worker.events.decode import decode
from worker.operate.announce import Announced, Announcer
from worker.operate.reconcile import Finding, Reconciliation, Scope, SourceUnreadable, State
from worker.ports import Page

HOUR = 3600.0


@contextmanager
def unannounced(cloud: LocalCloud) -> Iterator[None]:
    """What is put meanwhile loses its event."""
    rules, cloud.oss.rules[:] = list(cloud.oss.rules), []
    try:
        yield
    finally:
        cloud.oss.rules[:] = rules


def put(cloud: LocalCloud, keys: Iterable[str]) -> None:
    cloud.oss.put_many("source", dict.fromkeys(keys, b"content"))


def aged(cloud: LocalCloud, bucket: str, key: str, seconds: float) -> None:
    """Make an object so much older than it is."""
    found = cloud.oss.buckets[bucket]
    stored = found.get(key)
    assert stored is not None
    found.put(replace(stored, modified_at=stored.modified_at - seconds))


async def found(cloud: LocalCloud, **scope: Any) -> list[Finding]:
    async with connected(cloud) as clients:
        wanted = replace(Scope("source", 0.0, time.time() + HOUR), **scope)
        return [each async for each in Reconciliation(clients, wanted).findings()]


async def states(cloud: LocalCloud, **scope: Any) -> dict[str, State]:
    findings = await found(cloud, **scope)
    by_key = {each.key: each.state for each in findings}
    assert len(by_key) == len(findings)
    assert list(by_key) == sorted(by_key, key=str.encode)
    return by_key


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_what_the_relay_carried_is_recorded_whatever_its_name(
    cloud: LocalCloud, layout: str
) -> None:
    cloud.prepare()
    settings = {"RELAY_KEY_ENCODING": "raw"}
    async with relaying(cloud, settings=settings, record_layout=layout) as relay:
        put(cloud, ODD_KEYS)
        await relay.settle()
    assert await states(cloud) == dict.fromkeys(ODD_KEYS, State.RECORDED)


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_objects_whose_events_were_lost_are_missing(cloud: LocalCloud, layout: str) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, ODD_KEYS)
    async with relaying(cloud, record_layout=layout) as relay:
        put(cloud, ["carried", "z/carried"])
        await relay.settle()
    expected = dict.fromkeys(ODD_KEYS, State.MISSING)
    expected |= dict.fromkeys(["carried", "z/carried"], State.RECORDED)
    assert await states(cloud) == expected


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_an_object_that_changed_after_its_record_is_a_gap(
    cloud: LocalCloud, layout: str
) -> None:
    cloud.prepare()
    async with relaying(cloud, record_layout=layout) as relay:
        put(cloud, ODD_KEYS)
        await relay.settle()
    names = account.prepared(cloud)
    for key in list(cloud.oss.buckets[names.log_bucket].keys()):
        aged(cloud, names.log_bucket, key, 10.0)
    with unannounced(cloud):
        put(cloud, ODD_KEYS[:3])
    for key in ODD_KEYS[3:]:
        aged(cloud, "source", key, 10.0)
    found_states = await states(cloud)
    assert found_states == {
        key: State.CHANGED if key in ODD_KEYS[:3] else State.RECORDED for key in ODD_KEYS
    }


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_a_refused_object_is_no_gap_until_it_changes_again(
    cloud: LocalCloud, layout: str
) -> None:
    cloud.prepare()
    cloud.oms.reject = ("bad*", "猫*")
    keys = ["bad", "猫" * 341, "good"]
    async with relaying(cloud, record_layout=layout) as relay:
        put(cloud, keys)
        await relay.settle()
    expected = dict.fromkeys(keys, State.REFUSED) | {"good": State.RECORDED}
    assert await states(cloud) == expected
    log_bucket = account.prepared(cloud).log_bucket
    for key in list(cloud.oss.buckets[log_bucket].keys()):
        aged(cloud, log_bucket, key, 10.0)
    assert await states(cloud) == dict.fromkeys(keys, State.CHANGED)


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_what_was_deleted_at_the_source_is_gone(cloud: LocalCloud, layout: str) -> None:
    cloud.prepare()
    async with relaying(cloud, record_layout=layout) as relay:
        put(cloud, ["gone/1", "gone/2", "here"])
        await relay.settle()
        cloud.oss.remove("source", "gone/1")
        cloud.oss.remove("source", "gone/2")
        await relay.settle()
    assert await states(cloud) == {
        "gone/1": State.GONE,
        "gone/2": State.GONE,
        "here": State.RECORDED,
    }
    assert await states(cloud, key_prefix="gone/2") == {"gone/2": State.GONE}
    assert await states(cloud, since=time.time() + HOUR, until=time.time() + HOUR) == {}


@pytest.mark.parametrize("layout", ["object", "log"])
@pytest.mark.parametrize("seconds_before_the_record", [0.0, 60.0])
async def test_an_overwrite_that_the_post_did_not_see_is_a_gap(
    cloud: LocalCloud, layout: str, seconds_before_the_record: float
) -> None:
    cloud.prepare()
    keys = ["a", "b", "猫" * 341]
    async with relaying(cloud, record_layout=layout) as relay:
        put(cloud, keys)
        await relay.settle()
    with unannounced(cloud):
        cloud.oss.put("source", "a", b"another state")
        cloud.oss.put("source", keys[2], b"another state")
    for key in keys:
        aged(cloud, "source", key, seconds_before_the_record)
    expected = {"a": State.CHANGED, "b": State.RECORDED, keys[2]: State.CHANGED}
    findings = {each.key: each for each in await found(cloud)}
    assert {key: each.state for key, each in findings.items()} == expected
    if seconds_before_the_record:
        assert findings["a"].why == "the record is of another state"
    await announced(cloud, {})
    async with relaying(cloud, record_layout=layout) as relay:
        await relay.settle()
    assert await states(cloud) == dict.fromkeys(keys, State.RECORDED)


@pytest.mark.parametrize(("later_seconds", "state"), [(1000, "recorded"), (800, "changed")])
async def test_a_post_long_after_the_change_took_it_whatever_its_event_said(
    cloud: LocalCloud, later_seconds: float, state: str
) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, ["a"])
    aged(cloud, "source", "a", later_seconds)
    posted_at = datetime.now(UTC).isoformat()
    record = {"key": "a", "etag": "F" * 32, "posted_at": posted_at, "outcome": "accepted"}
    put_object(cloud, "success_object/a", json.dumps(record).encode())
    assert await states(cloud) == {"a": state}


async def test_a_line_that_settles_it_costs_no_read_of_a_record(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with relaying(cloud, record_layout="object") as relay:
        put(cloud, ["a", "b"])
        await relay.settle()
    before = calls(cloud, "oss", "GetObject")
    assert set((await states(cloud)).values()) == {State.RECORDED}
    assert calls(cloud, "oss", "GetObject") - before == 2
    async with relaying(cloud, record_layout="log") as relay:
        put(cloud, ["a", "b"])
        await relay.settle()
    before = calls(cloud, "oss", "GetObject")
    assert set((await states(cloud)).values()) == {State.RECORDED}
    assert calls(cloud, "oss", "GetObject") - before == 1, "the log object alone"


def test_one_object_that_cannot_be_read_stops_nothing(
    relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = time.strftime("%Y/%m/%d/%H", time.gmtime())

    def prepare(cloud: LocalCloud) -> None:
        with unannounced(cloud):
            put(cloud, ["a", "b", "c", "d"])
        etag = str(cloud.oss.buckets["source"].get("a").etag)  # type: ignore[union-attr]
        for key in "ab":
            line = json.dumps({"key": key, "etag": etag, "outcome": "accepted"}).encode()
            put_object(cloud, f"success_object/{key}", line)
        for key in "cd":
            line = json.dumps({"key": key, "etag": etag, "outcome": "accepted"}).encode()
            put_object(cloud, f"log/{hour}/{key}-1.jsonl", line)

    serve = relayctl.cloud.oss.serve

    async def some_frozen(call: Call) -> Reply:
        if call.method == "GET" and call.path.endswith(("success_object%2Fa", "c-1.jsonl")):
            body = "<Error><Code>InvalidObjectState</Code><Message>Frozen.</Message></Error>"
            return Reply(403, body, {"x-oss-request-id": "1"})
        return await serve(call)

    relayctl.within(prepare)
    monkeypatch.setattr(relayctl.cloud.oss, "serve", some_frozen)
    looked = relayctl("reconcile", "source", "--until", "0s")
    assert looked.exit_code == 1
    said = " ".join(looked.stdout.split())
    assert "= 2 recorded" in said
    assert "+ 1 without a record" in said
    assert "! 1 whose record could not be read" in said
    assert "Unreadable: oms_source_record/" in said
    assert "c-1.jsonl: oss GetObject answered 403 InvalidObjectState" in said


async def test_records_that_nobody_may_read_end_it(cloud: LocalCloud) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, [f"{number:03}" for number in range(200)])
    for number in range(200):
        put_object(cloud, f"success_object/{number:03}", b"{}")
    cloud.faults.add(Fault("oss", "GetObject", status=403))
    with pytest.raises(CallFailed, match="403"):
        await found(cloud)


def test_what_changed_before_the_records_that_are_kept_is_no_gap(relayctl: CommandLine) -> None:
    def prepare(cloud: LocalCloud) -> None:
        with unannounced(cloud):
            put(cloud, ["old", "younger"])
        aged(cloud, "source", "old", 95 * 86_400)
        aged(cloud, "source", "younger", 60 * 86_400)

    relayctl.within(prepare)
    told = relayctl("reconcile", "source", "--since", "200d")
    assert told.exit_code == 1
    said = " ".join(told.stdout.split())
    assert "+ 1 without a record" in said
    assert "? 1 changed before the records that are kept" in said
    assert "Records expire after 90 d (--kept)" in said
    kept = relayctl("reconcile", "source", "--since", "200d", "--kept", "30d")
    assert kept.exit_code == 4
    assert "of the 2 objects that changed before that and have none" in " ".join(
        kept.stdout.split()
    )
    # A log object that is as old as they are says that records reach back so far.
    month = time.strftime("%Y/%m/%d/%H", time.gmtime(time.time() - 100 * 86_400))
    relayctl.within(lambda cloud: put_object(cloud, f"log/{month}/w-1.jsonl", b"{}\n"))
    every = relayctl("reconcile", "source", "--since", "200d")
    assert "+         2 without a record" in every.stdout


async def test_empty_records_of_the_function_count_by_their_name_and_time(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, ["a", "b"])
    put_object(cloud, "success_object/a", b"")
    assert await states(cloud) == {"a": State.RECORDED, "b": State.MISSING}


async def test_only_objects_in_scope_are_compared(cloud: LocalCloud) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, ["a/old", "a/older", "a/new", "b/new"])
    aged(cloud, "source", "a/old", HOUR)
    aged(cloud, "source", "a/older", 2 * HOUR)
    now = time.time()
    assert set(await states(cloud, key_prefix="a/")) == {"a/old", "a/older", "a/new"}
    assert set(await states(cloud, since=now - 60)) == {"a/new", "b/new"}
    assert set(await states(cloud, since=now - 1.5 * HOUR, until=now - 60)) == {"a/old"}


async def test_records_of_many_pages_meet_their_objects(cloud: LocalCloud) -> None:
    cloud.prepare()
    keys = [f"key {number}" for number in range(2500)]
    with unannounced(cloud):
        put(cloud, keys)
    for number, key in enumerate(keys):
        if number % 3:
            put_object(cloud, f"success_object/{key}", b"{}")
    expected = {
        key: State.RECORDED if number % 3 else State.MISSING for number, key in enumerate(keys)
    }
    assert await states(cloud) == expected


async def test_own_records_in_the_bucket_need_none(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_object(cloud, "success_object/a", b"")
    cloud.oss.put("relay-log", "other", b"x")
    assert await states(cloud, bucket="relay-log") == {"a": State.GONE, "other": State.MISSING}


async def test_a_source_that_cannot_be_listed_is_named(cloud: LocalCloud) -> None:
    cloud.prepare()
    with pytest.raises(SourceUnreadable, match=r"absent cannot be listed.*oss:ListObjects"):
        await found(cloud, bucket="absent")


async def announced(cloud: LocalCloud, settings: dict[str, str]) -> list[Announced[Finding]]:
    async with connected(cloud, settings=settings) as clients:
        scope = Scope("source", 0.0, time.time() + HOUR)
        findings = Reconciliation(clients, scope).findings()
        return [each async for each in Announcer(clients, "source").announced(findings)]


@pytest.mark.parametrize("layout", ["object", "log"])
@pytest.mark.parametrize("encoding", ["raw", "url", "auto"])
async def test_gaps_that_are_sent_are_closed_by_the_relay(
    cloud: LocalCloud, encoding: str, layout: str
) -> None:
    cloud.prepare(key_form=KeyForm.QUOTE if encoding == "url" else KeyForm.RAW)
    settings = {"RELAY_KEY_ENCODING": encoding}
    with unannounced(cloud):
        put(cloud, ODD_KEYS)
    sent = await announced(cloud, settings)
    assert all(each.message_id for each in sent)
    assert len(bodies(cloud)) == len(ODD_KEYS)
    async with relaying(cloud, settings=settings, record_layout=layout) as relay:
        await relay.settle()
    assert set(await states(cloud)) == set(ODD_KEYS)
    assert set((await states(cloud)).values()) == {State.RECORDED}
    assert account.unlike(cloud) == []
    assert [each.message_id for each in await announced(cloud, settings)] == [""] * len(ODD_KEYS)


async def test_a_sent_event_tells_when_the_object_changed(cloud: LocalCloud) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, ["a"])
    aged(cloud, "source", "a", HOUR)
    [sent] = await announced(cloud, {})
    [body] = bodies(cloud)
    [event] = decode(body)
    assert (event.bucket, event.key, event.kind) == ("source", "a", "created")
    assert time.time() - 2 * HOUR < sent.finding.changed_at < time.time() - HOUR + 2
    assert event.time.startswith(
        time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(sent.finding.changed_at))
    )


async def test_a_denied_right_is_met_once_only(cloud: LocalCloud) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, ODD_KEYS)
    body = "<Error><Code>AccessDenied</Code><Message>No.</Message><RequestId>1</RequestId></Error>"
    cloud.faults.add(Fault("mns", "SendMessage", status=403, body=body, content_type="text/xml"))
    with pytest.raises(CallFailed, match="AccessDenied"):
        await announced(cloud, {})
    assert calls(cloud, "mns", "SendMessage") == 1
    assert bodies(cloud) == []


async def test_a_stop_ends_between_two_events(cloud: LocalCloud) -> None:
    cloud.prepare()
    with unannounced(cloud):
        put(cloud, ODD_KEYS)
    async with connected(cloud) as clients:
        findings = Reconciliation(clients, Scope("source", 0.0, time.time() + HOUR)).findings()
        sent = []
        async for each in Announcer(clients, "source").announced(findings):
            sent.append(each.message_id)
            clients.stop.set()
    assert [bool(each) for each in sent] == [True]
    assert len(bodies(cloud)) == 1


@pytest.mark.parametrize(
    ("bucket", "prefix"), [("source", "old/"), ("relay-log", "oms_source_record/old/")]
)
async def test_a_stop_ends_it_within_a_page_where_nothing_is_found(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, bucket: str, prefix: str
) -> None:
    cloud.prepare()
    with unannounced(cloud):
        names = (f"{prefix}{number:05}" for number in range(8000))
        cloud.oss.put_many(bucket, dict.fromkeys(names, b"content"))
    listed = 0
    async with connected(cloud) as clients:
        list_page = clients.store._list_page

        async def stop_at_the_third(of: str, query: Mapping[str, str]) -> Page:
            nonlocal listed
            listed += "prefix" not in query
            if listed == 3:
                clients.stop.set()
            return await list_page(of, query)

        monkeypatch.setattr(clients.store, "_list_page", stop_at_the_third)
        later = Scope(bucket, time.time() + HOUR, time.time() + 2 * HOUR)
        findings = [each async for each in Reconciliation(clients, later).findings()]
    assert findings == []
    assert listed == 3, "no page of the bucket is asked for after the stop"


async def test_a_stop_while_records_are_listed_calls_nothing_missing(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    keys = [f"{number:05}" for number in range(1500)]
    with unannounced(cloud):
        put(cloud, keys)
    for key in keys:
        put_object(cloud, f"success_object/{key}", b"{}")
    async with connected(cloud) as clients:
        list_page = clients.store._list_page

        async def stop_at_a_second(of: str, query: Mapping[str, str]) -> Page:
            if "continuation-token" in query:
                clients.stop.set()
            return await list_page(of, query)

        monkeypatch.setattr(clients.store, "_list_page", stop_at_a_second)
        scope = Scope("source", 0.0, time.time() + HOUR)
        findings = [each async for each in Reconciliation(clients, scope).findings()]
    assert {each.state for each in findings} == {State.RECORDED}


@pytest.mark.parametrize(("answer", "sent"), [("n", 0), ("y", 3)])
def test_the_command_asks_before_it_sends(
    relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch, answer: str, sent: int
) -> None:
    def lose_events(cloud: LocalCloud) -> None:
        with unannounced(cloud):
            put(cloud, ["a/1", "a/2", "a/3", "b"])

    relayctl.within(lose_events)
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("worker.commands.frame.sys", terminal)
    command = ["reconcile", "source", "--until", "0s", "--key", "a/", "--send"]
    result = CliRunner().invoke(commands, command, env=relayctl.cloud.settings(), input=answer)
    assert "Send an event to the queue for every gap of source/a/?" in result.stderr
    assert result.exit_code == (0 if sent else 1)
    assert len(relayctl.within(bodies)) == sent


def test_the_command_shows_gaps_sends_them_and_ends_with_1_until_they_are_closed(
    relayctl: CommandLine,
) -> None:
    def lose_events(cloud: LocalCloud) -> None:
        with unannounced(cloud):
            put(cloud, ["a", "b\x07", "猫"])
        put_object(cloud, "success_object/b\x07", b"")
        put_object(cloud, "success_object/z", b"")

    relayctl.within(lose_events)
    looked = relayctl("reconcile", "source", "--until", "0s")
    assert looked.exit_code == 1
    rows = [line.split() for line in looked.stdout.splitlines()]
    assert [(row[0], row[-1]) for row in rows[1:3]] == [("+", "a"), ("+", "猫")]
    assert rows[5][:3] == ["=", "1", "recorded"]
    assert rows[6][:3] == ["+", "2", "without"]
    assert rows[9][:2] == ["-", "1"]
    assert "--send sends an event for each of the 2 gaps" in looked.stdout

    every = [word for state in State for word in ("--show", state)]
    dry = relayctl("reconcile", "source", "--until", "0s", "--send", "--dry-run", *every)
    assert dry.exit_code == 1
    assert "2 events would be sent. Nothing was changed: this was a dry run." in dry.stdout
    shown = [line.split() for line in dry.stdout.splitlines()[1:5]]
    assert [(row[0], row[-1]) for row in shown] == [
        ("+", "a"),
        ("=", r"b\x07"),
        ("-", "z"),
        ("+", "猫"),
    ]
    assert relayctl.within(bodies) == []

    unsure = relayctl("reconcile", "source", "--until", "0s", "--send")
    assert unsure.exit_code == 2
    assert "asks before it acts" in unsure.stderr
    assert relayctl.within(bodies) == []

    lines = relayctl.lines("reconcile", "source", "--until", "0s", "--send", "--yes")
    assert [(line["key"], line["state"]) for line in lines] == [("a", "missing"), ("猫", "missing")]
    assert all(line["message_id"] and line["changed_at"] for line in lines)
    assert len(relayctl.within(bodies)) == 2


def test_the_command_prints_so_many_lines_and_counts_the_others(relayctl: CommandLine) -> None:
    def lose_events(cloud: LocalCloud) -> None:
        with unannounced(cloud):
            put(cloud, [f"key {number:02}" for number in range(60)])

    relayctl.within(lose_events)
    some = relayctl("reconcile", "source", "--until", "0s", "--limit", "7")
    assert some.stdout.count("\n+  20") == 7
    assert "There are 53 more: --limit 0 shows all." in some.stdout
    every = relayctl("reconcile", "source", "--until", "0s", "--limit", "0", "--json")
    assert every.exit_code == 1
    assert [json.loads(line)["key"] for line in every.stdout.splitlines()] == [
        f"key {number:02}" for number in range(60)
    ]
    assert "+        60 without a record" in every.stderr
    young = relayctl("reconcile", "source")
    assert young.exit_code == 4, "nothing is older than 5 minutes"
    said = " ".join(young.stdout.split())
    assert "Not looked at: 0 objects that changed before --since and 60 after --until" in said
    assert "(key 00, key 01, key 02, ...)" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("so/urce",), "no bucket name"),
        (("source", "--since", "1m"), "leaves nothing before --until 5m"),
        (("source", "--since", "5m"), "leaves nothing before --until 5m"),
        (("source", "--until", "soon"), "neither a length of time"),
        (("absent",), "copies from the bucket source, not from absent"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    relayctl: CommandLine, arguments: tuple[str, ...], why: str
) -> None:
    refused = relayctl("reconcile", *arguments)
    assert refused.exit_code == 2
    assert why in refused.stderr


def test_a_disk_without_room_for_the_keys_of_log_objects_is_said_and_ends_with_2(
    relayctl: CommandLine,
) -> None:
    hour = time.strftime("%Y/%m/%d/%H", time.gmtime())

    def write_logs(cloud: LocalCloud) -> None:
        for number in range(20):
            lines = [
                json.dumps({"key": f"{number}/{line:0200}", "outcome": "accepted"})
                for line in range(1000)
            ]
            put_object(cloud, f"log/{hour}/worker-{number}.jsonl", "\n".join(lines).encode())

    relayctl.within(write_logs)
    with no_room():
        refused = relayctl("reconcile", "source")
    assert refused.exit_code == 2
    assert "cannot be sorted on disk" in refused.stderr
    assert "Set TMPDIR" in refused.stderr


def test_an_outage_ends_the_account_openly(relayctl: CommandLine) -> None:
    def prepare(cloud: LocalCloud) -> None:
        put(cloud, ["a"])
        cloud.faults.add(Fault("mns", "SendMessage", status=403))

    relayctl.within(prepare)
    failed = relayctl("reconcile", "source", "--until", "0s", "--send", "--yes")
    assert failed.exit_code == 1
    assert "+         1 without a record" in failed.stdout
    assert "0 of 1 gaps were sent" in failed.stdout
    assert "It ended before the last name" in failed.stdout
    assert "SendMessage" in failed.stderr


def test_what_is_not_known_is_said_and_the_comparison_goes_on(relayctl: CommandLine) -> None:
    def prepare(cloud: LocalCloud) -> None:
        put_object(cloud, "success_object/a", b"")
        with unannounced(cloud):
            put(cloud, ["a"])
        aged(cloud, "source", "a", 10.0)
        cloud.faults.add(Fault("mns", "GetQueueAttributes", status=403))
        cloud.faults.add(Fault("oms", "ShowSyncTask", status=403))

    relayctl.within(prepare)
    looked = relayctl("reconcile", "source", "--until", "0s")
    assert looked.exit_code == 0
    assert "=         1 recorded" in looked.stdout
    assert "Whether the task copies from source is not known" in looked.stdout
    assert "How many messages are in the queue is not known" in looked.stdout
    assert "It ended" not in looked.stdout


def test_what_is_in_the_queue_is_told_before_it_is_sent_twice(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: put(cloud, ["a"]))
    looked = relayctl("reconcile", "source", "--until", "0s")
    assert "1 messages were in the queue at the start" in looked.stdout
    sent = relayctl("reconcile", "source", "--until", "0s", "--send", "--yes")
    assert (
        "1 messages are in the queue: gaps that are among them are announced twice" in sent.stderr
    )


def test_counters_that_read_0_while_messages_wait_are_a_doubt(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: setattr(cloud.mns.behaviour, "counters_read_zero", True))
    assert "in the queue" not in relayctl("reconcile", "source", "--until", "0s").stdout
    relayctl.within(lambda cloud: put(cloud, ["a"]))
    looked = " ".join(relayctl("reconcile", "source", "--until", "0s").stdout.split())
    unknown = "How many messages are in the queue is not known: MNS's counters all read 0"
    assert f"{unknown} while messages come, and some wait" in looked
    assert "were in the queue at the start" not in looked
    relayctl.within(lambda cloud: cloud.faults.add(Fault("mns", "BatchPeekMessage", status=403)))
    looked = " ".join(relayctl("reconcile", "source", "--until", "0s").stdout.split())
    assert f"{unknown}, and nobody could look: mns BatchPeekMessage answered 403" in looked


@pytest.mark.parametrize("offset", [-120.0, 120.0])
def test_times_are_those_of_oss(relayctl: CommandLine, offset: float) -> None:
    def prepare(cloud: LocalCloud) -> None:
        cloud.oss.clock.offset_seconds = offset
        with unannounced(cloud):
            put(cloud, ["a"])

    relayctl.within(prepare)
    looked = relayctl("reconcile", "source", "--since", "1m", "--until", "0s")
    assert "+         1 without a record" in looked.stdout


def test_what_is_gone_is_counted_and_shown_when_asked_for(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: put_object(cloud, "success_object/gone", b""))
    looked = relayctl("reconcile", "source", "--until", "0s")
    assert looked.exit_code == 0
    assert "-         1 recorded and no longer there" in looked.stdout
    assert "--show gone lists" in looked.stdout
    [line] = relayctl.lines("reconcile", "source", "--until", "0s", "--show", "gone")
    assert (line["key"], line["state"]) == ("gone", "gone")


def test_a_task_that_does_not_name_its_source_forbids_nothing(relayctl: CommandLine) -> None:
    body = json.dumps({"status": "SYNCHRONIZING", "src_bucket": None})
    answer = Fault("oms", "ShowSyncTask", status=200, body=body, content_type="application/json")
    relayctl.within(lambda cloud: cloud.faults.add(answer))
    assert relayctl("reconcile", "source", "--until", "0s").exit_code == 0
