"""A model of OSS: the log bucket that takes records, and the source bucket that may be looked at."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from simulation.faults import answered
from simulation.wire import Exchange, Wire
from worker.errors import Blame
from worker.ports import Stored

if TYPE_CHECKING:
    from simulation.oracles import Oracles
    from simulation.process import Process

CALL_SECONDS = 30.0


class StoreModel:
    """The service's side. A record whose name ends in one of `unrecordable` is never taken."""

    def __init__(
        self, objects: Collection[str], unrecordable: Collection[str], may_look: bool
    ) -> None:
        self.written: set[str] = set()
        # What the workers tell each other; records are judged when they are written.
        self.told: dict[str, Stored] = {}
        self.objects = frozenset(objects)
        self.may_look = may_look
        self._unrecordable = tuple(unrecordable)

    def is_refused(self, name: str) -> bool:
        """Whether this one object is refused for good, and no other."""
        return bool(self._unrecordable) and "_object/" in name and name.endswith(self._unrecordable)


class StorePort:
    """The near side: what `worker.clouds.oss.OssClient` is in production."""

    def __init__(self, model: StoreModel, wire: Wire, process: Process, oracles: Oracles) -> None:
        self._model = model
        self._wire = wire
        self._process = process
        self._oracles = oracles

    async def put(
        self, bucket: str, key: str, body: bytes, content_type: str, *, may_replace: bool = True
    ) -> None:
        """Write an object; returning means confirmed."""
        await self._process.breathe()
        self._oracles.put_started(self._process, self._wire.open_calls.get("put", 0))

        def serve(exchange: Exchange[None]) -> None:
            if self._model.is_refused(key):
                exchange.fail(answered("oss", "put", Blame.ITEM, 400))
                return
            if not may_replace and key in self._model.written:
                exchange.fail(answered("oss", "put", Blame.ITEM, 409, "FileAlreadyExists"))
                return
            self._model.written.add(key)
            if "/fleet/" in key:
                now = self._wire.loop.time()
                self._model.told[key] = Stored(body, now, now)
            self._oracles.stored(self._process, bucket, key, body, content_type)
            exchange.answer(None)

        await self._wire.call("put", serve, CALL_SECONDS)

    async def get(self, bucket: str, key: str) -> Stored | None:
        """Read what a worker has told."""
        del bucket
        await self._process.breathe()
        return await self._wire.call(
            "get", lambda exchange: exchange.answer(self._model.told.get(key)), CALL_SECONDS
        )

    async def exists(self, bucket: str, key: str) -> bool | None:
        """Say whether an object is there; None where this identity may not look."""
        del bucket
        found = key in self._model.objects if self._model.may_look else None
        return await self._wire.call(
            "exists", lambda exchange: exchange.answer(found), CALL_SECONDS
        )
