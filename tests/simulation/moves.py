"""Worlds of operators who move the same letters at once: `worker.operate.redrive` on modelled OSS and MNS.

Calls take time, fail, lose their answers, and may have their effect long after their caller gave up.
Operators are killed at any await, or frozen for longer than any right lasts.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from simulation.loop import EPOCH, OWNER, LoopClock, VirtualLoop
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.operate.connect import Clients
from worker.operate.letters import LetterFilter
from worker.operate.redrive import Move, Moves
from worker.operate.redrive import Outcome as Became
from worker.outages.retry import Backoff, Retry
from worker.ports import NAME_TAKEN, TOO_LATE, Listed, Page, Stored

T = TypeVar("T")

ROOT = "oms_source_record/task/"
FOLDERS = ("dead_letter/", "archived/")
DAY = "2026-02-28"
CALL_SECONDS = 30.0
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Tale:
    """One world. Shares are of all calls; `busy_deletes` of deletes alone."""

    seed: int
    letters: int = 12
    operators: int = 2
    busy: float = 0.02
    busy_deletes: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    kills: int = 0
    freezes: int = 0
    span_seconds: float = 300.0


@dataclass(slots=True)
class Books:
    """What happened: messages by intent with the operator of each, and what was seen to be wrong."""

    sent: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ids: set[str] = field(default_factory=set)
    excused: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class MoveWorld:
    """Lives through one tale and judges it."""

    def __init__(self, tale: Tale) -> None:
        self.tale = tale
        self.loop = VirtualLoop(random.Random(f"order {tale.seed}"))
        self.rng = random.Random(f"moves {tale.seed}")
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.books = Books()
        self.is_calm = False
        self.asked: list[asyncio.Future[Any]] = []
        self._numbers = 0
        for number in range(tale.letters):
            self._bury(number)

    def play(self) -> Books:
        """Live through the world."""
        try:
            self.loop.run(self.loop.create_task(self._live(), name="world"))
        finally:
            self.loop.run(self.loop.create_task(self._last_breath(), name="tidy"))
            self.loop.close()
        return self.books

    @property
    def now(self) -> float:
        """OSS's time."""
        return EPOCH + self.loop.time()

    def letters(self, folder: str) -> set[str]:
        """The letters that stand in a folder, without its name."""
        place = f"{ROOT}{folder}"
        return {name.removeprefix(place) for name in self.objects if name.startswith(place)}

    def _bury(self, number: int) -> None:
        message_id = f"{number:032X}"
        cause = "rejected" if number % 3 else "undecodable"
        fields = {
            "error": "no",
            "keys": [{"key": f"k{number}", "error": "no"}],
            "died_at": f"{DAY}T10:00:00+00:00",
            "body": f"body {number}",
        }
        body = json.dumps(fields).encode()
        self.objects[f"{ROOT}dead_letter/{cause}/{DAY}/{message_id}.json"] = (body, EPOCH - 60)

    async def _live(self) -> None:
        running = [self._start() for _ in range(self.tale.operators)]
        blows = [("kill", self.tale.kills), ("freeze", self.tale.freezes)]
        moments = sorted(
            (self.rng.uniform(0.5, self.tale.span_seconds), what)
            for what, count in blows
            for _ in range(count)
        )
        for at, what in moments:
            await asyncio.sleep(max(0.0, at - self.loop.time()))
            victim = self.rng.randrange(len(running))
            # In the middle of a burst of callbacks as well as between two.
            await asyncio.sleep(0)
            if what == "kill":
                running[victim].kill()
                running[victim] = self._start()
            else:
                running[victim].freeze(self.rng.uniform(5, 120))
        await asyncio.sleep(max(0.0, self.tale.span_seconds - self.loop.time()))
        self.is_calm = True
        for each in running:
            await each.task
        await self._settle()
        self._judge()

    def _start(self) -> Operator:
        self._numbers += 1
        return Operator(self, f"op{self._numbers}")

    async def _settle(self) -> None:
        """Wait until nothing can come late, then send all that waits."""
        await asyncio.sleep(2 * CALL_SECONDS + 60)
        last = Operator(self, "last", is_idle=True)
        await last.run("redrive")

    def _judge(self) -> None:
        dead, archived = (self.letters(folder) for folder in FOLDERS)
        if dead:
            self.wrong(f"{len(dead)} letters are left")
        if len(archived) != self.tale.letters:
            self.wrong(f"{len(archived)} of {self.tale.letters} letters are in the archive")
        for name, (body, _) in self.objects.items():
            sent = (
                json.loads(body).get("moved", {}).get("message_id") if "/archived/" in name else ""
            )
            if sent and sent not in self.books.ids:
                self.wrong(f"{name} says that it was sent as {sent}")
        for intent, by in self.books.sent.items():
            if len([each for each in by if each not in self.books.excused]) > 1:
                self.wrong(f"{intent} was sent {len(by)} times: {by}")

    def wrong(self, what: str) -> None:
        """Note what must not be."""
        self.books.violations.append(f"{self.loop.time():.2f} s: {what}")

    def removed(self, name: str) -> None:
        """A letter was deleted in one place: it has to stand in the other."""
        for folder, other in (FOLDERS, FOLDERS[::-1]):
            if (
                name.startswith(ROOT + folder)
                and name.replace(folder, other, 1) not in self.objects
            ):
                self.wrong(f"{name} is lost")

    async def _last_breath(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=1000)


class Operator:
    """One process that moves letters, this way and that."""

    def __init__(self, world: MoveWorld, name: str, *, is_idle: bool = False) -> None:
        self.world, self.name = world, name
        self.rng = random.Random(f"{name} {world.tale.seed}")
        self.is_alive = True
        self.clients = self._clients()
        context = copy_context()
        context.run(OWNER.set, self)
        live = self._live() if not is_idle else asyncio.sleep(0)
        self.task: asyncio.Task[None] = world.loop.create_task(live, name=name, context=context)

    def _clients(self) -> Clients:
        settings = SimpleNamespace(log_bucket="logs", folder="task", request_timeout_seconds=30)
        clock = LoopClock(self.world.loop)
        # Only OSS's clock counts.
        wrong = SimpleNamespace(
            monotonic=clock.monotonic, sleep=clock.sleep, wall=lambda: clock.wall() + 600
        )
        fields: dict[str, Any] = {
            "settings": settings,
            "queue": MnsSide(self),
            "store": OssSide(self),
            "clock": wrong,
            "retry": Retry(wrong, Backoff(self.rng)),
        }
        unused: dict[str, Any] = {"dead_letter_queue": None, "routes": {}}
        return Clients(**cast("dict[str, Any]", fields | unused))

    def kill(self) -> None:
        """Nothing more is heard of it; what left it may still have its effect."""
        self.is_alive = False
        self.world.books.excused.add(self.name)
        self.world.books.counts["kills"] += 1

    def freeze(self, seconds: float) -> None:
        """Stop all of it for a while."""
        # What it was about to send leaves after the thaw: MNS has no way to refuse it.
        self.world.books.excused.add(self.name)
        self.world.books.counts["freezes"] += 1
        self.world.loop.freeze(self)
        self.world.loop.call_later(seconds, self.world.loop.thaw, self)

    async def _live(self) -> None:
        for _ in range(ROUNDS):
            await asyncio.sleep(self.rng.uniform(0, 40))
            await self.run(
                self.rng.choice(("redrive", "redrive", "archive", "unarchive", "all back"))
            )

    async def run(self, verb: str) -> None:
        """Do one thing to all letters, or to some."""
        moves = Moves(self.clients, by=self.name)
        wanted = LetterFilter(cause=self.rng.choice(("", "", "rejected")))
        begin: dict[str, Callable[[], Any]] = {
            "redrive": lambda: moves.redrive(wanted if self.name != "last" else LetterFilter()),
            "archive": lambda: moves.archive(wanted),
            "unarchive": lambda: moves.unarchive(wanted),
            "all back": lambda: moves.unarchive(wanted, redriven=True),
        }
        before = sum(by.count(self.name) for by in self.world.books.sent.values())
        told: Counter[Became] = Counter()
        try:
            async with aclosing(begin[verb]()) as made:
                async for move in made:
                    told[move.outcome] += 1
                    self._hear(move)
        except CallFailed:
            self.world.books.counts["ended early"] += 1
        after = sum(by.count(self.name) for by in self.world.books.sent.values())
        self.world.books.counts.update(f"{verb} {each}" for each in told.elements())
        if verb == "redrive" and not (self.world.tale.lost or self.world.tale.late):
            accounted = told[Became.DONE] + told[Became.SENT]
            if accounted != after - before:
                self.world.wrong(f"{self.name} sent {after - before} and told of {accounted}")

    def _hear(self, move: Move) -> None:
        if move.outcome is Became.SENT:
            self.world.books.excused.add(self.name)

    def _is_struck(self, share: float) -> bool:
        return not self.world.is_calm and self.world.rng.random() < share

    async def call(self, operation: str, serve: Callable[[], T]) -> T:
        """Make a call. Its effect does not depend on the life of its caller."""
        loop, tale = self.world.loop, self.world.tale
        answer: asyncio.Future[T] = loop.create_future()
        # A task that waits for ever would be forgotten by Python.
        self.world.asked.append(answer)
        if not self.is_alive:
            await answer
        is_lost, is_late = self._is_struck(tale.lost), self._is_struck(tale.late)
        if operation == "send" and (is_lost or is_late):
            # Nobody can know whether MNS has it: it is sent again.
            self.world.books.excused.add(self.name)
        is_busy = self._is_struck(tale.busy + tale.busy_deletes * (operation == "delete"))

        def arrive() -> None:
            deliver = _answered(answer, _busy(operation) if is_busy else serve)
            if not is_lost:
                loop.call_later(self._travel(), hear, deliver, context=context)

        def hear(deliver: Callable[[], None]) -> None:
            if self.is_alive and not answer.done():
                deliver()

        context = copy_context()
        served = copy_context()
        served.run(OWNER.set, None)
        # Late: long after the caller has given up.
        wait = self.world.rng.uniform(20, 90) if is_late else self._travel()
        loop.call_later(wait, arrive, context=served)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await answer
        except TimeoutError:
            failure = Failure("oss", operation, Outcome.UNKNOWN, Blame.PASSING)
            raise CallFailed(failure) from None

    def _travel(self) -> float:
        return self.world.rng.uniform(0.005, 0.2)


def _busy(operation: str) -> Callable[[], Any]:
    def serve() -> None:
        raise CallFailed(Failure("oss", operation, Outcome.RETRY_LATER, Blame.PASSING, 503))

    return serve


def _answered(answer: asyncio.Future[T], serve: Callable[[], T]) -> Callable[[], None]:
    """Let a call have its effect; return how its answer is delivered."""
    try:
        return partial(answer.set_result, serve())
    except CallFailed as failed:
        return partial(answer.set_exception, failed)


class OssSide:
    """OSS as an operator sees it."""

    def __init__(self, operator: Operator) -> None:
        self._operator, self._world = operator, operator.world

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        *,
        may_replace: bool = True,
        until: float | None = None,
    ) -> None:
        """Write an object, unless it comes too late or the name is taken."""
        del bucket, content_type

        def serve() -> None:
            self._require_in_time(until)
            if not may_replace and key in self._world.objects:
                raise CallFailed(
                    Failure("oss", "put", Outcome.REJECTED, Blame.ITEM, 409, NAME_TAKEN)
                )
            self._world.objects[key] = (body, float(int(self._world.now)))

        await self._operator.call("put", serve)

    async def get(self, bucket: str, key: str) -> Stored | None:
        """Read an object."""
        del bucket

        def serve() -> Stored | None:
            found = self._world.objects.get(key)
            return found and Stored(found[0], found[1], float(int(self._world.now)))

        return await self._operator.call("get", serve)

    async def delete(self, bucket: str, key: str, *, until: float | None = None) -> None:
        """Delete an object, unless it comes too late."""
        del bucket

        def serve() -> None:
            self._require_in_time(until)
            if self._world.objects.pop(key, None):
                self._world.removed(key)

        await self._operator.call("delete", serve)

    async def list(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        attempt: Callable[[Callable[[], Awaitable[Page]]], Awaitable[Page]],
    ) -> AsyncGenerator[Page]:
        """List in one page."""
        del bucket

        def serve() -> Page:
            names = sorted(
                n for n in self._world.objects if n.startswith(prefix) and n > start_after
            )
            at = float(int(self._world.now))
            if not delimiter:
                found = (Listed(n, len(self._world.objects[n][0]), 0.0) for n in names)
                return Page(tuple(found), at=at)
            cut = len(prefix)
            folders = {prefix + n[cut:].split("/")[0] + "/" for n in names if "/" in n[cut:]}
            return Page((), tuple(sorted(folders)), at=at)

        yield await attempt(lambda: self._operator.call("list", serve))

    def _require_in_time(self, until: float | None) -> None:
        if until is not None and self._world.now > until:
            raise CallFailed(
                Failure("oss", "put", Outcome.RETRY_LATER, Blame.CREDENTIALS, 403, TOO_LATE)
            )


class MnsSide:
    """MNS as an operator sees it."""

    def __init__(self, operator: Operator) -> None:
        self._operator, self._books = operator, operator.world.books

    async def send(self, body: str, intent: str = "") -> str:
        """Take a message."""
        return (await self.send_batch([(body, intent)]))[0]

    async def send_batch(self, entries: Sequence[tuple[str, str]]) -> list[str]:
        """Take up to 16."""
        assert 1 <= len(entries) <= 16

        def serve() -> list[str]:
            ids = []
            for _, intent in entries:
                self._books.sent[intent].append(self._operator.name)
                ids.append(f"M{len(self._books.ids)}")
                self._books.ids.add(ids[-1])
            return ids

        return await self._operator.call("send", serve)
