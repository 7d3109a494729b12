from __future__ import annotations

import asyncio
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.build import Heard, change, failure, held, service
from doubles.clock import EPOCH, QuickClock, settle
from doubles.hurry import hurried
from doubles.vendors import ModelStore
from worker.errors import Blame, Failure, Outcome
from worker.flow.post import Verdict
from worker.flow.record import Records, lag, record_line
from worker.flow.record_log import LINES_MAX, NAMES_MAX, GroupCommit, LogRecords
from worker.ledger.names import NAME_BYTES_MAX, record_name

PREFIX = "oms_source_record/task/success_object/"
LATER = failure(message="later")


def verdict(
    key: str = "a.txt", outcome: Outcome = Outcome.ACCEPTED, why: Failure | None = None
) -> Verdict:
    posted = change(key, of=held("M1", deliveries=2))
    return Verdict(posted, outcome, EPOCH, "R9", why, 3)


def rejected(key: str = "bad") -> Verdict:
    return verdict(key, Outcome.REJECTED, failure(Blame.ITEM, status=400, code="OMS.0064"))


class Bench:
    def __init__(self, now: float = 0.0) -> None:
        self.clock = QuickClock()
        self.clock.now = now
        self.heard = Heard()
        self.store = ModelStore()
        self.service = service(self.clock, self.heard.journal, attempts_max=2)
        common = (self.store, self.service, "logs", "task", self.clock, self.heard.journal)
        self.records = Records(*common)
        self.log = LogRecords(*common, worker="w-1", linger_seconds=0.02)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_record_stands_under_its_key() -> None:
    assert record_name("task", "success_object", "dir/é.txt") == PREFIX + "dir/é.txt"


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_a_name_of_1023_bytes_is_kept_and_beyond_it_ends_in_the_hash(letter: str) -> None:
    room = NAME_BYTES_MAX - len(PREFIX)
    fits = letter * (room // len(letter.encode()))
    fits += "x" * (room - len(fits.encode()))
    assert len(record_name("task", "success_object", fits).encode()) == NAME_BYTES_MAX
    assert record_name("task", "success_object", fits) == PREFIX + fits
    beyond = fits + "x"
    assert record_name("task", "success_object", beyond) == (
        PREFIX + sha256(beyond.encode()).hexdigest()
    )


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=1023))
def test_no_name_is_longer_than_oss_takes(key: str) -> None:
    assert len(record_name("t" * 255, "failed_object", key).encode()) <= NAME_BYTES_MAX


def test_a_record_is_one_line_with_the_whole_story() -> None:
    line = record_line(verdict("dir/é\n.txt"))
    assert b"\n" not in line
    assert json.loads(line) == {
        "key": "dir/é\n.txt",
        "event_time": "2026-09-25T00:00:00.000Z",
        "etag": "E1",
        "message_id": "M1",
        "oms_request_id": "R9",
        "posted_at": "2026-09-21T14:13:20.000+00:00",
        "attempts": 3,
        "outcome": "accepted",
        "reason": "",
    }


def test_a_failed_record_says_why() -> None:
    fields = json.loads(record_line(rejected()))
    assert fields["outcome"] == "rejected"
    assert fields["reason"] == "oms Call answered 400 OMS.0064"


async def test_one_object_is_written_for_each_key_by_its_outcome(bench: Bench) -> None:
    ends = await bench.records.record(
        [verdict("good"), rejected("bad"), verdict("later", Outcome.RETRY_LATER, LATER)]
    )
    assert ends == [None, None, LATER]
    assert set(bench.store.objects) == {
        "oms_source_record/task/success_object/good",
        "oms_source_record/task/failed_object/bad",
    }
    assert bench.store.called("put")[0][::2] == ("logs", "application/json")
    assert bench.heard.count("records_written_total", folder="success_object") == 1
    assert bench.heard.count("records_written_total", folder="failed_object") == 1


@pytest.mark.parametrize("layout", ["records", "log"])
async def test_what_is_not_final_is_not_recorded(bench: Bench, layout: str) -> None:
    unknown = verdict("a", Outcome.UNKNOWN, LATER)
    assert await getattr(bench, layout).record([unknown]) == [LATER]
    assert bench.store.objects == {}


async def test_a_record_that_is_not_confirmed_is_a_failure_of_its_key_alone(bench: Bench) -> None:
    refusal = failure(Blame.ITEM, status=400, code="InvalidObjectName")
    bench.store.fail("put", refusal)
    assert await bench.records.record([verdict("a"), verdict("b")]) == [refusal, None]
    assert bench.heard.count("records_written_total", folder="success_object") == 1


async def test_a_passing_fault_of_the_store_is_repeated(bench: Bench) -> None:
    bench.store.fail("put", failure())
    assert await bench.records.record([verdict()]) == [None]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2026-09-21T14:13:10.000Z", 10.0),
        ("2026-09-21T22:13:10+08:00", 10.0),
        ("2030-01-01T00:00:00Z", 0.0),
        ("", None),
        ("yesterday", None),
        ("0001-01-01T00:00:00", None),
    ],
)
def test_the_lag_is_the_time_since_the_event_if_its_time_can_be_read(
    time: str, seconds: float | None
) -> None:
    posted = Verdict(change(time=time), Outcome.ACCEPTED, EPOCH)
    found = lag(posted, EPOCH)
    assert (found.seconds if found else None) == seconds


@pytest.mark.parametrize(
    ("time", "origin"),
    [
        ("2026-09-21T14:13:10.000Z", "live"),
        ("2026-09-21T14:03:20.000Z", "live"),
        ("2026-09-21T14:03:19.000Z", "resent"),
        ("2030-01-01T00:00:00Z", "live"),
    ],
)
def test_an_event_sent_again_long_afterwards_is_no_lag_of_the_relay(time: str, origin: str) -> None:
    found = lag(Verdict(change(time=time), Outcome.ACCEPTED, EPOCH), EPOCH + 5)
    assert found is not None
    assert found.origin == origin


@given(st.text(max_size=40))
def test_no_event_time_is_an_error_of_ours(time: str) -> None:
    found = lag(Verdict(change(time=time), Outcome.ACCEPTED, EPOCH), EPOCH)
    assert found is None or found.seconds >= 0


async def test_a_lag_that_is_not_known_is_not_counted(bench: Bench) -> None:
    posted = Verdict(change(time=""), Outcome.ACCEPTED, EPOCH)
    await bench.records.record([posted])
    assert bench.heard.count("lag_seconds_count", origin="live") == 0
    await bench.records.record([verdict()])
    assert bench.heard.count("lag_seconds_count", origin="live") == 1


async def test_in_layout_log_many_outcomes_share_one_object(bench: Bench) -> None:
    with hurried():
        one, two = await asyncio.gather(
            bench.log.record([verdict("a"), rejected("bad")]),
            bench.log.record([verdict("b"), verdict("c", Outcome.UNKNOWN, LATER)]),
        )
    assert (one, two) == ([None, None], [None, LATER])
    body = bench.store.objects["oms_source_record/task/log/2026/09/21/14/w-1-1790000000000.jsonl"]
    assert [json.loads(line)["key"] for line in body.splitlines()] == ["a", "bad", "b"]
    assert body.endswith(b"\n")
    assert "oms_source_record/task/failed_object/bad" in bench.store.objects
    assert len(bench.store.objects) == 2


async def test_every_log_object_has_a_name_of_its_own_also_after_a_restart(bench: Bench) -> None:
    with hurried():
        await bench.log.record([verdict("a")])
        await bench.log.record([verdict("b")])
        restarted = Bench(now=1.0)
        await restarted.log.record([verdict("c")])
    assert len(bench.store.objects | restarted.store.objects) == 3


async def test_a_group_that_is_not_confirmed_fails_for_all_who_joined(bench: Bench) -> None:
    refusal = failure(Blame.SERVICE, status=404, code="NoSuchBucket")
    bench.store.fail("put", refusal)
    with hurried():
        one, two = await asyncio.gather(
            bench.log.record([verdict("a"), rejected()]), bench.log.record([verdict("b")])
        )
    assert one + two == [refusal, refusal, refusal]
    assert bench.store.objects == {}
    assert bench.heard.count("records_written_total", folder="success_object") == 0


class Writes:
    """Collects what a group commit writes, when the test lets it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.may_end = asyncio.Event()

    async def __call__(self, body: bytes) -> Failure | None:
        self.bodies.append(body)
        await self.may_end.wait()
        return None


async def test_a_full_group_leaves_at_once_and_nobody_joins_it_any_more() -> None:
    writes = Writes()
    commits = GroupCommit(writes, linger_seconds=3600)
    tasks = [asyncio.create_task(commits.commit([b"x"] * 100)) for _ in range(LINES_MAX // 100)]
    await settle()
    assert [body.count(b"\n") for body in writes.bodies] == [LINES_MAX]
    late = asyncio.create_task(commits.commit([b"y"]))
    await settle()
    assert not late.done()
    assert len(writes.bodies) == 1
    late.cancel()
    writes.may_end.set()
    assert await asyncio.gather(*tasks) == [None] * len(tasks)


async def test_a_group_with_too_many_bytes_leaves_at_once() -> None:
    writes = Writes()
    commits = GroupCommit(writes, linger_seconds=3600)
    first = asyncio.create_task(commits.commit([b"x" * 1024]))
    second = asyncio.create_task(commits.commit([b"x" * 1024 * 1024]))
    await settle()
    assert len(writes.bodies) == 1
    writes.may_end.set()
    await asyncio.gather(first, second)


async def test_lines_that_do_not_fit_lead_a_group_of_their_own() -> None:
    writes = Writes()
    writes.may_end.set()
    commits = GroupCommit(writes, linger_seconds=0.0)
    await asyncio.gather(commits.commit([b"x"] * 999), commits.commit([b"y"] * 2))
    assert sorted(body.count(b"\n") for body in writes.bodies) == [2, 999]


async def test_those_who_joined_hear_of_it_when_the_write_is_interrupted() -> None:
    writes = Writes()
    commits = GroupCommit(writes, linger_seconds=0.0)
    leader = asyncio.create_task(commits.commit([b"x"]))
    follower = asyncio.create_task(commits.commit([b"y"]))
    await settle()
    leader.cancel()
    end = await follower
    assert end is not None
    assert end.outcome is Outcome.UNKNOWN


async def test_one_who_joined_and_is_cancelled_disturbs_nobody() -> None:
    writes = Writes()
    commits = GroupCommit(writes, linger_seconds=0.0)
    leader, follower, quitter = (
        asyncio.create_task(commits.commit([line])) for line in (b"x", b"y", b"z")
    )
    await settle()
    quitter.cancel()
    writes.may_end.set()
    assert (await leader, await follower) == (None, None)


async def test_a_log_object_that_exists_is_never_overwritten(bench: Bench) -> None:
    twin = Bench()
    twin.log._store = bench.store
    await bench.log.record([verdict("a")])
    assert await twin.log.record([verdict("b")]) == [None]
    bodies = [json.loads(body)["key"] for body in bench.store.objects.values()]
    assert sorted(bodies) == ["a", "b"]


async def test_a_log_write_gives_up_after_a_bounded_number_of_taken_names(bench: Bench) -> None:
    taken = Failure("oss", "PutObject", Outcome.REJECTED, Blame.ITEM, 409, "FileAlreadyExists")
    bench.store.fail("put", *[taken] * NAMES_MAX)
    assert await bench.log.record([verdict("a")]) == [taken]
    assert len(bench.store.called("put")) == NAMES_MAX
