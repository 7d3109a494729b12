"""What happens to accepted keys: copied, skipped or failed, and listed in the destination bucket.

Vendor facts: the user guide on synchronization tasks. Copies happen some time after the 200, from
the object as it is then; nothing is retried; lists of results are written into the destination.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.oms.copying import Copying, Fate, Luck
from localcloud.oms.lists import Outcome, ResultLists
from localcloud.oms.task import Statistic, SyncTask, must_copy
from localcloud.storage.stored import Described, StoredObject

BATCHES_WAITING_MAX = 20_000
# CreateSyncTask's `dst_storage_policy` in the words of OBS.
_CLASSES = {"IA": "WARM", "ARCHIVE": "COLD", "DEEP_ARCHIVE": "DEEP_ARCHIVE"}
_TEXT = Described("text/plain", storage_class="STANDARD")

Read = Callable[[str, str], StoredObject | None]


class Destination(Protocol):
    """Where copies go: OBS, in-process."""

    def read(self, bucket: str, key: str, /) -> StoredObject | None:
        """Return an object, or None."""

    def write(
        self,
        bucket: str,
        key: str,
        data: bytes,
        described: Described,
        /,
        *,
        part_bytes: int = 0,
        has_crc64: bool = True,
    ) -> object:
        """Store an object, in place of the one there was."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Keys of one accepted call; `due` is in the event loop's time."""

    task: SyncTask
    keys: Sequence[str]
    due: float


class Copier:
    """Copies accepted keys, one batch after another, in one task of its own; late ones in a second.

    The objects of a batch are compared and read together, and written together `copy_seconds` later by
    the service's clock: what is written to the source meanwhile is not in the copies.
    `accept` never waits: it says False when too many batches wait already. `copying` holds the switches.
    CUSTOM faults (service `oms`, operation `CopyObject`): `copy_fails` makes a copy fail, `copy_lost`
    drops it in silence.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        read_source: Read,
        destination: Destination,
        seed: int = 0,
    ) -> None:
        self.copying = Copying()
        self._clock = clock
        self._faults = faults
        self._read_source = read_source
        self._destination = destination
        self._lists = ResultLists(self.copying, self._put_list)
        self._luck = Luck(seed)
        self._waiting: asyncio.Queue[_Batch] = asyncio.Queue(BATCHES_WAITING_MAX)
        self._in_hand: _Batch | None = None
        self._late: list[tuple[float, int, SyncTask, str]] = []
        self._late_numbers = count(1)
        self._workers: tuple[asyncio.Task[None], ...] = ()
        # Whether something was read and is not written yet.
        self.is_copying = False
        self._pace = asyncio.Event()
        clock.on_jump(self._pace.set)

    @property
    def copy_seconds(self) -> float:
        """How long the copies of one call take, by the clock; what is written meanwhile is not in them."""
        return self.copying.copy_seconds

    @copy_seconds.setter
    def copy_seconds(self, seconds: float) -> None:
        self.copying.copy_seconds = seconds

    @property
    def late(self) -> int:
        """How many copies are late and still to come."""
        return len(self._late)

    def start(self) -> None:
        """Begin to copy; batches left from before a `stop` come first."""
        self._workers = (
            asyncio.create_task(self._run(), name="oms-copier"),
            asyncio.create_task(self._run_late(), name="oms-copier-late"),
        )

    async def stop(self) -> None:
        """Stop copying; what waits stays for the next `start`. Raises what ended a worker."""
        workers, self._workers = self._workers, ()
        if not workers:
            return
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        for worker in workers:
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
        """Wait until everything accepted so far is copied; raises what ended a worker early.

        Neither late copies nor late lists are waited for.
        """
        workers = self._workers
        if not workers:
            raise RuntimeError("the copier is not running: start the service first")
        drained = asyncio.create_task(self._waiting.join(), name="oms-copier-drained")
        try:
            await asyncio.wait({drained, *workers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            drained.cancel()
        for worker in workers:
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
            begun = [self._begin(batch.task, key) for key in batch.keys]
            outcomes = [outcome for outcome in begun if outcome is not None]
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
            await self._pause(left)
        self.is_copying = False

    async def _run_late(self) -> None:
        """Copy late keys and write late lists, each when it is due by the clock."""
        while True:
            now = self._clock.now()
            while self._late and self._late[0][0] <= now:
                _, _, task, key = heapq.heappop(self._late)
                self._end(task, [self._compared(task, key)])
            self._lists.write_due(now)
            dues = [late[0] for late in self._late[:1]]
            dues += [] if self._lists.next_due is None else [self._lists.next_due]
            await self._pause(min(dues) - now if dues else None)

    async def _pause(self, seconds: float | None) -> None:
        """Wait that long, or until the clock is set or something late is added."""
        self._pace.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pace.wait()

    def _begin(self, task: SyncTask, key: str) -> Outcome | None:
        """Draw what becomes of a copy, and begin it; None if it comes late or never."""
        fate = self._fate(key)
        if fate is Fate.LATE:
            due = self._clock.now() + self.copying.late_seconds
            heapq.heappush(self._late, (due, next(self._late_numbers), task, key))
            self._pace.set()
        if fate in {Fate.LATE, Fate.LOST}:
            return None
        if fate is Fate.FAILED:
            error = self.copying.fail_error
            return Outcome(key, Statistic.FAILURE, error=error, reason="The copy failed.")
        return self._compared(task, key)

    def _fate(self, key: str) -> Fate:
        if self._faults.pick("oms", "CopyObject", custom="copy_fails") is not None:
            return Fate.FAILED
        if self._faults.pick("oms", "CopyObject", custom="copy_lost") is not None:
            return Fate.LOST
        return self._luck.draw(key, self.copying)

    def _compared(self, task: SyncTask, key: str) -> Outcome:
        """Compare both sides, and read the source if it has to be copied."""
        source = self._read_source(task.src_bucket, key)
        if source is None:
            reason = "The specified key does not exist."
            return Outcome(key, Statistic.FAILURE, error="NoSuchKey", reason=reason)
        if not must_copy(task, source, self._destination.read(task.dst_bucket, key)):
            return Outcome(key, Statistic.SKIP, source.size)
        return Outcome(key, Statistic.SUCCESS, source.size, read=source)

    def _end(self, task: SyncTask, outcomes: Sequence[Outcome]) -> None:
        """Write what was read, count, and list every result."""
        now = self._clock.now()
        for outcome in outcomes:
            if outcome.read is not None:
                self._write(task, outcome.read)
        for result, number in Counter(outcome.result for outcome in outcomes).items():
            task.count(result, number, now)
        copied_bytes = sum(o.size_bytes for o in outcomes if o.result is Statistic.SUCCESS)
        if copied_bytes:
            task.count(Statistic.SIZE, copied_bytes, now)
        self._lists.add(task, outcomes, now)
        if self._lists.next_due is not None:
            self._pace.set()

    def _write(self, task: SyncTask, read: StoredObject) -> None:
        """Write a copy. The metadata of users goes along only where the task says so."""
        meta = read.described.meta if task.enable_metadata_migration else {}
        storage_class = _CLASSES.get(task.dst_storage_policy, "STANDARD")
        self._destination.write(
            task.dst_bucket,
            read.key,
            read.data,
            Described(read.described.content_type, meta, storage_class),
            part_bytes=self.copying.part_bytes,
            has_crc64=self.copying.leaves_crc64,
        )

    def _put_list(self, bucket: str, name: str, data: bytes) -> None:
        self._destination.write(bucket, name, data, _TEXT)
