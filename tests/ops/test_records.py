from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from harness.ops import ODD_KEYS, CommandLine, connected, objects, put_object
from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.service import Call, Reply
from worker.ledger.line import Record
from worker.operate.compact import Compaction
from worker.operate.log_bucket import AT_ONCE
from worker.operate.reconcile import Reconciliation, Scope, State
from worker.operate.records import BadKey, RecordsOf


@pytest.fixture(autouse=True)
def _prepared(cloud: LocalCloud) -> None:
    cloud.prepare()


async def in_logs(records: RecordsOf, key: str, *times: float) -> list[Record]:
    found: list[Record] = []
    since, until = (*times, None, None)[:2]
    searched = await records.search_logs(key, found.append, since=since, until=until)
    assert searched.is_whole
    return found


async def test_every_odd_key_is_found_in_layout_object(cloud: LocalCloud) -> None:
    async with relaying(cloud, settings={"RELAY_KEY_ENCODING": "raw"}) as relay:
        cloud.oss.put_many("source", dict.fromkeys(ODD_KEYS, b"content"))
        await relay.settle()
    async with connected(cloud) as clients:
        for key in ODD_KEYS:
            [record] = await RecordsOf(clients).of_key(key)
            assert (record.key, record.outcome) == (key, "accepted")
            assert record.message_id
            assert record.posted_at_seconds > 0


async def test_every_odd_key_is_found_in_layout_log(cloud: LocalCloud) -> None:
    cloud.oms.reject = ("plain*", "目录*")
    settings = {"RELAY_KEY_ENCODING": "raw"}
    async with relaying(cloud, settings=settings, record_layout="log") as relay:
        cloud.oss.put_many("source", dict.fromkeys(ODD_KEYS, b"content"))
        await relay.settle()
    async with connected(cloud) as clients:
        records = RecordsOf(clients)
        for key in ODD_KEYS:
            is_refused = key.startswith(("plain", "目录"))
            [record] = await in_logs(records, key)
            assert (record.key, record.outcome) == (key, "rejected" if is_refused else "accepted")
            assert len(await records.of_key(key)) == int(is_refused)
        assert await in_logs(records, "plain") == []


async def test_compacted_logs_have_every_odd_key_and_prove_the_same(cloud: LocalCloud) -> None:
    cloud.oms.reject = ("plain*",)
    settings = {"RELAY_KEY_ENCODING": "raw"}
    async with relaying(cloud, settings=settings, record_layout="log") as relay:
        cloud.oss.put_many("source", dict.fromkeys(ODD_KEYS, b"content"))
        await relay.settle()
    scope = Scope("source", 0.0, cloud.oss.clock.now() + 100)
    async with connected(cloud) as clients:
        before = [each async for each in Reconciliation(clients, scope).findings()]
        compaction = Compaction(clients)
        await compaction.run()
        assert compaction.done.lines == len(ODD_KEYS)
        assert not any(name.startswith("log/2") for name in objects(cloud))
        for key in ODD_KEYS:
            [record] = await in_logs(RecordsOf(clients), key)
            assert record.key == key
            assert "/log/sorted/" in record.name
        assert [each async for each in Reconciliation(clients, scope).findings()] == before
    assert {each.state for each in before} == {State.RECORDED, State.REFUSED}


def test_logs_are_compacted_by_a_command_that_names_what_cannot_be_read(
    relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(cloud: LocalCloud) -> None:
        for number in range(3):
            put_log(cloud, f"w-{number}", "k")

    relayctl.within(prepare)
    freeze(relayctl, monkeypatch, "w-1.jsonl")
    done = relayctl("records", "compact")
    assert done.exit_code == 1
    assert done.stdout == "2 log objects with 2 lines became 1 runs; 0 runs were merged.\n"
    assert "1 objects cannot be read, and stay as they are." in done.stderr
    found = relayctl("records", "find", "k", "--json", RELAY_RECORD_LAYOUT="log")
    assert (found.exit_code, len(found.stdout.splitlines())) == (1, 2)


async def test_the_log_is_searched_within_the_times_given_only(cloud: LocalCloud) -> None:
    now = datetime.now(UTC)
    for hours in (1, 5, 30):
        at = now - timedelta(hours=hours)
        line = {"key": "k", "outcome": "accepted", "posted_at": at.isoformat(), "attempts": 1}
        body = b"not json\n" + json.dumps(line | {"key": "other k"}).encode() + b"\n"
        put_object(
            cloud, f"log/{at:%Y/%m/%d/%H}/w-1.jsonl", body + json.dumps(line).encode() + b"\n"
        )
    async with connected(cloud) as clients:
        records = RecordsOf(clients)

        def ago(hours: float) -> float:
            return (now - timedelta(hours=hours)).timestamp()

        assert len(await in_logs(records, "k")) == 2
        assert len(await in_logs(records, "k", ago(3))) == 1
        assert len(await in_logs(records, "k", ago(48))) == 3
        assert len(await in_logs(records, "k", ago(48), ago(10))) == 1


async def test_success_and_failure_of_a_key_are_shown_newest_first(cloud: LocalCloud) -> None:
    for folder, hour in (("success_object", 3), ("failed_object", 5)):
        body = {"key": "k", "outcome": folder, "posted_at": f"2026-09-22T0{hour}:00:00.000+00:00"}
        put_object(cloud, f"{folder}/k", json.dumps(body).encode())
    async with connected(cloud) as clients:
        found = await RecordsOf(clients).of_key("k")
    assert [record.outcome for record in found] == ["failed_object", "success_object"]


async def test_the_empty_records_of_the_tutorials_function_are_read_by_their_names(
    cloud: LocalCloud,
) -> None:
    put_object(cloud, "success_object/old/key", b"")
    put_object(cloud, "failed_object/old/key", b"")
    async with connected(cloud) as clients:
        found = await RecordsOf(clients).of_key("old/key")
        [failed] = [record async for record in RecordsOf(clients).failed()]
    assert {(record.key, record.outcome) for record in found} == {
        ("old/key", "accepted"),
        ("old/key", "rejected"),
    }
    assert failed.posted_at_seconds == pytest.approx(cloud.oss.clock.now(), abs=100)


async def test_a_key_that_is_no_text_has_no_record(cloud: LocalCloud) -> None:
    async with connected(cloud) as clients:
        with pytest.raises(BadKey, match="not UTF-8"):
            await RecordsOf(clients).of_key("\udcff")
        with pytest.raises(BadKey, match="not UTF-8"):
            await in_logs(RecordsOf(clients), "\udcff")


async def test_failed_records_are_filtered_and_long_keys_are_among_them(cloud: LocalCloud) -> None:
    cloud.oms.reject = ("*",)
    keys = ["a/1", "a/2", "b/1", "a/" + "猫" * 340, "0" * 1023]
    async with relaying(cloud, settings={"RELAY_KEY_ENCODING": "raw"}) as relay:
        cloud.oss.put_many("source", dict.fromkeys(keys, b"content"))
        await relay.settle()
    put_object(cloud, f"failed_object/{'ab' * 32}/not-hashed", b"")
    now = cloud.oss.clock.now()
    async with connected(cloud) as clients:
        records = RecordsOf(clients)

        async def failed(**wanted: float) -> set[str]:
            return {record.key async for record in records.failed(**wanted)}  # type: ignore[arg-type]

        assert await failed() == {*keys, f"{'ab' * 32}/not-hashed"}
        assert {r.key async for r in records.failed(key_prefix="a/")} == {"a/1", "a/2", keys[3]}
        assert {r.key async for r in records.failed(key_prefix="0")} == {keys[4]}
        assert {r.key async for r in records.failed(key_prefix="c")} == set()
        assert await failed(since=now + 3600) == set()
        assert await failed(until=now - 3600) == set()
        assert all([record.reason async for record in records.failed(key_prefix="a/")])


@pytest.mark.no_cover
async def test_thousands_of_failed_records_are_read_page_by_page(cloud: LocalCloud) -> None:
    for number in range(1_500):
        put_object(cloud, f"failed_object/{number:04}", b"")
    before = len(objects(cloud))
    async with connected(cloud) as clients:
        found = [record.key async for record in RecordsOf(clients).failed()]
    assert found == [f"{number:04}" for number in range(1_500)]
    assert len(objects(cloud)) == before


def hour_of(cloud: LocalCloud, hours_ago: float = 0.0) -> str:
    at = datetime.fromtimestamp(cloud.oss.clock.now(), UTC) - timedelta(hours=hours_ago)
    return f"{at:%Y/%m/%d/%H}"


def put_log(cloud: LocalCloud, name: str, *keys: str, hours_ago: float = 0.0) -> None:
    lines = [
        json.dumps({"key": key, "outcome": "accepted", "message_id": name}).encode() + b"\n"
        for key in keys
    ]
    put_object(cloud, f"log/{hour_of(cloud, hours_ago)}/{name}.jsonl", b"".join(lines))


def freeze(line: CommandLine, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Let OSS refuse to read the objects in whose names this part stands, as it does frozen ones."""
    serve = line.cloud.oss.serve

    async def some_frozen(call: Call) -> Reply:
        if call.method == "GET" and part in call.path:
            body = "<Error><Code>InvalidObjectState</Code><Message>Frozen.</Message></Error>"
            return Reply(403, body, {"x-oss-request-id": "1"})
        return await serve(call)

    monkeypatch.setattr(line.cloud.oss, "serve", some_frozen)


def test_one_log_object_that_cannot_be_read_stops_nothing(
    relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(cloud: LocalCloud) -> None:
        for number in range(40):
            put_log(cloud, f"w-{number:02}", "k")

    relayctl.within(prepare)
    freeze(relayctl, monkeypatch, "w-07.jsonl")
    found = relayctl("records", "find", "k", "--json", RELAY_RECORD_LAYOUT="log")
    assert (found.exit_code, len(found.stdout.splitlines())) == (1, 39)
    assert "unreadable, oms_source_record/" in found.stderr
    assert "1 objects cannot be read. 39 records" in found.stderr
    nothing = relayctl("records", "find", "other", RELAY_RECORD_LAYOUT="log")
    assert nothing.exit_code == 1
    assert "whether there are more is not known" in nothing.stderr


async def test_a_search_that_hangs_ends_in_time_and_says_how_far_it_came(cloud: LocalCloud) -> None:
    for number in range(2 * AT_ONCE):
        put_log(cloud, f"w-{number:03}", "k", hours_ago=2)
    async with connected(cloud) as clients:
        found: list[Record] = []

        def take(record: Record) -> None:
            found.append(record)
            if len(found) == 1:
                cloud.faults.add(Fault("oss", action=Action.HANG, seconds=30))

        searched = await RecordsOf(clients).search_logs("k", take, seconds=0.3)
    assert searched.is_cut
    assert not searched.is_whole
    assert 1 <= searched.objects < 2 * AT_ONCE
    assert searched.reached == hour_of(cloud, 2)


async def test_a_search_that_found_enough_is_no_whole_one(cloud: LocalCloud) -> None:
    put_log(cloud, "w-1", "k")
    put_log(cloud, "w-2", "k")
    async with connected(cloud) as clients:
        found: list[Record] = []
        cut = await RecordsOf(clients).search_logs("k", found.append, records_max=1)
        whole = await RecordsOf(clients).search_logs("k", found.append, records_max=2)
    assert (cut.is_cut, whole.is_cut, len(found)) == (True, False, 3)
