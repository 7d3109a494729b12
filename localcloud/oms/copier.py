"""What happens to accepted keys: copied, skipped or failed, and listed in the destination bucket.

Vendor facts: the user guide on synchronization tasks. Copies happen some time after the 200, from
the object as it is then; nothing is retried; lists of results are written into the destination.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import NamedTuple
from urllib.parse import quote

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.oms.task import REGION_ZONE, SourceObject, Statistic, SyncTask, must_copy

BATCHES_WAITING_MAX = 20_000

Read = Callable[[str, str], SourceObject | None]
Write = Callable[[str, str, SourceObject], None]


class ResultList(StrEnum):
    """The folders of result lists. The success list is left out: its rows are not documented."""

    FAILED = "failed_object_lists"
    SKIPPED = "skip_object_lists"


@dataclass(frozen=True, slots=True)
class _Batch:
    """Keys of one accepted call; `due` is in the event loop's time."""

    task: SyncTask
    keys: Sequence[str]
    due: float


class _Outcome(NamedTuple):
    """How the copy of one key goes; `error` is the source's error code, `read` what is to be written."""

    key: str
    result: Statistic
    size_bytes: int = 0
    error: str = ""
    read: SourceObject | None = None


class Copier:
    """Copies accepted keys, one batch after another, in one task of its own.

    The objects of a batch are compared and read together, and written together `copy_seconds` later by
    the service's clock: what is written to the source meanwhile is not in the copies.
    `accept` never waits: it says False when too many batches wait already. A CUSTOM fault named
    `copy_fails` (service `oms`, operation `CopyObject`) makes copies fail.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        read_source: Read,
        write_destination: Write,
        read_destination: Read,
    ) -> None:
        self._clock = clock
        self._faults = faults
        self._read_source = read_source
        self._write_destination = write_destination
        self._read_destination = read_destination
        self._waiting: asyncio.Queue[_Batch] = asyncio.Queue(BATCHES_WAITING_MAX)
        self._in_hand: _Batch | None = None
        self._worker: asyncio.Task[None] | None = None
        self._list_numbers = count(1)
        self.copy_seconds = 0.0
        # Whether something was read and is not written yet.
        self.is_copying = False
        self._pace = asyncio.Event()
        clock.on_jump(self._pace.set)

    def start(self) -> None:
        """Begin to copy; batches left from before a `stop` come first."""
        self._worker = asyncio.create_task(self._run(), name="oms-copier")

    async def stop(self) -> None:
        """Stop copying; what waits stays for the next `start`. Raises what ended the worker."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.cancel()
        await asyncio.wait({worker})
        if not worker.cancelled():
            worker.result()

    def accept(self, task: SyncTask, keys: Sequence[str], delay_seconds: float) -> bool:
        """Queue keys to be copied after a delay; False, with no effect, if there is no room."""
        due = asyncio.get_running_loop().time() + delay_seconds
        try:
            self._waiting.put_nowait(_Batch(task, keys, due))
        except asyncio.QueueFull:
            return False
        return True

    async def drained(self) -> None:
        """Wait until everything accepted so far is copied; raises what ended the worker early."""
        worker = self._worker
        if worker is None:
            raise RuntimeError("the copier is not running: start the service first")
        drained = asyncio.create_task(self._waiting.join(), name="oms-copier-drained")
        try:
            await asyncio.wait({drained, worker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            drained.cancel()
        if worker.cancelled():
            raise RuntimeError("the copier was stopped before it was done")
        if worker.done():
            worker.result()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._in_hand or await self._waiting.get()
            self._in_hand = batch
            # Even without a delay this lets the service answer between two batches.
            await asyncio.sleep(max(0.0, batch.due - loop.time()))
            outcomes = [self._begin(batch.task, key) for key in batch.keys]
            if any(outcome.read for outcome in outcomes):
                await self._take_time()
            self._end(batch.task, outcomes)
            self._in_hand = None
            self._waiting.task_done()

    async def _take_time(self) -> None:
        """Wait for `copy_seconds` of the clock, which may be set meanwhile."""
        self.is_copying = True
        ends_at = self._clock.now() + self.copy_seconds
        while (left := ends_at - self._clock.now()) > 0:
            self._pace.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._pace.wait()
        self.is_copying = False

    def _begin(self, task: SyncTask, key: str) -> _Outcome:
        """Compare both sides, and read the source if it has to be copied."""
        if self._faults.pick("oms", "CopyObject", custom="copy_fails") is not None:
            return _Outcome(key, Statistic.FAILURE, error="RequestTimeout")
        source = self._read_source(task.src_bucket, key)
        if source is None:
            return _Outcome(key, Statistic.FAILURE, error="NoSuchKey")
        size_bytes = len(source.data)
        if not must_copy(task, source, self._read_destination(task.dst_bucket, key)):
            return _Outcome(key, Statistic.SKIP, size_bytes)
        return _Outcome(key, Statistic.SUCCESS, size_bytes, read=source)

    def _end(self, task: SyncTask, outcomes: Sequence[_Outcome]) -> None:
        """Write what was read, count, and list what was not copied."""
        now = self._clock.now()
        for outcome in outcomes:
            if outcome.read is not None:
                copy = SourceObject(outcome.read.data, now, outcome.read.content_type)
                self._write_destination(task.dst_bucket, outcome.key, copy)
        for result, number in Counter(outcome.result for outcome in outcomes).items():
            task.count(result, number, now)
        copied_bytes = sum(o.size_bytes for o in outcomes if o.result is Statistic.SUCCESS)
        if copied_bytes:
            task.count(Statistic.SIZE, copied_bytes, now)
        self._list(task, outcomes, now)

    def _list(self, task: SyncTask, outcomes: Sequence[_Outcome], now: float) -> None:
        time_shown = datetime.fromtimestamp(now, REGION_ZONE).strftime("%Y-%m-%d %H:%M:%S")
        # Assumption: columns are separated by tabs.
        failed = [
            f"{time_shown}\t{quote(o.key, safe='')}\t{o.key}\t{o.error}\n"
            for o in outcomes
            if o.result is Statistic.FAILURE
        ]
        skipped = [
            f"{time_shown}\t{o.key}\t{o.size_bytes}\n"
            for o in outcomes
            if o.result is Statistic.SKIP
        ]
        self._write_list(task, ResultList.FAILED, failed, now)
        self._write_list(task, ResultList.SKIPPED, skipped, now)

    def _write_list(
        self, task: SyncTask, kind: ResultList, lines: Sequence[str], now: float
    ) -> None:
        if not lines:
            return
        # Assumption: the names of the files; one file per batch, since objects can't grow.
        stamp = datetime.fromtimestamp(now, REGION_ZONE).strftime("%Y%m%d%H%M%S")
        name = f"oms/sync_task/{task.task_id}/{kind}/{stamp}-{next(self._list_numbers):06d}.txt"
        listed = SourceObject("".join(lines).encode(), now, "text/plain")
        self._write_destination(task.dst_bucket, name, listed)
