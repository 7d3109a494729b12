"""Layout `log`: the outcomes of many posts in one JSON-lines object, confirmed by one PUT (group commit).

As with a database's log, whoever comes first leads a group: it lingers while others join, writes once,
and tells all of them. A message is deleted only when the object that holds its keys' outcomes is confirmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count, islice

from worker.clock import Clock, is_set_within
from worker.errors import Blame, Failure, Outcome
from worker.flow.post import Verdict
from worker.flow.record import Records, record_line
from worker.ledger.names import FAILED, SUCCESS, log_name
from worker.observe.journal import Journal
from worker.outages.service import Service
from worker.ports import NAME_TAKEN, Store

LINES_MAX = 1000
BYTES_MAX = 1024 * 1024
# How many names are tried for one object. Each is new by construction: a second one is rarely needed.
NAMES_MAX = 20

_INTERRUPTED = Failure(
    "oss", "PutObject", Outcome.UNKNOWN, Blame.PASSING, message="the write was interrupted"
)

Write = Callable[[bytes], Awaitable[Failure | None]]


class LogRecords(Records):
    """One line per key, in the order of the posts; refused keys also as objects under `failed_object/`."""

    def __init__(
        self,
        store: Store,
        service: Service,
        bucket: str,
        task_id: str,
        clock: Clock,
        journal: Journal,
        *,
        worker: str,
        linger_seconds: float,
    ) -> None:
        super().__init__(store, service, bucket, task_id, clock, journal)
        self._worker = worker
        # From the start time on: a worker restarted under the same name must not overwrite its own log.
        self._numbers = count(int(clock.wall() * 1000))
        self._groups = GroupCommit(self._write_log, linger_seconds)

    async def record(self, verdicts: Sequence[Verdict]) -> list[Failure | None]:
        """Record all verdicts that are final in one group; None stands for a confirmed record."""
        final = [each for each in verdicts if each.outcome in (Outcome.ACCEPTED, Outcome.REJECTED)]
        shared = await self._groups.commit([record_line(each) for each in final]) if final else None
        if shared is None:
            accepted = [each for each in final if each.outcome is Outcome.ACCEPTED]
            self._note(SUCCESS, accepted)
        return [await self._end(verdict, shared) for verdict in verdicts]

    async def keep(self, key: str, line: bytes) -> Failure | None:
        """Keep a record that stands for no message, as a line among the others."""
        del key
        return await self._groups.commit([line])

    async def _end(self, verdict: Verdict, shared: Failure | None) -> Failure | None:
        match verdict.outcome:
            case Outcome.ACCEPTED:
                return shared
            case Outcome.REJECTED:
                return shared or await self._write(FAILED, verdict)
            case (
                Outcome.RETRY_LATER | Outcome.UNKNOWN
            ):  # pragma: no branch  there is no fifth outcome
                return verdict.failure

    async def _write_log(self, lines: bytes) -> Failure | None:
        failure, now = None, self._clock.wall()
        for number in islice(self._numbers, NAMES_MAX):
            name = log_name(self.task_id, now, self._worker, number)
            failure = await self.put(name, lines, "application/x-ndjson", may_replace=False)
            # Taken: by a worker of the same name, or by this very write, whose answer was lost.
            if failure is None or failure.code != NAME_TAKEN:
                break
        return failure


class GroupCommit:
    """Joins the lines of many callers into few writes; each caller hears what became of its own group."""

    def __init__(self, write: Write, linger_seconds: float) -> None:
        self._write = write
        self._linger_seconds = linger_seconds
        self._group: _Group | None = None

    async def commit(self, lines: Sequence[bytes]) -> Failure | None:
        """Return when the lines are confirmed (None), or with the failure of the write that held them."""
        if self._group is not None and self._group.has_room(lines):
            self._group.add(lines)
            return await asyncio.shield(self._group.result)
        group = self._group = _Group(lines)
        return await self._lead(group)

    async def _lead(self, group: _Group) -> Failure | None:
        # Until it is known better: if the leader is cancelled, those who joined must hear that it failed.
        failure: Failure | None = _INTERRUPTED
        try:
            await is_set_within(group.is_full, self._linger_seconds)
            self._close(group)
            failure = await self._write(group.body())
        finally:
            self._close(group)
            group.result.set_result(failure)
        return failure

    def _close(self, group: _Group) -> None:
        """Let nobody join any more."""
        if self._group is group:
            self._group = None


class _Group:
    """Lines that will be written together."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.result: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        self.is_full = asyncio.Event()
        self._lines = list(lines)
        self._bytes = sum(map(len, lines))

    def has_room(self, lines: Sequence[bytes]) -> bool:
        return len(self._lines) + len(lines) <= LINES_MAX and self._bytes < BYTES_MAX

    def add(self, lines: Sequence[bytes]) -> None:
        self._lines += lines
        self._bytes += sum(map(len, lines))
        if len(self._lines) >= LINES_MAX or self._bytes >= BYTES_MAX:
            self.is_full.set()

    def body(self) -> bytes:
        return b"\n".join(self._lines) + b"\n"
