"""Worlds of copies: a source that changes, an OMS that loses, fails, delays and skips, and who follows.

Everything in `worker.arrival` is the real code on modelled clouds and a virtual clock. The flow before it is
left out: what is written is accepted by OMS a moment later, as the other worlds prove.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry

from doubles.arrival import BY_CONTENT, BY_SIZE_AND_TIME
from doubles.build import change, event, failure, held
from simulation.loop import LoopClock, VirtualLoop
from simulation.process import SILENCE
from worker.arrival import follow
from worker.arrival.again import Again
from worker.arrival.compare import compare
from worker.arrival.deletions import Brake, Deletions
from worker.arrival.destination import DestinationView
from worker.arrival.follow import Follower
from worker.arrival.result_lists import ResultLists
from worker.clock import Clock
from worker.errors import Blame, CallFailed, Outcome
from worker.events.encode import event_body
from worker.events.event import Kind
from worker.flow.bury import DeadLetters
from worker.flow.post import Verdict
from worker.flow.record import Records
from worker.flow.source import Source
from worker.ledger.names import ROOT
from worker.observe.journal import Journal
from worker.observe.metrics import Metrics
from worker.outages.breaker import Breaker, State
from worker.outages.limit import AdaptiveLimit
from worker.outages.retry import Backoff, Retry
from worker.outages.service import Pace, Service
from worker.ports import Listed, ObjectFacts, Page, Stored, TaskState

HOUR = 3600.0
LATE_SECONDS = 900.0
ANNOUNCED_MAX = 3
# A look and what follows from it are one after the other.
LOOK_SECONDS = 60.0
# The object that is overwritten all the time, where a story has one.
HOT = "hot"
# Late is told at the next look; given up by the end of a term, once others have arrived.
TOLD_LATE_SECONDS = 2 * LATE_SECONDS
TOLD_LOST_SECONDS = LATE_SECONDS + sum(follow.WAITS_SECONDS) + 3 * LATE_SECONDS
FAILED_LIST = "oms/sync_task/task/failed_object_lists/sub/1.failed_list.txt"


@dataclass(frozen=True, slots=True)
class Fortune:
    """What becomes of copies, in shares of all; a list is written `list_seconds` later, None: never."""

    lost: float = 0.0
    failed: float = 0.0
    late: float = 0.0
    list_seconds: float | None = 60.0
    copy_seconds: float = 2.0
    late_seconds: float = 2 * HOUR


@dataclass(frozen=True, slots=True)
class Story:
    """One world. `outages` are spans in seconds in which a service fails; `kills` are when the relay dies.

    With `overwritten_each_seconds` one object more is overwritten so often; only its first state is copied.
    """

    seed: int
    fortune: Fortune = Fortune()
    ratio: float = 1.0
    by_content: bool = True
    writes: int = 60
    keys: int = 12
    span_seconds: float = HOUR
    deleted: float = 0.1
    outages: tuple[tuple[str, float, float], ...] = ()
    kills: tuple[float, ...] = ()
    bad_until: float = HOUR
    propagates: bool = False
    per_hour: int = 1000
    latency_seconds: float = 0.1
    has_one_content: bool = False
    overwritten_each_seconds: float = 0.0


@dataclass(slots=True)
class Content:
    """What an object holds, and since when (epoch seconds)."""

    data: bytes
    at: float

    @property
    def facts(self) -> ObjectFacts:
        """What a store tells of it."""
        digest = hashlib.md5(self.data).hexdigest()
        crc64 = int(digest[:16], 16)
        at = float(int(self.at))
        return ObjectFacts(
            len(self.data), at, digest, crc64, "Normal", "STANDARD", is_encrypted=False
        )


@dataclass(slots=True)
class Account:
    """What happened."""

    announced: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    dead: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class CopyWorld:
    """Lives through one story and judges it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.loop = VirtualLoop(random.Random(f"order {story.seed}"))
        self.clock: Clock = LoopClock(self.loop)
        self.rng = random.Random(f"copies {story.seed}")
        self.source: dict[str, Content] = {}
        self.copies: dict[str, Content] = {}
        self.gone_at: dict[str, float] = {}
        self.deleted: dict[str, tuple[float, str]] = {}
        self.account = Account()
        self.lists = b""
        self._written: dict[str, bytes] = {}
        # Since when no copy of a key came, and since when nobody was told so.
        self._owed_since: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        self._landing: set[str] = set()
        self._deliveries: dict[asyncio.Task[None], tuple[str, str, float]] = {}
        self.is_over = False
        self._store = _Store(self)
        self._following: asyncio.Task[None] | None = None
        self._start()

    def play(self) -> Account:
        """Live through the world."""
        try:
            self.loop.run(self.loop.create_task(self._live(), name="world"))
        finally:
            self.loop.run(self.loop.create_task(self._last_breath(), name="tidy"))
            self.loop.close()
        for fault in self.loop.faults:
            self.account.violations.append(str(fault.get("exception") or fault))
        return self.account

    def latency(self) -> float:
        """Draw how long a request or an answer travels."""
        return self.rng.uniform(0.1, 2.0) * self.story.latency_seconds

    def is_down(self, service: str) -> bool:
        """Whether a service fails now."""
        now = self.loop.time()
        return any(name == service and a <= now < b for name, a, b in self.story.outages)

    def require(self, service: str, operation: str) -> None:
        """Raise if the service is down."""
        if self.is_down(service):
            raise CallFailed(failure(Blame.PASSING, service=service, operation=operation))

    async def _live(self) -> None:
        story = self.story
        moments = sorted(self.rng.uniform(0, story.span_seconds) for _ in range(story.writes))
        blows = [(at, "write") for at in moments] + [(at, "kill") for at in story.kills]
        if gap := story.overwritten_each_seconds:
            blows += [(at * gap, "overwrite") for at in range(int(story.span_seconds / gap))]
        for at, what in sorted(blows):
            await self.clock.sleep(max(0.0, at - self.loop.time()))
            if what == "kill":
                self._kill()
            else:
                self._write(HOT if what == "overwrite" else "")
        await self.clock.sleep(max(0.0, story.bad_until - self.loop.time()))
        await self._settle()
        if story.kills or story.ratio < 1:
            # What nobody follows any more is found by comparing both sides.
            await self._reconcile()
            await self._settle()
        self._judge()

    async def _settle(self) -> None:
        """Wait until every copy has ended and nothing is followed any more."""
        for _ in range(200):
            await self.clock.sleep(HOUR / 4)
            if not self.follower._followed and not self.account.counts["to come"]:
                return
        self.account.violations.append("keys are followed without an end")

    def _write(self, key: str = "") -> None:
        key = key or f"k{self.rng.randrange(self.story.keys)}"
        self._require_told(key)
        if key != HOT and key in self.source and self.rng.random() < self.story.deleted:
            etag = self.source.pop(key).facts.etag
            self.gone_at[key] = self.loop.time()
            self.deleted[key] = (self.clock.wall(), etag)
            self._announce_deletion(key, etag)
            return
        number = self.account.counts["writes"] = self.account.counts["writes"] + 1
        size = self.rng.choice((8, 8, 9))
        if self.story.has_one_content:
            number, size = 1, 8
        self.source[key] = Content(f"{number:0{size}d}".encode(), self.clock.wall())
        self.gone_at.pop(key, None)
        self.loop.call_later(self.rng.uniform(0.1, 2.0), self._announce, key, self.source[key])

    def _announce(self, key: str, written: Content) -> None:
        """The event of a change comes, and OMS accepts its key."""
        self._owed_since.setdefault(key, self.loop.time())
        self.begin_copy(key)
        etag = written.facts.etag
        time = datetime.fromtimestamp(written.at, UTC).isoformat(timespec="milliseconds")
        message = held()
        message.message = message.message._replace(enqueue_time_ms=int(written.at * 1000))
        posted = change(key, of=message, time=time, etag=etag.upper())
        self.follower.accepted(Verdict(posted, Outcome.ACCEPTED, self.clock.wall()))

    def tell(self, outcome: str, key: str) -> None:
        """The relay tells what became of a key."""
        self.account.counts[outcome] += 1
        self._told_at[key] = self.loop.time()
        if outcome == "given_up":
            self._owed_since.pop(key, None)

    def _require_told(self, key: str) -> None:
        """What is overwritten all the time has to be told late, in each term, and given up in the end."""
        now = self.loop.time()
        since = self._owed_since.get(key, now)
        if key == HOT and now - max(since, self._told_at.get(key, 0.0)) > TOLD_LATE_SECONDS:
            self.account.violations.append(f"{key} was late at {now:.0f}, and nobody was told")
            self._told_at[key] = now
        if key == HOT and now - since > TOLD_LOST_SECONDS:
            self.account.violations.append(f"{key} was lost at {now:.0f}, and not given up")
            self._owed_since[key] = now

    def _announce_deletion(self, key: str, etag: str) -> None:
        """The event of a deletion comes: late, twice, out of order, or once more hours later."""
        if not self.story.propagates:
            return
        deleted_at = self.clock.wall()
        for after in self.rng.choice(((1.0,), (1.0, 30.0), (900.0,), (1.0, 4 * HOUR))):
            delay = after * self.rng.uniform(0.1, 2.0)
            self.account.counts["to come"] += 1
            self.loop.call_later(delay, self._deliver_deletion, key, etag, deleted_at)

    def _deliver_deletion(self, key: str, etag: str, deleted_at: float) -> None:
        task = self.loop.create_task(self._propagate(key, etag, deleted_at), name=f"delete {key}")
        self._deliveries[task] = (key, etag, deleted_at)
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        """A message that is not deleted is delivered again."""
        key, etag, deleted_at = self._deliveries.pop(task)
        if not task.cancelled() and task.exception() is None:
            self.account.counts["to come"] -= 1
        elif not self.is_over:
            self.loop.call_later(60.0, self._deliver_deletion, key, etag, deleted_at)

    async def _propagate(self, key: str, etag: str, deleted_at: float) -> None:
        time = datetime.fromtimestamp(deleted_at, UTC).isoformat(timespec="milliseconds")
        deletion = event(
            key, name="ObjectRemoved:DeleteObject", kind=Kind.REMOVED, time=time, etag=etag
        )
        for deliveries in count(1):
            end = await self.deletions.carry([(deletion, key)], deliveries=deliveries)
            if end.is_held:
                self.account.counts["held"] += 1
                self.account.held.add(key)
            if not end.wait_seconds:
                return
            await self.clock.sleep(end.wait_seconds)

    def delete_copy(self, key: str) -> None:
        """The relay deletes a copy: that must never be one of an object that is there."""
        content = self.source.get(key)
        # From the look at the source to the deletion: what is created in between is announced again.
        race_seconds = 1.0 + 10 * self.story.latency_seconds
        if content is not None and self.clock.wall() - content.at > race_seconds:
            self.account.violations.append(f"{key} was deleted although the source has it")
        self.account.counts["deleted"] += self.copies.pop(key, None) is not None

    def begin_copy(self, key: str) -> None:
        """OMS has accepted a key: some time later it copies it, or does what the fortune says."""
        fortune = self.story.fortune
        if key == HOT and key in self.copies and self.loop.time() < self.story.bad_until:
            return
        drawn = self.rng.random() if self.loop.time() < self.story.bad_until else 1.0
        if drawn < fortune.lost:
            return
        delay = self.rng.uniform(0.1, 5.0)
        if drawn < fortune.lost + fortune.failed:
            if fortune.list_seconds is not None:
                self.account.counts["to come"] += 1
                self.loop.call_later(delay + fortune.list_seconds, self._list_failed, key)
            return
        if drawn < fortune.lost + fortune.failed + fortune.late:
            delay += fortune.late_seconds
        self.account.counts["to come"] += 1
        self.loop.call_later(delay, self._read, key)

    def _list_failed(self, key: str) -> None:
        self.account.counts["to come"] -= 1
        self.lists += f"2026-01-02 03:04:05\t{key}\t{key}\tTimeout\tThe copy failed.\n".encode()
        self.copies[FAILED_LIST] = Content(self.lists, self.clock.wall())

    def _read(self, key: str) -> None:
        if key in self._landing:
            # One copy of an object at a time: what would land later must not be older.
            self.loop.call_later(1.0, self._read, key)
            return
        source, copy = self.source.get(key), self.copies.get(key)
        is_same = source and copy and source.facts.size == copy.facts.size
        is_newer = source and copy and copy.facts.last_modified >= source.facts.last_modified
        if is_same and is_newer and self.story.by_content:
            is_same = source is not None and copy is not None and source.data == copy.data
        if source is None or (is_same and is_newer):
            self.account.counts["to come"] -= 1
            return
        seconds = self.rng.uniform(0.1, 2 * self.story.fortune.copy_seconds)
        self._landing.add(key)
        self.loop.call_later(seconds, self._land, key, source.data)

    def _land(self, key: str, data: bytes) -> None:
        self.account.counts["to come"] -= 1
        self._landing.discard(key)
        self._owed_since.pop(key, None)
        self.copies[key] = Content(data, self.clock.wall())

    async def _reconcile(self) -> None:
        for key, content in list(self.source.items()):
            copy = self.copies.get(key)
            found = compare(
                content.facts,
                copy.facts if copy else None,
                now=self.clock.wall(),
                grace_seconds=LATE_SECONDS,
            )
            if found.is_skipped_by_default and not self.story.by_content:
                # `reconcile` says so, and names the way out.
                self.account.dead.add(key)
            elif found.verdict.is_gap:
                self.begin_copy(key)

    def _kill(self) -> None:
        if self._following is not None:
            self._following.cancel()
        for delivery in list(self._deliveries):
            delivery.cancel()
        self._start()

    def _start(self) -> None:
        journal = _Journal(self)
        story, clock = self.story, self.clock
        known = Source()
        known.learn(
            TaskState("SYNCHRONIZING", BY_CONTENT if story.by_content else BY_SIZE_AND_TIME)
        )
        obs, oms, oss = (self._service(name, journal) for name in ("obs", "oms", "oss"))
        records = Records(self._store, oss, "logs", "task", clock, journal)
        view = DestinationView(_Objects(self, "obs"), _Objects(self, "oss"), obs, oss, known)

        def body_of(bucket: str, key: str, at: float) -> str:
            return event_body(bucket, key, at, region="cn-hangzhou", key_encoding="raw")

        def again(sink: _Sink) -> Again:
            letters = DeadLetters(records, "w", clock)
            return Again(sink, oms, records, letters, known, clock, journal, body_of)

        self.follower = Follower(
            view,
            again(_Sink(self)),
            clock,
            self.rng,
            journal,
            ratio=story.ratio,
            late_seconds=LATE_SECONDS,
        )
        self.deletions = Deletions(
            view,
            again(_Sink(self, is_following=False)),
            records,
            Brake(records, self._store.read, clock, self.rng, story.per_hour),
            self.follower.expect,
            clock,
            journal,
            grace_seconds=LATE_SECONDS,
        )
        lists = ResultLists(view, self.follower, records, clock, journal)

        async def follow() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.follower.run())
                group.create_task(lists.run())

        self._following = self.loop.create_task(follow(), name="following")

    def _service(self, name: str, journal: Journal) -> Service:
        breaker = Breaker(name, self.clock, journal)
        breaker.state = State.CLOSED
        # An outage is shown by failures alone: nothing probes here.
        breaker.failed = lambda failure: None  # type: ignore[method-assign]  # noqa: ARG005
        retry = Retry(self.clock, Backoff(self.rng), 2)
        limit = AdaptiveLimit(16, 16)
        return Service(breaker, limit, retry, Pace(self.clock, None), self.clock, journal)

    def _judge(self) -> None:
        violated = self.account.violations.append
        for key, content in self.source.items():
            copy = self.copies.get(key)
            if (copy is None or copy.data != content.data) and key not in self.account.dead:
                violated(f"{key} is not at the destination, and nobody was told")
        kept = {FAILED_LIST, *self.source, *self.account.held}
        for key in self.copies if self.story.propagates else ():
            if key not in kept and self._is_left_over(key):
                violated(f"{key} is still at the destination, long after it was deleted")
        if sum(times for (key, _), times in self.account.announced.items() if key == HOT) > (
            ANNOUNCED_MAX
        ):
            violated(f"{HOT} was announced again although its own events announced it")
        for (key, data), times in self.account.announced.items():
            # A relay that was killed has forgotten how often it has announced a state.
            if times > ANNOUNCED_MAX * (1 + len(self.story.kills)):
                violated(f"{key} was announced {times} times for {data!r}")

    def _is_left_over(self, key: str) -> bool:
        """Whether a copy had to go with its object: written before the deletion, or a late copy of it."""
        copy, (gone_at, etag) = self.copies[key], self.deleted[key]
        is_known = copy.facts.etag == etag
        return copy.at <= gone_at + (LATE_SECONDS if is_known else 0.0)

    async def _last_breath(self) -> None:
        self.is_over = True
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=1000)


class _Journal(Journal):
    """Tells the world what became of keys."""

    def __init__(self, world: CopyWorld) -> None:
        super().__init__(Metrics(CollectorRegistry()), SILENCE)
        self._world = world

    def arrival(self, outcome: str, key: str = "", why: str = "") -> None:
        """Note what became of a key."""
        super().arrival(outcome, key, why)
        self._world.tell(outcome, key)


class _Objects:
    """The near side of OSS or OBS."""

    def __init__(self, world: CopyWorld, service: str) -> None:
        self._world = world
        self._service = service

    async def facts(self, bucket: str, key: str) -> ObjectFacts | None:
        """Look at one object."""
        del bucket
        world = self._world
        await world.clock.sleep(world.latency())
        world.require(self._service, "HeadObject")
        objects = world.copies if self._service == "obs" else world.source
        content = objects.get(key)
        await world.clock.sleep(world.latency())
        return content.facts if content else None

    async def has(self, bucket: str, key: str) -> bool:
        """Look whether one object is there."""
        return await self.facts(bucket, key) is not None

    async def delete(self, bucket: str, key: str) -> None:
        """Delete a copy."""
        del bucket
        world = self._world
        await world.clock.sleep(world.latency())
        world.require("obs", "DeleteObject")
        world.delete_copy(key)
        await world.clock.sleep(world.latency())

    async def read(self, bucket: str, key: str, start: int = 0) -> bytes:
        """Read from a byte on."""
        del bucket
        self._world.require("obs", "GetObject")
        return self._world.copies[key].data[start:]

    async def list(
        self, bucket: str, prefix: str = "", *, start_after: str = "", keys_max: int = 1000
    ) -> AsyncGenerator[Page]:
        """List the lists."""
        del bucket, start_after, keys_max
        self._world.require("obs", "ListObjects")
        found = self._world.copies.get(FAILED_LIST) if FAILED_LIST.startswith(prefix) else None
        yield Page((Listed(FAILED_LIST, len(found.data), found.at),) if found else ())


class _Sink:
    """The near side of OMS: what the relay announces again."""

    def __init__(self, world: CopyWorld, *, is_following: bool = True) -> None:
        self._world = world
        self._is_following = is_following

    async def post(self, keys: Sequence[str]) -> str:
        """Accept the keys."""
        world = self._world
        world.require("oms", "CreateSyncEvents")
        for key in keys:
            content = world.source.get(key)
            gone_at = world.gone_at.get(key, float("inf"))
            look_seconds = LOOK_SECONDS + 10 * world.story.latency_seconds
            if content is None and world.loop.time() - gone_at > look_seconds:
                world.account.violations.append(f"{key} was announced long after it was gone")
            if content is not None and self._is_following:
                world.account.announced[key, content.data] += 1
            world.account.counts["announced again"] += 1
            world.begin_copy(key)
        return "R1"

    async def show(self) -> TaskState:
        """Is not asked here."""
        raise NotImplementedError


class _Store:
    """The near side of the log bucket."""

    def __init__(self, world: CopyWorld) -> None:
        self._world = world

    async def put(
        self, bucket: str, key: str, body: bytes, content_type: str, *, may_replace: bool = True
    ) -> None:
        """Write an object."""
        del bucket, content_type
        world = self._world
        world.require("oss", "PutObject")
        if not may_replace and key in world._written:
            raise CallFailed(
                failure(Blame.ITEM, service="oss", status=409, code="FileAlreadyExists")
            )
        world._written[key] = body
        name = key.removeprefix(f"{ROOT}/task/")
        if name.startswith("dead_letter/not_arrived/"):
            self._bury(json.loads(body))

    def _bury(self, letter: dict[str, Any]) -> None:
        world = self._world
        body = json.loads(b64decode(letter["body"]))
        key = body["events"][0]["oss"]["object"]["key"]
        content, copy = world.source.get(key), world.copies.get(key)
        if (
            content
            and copy
            and content.data == copy.data
            and copy.at < world.clock.wall() - LOOK_SECONDS
        ):
            world.account.violations.append(f"{key} was given up although it had arrived")
        world.account.dead.add(key)
        world.account.counts["given up"] += 1

    async def read(self, key: str) -> Stored | None:
        """Read an object."""
        self._world.require("oss", "GetObject")
        written = self._world._written.get(key)
        return None if written is None else Stored(written)

    async def exists(self, bucket: str, key: str) -> bool | None:
        """Is not asked here."""
        raise NotImplementedError


def random_story(seed: int) -> Story:
    """Draw a world."""
    rng = random.Random(f"story {seed}")
    share = rng.choice((0.01, 0.1, 0.4))
    fortune = Fortune(
        lost=share * rng.random(),
        failed=share * rng.random(),
        late=share * rng.random(),
        list_seconds=rng.choice((5.0, 600.0, None)),
        copy_seconds=rng.choice((0.5, 30.0, 300.0)),
        late_seconds=rng.choice((600.0, 2 * HOUR)),
    )
    outages = tuple(
        (rng.choice(("obs", "obs", "oss", "oms")), start, start + rng.choice((30.0, HOUR)))
        for start in (rng.uniform(0, 2 * HOUR) for _ in range(rng.choice((0, 1, 2))))
    )
    return Story(
        seed,
        fortune,
        ratio=rng.choice((1.0, 1.0, 0.0, 0.5)),
        by_content=rng.random() < 0.6,
        keys=rng.choice((3, 12, 40)),
        outages=outages,
        kills=tuple(rng.uniform(0, 2 * HOUR) for _ in range(rng.choice((0, 0, 1, 3)))),
        bad_until=rng.choice((HOUR, 3 * HOUR)),
        deleted=rng.choice((0.1, 0.5)),
        propagates=rng.random() < 0.5,
        per_hour=rng.choice((1000, 1000, 5)),
    )
