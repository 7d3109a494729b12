"""delete: the last verb, in batches of 16, under each message's newest receipt handle.

A delete that fails for good is harmless: the message comes back, and dedupe knows its events by identity.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TypeAlias

from worker.clock import Clock
from worker.errors import CallFailed
from worker.flow.batcher import Batcher
from worker.flow.lease import Held, Leases
from worker.observe.journal import Journal
from worker.observe.trace import Verb
from worker.outages.service import Service
from worker.ports import BATCH, Queue

LINGER_SECONDS = 0.02
ROUNDS_MAX = 3

# A message, and what its last log line says: how it ended, and why.
_Finished: TypeAlias = tuple[Held, str, str]


class Deleter:
    """Collects finished messages and deletes them. At most as many wait as are in hand."""

    def __init__(
        self, queue: Queue, service: Service, leases: Leases, clock: Clock, journal: Journal
    ) -> None:
        self._queue = queue
        self._service = service
        self._leases = leases
        self._clock = clock
        self._journal = journal
        self._finished: list[_Finished] = []
        self._batches = Batcher(self._finished)

    def delete(self, held: Held, end: str = "deleted", why: str = "") -> None:
        """Delete this message soon; `end` and `why` are what its last log line says."""
        self._finished.append((held, end, why))
        self._batches.arrived()

    async def run(self) -> None:
        """Delete batch after batch, for ever. Batches overlap: a slow call holds up nobody."""
        async with asyncio.TaskGroup() as calls:
            while True:
                batch = await self._batch()
                calls.create_task(self._delete(batch), name=f"delete {len(batch)} messages")

    async def _batch(self) -> list[_Finished]:
        await self._batches.due(BATCH, LINGER_SECONDS)
        batch = self._finished[:BATCH]
        del self._finished[:BATCH]
        return batch

    async def _delete(self, batch: list[_Finished]) -> None:
        left = await self._call(batch)
        untold = 0
        for finished in batch:
            held, end, why = finished
            was_in_hand = self._leases.forget(held)
            if finished in left or not was_in_hand:
                continue
            if end == "deleted" and held.trace is None and not self._journal.tells_each:
                untold += 1
                continue
            took = self._clock.monotonic() - held.taken_at
            held.passed(Verb.DELETE)
            self._journal.ended(held.story(), end, took, why)
        if untold:
            self._journal.went_well(untold)
        self._journal.metrics.deleted.inc(len(batch) - len(left))

    async def _call(self, batch: list[_Finished]) -> list[_Finished]:
        """Return what could not be deleted after all."""
        for _ in range(ROUNDS_MAX):
            try:
                batch = await self._service.persist(
                    "BatchDeleteMessage", partial(self._once, batch)
                )
            except CallFailed:
                break
            if not batch:
                break
        return batch

    async def _once(self, batch: list[_Finished]) -> list[_Finished]:
        """Delete under the handles of this moment and return what failed.

        Only now do the leases rest: a call that waited for its place, or for the next try, kept them.
        """
        await self._leases.freeze_handles(finished[0] for finished in batch)
        handles = {finished[0].receipt_handle: finished for finished in batch}
        left = batch
        try:
            failed = await self._queue.delete(list(handles))
            left = [
                finished
                for handle, finished in handles.items()
                # Delivered again meanwhile: the handle that was sent was dead, and MNS said "gone".
                if handle in failed or finished[0].receipt_handle != handle
            ]
        finally:
            for held, *_ in left:
                held.is_leaving = False
        return left
