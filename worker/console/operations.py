"""Redrive, archive and unarchive: one at a time, counted as it goes, stopped when asked to."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

import structlog

from worker.console.filters import Filter
from worker.errors import CallFailed, RelayError
from worker.ledger.letter import Place
from worker.observe.journal import bounded
from worker.operate.connect import Clients
from worker.operate.letters import LetterFilter
from worker.operate.redrive import Limits, Move, Moves, Outcome
from worker.operate.sample import Sample

RECENT_MAX = 10
TROUBLES_MAX = 10
STOP_SECONDS_MAX = 30.0


class Action(StrEnum):
    """What is done with letters."""

    REDRIVE = "redrive"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"

    @property
    def place(self) -> Place:
        """Where its letters stand before."""
        return Place.ARCHIVED if self is Action.UNARCHIVE else Place.DEAD


class State(StrEnum):
    """`STOPPED`: it ended before the end because it was asked to. `FAILED`: a service ended it."""

    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Busy(RelayError):  # noqa: N818  the name says what it is
    """Another operation is running."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, to which letters, and who said so. `about` is the filter as typed.

    `redriven`: letters that were redriven are brought back as well.
    """

    action: Action
    wanted: LetterFilter
    about: Filter
    limits: Limits = field(default_factory=Limits)
    reason: str = ""
    by: str = ""
    redriven: bool = False


@dataclass(slots=True)
class Operation:
    """One operation from its start to its account. `expected` is how many letters a dry run found.

    `sample` is what a dry run has counted; `waits` says what it waits for, if anything.
    """

    number: int
    order: Order
    started_at: float
    expected: int | None = None
    ended_at: float | None = None
    counts: Counter[Outcome] = field(default_factory=Counter)
    troubles: list[tuple[str, Outcome, str]] = field(default_factory=list)
    sample: Sample = field(default_factory=Sample)
    waits: str = ""
    failed: CallFailed | None = None
    audit_failed: CallFailed | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> State:
        """How it stands."""
        if self.ended_at is None:
            return State.STOPPING if self.stop.is_set() else State.RUNNING
        if self.failed is not None:
            return State.FAILED
        return State.STOPPED if self.stop.is_set() else State.DONE

    @property
    def is_running(self) -> bool:
        """Whether letters may still move."""
        return self.ended_at is None

    @property
    def handled(self) -> int:
        """How many letters it has come to so far."""
        return sum(self.counts.values())

    @property
    def total(self) -> int | None:
        """How many letters it is going to come to, where that is known."""
        count = self.order.limits.count
        if self.expected is None:
            return count
        return self.expected if count is None else min(count, self.expected)

    @property
    def left(self) -> int | None:
        """How many of the letters found by the dry run stand where they stood, where that is known."""
        moved = self.counts[Outcome.DONE] + self.counts[Outcome.ALREADY]
        return None if self.expected is None else max(0, self.expected - moved)

    def count(self, move: Move) -> None:
        """Count what became of one letter."""
        self.waits = ""
        self.counts[move.outcome] += 1
        if move.outcome in (Outcome.WOULD, Outcome.ALREADY) and self.order.limits.is_dry_run:
            self.sample.add(move.letter)
        if move.detail and len(self.troubles) < TROUBLES_MAX:
            ref = move.letter.ref
            name = f"{ref.cause}/{ref.day}/{ref.message_id}"
            self.troubles.append((name, move.outcome, bounded(move.detail)))


class Ledger:
    """Where operations are written down; `worker.console.audit.Audit` is the real one."""

    async def begun(self, operation: Operation) -> None:
        """Write that it begins; raises `CallFailed` if that cannot be written, and nothing is done then."""

    async def ended(self, operation: Operation) -> None:
        """Write how it ended. Raises `CallFailed`."""


class Operations:
    """At most one operation runs; the last ten are remembered until the console ends.

    `on_end` is called when letters have stopped moving.
    """

    def __init__(self, clients: Clients, ledger: Ledger, on_end: Callable[[], None]) -> None:
        self.recent: deque[Operation] = deque(maxlen=RECENT_MAX)
        self._clients = clients
        self._ledger = ledger
        self._on_end = on_end
        self._numbers = 0
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._log = structlog.get_logger("console")

    @property
    def running(self) -> Operation | None:
        """The operation that runs, if one does."""
        newest = self.recent[-1] if self.recent else None
        return newest if newest is not None and newest.is_running else None

    def find(self, number: int) -> Operation | None:
        """Return a remembered operation."""
        return next((each for each in self.recent if each.number == number), None)

    async def start(self, order: Order, expected: int | None = None) -> Operation:
        """Begin; return at once. Raises `Busy`, or `CallFailed` if it cannot be written down first."""
        if self._starting.locked() or self.running is not None:
            raise Busy
        async with self._starting:
            self._numbers += 1
            operation = Operation(self._numbers, order, self._clients.clock.wall(), expected)
            await self._ledger.begun(operation)
            self.recent.append(operation)
            self._task = asyncio.create_task(
                self._run(operation), name=f"{order.action} {operation.number}"
            )
            self._task.add_done_callback(self._died)
            return operation

    async def ended(self, operation: Operation, seconds_max: float) -> None:
        """Wait a moment for it to end."""
        if operation is self.running and self._task is not None:
            await asyncio.wait((self._task,), timeout=seconds_max)

    def stop(self, operation: Operation) -> None:
        """Ask it to end: what is in hand is finished, nothing more is begun."""
        operation.stop.set()

    async def close(self) -> None:
        """Stop what runs and wait for its account; cut it short only if that takes too long."""
        task, operation = self._task, self.running
        if task is None or operation is None:
            return
        operation.stop.set()
        await asyncio.wait((task,), timeout=STOP_SECONDS_MAX)
        task.cancel()
        await asyncio.wait((task,))

    async def _run(self, operation: Operation) -> None:
        try:
            moves = cast("AsyncGenerator[Move, None]", self._moves(operation))
            async with aclosing(moves):
                async for move in moves:
                    operation.count(move)
        except CallFailed as failed:
            operation.failed = failed
        finally:
            operation.ended_at = self._clients.clock.wall()
            self._on_end()
        try:
            await self._ledger.ended(operation)
        except CallFailed as failed:
            operation.audit_failed = failed

    def _moves(self, operation: Operation) -> AsyncIterator[Move]:
        order = operation.order

        def say(text: str) -> None:
            operation.waits = text

        moves = Moves(replace(self._clients, stop=operation.stop), by=order.by, say=say)
        if order.action is Action.REDRIVE:
            return moves.redrive(order.wanted, order.limits)
        if order.action is Action.ARCHIVE:
            return moves.archive(order.wanted, order.limits, order.reason)
        return moves.unarchive(order.wanted, order.limits, redriven=order.redriven)

    def _died(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._log.critical(
                "an operation has died of a fault of its own: letters stood still or moved whole. "
                "Run it again, and report this with the trace",
                action="operation",
                exc_info=task.exception(),
            )
