"""Other processes that compare ranges for this one: one Python process has one core.

A helper is `python -m worker.operate.helpers`, with the environment of this process. It reads its settings as
this one did, so no secret travels. Both talk by its standard streams, in pickles with their length before
them: nobody else can write there. It ends when its standard input does, also when this process is killed.
"""

from __future__ import annotations

import asyncio
import pickle
import random
import signal
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from worker.errors import CallFailed, Failure, RelayError
from worker.operate.connect import Clients, connect
from worker.operate.destination_reconcile import (
    DestinationReconciliation,
    Effort,
    Manner,
    Question,
    Stretch,
)
from worker.operate.lanes import Width
from worker.operate.ranges import Range, Work
from worker.operate.two_listings import rare_collections
from worker.ports import TaskState
from worker.settings import load_settings

ENDED = (
    "a process that compared for this one has ended. What was told stands. Go on with --resume or --state, "
    "and with fewer --processes if this machine has too little memory"
)
_LENGTH = struct.Struct("!I")
_END_SECONDS = 1.0
COMMAND = ("-m", "worker.operate.helpers")


@dataclass(frozen=True, slots=True)
class Errand:
    """What a helper has to know: the comparison, and by how much its clock is ahead of the source's."""

    question: Question
    task: TaskState | None
    tells_proved: bool
    ends_at_gaps: bool
    ahead_seconds: float


class _Begin(NamedTuple):
    number: int
    range: Range


class _Taken(NamedTuple):
    number: int


class _Drop(NamedTuple):
    number: int


class _Cut(NamedTuple):
    number: int
    name: str


class _Part(NamedTuple):
    number: int
    stretch: Stretch
    is_over: bool
    pages: int
    effort: tuple[int, int]


class _CutDone(NamedTuple):
    number: int
    behind: Range | None


class _Throttled(NamedTuple):
    number: int = 0


class _Failed(NamedTuple):
    number: int
    failure: Failure | None
    why: str


class Helper:
    """One such process, seen from here."""

    def __init__(self, process: Process, width: Width, effort: Effort) -> None:
        self._writer, self._reader = _pipes(process)
        self._width = width
        self._effort = effort
        self._has_ended = False
        self._seen = (0, 0)
        self._numbers = 0
        self._parts: dict[int, asyncio.Queue[_Part | _Failed]] = {}
        self._cuts: dict[int, asyncio.Future[Range | None]] = {}

    async def over(self, work: Work) -> AsyncGenerator[Stretch]:
        """Have a range compared, part by part. Raises what the other process did."""
        if self._has_ended:
            raise RelayError(ENDED)
        self._numbers += 1
        number = self._numbers
        parts = self._parts[number] = asyncio.Queue()
        work.cutter = lambda name: self._cut(number, name)
        self._say(_Begin(number, work.rest))
        try:
            while not work.is_over:
                part = await parts.get()
                if isinstance(part, _Failed):
                    raise CallFailed(part.failure) if part.failure else RelayError(part.why)
                self._learn(part, work)
                if part.stretch.range.after != part.stretch.range.upto or not work.upto:
                    yield part.stretch
                self._say(_Taken(number))
        finally:
            del self._parts[number]
            self._say(_Drop(number))
            waiting = self._cuts.pop(number, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _learn(self, part: _Part, work: Work) -> None:
        for _ in range(part.pages - work.pages):
            self._width.went_well()
        work.pages = part.pages
        lists, heads = (now - before for now, before in zip(part.effort, self._seen, strict=True))
        self._effort.list_requests += lists
        self._effort.head_requests += heads
        self._seen = part.effort
        if part.is_over:
            work.end()
        else:
            work.advance(part.stretch.range.upto)

    async def _cut(self, number: int, name: str) -> Range | None:
        if number not in self._parts:
            return None
        answer: asyncio.Future[Range | None] = asyncio.get_running_loop().create_future()
        self._cuts[number] = answer
        self._say(_Cut(number, name))
        return await answer

    def send(self, errand: Errand) -> None:
        """Tell the process what it is all about, before anything else."""
        self._writer.write(_packed(errand))

    def _say(self, word: NamedTuple) -> None:
        with suppress(ConnectionError, RuntimeError):
            self._writer.write(_packed(word))

    async def hear(self) -> None:
        """Take what the process says, until it ends."""
        while (word := await _word(self._reader)) is not None:
            match word:
                case _Part(number) | _Failed(number):
                    if number in self._parts:
                        self._parts[number].put_nowait(word)
                case _CutDone(number, behind):
                    waiting = self._cuts.pop(number, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(behind)
                case _Throttled():
                    self._width.throttled()
        self._has_ended = True
        for parts in self._parts.values():
            parts.put_nowait(_Failed(0, None, ENDED))
        for waiting in self._cuts.values():
            if not waiting.done():
                waiting.set_result(None)


def _pipes(process: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a helper was started without its pipes")
    return process.stdin, process.stdout


@asynccontextmanager
async def helpers(
    count: int, errand: Errand, width: Width, effort: Effort
) -> AsyncIterator[list[Helper]]:
    """Start so many processes, and end them with the context."""
    started: list[Helper] = []
    hearing: list[asyncio.Task[None]] = []
    processes: list[Process] = []
    try:
        for number in range(count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, *COMMAND, stdin=PIPE, stdout=PIPE
            )
            processes.append(process)
            helper = Helper(process, width, effort)
            helper.send(errand)
            started.append(helper)
            hearing.append(asyncio.create_task(helper.hear(), name=f"hear helper {number}"))
        yield started
    finally:
        for process in processes:
            _pipes(process)[0].close()
        for process in processes:
            try:
                await asyncio.wait_for(process.wait(), _END_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)


class _Service:
    """The other side: compares the ranges that it is given."""

    def __init__(self, comparison: DestinationReconciliation, writer: asyncio.StreamWriter) -> None:
        self._comparison = comparison
        self._writer = writer
        self._works: dict[int, Work] = {}
        self._taken: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Do what is asked for, until nobody asks any more."""
        try:
            while (word := await _word(reader)) is not None:
                match word:
                    case _Begin(number, whole):
                        self._works[number], self._taken[number] = Work(whole), asyncio.Event()
                        name = f"range {number}"
                        task = asyncio.create_task(self._compare(number), name=name)
                        self._tasks[number] = task
                    case _Taken(number) if number in self._taken:
                        self._taken[number].set()
                    case _Cut(number, name):
                        work = self._works.get(number)
                        self._say(_CutDone(number, work.cut(name) if work else None))
                    case _Drop(number) if number in self._tasks:
                        self._tasks.pop(number).cancel()
                        del self._works[number], self._taken[number]
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _compare(self, number: int) -> None:
        work, taken, effort = self._works[number], self._taken[number], self._comparison.effort
        try:
            async with aclosing(self._comparison.over(work)) as parts:
                async for stretch in parts:
                    taken.clear()
                    cost = (effort.list_requests, effort.head_requests)
                    self._say(_Part(number, stretch, work.is_over, work.pages, cost))
                    await taken.wait()
            if work.rest.after == work.rest.upto:
                # It came to its end with the last name that was told.
                cost = (effort.list_requests, effort.head_requests)
                self._say(_Part(number, Stretch(work.rest), True, work.pages, cost))
        except CallFailed as failed:
            self._say(_Failed(number, failed.failure, ""))
        except RelayError as error:
            self._say(_Failed(number, None, str(error)))

    def _say(self, word: NamedTuple) -> None:
        self._writer.write(_packed(word))


class _Teller(Width):
    """Passes on what it learns: how many lanes there are is decided elsewhere."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__(1)
        self._writer = writer

    def throttled(self) -> None:
        """Say so to who decides."""
        self._writer.write(_packed(_Throttled()))


def _packed(word: Any) -> bytes:
    body = pickle.dumps(word)
    return _LENGTH.pack(len(body)) + body


async def _word(reader: asyncio.StreamReader) -> Any:
    """Read one word; None at the end. Both ends are this program, and nobody else can write there."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _help() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, sys.stdout
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    errand = await _word(reader)
    if not isinstance(errand, Errand):
        return
    async with connect(load_settings(), reload=load_settings) as clients:
        with rare_collections():
            await _Service(_comparison(clients, errand, writer), writer).serve(reader)


def _comparison(
    clients: Clients, errand: Errand, writer: asyncio.StreamWriter
) -> DestinationReconciliation:
    if clients.destination is None:
        raise RelayError("OBS_ENDPOINT is not set in this process")
    return DestinationReconciliation(
        clients,
        clients.destination,
        # A sample is taken where all comes together.
        replace(errand.question, sample=0),
        now=lambda: clients.clock.wall() - errand.ahead_seconds,
        task=errand.task,
        rng=random.Random(),  # noqa: S311  nothing is drawn here
        manner=Manner(
            _Teller(writer), tells_proved=errand.tells_proved, ends_at_gaps=errand.ends_at_gaps
        ),
    )


if __name__ == "__main__":
    # Ctrl-C at a terminal goes to all processes: the one that has the others ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Under its own name, so that what is pickled here is known there.
    from worker.operate.helpers import _help as help_out

    asyncio.run(help_out())
