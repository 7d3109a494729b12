"""Both sides of a copy as the relay looks at them, behind a breaker that never stops the flow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from math import inf
from typing import TypeVar

from worker.advice import SEVERAL_SOURCES, TEXTS, UNREAD_BUCKET
from worker.arrival.bucket import DestinationBucket, Ground, destination_of
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.flow.source import Source
from worker.outages.breaker import Breaker
from worker.outages.service import Service
from worker.ports import Destination, ObjectFacts, SourceObjects

T = TypeVar("T")

# How long a bucket that was seen is taken to be there.
THERE_SECONDS = 60.0


class DestinationView:
    """Looks at the destination by `service`, and at the source by `looks`.

    `bucket` is what OBS_BUCKET says; empty: the destination is what the task names.
    """

    def __init__(
        self,
        destination: Destination,
        objects: SourceObjects,
        service: Service,
        looks: Service,
        source: Source,
        bucket: str = "",
    ) -> None:
        self.store = destination
        self._objects = objects
        self._service = service
        self._looks = looks
        self._source = source
        self._named = bucket
        self._is_there_until = -inf

    @property
    def breaker(self) -> Breaker:
        """Open while the destination cannot be looked at."""
        return self._service.breaker

    @property
    def is_usable(self) -> bool:
        """Whether both sides may be looked at now."""
        return not self._service.breaker.is_open and bool(self.bucket and self.source_bucket)

    @property
    def destination(self) -> DestinationBucket:
        """Which bucket the destination is, and what it is known by."""
        source = self._source
        return destination_of(self._named, source.task, is_unreadable=source.is_unreadable)

    @property
    def bucket(self) -> str:
        """The destination bucket; empty while it is not known, or the task says otherwise."""
        found = self.destination
        return found.name if found.may_be_followed else ""

    @property
    def source_bucket(self) -> str:
        """The bucket that the task copies, as far as that can be told; empty while it is not known."""
        return self._source.likely_bucket

    @property
    def is_certain(self) -> bool:
        """Whether the task itself says what it copies, and where to: nothing is deleted by less."""
        return self.destination.ground is Ground.TASK and self._source.is_told

    @property
    def is_listening(self) -> bool:
        """Whether it matters whose changes are followed: the task has not said what it copies."""
        return not self._source.bucket

    def hear(self, bucket: str) -> None:
        """Note whose changes are followed."""
        self._source.hear(bucket)

    @property
    def blindness(self) -> Failure | None:
        """Why nothing can be looked at now; None where it can, or there is nothing to look at yet."""
        if self._service.breaker.is_open:
            return self._service.breaker.failure
        if not self.bucket:
            return _unfit(self._unknown)
        return _unfit(SEVERAL_SOURCES) if self._source.has_several else None

    @property
    def _unknown(self) -> str:
        if not self._source.is_read:
            return f"{UNREAD_BUCKET}: the sync task was not read yet"
        return self.destination.doubt

    @property
    def doubt(self) -> str:
        """What is taken for granted about source and destination; empty where the task has said it."""
        found = self.destination
        if found.ground is not Ground.SETTING:
            return ""
        return f"the destination is taken to be {found.doubt}; {TEXTS['obs.unconfirmed']}"

    async def copy(self, key: str) -> ObjectFacts | None:
        """Return what the destination has of a key. Raises `CallFailed`."""
        return await self.call("HeadObject", lambda: self._facts(key))

    async def _facts(self, key: str) -> ObjectFacts | None:
        try:
            return await self.store.facts(self.bucket, key)
        except CallFailed as failed:
            if failed.failure.blame is not Blame.CREDENTIALS or failed.failure.code:
                raise
            # A refused HeadObject does not say what for: a listing that is good says that it is this object.
            await self._knock()
            raise CallFailed(replace(failed.failure, blame=Blame.SERVICE)) from failed

    async def source(self, key: str) -> ObjectFacts | None:
        """Return what the source has of a key. Raises `CallFailed`."""
        return await self._looks.once(
            "HeadObject", lambda: self._objects.facts(self.source_bucket, key)
        )

    async def source_has(self, key: str) -> bool:
        """Whether the source has the object; False only if it says for certain that it has not."""
        return await self._looks.once(
            "GetObject", lambda: self._objects.has(self.source_bucket, key)
        )

    async def delete(self, key: str) -> None:
        """Delete the copy of a key. Raises `CallFailed`."""
        await self.call("DeleteObject", lambda: self.store.delete(self.bucket, key))

    async def call(self, operation: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call the destination. Raises `CallFailed`, at once while its breaker is open."""
        return await self._service.once(operation, attempt)

    async def require_bucket(self) -> None:
        """Raise `CallFailed` unless the bucket is there: without it HeadObject calls every object missing."""
        now = self._service.clock.monotonic()
        if now >= self._is_there_until:
            await self.call("ListObjects", self._knock)
            self._is_there_until = now + THERE_SECONDS

    async def probe(self) -> None:
        """List one name, which tells of the bucket, the right to list it and the signature."""
        if not self.bucket:
            raise CallFailed(_unfit(self._unknown))
        await self._knock()

    async def _knock(self) -> None:
        await knock(self.store, self.bucket)


async def knock(store: Destination, bucket: str) -> None:
    """List one name; raises `CallFailed`, with a code, if the bucket, the right or the signature is wrong.

    A refused HeadObject has no code: only this tells a wrong signature, of which OBS may lock the key, from a
    missing right.
    """
    async with aclosing(store.list(bucket, keys_max=1)) as pages:
        await anext(pages)


def _unfit(why: str) -> Failure:
    return Failure("obs", "ListObjects", Outcome.RETRY_LATER, Blame.PASSING, message=why)
