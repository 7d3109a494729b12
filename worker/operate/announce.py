"""Events for objects that have none: the relay takes them from the queue like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import ceil
from typing import Generic, Protocol, TypeVar

from worker.errors import CallFailed, Failure
from worker.events.encode import event_body
from worker.operate.connect import Clients
from worker.operate.log_bucket import side_by_side
from worker.outages.service import Pace

SENDS_AT_ONCE = 16


class Found(Protocol):
    """What a comparison says of one key; `changed_at` is in epoch seconds."""

    @property
    def key(self) -> str:
        """The object's name."""
        ...

    @property
    def changed_at(self) -> float:
        """When the object changed last."""
        ...

    @property
    def etag(self) -> str:
        """The ETag of that state; empty where it is not known."""
        ...

    @property
    def calls_for_event(self) -> bool:
        """Whether an event may close what was found."""
        ...


F = TypeVar("F", bound=Found)


@dataclass(frozen=True, slots=True)
class Announced(Generic[F]):
    """A finding, and the id of the message that was sent for it; empty if none was, `failure` may say why."""

    finding: F
    message_id: str = ""
    failure: Failure | None = None


class Announcer:
    """Sends an event for each gap, at most so many a second; on a dry run for none."""

    def __init__(
        self,
        clients: Clients,
        bucket: str,
        per_second: float | None = None,
        *,
        is_dry_run: bool = False,
    ) -> None:
        self._clients = clients
        self._bucket = bucket
        self._is_dry_run = is_dry_run
        self._pace = Pace(clients.clock, per_second)
        self._at_once = min(SENDS_AT_ONCE, ceil(per_second or SENDS_AT_ONCE))

    async def announced(self, findings: AsyncIterator[F]) -> AsyncIterator[Announced[F]]:
        """Yield all findings again, gaps once MNS has confirmed an event for them, a few at a time.

        The first goes alone, so that a denied right is met once only. After a failure what else was sent is
        yielded, then `CallFailed` is raised. A stop ends it soon, between two events.
        """
        gaps: list[F] = []
        size = 1
        async for finding in findings:
            if self._clients.stop.is_set():
                return
            if self._is_dry_run or not finding.calls_for_event:
                yield Announced(finding)
                continue
            gaps.append(finding)
            if len(gaps) >= size:
                async for each in self._sent(gaps):
                    yield each
                gaps, size = [], self._at_once
        async for each in self._sent(gaps):
            yield each

    async def _sent(self, gaps: list[F]) -> AsyncIterator[Announced[F]]:
        failures = []
        async for each in side_by_side(gaps, self._announce, self._at_once):
            yield each
            failures += [each.failure] if each.failure else []
        if failures:
            raise CallFailed(failures[0])

    async def _announce(self, gap: F) -> Announced[F]:
        if not await self._clients.may_go(self._pace):
            return Announced(gap)
        settings = self._clients.settings
        body = event_body(
            self._bucket,
            gap.key,
            gap.changed_at,
            region=settings.oss_region,
            key_encoding=settings.key_encoding,
            etag=gap.etag,
        )
        try:
            sent = await self._clients.patiently(lambda: self._clients.queue.send(body))
        except CallFailed as failed:
            return Announced(gap, failure=failed.failure)
        return Announced(gap, sent)
