from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.ledger import runs
from worker.ledger.line import Record
from worker.ledger.names import log_hour
from worker.ledger.runs import Entry, Run, bucket_of, by_bucket, entries_of, parts_of
from worker.operate import compact
from worker.operate.compact import Compaction
from worker.operate.connect import Clients
from worker.operate.records import RecordsOf, Searched, Unread
from worker.ports import Listed, Page, Stored

T = TypeVar("T")
ROOT = "oms_source_record/t/"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAMAGED = b'{"key": "k-3", \xff\x00 cut'


class Killed(Exception):  # noqa: N818  what it is
    """The process is dead: none of its calls leaves any more."""


class Oss:
    """The log bucket in memory, strongly consistent as OSS is; every call gives way to the others."""

    def __init__(self, rng: random.Random) -> None:
        self.objects: dict[str, Listed] = {}
        self.bodies: dict[str, bytes] = {}
        self.frozen: set[str] = set()
        self.calls = 0
        self._rng = rng

    def write(self, name: str, body: bytes, at: float) -> None:
        self.bodies[ROOT + name] = body
        self.objects[ROOT + name] = Listed(ROOT + name, len(body), at)

    async def way(self) -> None:
        self.calls += 1
        for _ in range(self._rng.randrange(3)):
            await asyncio.sleep(0)

    async def put(self, _: str, key: str, body: bytes, *__: Any, **___: Any) -> None:
        await self.way()
        self.write(key.removeprefix(ROOT), body, NOW + 60)

    async def get(self, _: str, key: str) -> Stored | None:
        await self.way()
        if key in self.frozen:
            raise CallFailed(Failure("oss", "GetObject", Outcome.UNKNOWN, Blame.ITEM, 403))
        body = self.bodies.get(key)
        return None if body is None else Stored(body, self.objects[key].last_modified, NOW)

    async def delete(self, _: str, key: str, **__: Any) -> None:
        await self.way()
        self.bodies.pop(key, None)
        self.objects.pop(key, None)

    async def list(
        self, _: str, prefix: str = "", *, start_after: str = "", **__: Any
    ) -> AsyncIterator[Page]:
        after = start_after
        while True:
            await self.way()
            names = sorted(n for n in self.objects if n.startswith(prefix) and n > after)
            page = tuple(self.objects[name] for name in names[:10])
            yield Page(page, (), "more" if len(names) > 10 else "", NOW)
            if len(names) <= 10:
                return
            after = names[9]


class Mortal:
    """The same bucket for a process that dies at its call number `calls`, before or after its effect."""

    def __init__(self, oss: Any, calls: int, *, is_after: bool) -> None:
        self._oss, self._left, self._is_after = oss, calls, is_after
        self.list = oss.list

    async def _die(self, call: Callable[[], Awaitable[T]]) -> T:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._is_after):
            raise Killed
        done = await call()
        if self._left == 0:
            raise Killed
        return done

    async def put(self, *parts: Any, **named: Any) -> None:
        await self._die(lambda: self._oss.put(*parts, **named))

    async def get(self, *parts: Any) -> Stored | None:
        return cast("Stored | None", await self._die(lambda: self._oss.get(*parts)))

    async def delete(self, *parts: Any, **named: Any) -> None:
        await self._die(lambda: self._oss.delete(*parts, **named))


def clients_of(store: Any) -> Clients:
    async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
        return await attempt()

    settings = SimpleNamespace(folder="t", log_bucket="b")
    clock = SimpleNamespace(wall=lambda: NOW)
    found = SimpleNamespace(
        settings=settings, clock=clock, store=store, patiently=patiently, stop=asyncio.Event()
    )
    return cast("Clients", found)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which a few lines make runs of several buckets, and buckets of several parts."""
    monkeypatch.setattr(runs, "BUCKET_BYTES", 300)
    monkeypatch.setattr(runs, "PART_BYTES", 200)
    monkeypatch.setattr(compact, "RUN_BYTES", 1500)


_NUMBERS = count()


def line(key: str) -> bytes:
    fields = {"key": key, "outcome": "accepted", "message_id": f"{next(_NUMBERS)}"}
    return json.dumps(fields).encode()


def filled(oss: Oss, objects: int = 24) -> list[bytes]:
    """Write log objects of yesterday and today, with a damaged line in some; return all lines."""
    written: list[bytes] = []
    for number in range(objects):
        at = NOW - (26 - number) * HOUR
        lines = [line(f"k-{number % 7}"), line(f"猫 {number}")] + [DAMAGED] * (number % 5 == 0)
        oss.write(f"{log_hour(at)}w-{number}.jsonl", b"\n".join(lines) + b"\n", at + 1)
        written += lines
    return written


def kept(oss: Oss) -> set[bytes]:
    """Every line that counts: in a log object, or in a bucket of a run with a mark."""
    found: set[bytes] = set()
    names = {name.removeprefix(ROOT): body for name, body in oss.bodies.items()}
    marked = [run.folder for name in names if (run := Run.of_mark(name))]
    for name, body in names.items():
        if name.startswith(runs.BUCKETS):
            if name.startswith(tuple(marked)):
                found |= {each.line for each in entries_of(body)}
        elif name.startswith("log/2"):
            found |= set(body.split(b"\n")) - {b""}
    return found


def compaction(store: Any) -> Compaction:
    return Compaction(clients_of(store), name=lambda: f"{next(_NUMBERS):08x}")


async def search(
    store: Any, key: str, since: float = NOW - 30 * HOUR
) -> tuple[list[Record], Searched]:
    found: list[Record] = []
    searched = await RecordsOf(clients_of(store)).search_logs(key, found.append, since=since)
    return found, searched


async def accepted(store: Any, since: float = NOW - 30 * HOUR) -> dict[tuple[str, float], int]:
    found: dict[tuple[str, float], int] = {}
    async for each in RecordsOf(clients_of(store)).accepted_in_logs(since, NOW):
        assert not isinstance(each, Unread)
        for key, seen in each:
            found[key, seen.at] = found.get((key, seen.at), 0) + 1
    return found


async def test_compacted_logs_tell_the_same_and_need_few_objects() -> None:
    oss = Oss(random.Random(0))
    lines = filled(oss)
    keys = [f"k-{number}" for number in range(7)]
    before = {key: {each.message_id for each in (await search(oss, key))[0]} for key in keys}
    times = await accepted(oss)
    work = compaction(oss)
    await work.run()
    assert (work.done.objects, work.done.lines, work.done.unread) == (24, len(lines), [])
    assert kept(oss) == set(lines)
    assert not [name for name in oss.bodies if name.startswith(f"{ROOT}log/2")]
    marks = [run for name in oss.bodies if (run := Run.of_mark(name.removeprefix(ROOT)))]
    assert len([run for run in marks if run.day == "2026/11/27"]) == 1
    assert max(run.bits for run in marks) >= 2
    for key in keys:
        found, searched = await search(oss, key)
        assert {each.message_id for each in found} == before[key]
        assert searched.is_whole
    assert await accepted(oss) == times


async def test_what_is_asked_for_by_hours_is_the_same_in_runs() -> None:
    oss = Oss(random.Random(0))
    filled(oss)
    since = NOW - 6.5 * HOUR
    before = {each.message_id for each in (await search(oss, "k-0", since))[0]}
    assert len(before) == 1
    times = await accepted(oss, since)
    await compaction(oss).run()
    assert before == {each.message_id for each in (await search(oss, "k-0", since))[0]}
    assert await accepted(oss, since) == times


@pytest.mark.parametrize("is_after", [False, True])
async def test_a_kill_at_any_call_loses_no_line(is_after: bool) -> None:
    for calls in count(1):
        oss = Oss(random.Random(calls))
        lines = filled(oss, 12)
        try:
            await compaction(Mortal(oss, calls, is_after=is_after)).run()
        except Killed:
            assert kept(oss) == set(lines), calls
            found, searched = await search(oss, "k-3")
            assert (len(found), searched.is_whole) == (2, True)
            await compaction(oss).run()
            assert kept(oss) == set(lines), calls
            assert not [name for name in oss.bodies if name.startswith(f"{ROOT}log/2")]
        else:
            break
    assert calls > 40


@pytest.mark.parametrize("seed", range(12))
async def test_two_at_once_lose_nothing_and_a_search_meanwhile_finds_all(seed: int) -> None:
    rng = random.Random(seed)
    oss = Oss(rng)
    lines = filled(oss)
    dying = Mortal(oss, rng.randrange(1, 120), is_after=bool(seed % 2))
    at_work = [asyncio.ensure_future(compaction(each).run()) for each in (oss, dying, oss)]
    searches = 0
    while not all(task.done() for task in at_work):
        found, searched = await search(oss, "k-3")
        assert (len({each.message_id for each in found}), len(found)) == (3, 3)
        assert searched.is_whole
        assert len(await accepted(oss)) == 24 * 2
        searches += 1
    assert searches > 1
    for task in at_work:
        assert isinstance(task.exception(), Killed | None)
    assert kept(oss) == set(lines)
    await compaction(oss).run()
    assert kept(oss) == set(lines)
    assert len(await accepted(oss)) == 24 * 2


async def test_what_cannot_be_read_stays_and_is_named() -> None:
    oss = Oss(random.Random(0))
    lines = filled(oss)
    [frozen] = [name for name in oss.bodies if name.endswith("w-7.jsonl")]
    oss.frozen.add(frozen)
    work = compaction(oss)
    await work.run()
    assert [each.name for each in work.done.unread] == [frozen]
    assert work.done.objects == 23
    assert kept(oss) == set(lines)


async def test_a_run_without_a_part_is_unknown_and_is_merged_with_none() -> None:
    oss = Oss(random.Random(0))
    filled(oss)
    await compaction(oss).run()
    [run] = [
        run
        for name in oss.bodies
        if (run := Run.of_mark(name.removeprefix(ROOT))) and run.day == "2026/11/27"
    ]
    missing = run.part(bucket_of("k-3", run.bits), 0)
    await oss.delete("", ROOT + missing)
    _, searched = await search(oss, "k-3")
    assert [each.name for each in searched.unread] == [ROOT + missing]
    assert not searched.is_whole
    late = NOW - 26 * HOUR
    oss.write(f"{log_hour(late)}late.jsonl", line("late"), late)
    work = compaction(oss)
    await work.run()
    assert [each.name for each in work.done.unread] == [ROOT + missing]
    assert ROOT + run.mark in oss.bodies
    assert len((await search(oss, "late"))[0]) == 1


class Renaming(Oss):
    """A bucket whose runs are written anew under other names right after each of the first listings."""

    times = 3

    async def list(
        self, _: str, prefix: str = "", *, start_after: str = "", **__: Any
    ) -> AsyncIterator[Page]:
        async for page in super().list(_, prefix, start_after=start_after):
            yield page
        if prefix == ROOT + runs.MARKS and self.times:
            self.times -= 1
            for name in list(self.bodies):
                new = name.replace("-", f"-{self.times}", 1)
                if "/log/runs/" in name or "/log/sorted/" in name:
                    self.write(new.removeprefix(ROOT), self.bodies.pop(name), NOW)
                    del self.objects[name]


async def test_a_run_that_is_merged_while_it_is_read_is_read_in_the_new_one() -> None:
    oss = Renaming(random.Random(0))
    filled(oss, 3)
    oss.times = 0
    await compaction(oss).run()
    oss.times = 3
    found, searched = await search(oss, "k-1")
    assert (len(found), searched.is_whole, oss.times) == (1, True, 0)
    oss.times = 1000
    found, searched = await search(oss, "k-1")
    assert (found, searched.is_whole) == ([], False)


async def test_whoever_may_not_delete_writes_nothing() -> None:
    oss = Oss(random.Random(0))
    filled(oss)
    before = dict(oss.bodies)

    async def denied(*_: Any, **__: Any) -> None:
        raise CallFailed(Failure("oss", "DeleteObject", Outcome.UNKNOWN, Blame.SERVICE, 403))

    oss.delete = denied  # type: ignore[method-assign]
    with pytest.raises(CallFailed):
        await compaction(oss).run()
    assert oss.bodies == before


async def test_logs_are_kept_since_the_oldest_object_or_the_end_of_the_oldest_runs_day() -> None:
    oss = Oss(random.Random(0))
    assert await RecordsOf(clients_of(oss)).oldest_log_hour() == 0.0
    filled(oss)
    assert await RecordsOf(clients_of(oss)).oldest_log_hour() == NOW - 26 * HOUR
    await compaction(oss).run()
    assert await RecordsOf(clients_of(oss)).oldest_log_hour() == NOW - 12 * HOUR


def test_parts_give_back_every_line_once() -> None:
    entries = [Entry(float(n), b"x" * (n % 90)) for n in range(100)]
    parts = list(parts_of(entries + entries))
    assert [each for part in parts for each in entries_of(part)] == entries
    assert [runs.is_last(part) for part in parts] == [False] * (len(parts) - 1) + [True]
    # A bucket that ends with a full part has an empty one behind it.
    assert list(parts_of([Entry(0.0, b"x" * 300)]))[1:] == [b""]


class SyntheticOss:
    """Objects of 100 million records, made as they are asked for. `days` has the bits of each run."""

    def __init__(self, days: dict[str, list[int]], keys_per_bucket: int) -> None:
        self.runs = [Run(day, bits, "ab") for day, each in days.items() for bits in each]
        self._keys = keys_per_bucket
        self.requests = 0

    async def get(self, _: str, name: str) -> Stored | None:
        self.requests += 1
        for run in self.runs:
            folder = ROOT + run.folder
            if name.startswith(folder):
                at = (
                    datetime.strptime(run.day, "%Y/%m/%d").replace(tzinfo=UTC).timestamp()
                    + 12 * HOUR
                )
                bucket = int(name[len(folder) :].partition("-")[0], 16)
                lines = [Entry(at, line(f"other {n}")) for n in range(self._keys)]
                if bucket == bucket_of("wanted", run.bits):
                    lines.append(Entry(at, line("wanted")))
                return Stored(b"".join(parts_of(lines)), at, NOW)
        return None

    async def list(self, _: str, prefix: str = "", *, start_after: str = "", **__: Any) -> Any:
        self.requests += 1
        names = sorted(ROOT + run.mark for run in self.runs)
        found = [Listed(n, 1, NOW) for n in names if n.startswith(prefix) and n > start_after]
        yield Page(tuple(found[:1000]))


def days_before(number: int) -> Iterator[str]:
    for back in range(number, 0, -1):
        yield f"{datetime.fromtimestamp(NOW - back * 24 * HOUR, UTC):%Y/%m/%d}"


@pytest.mark.parametrize(
    ("days", "since"),
    [
        # 100 million a day: 34 GB in buckets of half a MiB. Today has one run of each size.
        ({day: [16] for day in days_before(1)} | {"2026/11/28": [8, 10, 12, 15]}, NOW - 24 * HOUR),
        # 100 a second, for the 12 days that 100 million take.
        (
            {day: [13] for day in days_before(11)} | {"2026/11/28": [5, 9, 12]},
            NOW - 11.4 * 24 * HOUR,
        ),
    ],
    ids=["a day", "twelve days"],
)
async def test_a_key_among_100_million_is_found_with_20_requests(
    monkeypatch: pytest.MonkeyPatch, days: dict[str, list[int]], since: float
) -> None:
    monkeypatch.undo()
    oss = SyntheticOss(days, 200)
    records = RecordsOf(clients_of(oss))
    found = await records.of_key("wanted")
    searched = await records.search_logs("wanted", found.append, since=since)
    assert searched.is_whole
    assert len(found) == sum(map(len, days.values()))
    assert oss.requests <= 20


def test_keys_spread_over_the_buckets_evenly() -> None:
    buckets = by_bucket((Entry(0.0, line(f"photos/{n:09}.jpg")) for n in range(4000)), 4)
    assert sorted(buckets) == list(range(16))
    assert max(map(len, buckets.values())) < 2 * min(map(len, buckets.values()))
    assert all(
        bucket_of(json.loads(each.line)["key"], 4) == bucket
        for bucket, entries in buckets.items()
        for each in entries
    )
