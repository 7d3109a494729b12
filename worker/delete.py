"""delete: the last verb, in batches of 16, under each message's newest receipt handle.

A delete that fails for good is harmless: the message comes back, and dedupe knows its events by identity.
"""

from __future__ import annotations

import asyncio
from functools import partial

from worker.clients.mns import BATCH
from worker.clock import Clock
from worker.errors import CallFailed
from worker.journal import Journal
from worker.lease import Held, Leases, Queue
from worker.service import Service

LINGER_SECONDS = 0.02
ROUNDS_MAX = 3


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
        self._finished: list[tuple[Held, str, str]] = []
        self._arrived = asyncio.Event()
        self._is_full = asyncio.Event()

    def delete(self, held: Held, end: str = "deleted", why: str = "") -> None:
        """Delete this message soon; `end` and `why` are what its last log line says."""
        self._finished.append((held, end, why))
        self._arrived.set()
        if len(self._finished) >= BATCH:
            self._is_full.set()

    async def run(self) -> None:
        """Delete batch after batch, for ever. Batches overlap: a slow call holds up nobody."""
        async with asyncio.TaskGroup() as calls:
            while True:
                batch = await self._batch()
                calls.create_task(self._delete(batch), name=f"delete {len(batch)} messages")

    async def _batch(self) -> list[tuple[Held, str, str]]:
        while not self._finished:
            self._arrived.clear()
            await self._arrived.wait()
        if len(self._finished) < BATCH:
            self._is_full.clear()
            try:
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._is_full.wait()
            except TimeoutError:
                pass
        batch, self._finished = self._finished[:BATCH], self._finished[BATCH:]
        return batch

    async def _delete(self, batch: list[tuple[Held, str, str]]) -> None:
        for held, *_ in batch:
            await self._leases.settled_handle(held)
        handles = {held.receipt_handle: (held, end, why) for held, end, why in batch}
        left = await self._call(list(handles))
        for handle, (held, end, why) in handles.items():
            self._leases.let_go(held)
            if handle not in left:
                took = self._clock.monotonic() - held.taken_at
                self._journal.ended(held, end, took, why)
                self._journal.metrics.deleted.inc()

    async def _call(self, handles: list[str]) -> list[str]:
        """Return the handles that could not be deleted after all."""
        for _ in range(ROUNDS_MAX):
            try:
                failed = await self._service.call(
                    "BatchDeleteMessage", partial(self._queue.delete, handles)
                )
            except CallFailed:
                break
            handles = list(failed)
            if not handles:
                break
        return handles
