"""Makes runs of log objects, and one run of several, so that a key is found with a few reads.

Each step writes first, then the mark that makes it count, and deletes last, and only that whose lines stand
in what was just confirmed. So it may be killed at any moment and run twice at once: lines may stand twice for
a while, and what a killed one has written without a mark counts for nothing and expires with the logs.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import orjson

from worker.errors import RelayError
from worker.ledger.line import fields_of
from worker.ledger.names import LOG, log_hour, probe_name
from worker.ledger.runs import (
    LINE_BYTES_MAX,
    Entry,
    Run,
    bits_for,
    by_bucket,
    parts_of,
)
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket, side_by_side
from worker.operate.records import DAY_SECONDS, HOUR_SECONDS, RecordsOf, Unread
from worker.ports import Listed, Stored

T = TypeVar("T")

# Lines in memory at once take about four times this.
RUN_BYTES = 64 * 1024 * 1024
BUCKETS_AT_ONCE = 16
# A day is over when no worker's clock can be in it any more.
LATE_SECONDS = 2 * HOUR_SECONDS


@dataclass(slots=True)
class Compacted:
    """What a compaction did. `unread` are objects that it left as they are, because they cannot be read."""

    objects: int = 0
    lines: int = 0
    runs: int = 0
    merged: int = 0
    unread: list[Unread] = field(default_factory=list)


class _Unfit(RelayError):  # noqa: N818  the name says what it is
    """A run cannot be merged, because a part of it cannot be read, or is gone."""

    def __init__(self, run: Run, unread: Unread) -> None:
        super().__init__(unread.name)
        self.run, self.unread = run, unread


@dataclass(slots=True)
class _Waiting:
    """Log objects of one day whose lines will be one run."""

    day: str
    names: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    size: int = 0


class Compaction:
    """One compaction of the logs of a task. `done` is its account, true at any moment.

    `name` gives what no other run is called. A stop (`clients.stop`) ends it after the step in hand.
    """

    def __init__(
        self, clients: Clients, *, name: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        self._clients = clients
        self._bucket = LogBucket(clients)
        self._records = RecordsOf(clients)
        self._name = name
        self._unfit: set[Run] = set()
        self.done = Compacted()

    async def run(self) -> None:
        """Make runs of all log objects there are, then merge runs. Raises `CallFailed`."""
        # Whoever may not delete would write the same lines again each time.
        probe = probe_name(self._bucket.task_id, "compact").removeprefix(self._bucket.root)
        await self._bucket.delete(probe)
        await self._make_runs()
        # Two compactions in step would merge each other's runs for ever: what they leave is for the next one.
        for _ in await self._runs():
            if self._clients.stop.is_set():
                return
            together = await self._next_to_merge()
            if not together:
                return
            await self._merge(together)

    async def _make_runs(self) -> None:
        waiting = _Waiting("")
        async with aclosing(self._log_objects()) as found:
            async for listed, stored in found:
                if self._clients.stop.is_set():
                    return
                lines = [line for line in stored.body.split(b"\n") if line]
                day = _day_of(listed.key)
                if waiting.names and (day != waiting.day or waiting.size >= RUN_BYTES):
                    await self._make_run(waiting)
                    waiting = _Waiting(day)
                waiting.day = day
                waiting.names.append(listed.key)
                waiting.entries += [Entry(listed.last_modified, line) for line in lines]
                waiting.size += len(stored.body)
        if waiting.names and not self._clients.stop.is_set():
            await self._make_run(waiting)

    async def _log_objects(self) -> AsyncGenerator[tuple[Listed, Stored]]:
        """Yield the log objects that can be read, oldest first."""

        async def read(listed: Listed) -> tuple[Listed, Stored | Unread | None]:
            return listed, await self._records.readable(listed.key)

        async for page in self._bucket.pages(f"{LOG}/"):
            objects = [each for each in page.objects if _day_of(each.key)]
            async with aclosing(side_by_side(objects, read)) as reads:
                async for listed, stored in reads:
                    if isinstance(stored, Unread):
                        self.done.unread.append(stored)
                    elif stored is not None and _fits(stored):
                        yield listed, stored
            if len(objects) < len(page.objects):
                return

    async def _make_run(self, waiting: _Waiting) -> None:
        run = Run(waiting.day, bits_for(waiting.size), self._name())
        buckets = by_bucket(waiting.entries, run.bits)
        for first in range(0, 1 << run.bits, BUCKETS_AT_ONCE):
            numbers = range(first, min(first + BUCKETS_AT_ONCE, 1 << run.bits))
            await self._write(run, {number: buckets.get(number, []) for number in numbers})
        await self._confirm(run, waiting.size)
        await self._delete(waiting.names)
        self.done.runs += 1
        self.done.objects += len(waiting.names)
        self.done.lines += len(waiting.entries)

    async def _next_to_merge(self) -> list[Run]:
        """Return the runs to be merged next: all of a day that is over, or those of about one size.

        A lookup reads a bucket of each run, and a merge writes all of it anew: sizes are about one where they
        are within a factor of four, so that a line is rewritten a few times, and few runs are left.
        """
        today = _day_of(log_hour(self._clients.clock.wall() - LATE_SECONDS))
        groups: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
        for run in await self._runs():
            if run not in self._unfit:
                size = 0 if run.day < today else run.bits // 2
                groups[run.day, size].append(run)
        return next((runs for runs in groups.values() if len(runs) > 1), [])

    async def _runs(self) -> list[Run]:
        return await self._records.runs(0.0, self._clients.clock.wall() + DAY_SECONDS)

    async def _merge(self, runs: Sequence[Run]) -> None:
        sizes = {run: await self._size(run) for run in runs}
        if gone := [run for run, size in sizes.items() if size is None]:
            # Another compaction has merged them: the next listing tells.
            self._unfit.update(gone)
            return
        size = sum(each for each in sizes.values() if each)
        bits = max(bits_for(size), *(run.bits for run in runs))
        merged = Run(runs[0].day, bits, self._name())
        try:
            size = await self._write_merged(merged, runs)
        except _Unfit as unfit:
            self._unfit.add(unfit.run)
            if unfit.run in await self._runs():
                self.done.unread.append(unfit.unread)
            return
        if self._clients.stop.is_set() or not set(runs) <= set(await self._runs()):
            return
        await self._confirm(merged, size)
        # The mark goes first: no run that counts is ever without a part.
        await self._delete([run.mark for run in runs])
        for run in runs:
            async for page in self._bucket.pages(run.folder):
                await self._delete([each.key for each in page.objects])
        self.done.merged += len(runs)

    async def _write_merged(self, merged: Run, runs: Sequence[Run]) -> int:
        """Write the buckets of the new run; return its bytes. Ends early at a stop. Raises `_Unfit`."""
        size = 0
        held: dict[Run, tuple[int, dict[int, list[Entry]]]] = {}
        together: dict[int, list[Entry]] = {}
        for number in range(1 << merged.bits):
            if self._clients.stop.is_set():
                break
            await _all(runs, partial(self._hold, held, merged, number))
            together[number] = [each for run in runs for each in held[run][1].get(number, ())]
            if len(together) >= BUCKETS_AT_ONCE:
                size += await self._write(merged, together)
                together = {}
        return size + await self._write(merged, together)

    async def _hold(
        self,
        held: dict[Run, tuple[int, dict[int, list[Entry]]]],
        merged: Run,
        number: int,
        run: Run,
    ) -> None:
        """Keep in `held` the bucket of a run that has the lines of this bucket of the merged one."""
        bucket = number >> (merged.bits - run.bits)
        if run in held and held[run][0] == bucket:
            return
        found = await self._records.bucket(run, bucket)
        if isinstance(found, Unread):
            raise _Unfit(run, found)
        held[run] = bucket, by_bucket(found, merged.bits)

    async def _size(self, run: Run) -> int | None:
        stored = await self._bucket.get(run.mark)
        if stored is None:
            return None
        size = fields_of(stored.body).get("bytes")
        return size if isinstance(size, int) else 1 << run.bits

    async def _write(self, run: Run, buckets: dict[int, list[Entry]]) -> int:
        parts = list(_parts(run, buckets))
        await _all(parts, lambda each: self._bucket.put(*each))
        return sum(len(body) for _, body in parts)

    async def _confirm(self, run: Run, size: int) -> None:
        await self._bucket.put(run.mark, orjson.dumps({"bytes": size}))

    async def _delete(self, names: Sequence[str]) -> None:
        await _all(names, self._bucket.delete)


async def _all(items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    async with aclosing(side_by_side(items, work)) as done:
        async for _ in done:
            pass


def _parts(run: Run, buckets: dict[int, list[Entry]]) -> Iterator[tuple[str, bytes]]:
    for number, entries in buckets.items():
        for part, body in enumerate(parts_of(entries)):
            yield run.part(number, part), body


def _fits(stored: Stored) -> bool:
    return all(len(line) <= LINE_BYTES_MAX for line in stored.body.split(b"\n"))


def _day_of(name: str) -> str:
    """Return the day of a log object (`yyyy/mm/dd`); empty for what is none."""
    day = name[len(LOG) + 1 : len(LOG) + 11]
    return day if day[:4].isdecimal() and day[4:5] == "/" else ""
