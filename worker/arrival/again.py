"""Announce again what has not arrived, or give it up so that people see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from worker.arrival.compare import Comparison, Verdict
from worker.clock import Clock
from worker.errors import CallFailed, Failure, Outcome
from worker.events.event import Message
from worker.flow.bury import DeadLetters
from worker.flow.record import Records
from worker.flow.source import Source
from worker.ledger.letter import Cause
from worker.ledger.line import line_of
from worker.ledger.names import FAILED, record_name
from worker.observe.journal import Journal
from worker.outages.service import Service
from worker.ports import Sink, TaskState

# The outcome of a record of a key that OMS accepted and never copied.
NOT_ARRIVED = "not_arrived"
NEW_TASK = "create a new task with consistency check CRC64 and set SYNC_URL to it"
SKIPPED_AGAIN = (
    "OMS skips an object of equal size whose copy is not older, however often it is announced: "
    f"{NEW_TASK}"
)
NEVER_OVERWRITTEN = f"the task overwrites nothing: {NEW_TASK}"


class SourceState(NamedTuple):
    """Which content of the source: what was announced for another one does not count."""

    etag: str
    last_modified: float


def why_futile(task: TaskState | None, found: Comparison) -> str:
    """Say why a task never copies what was found, by its rule; empty where it may, or is not known."""
    if task is None:
        return ""
    if task.never_overwrites and found.verdict in (Verdict.DIFFERENT, Verdict.STALE):
        return NEVER_OVERWRITTEN
    return SKIPPED_AGAIN if task.skips_equal_sizes and found.is_skipped_by_default else ""


@dataclass(frozen=True, slots=True)
class Again:
    """Posts one key to OMS, with a record. `body_of` makes the event of bucket, key and time of change.

    Posts go by the flow's own limit and breaker: a wave of them cannot push the flow aside.
    """

    sink: Sink
    posts: Service
    records: Records
    dead_letters: DeadLetters
    source: Source
    clock: Clock
    journal: Journal
    body_of: Callable[[str, str, float], str]

    def is_futile(self, found: Comparison) -> str:
        """Say why OMS would never copy it, by the rule of the task; empty where it may."""
        why = why_futile(self.source.task, found)
        if why == SKIPPED_AGAIN:
            self.journal.skipped_in_silence()
        return why and f"{why}, then redrive"

    async def announce(self, key: str, etag: str, state: SourceState) -> Failure | None:
        """Post the key once more and record it; None means that OMS accepted it and the record stands."""
        posted_at = self.clock.wall()
        try:
            request_id = await self.posts.call("CreateSyncEvents", lambda: self.sink.post([key]))
        except CallFailed as failed:
            return failed.failure
        line = self._line(key, state, posted_at, Outcome.ACCEPTED, etag=etag, request_id=request_id)
        return await self.records.keep(key, line)

    async def give_up(
        self, key: str, state: SourceState, announced: int, why: str, *, is_news: bool = True
    ) -> bool:
        """Keep a failed record and a dead letter; return whether both stand. Only news is counted."""
        now = self.clock.wall()
        reason = f"not arrived: {why}"
        digest = blake2b(repr((key, state)).encode(), digest_size=12).hexdigest()
        message = Message(
            f"arrival-{digest}",
            self.body_of(self.source.likely_bucket, key, state.last_modified),
            "",
            announced,
            int(state.last_modified * 1000),
        )
        name = record_name(self.records.task_id, FAILED, key)
        line = self._line(
            key, state, now, NOT_ARRIVED, reason=reason, message_id=message.message_id
        )
        steps: tuple[Callable[[], Awaitable[Failure | None]], ...] = (
            lambda: self.records.put(name, line, "application/json"),
            lambda: self.dead_letters.write(message, Cause.NOT_ARRIVED, reason),
        )
        for step in steps:
            if await step() is not None:
                return False
        if is_news:
            self.journal.arrival("given_up", key, why)
        return True

    def _line(
        self,
        key: str,
        state: SourceState,
        posted_at: float,
        outcome: str,
        *,
        etag: str = "",
        message_id: str = "",
        request_id: str = "",
        reason: str = "",
    ) -> bytes:
        return line_of(
            key=key,
            event_time="",
            etag=etag or state.etag,
            message_id=message_id,
            oms_request_id=request_id,
            posted_at=posted_at,
            attempts=1,
            outcome=outcome,
            reason=reason,
        )
