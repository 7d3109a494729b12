"""The folder of the fleet in the log bucket, as a worker writes it: beside the flow, never in its way."""

from __future__ import annotations

from worker.ledger.names import fleet_folder
from worker.outages.service import Service
from worker.ports import Reads, Store, Stored

# What a worker tells and asks there is little, one thing at a time; the flow's own calls have other places.
FLEET_CALLS_MAX = 4


class FleetFolder:
    """Names are relative to the folder. Its service obeys the breaker of OSS and tells it nothing."""

    def __init__(
        self, store: Store, reads: Reads | None, service: Service, bucket: str, task_id: str
    ) -> None:
        self._store = store
        self._reads = reads
        self._service = service
        self._bucket = bucket
        self._root = fleet_folder(task_id)

    @property
    def is_open(self) -> bool:
        """Whether the log bucket works, as far as is known."""
        return not self._service.breaker.is_open

    async def opened(self) -> bool:
        """Wait until the log bucket works; return False if the relay stops."""
        return await self._service.breaker.passable()

    async def judged(self) -> None:
        """Wait until it is known whether the log bucket works, or the relay stops."""
        await self._service.breaker.judged()

    async def read(self, name: str) -> Stored | None:
        """Read an object, tried once; None if it is not there, or nothing is read here at all.

        Raises `CallFailed`; with the breaker open nothing is sent.
        """
        reads = self._reads
        if reads is None:
            return None
        return await self._service.once(
            "GetObject", lambda: reads.get(self._bucket, self._root + name)
        )

    async def write(self, name: str, body: bytes, *, may_replace: bool = True) -> None:
        """Write an object, tried once. Raises `CallFailed`; with the breaker open nothing is sent."""

        async def attempt() -> None:
            await self._store.put(
                self._bucket, self._root + name, body, "application/json", may_replace=may_replace
            )

        await self._service.once("PutObject", attempt)
