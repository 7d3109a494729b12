"""record: write what became of each key to the log bucket; only a confirmed record lets a message go (G1).

Layout `object`, here, writes one small object per key, as the documented function did. Layout `log` is in
`record_log.py`. Failures are written to `failed_object/` in both, because people look there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from worker.clock import Clock, seconds_of
from worker.errors import CallFailed, Failure, Outcome
from worker.flow.post import Verdict
from worker.ledger.line import line_of
from worker.ledger.names import FAILED, SUCCESS, record_name
from worker.observe.journal import Journal
from worker.outages.service import Service
from worker.ports import Store

RESENT_SECONDS = 600.0


class Lag(NamedTuple):
    """From an event to its confirmed record. `origin`: live, or resent long after the event."""

    seconds: float
    origin: str


def record_line(verdict: Verdict) -> bytes:
    """Return the record of a verdict as one line of JSON, without its line break."""
    waiter, failure = verdict.change.newest, verdict.failure
    return line_of(
        key=verdict.change.key,
        event_time=waiter.event.time,
        etag=waiter.event.etag,
        message_id=waiter.held.message.message_id,
        oms_request_id=verdict.request_id,
        posted_at=verdict.posted_at,
        attempts=verdict.attempts,
        outcome=verdict.outcome,
        reason=str(failure) if failure else "",
    )


class Records:
    """Layout `object`: one record object per key. Says for each verdict whether its record is confirmed."""

    def __init__(
        self,
        store: Store,
        service: Service,
        bucket: str,
        task_id: str,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self.task_id = task_id
        self._store = store
        self._service = service
        self._bucket = bucket
        self._clock = clock
        self._journal = journal

    async def record(self, verdicts: Sequence[Verdict]) -> list[Failure | None]:
        """Record each verdict, all at once; None stands for a confirmed record.

        A verdict that is not final has nothing to record: its own failure is returned.
        """
        if len(verdicts) == 1:
            return [await self._record_one(verdicts[0])]
        async with asyncio.TaskGroup() as puts:
            tasks = [
                puts.create_task(
                    self._record_one(verdict), name=f"record {verdict.change.key[:80]!r}"
                )
                for verdict in verdicts
            ]
        return [task.result() for task in tasks]

    async def _record_one(self, verdict: Verdict) -> Failure | None:
        match verdict.outcome:
            case Outcome.ACCEPTED:
                return await self._write(SUCCESS, verdict)
            case Outcome.REJECTED:
                return await self._write(FAILED, verdict)
            case (
                Outcome.RETRY_LATER | Outcome.UNKNOWN
            ):  # pragma: no branch  there is no fifth outcome
                return verdict.failure

    async def keep(self, key: str, line: bytes) -> Failure | None:
        """Keep a record that stands for no message: of a key that was announced again."""
        name = record_name(self.task_id, SUCCESS, key)
        return await self.put(name, line, "application/json")

    async def _write(self, folder: str, verdict: Verdict) -> Failure | None:
        name = record_name(self.task_id, folder, verdict.change.key)
        failure = await self.put(name, record_line(verdict), "application/json")
        if failure is None:
            self._note(folder, (verdict,))
        return failure

    def _note(self, folder: str, confirmed: Sequence[Verdict]) -> None:
        now = self._clock.wall()
        self._journal.recorded(
            folder, len(confirmed), filter(None, (lag(each, now) for each in confirmed))
        )

    async def put(
        self, name: str, body: bytes, content_type: str, *, may_replace: bool = True
    ) -> Failure | None:
        """Write one object under the record prefix; None means confirmed."""

        async def attempt() -> None:
            await self._store.put(self._bucket, name, body, content_type, may_replace=may_replace)

        try:
            await self._service.persist("PutObject", attempt)
        except CallFailed as failed:
            return failed.failure
        return None

    async def note(self, name: str) -> bool:
        """Write an empty object that may be missing: once. Return whether it stands."""

        async def attempt() -> None:
            await self._store.put(self._bucket, name, b"", "text/plain")

        return await self._service.works("PutObject", attempt)


def lag(verdict: Verdict, now: float) -> Lag | None:
    """Return how long the newest event of a change has taken until now; None if its time cannot be read."""
    newest = verdict.change.newest
    at = seconds_of(newest.event.time)
    if at is None:
        return None
    # OSS sends an event within seconds. `dead redrive` and `reconcile --send` send it long afterwards.
    is_resent = newest.held.message.enqueue_time_ms / 1000 - at > RESENT_SECONDS
    return Lag(max(0.0, now - at), "resent" if is_resent else "live")
