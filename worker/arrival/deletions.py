"""Propagate deletions: what the source has no more goes from the destination, too. Off unless asked for.

Nothing else in the relay destroys anything, so every doubt ends in keeping. A deletion waits until copies of
the older state have landed. Then the source itself has to say that it has no such object: an answer that
could mean something else (no bucket, no right, a stranger) is no such word. What was written at the
destination after the deletion is kept, for it is no copy of what was deleted. A brake stops all deletions of
this relay once more than so many have come in an hour: people decide what becomes of the others.

An object may be created again between the look and the deletion. So the source is looked at once more
afterwards, and what is there again is announced again. So is what a deletion finds in the source and not at
the destination: delivered before, it may have been carried out already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from math import ceil

from worker.advice import advise
from worker.arrival.again import Again, SourceState
from worker.arrival.destination import DestinationView
from worker.clock import Clock
from worker.errors import CallFailed
from worker.events.event import ObjectEvent
from worker.flow.deletion import DONE, Deletion
from worker.flow.record import Records
from worker.ledger.line import line_of
from worker.ledger.names import DELETED, record_name
from worker.observe.journal import Journal
from worker.ports import ObjectFacts

HOUR_SECONDS = 3600.0
# MNS hides a message for 12 hours at most.
WAIT_SECONDS_MAX = 43_200
AGAIN_SECONDS = 300
# The lists of OMS stand there, and whatever else it keeps.
KEPT_PREFIX = "oms/"
TOO_MANY = "more deletions came in an hour than RELAY_DELETIONS_PER_HOUR allows"


class Brake:
    """Lets so many deletions an hour through; one more, and it lets none through until a restart."""

    def __init__(self, clock: Clock, per_hour: int) -> None:
        self.is_on = False
        self._clock = clock
        self._per_hour = per_hour
        self._taken: deque[float] = deque()

    def lets_pass(self) -> bool:
        """Count one deletion, and say whether it may go on."""
        now = self._clock.monotonic()
        while self._taken and self._taken[0] <= now - HOUR_SECONDS:
            self._taken.popleft()
        self.is_on = self.is_on or len(self._taken) >= self._per_hour
        if not self.is_on:
            self._taken.append(now)
        return not self.is_on


class Deletions:
    """Carries out the deletions of one message at a time; `grace_seconds` is how long each one waits."""

    def __init__(
        self,
        view: DestinationView,
        again: Again,
        records: Records,
        clock: Clock,
        journal: Journal,
        *,
        grace_seconds: float,
        per_hour: int,
    ) -> None:
        self._view = view
        self._again = again
        self._records = records
        self._clock = clock
        self._journal = journal
        self._grace_seconds = grace_seconds
        self._waiting, self._deleting = Brake(clock, per_hour), Brake(clock, per_hour)

    async def carry(
        self, deletions: Sequence[tuple[ObjectEvent, str]], *, is_new: bool = True
    ) -> Deletion:
        """Delete the keys at the destination, or say how long to wait, or why people have to decide.

        Only those that come for the first time (`is_new`) count as waiting ones for the brake.
        """
        try:
            newest = max(datetime.fromisoformat(event.time).timestamp() for event, _ in deletions)
        except ValueError:
            return self._held("the time of the deletion cannot be read")
        end = self._not_yet(newest, is_new=is_new)
        try:
            for event, key in deletions:
                if end is not DONE:
                    break
                end = await self._carry_one(event, key, newest)
        except CallFailed as failed:
            return Deletion(AGAIN_SECONDS, f"{failed}. Next: {advise(failed.failure)}")
        return end

    def _not_yet(self, deleted_at: float, *, is_new: bool) -> Deletion:
        """Say how long a deletion has to wait; `DONE` if no longer."""
        wait_seconds = ceil(deleted_at + self._grace_seconds - self._clock.wall())
        if wait_seconds > 0:
            if is_new and not self._waiting.lets_pass():
                return self._held(TOO_MANY)
            return Deletion(min(wait_seconds, WAIT_SECONDS_MAX), "copies may still be on their way")
        if not self._view.is_usable:
            return Deletion(AGAIN_SECONDS, "the destination cannot be looked at")
        return DONE

    async def _carry_one(self, event: ObjectEvent, key: str, deleted_at: float) -> Deletion:
        is_there, copy = await self._view.source_has(key), await self._view.copy(key)
        if is_there and copy is None:
            return await self._announce(event, key)
        if is_there or copy is None:
            return self._kept("there_again" if is_there else "absent")
        if key.startswith(KEPT_PREFIX) or copy.last_modified > deleted_at + self._grace_seconds:
            return self._kept("kept")
        if not self._deleting.lets_pass():
            return self._held(TOO_MANY)
        await self._view.delete(key)
        self._journal.deletion("deleted", key)
        if await self._view.source_has(key):
            return await self._announce(event, key)
        line = _line(event, key, copy, self._clock.wall())
        name = record_name(self._records.task_id, DELETED, key)
        failure = await self._records.put(name, line, "application/json")
        return DONE if failure is None else Deletion(AGAIN_SECONDS, str(failure))

    async def _announce(self, event: ObjectEvent, key: str) -> Deletion:
        """The object is there again: its copy may have gone with a deletion that was late or doubled."""
        state = SourceState(event.etag, self._clock.wall())
        failure = await self._again.announce(key, event.etag, state)
        if failure is not None:
            return Deletion(AGAIN_SECONDS, str(failure))
        return self._kept("there_again")

    def _kept(self, outcome: str) -> Deletion:
        self._journal.deletion(outcome)
        return DONE

    def _held(self, why: str) -> Deletion:
        self._journal.deletion("held", why=why)
        return Deletion(0, why, is_held=True)


def _line(event: ObjectEvent, key: str, copy: ObjectFacts, now: float) -> bytes:
    return line_of(
        key=key,
        event_time=event.time,
        etag=copy.etag,
        message_id="",
        oms_request_id="",
        posted_at=now,
        attempts=1,
        outcome="deleted",
        reason=f"{event.name} in the source",
    )
