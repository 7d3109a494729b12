"""Moving dead letters: back to the queue, into the archive, and out of it. None is ever lost on the way.

A letter is redriven in this order: its body is sent to the queue, byte for byte, and MNS has confirmed it;
the letter is written to `archived/`, with the id of the new message; it is deleted from `dead_letter/`;
failed records of its keys that this very message left are cleared. A fault between any two steps leaves the
letter where a rerun finds it, and a rerun sends nothing whose archived copy says that it was sent. Only a
process killed between the first two steps can send a body twice, which is harmless: its keys are posted once
more.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from worker.errors import Blame, CallFailed, Failure
from worker.ledger.letter import Letter, Place
from worker.ledger.names import FAILED, record_name
from worker.operate.connect import Clients
from worker.operate.letters import EVERY, LetterFilter, Letters
from worker.operate.log_bucket import side_by_side
from worker.outages.service import Pace

MOVES_AT_ONCE = 16


class Outcome(StrEnum):
    """What became of one letter.

    `DONE`: moved. `WOULD`: a dry run would have moved it. `ALREADY`: an earlier run had sent it; it was only
    put away now. `KEPT`: nothing was done, `Move.failure` or `detail` says why.
    `SENT`: sent, but not put away; a rerun may send it again. `LEFT`: not begun, because of a stop.
    """

    DONE = "done"
    WOULD = "would"
    ALREADY = "already"
    KEPT = "kept"
    SENT = "sent"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Move:
    """One letter and what became of it; `message_id` is the new message's, where one was sent."""

    letter: Letter
    outcome: Outcome
    detail: str = ""
    message_id: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How far and how fast: at most `count` letters, at most `per_second`; nothing at all on a dry run."""

    count: int | None = None
    per_second: float | None = None
    is_dry_run: bool = False

    @property
    def at_once(self) -> int:
        """How many letters are in hand at a time: those of a second, so that results come steadily."""
        return (
            MOVES_AT_ONCE if self.per_second is None else min(MOVES_AT_ONCE, ceil(self.per_second))
        )


NO_LIMITS = Limits()

Step = Callable[[Letter], Awaitable[Move]]


class Moves:
    """Moves the letters that are wanted and yields what became of each.

    Every method ends early when `Clients.stop` is set, or after a failure for which a letter is not to blame:
    the results up to then are yielded, then `CallFailed` is raised. Letters that die while a redrive runs are
    not part of it, so that it ends.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._letters = Letters(clients)
        self._bucket = self._letters.bucket

    async def redrive(
        self, wanted: LetterFilter = EVERY, limits: Limits = NO_LIMITS
    ) -> AsyncIterator[Move]:
        """Send letters back to the queue, then put them away."""
        pace = Pace(self._clients.clock, limits.per_second)

        async def step(letter: Letter) -> Move:
            return await self._redrive(letter, pace, is_dry_run=limits.is_dry_run)

        async for move in self._run(wanted, Place.DEAD, limits, step):
            yield move

    async def archive(
        self, wanted: LetterFilter = EVERY, limits: Limits = NO_LIMITS, reason: str = ""
    ) -> AsyncIterator[Move]:
        """Put letters away without sending them; `reason` stays with each."""
        pace = Pace(self._clients.clock, limits.per_second)

        async def step(letter: Letter) -> Move:
            if limits.is_dry_run:
                return Move(letter, Outcome.WOULD)
            if not await self._clients.may_go(pace):
                return Move(letter, Outcome.LEFT)
            return await self._shift(letter, letter.moved(self._now(), reason=reason))

        async for move in self._run(wanted, Place.DEAD, limits, step):
            yield move

    async def unarchive(
        self, wanted: LetterFilter = EVERY, limits: Limits = NO_LIMITS
    ) -> AsyncIterator[Move]:
        """Bring letters back from the archive; a redriven one can then be sent again."""
        pace = Pace(self._clients.clock, limits.per_second)

        async def step(letter: Letter) -> Move:
            if limits.is_dry_run:
                return Move(letter, Outcome.WOULD)
            if not await self._clients.may_go(pace):
                return Move(letter, Outcome.LEFT)
            return await self._shift(letter, letter.restored())

        async for move in self._run(wanted, Place.ARCHIVED, limits, step):
            yield move

    async def _run(
        self, wanted: LetterFilter, place: Place, limits: Limits, step: Step
    ) -> AsyncIterator[Move]:
        async def guarded(letter: Letter) -> Move:
            if self._clients.stop.is_set():
                return Move(letter, Outcome.LEFT)
            try:
                return await step(letter)
            except CallFailed as failed:
                return Move(letter, Outcome.KEPT, str(failed), failure=failed.failure)

        started = self._now()
        async for batch in self._batches(wanted, place, limits):
            ending: Failure | None = None
            for letter in (each for each in batch if each.died_at_seconds > started):
                yield Move(letter, Outcome.LEFT, "it died after this run began")
            older = [each for each in batch if each.died_at_seconds <= started]
            async for move in side_by_side(older, guarded, MOVES_AT_ONCE):
                yield move
                if move.failure is not None and move.failure.blame is not Blame.ITEM:
                    ending = move.failure
            if ending is not None:
                raise CallFailed(ending)
            if self._clients.stop.is_set():
                return

    async def _batches(
        self, wanted: LetterFilter, place: Place, limits: Limits
    ) -> AsyncIterator[list[Letter]]:
        """Yield handfuls of letters; the first goes alone, so that a denied right is met once only."""
        batch: list[Letter] = []
        size, left = 1, float("inf") if limits.count is None else limits.count
        if left < 1:
            return
        async for letter in self._letters.read(wanted, place):
            batch.append(letter)
            if len(batch) >= min(size, left):
                yield batch
                left -= len(batch)
                batch, size = [], limits.at_once
                if left < 1:
                    return
        if batch:
            yield batch

    async def _redrive(self, letter: Letter, pace: Pace, *, is_dry_run: bool) -> Move:
        if letter.body is None:
            return Move(letter, Outcome.KEPT, letter.error)
        earlier = await self._sent_before(letter)
        if is_dry_run:
            return Move(letter, Outcome.ALREADY if earlier else Outcome.WOULD, message_id=earlier)
        if earlier:
            await self._bucket.delete(letter.ref.name)
            return await self._cleared(letter, Outcome.ALREADY, earlier)
        if not await self._clients.may_go(pace):
            return Move(letter, Outcome.LEFT)
        body = letter.body
        message_id = await self._clients.patiently(lambda: self._clients.queue.send(body))
        try:
            await self._shift(letter, letter.moved(self._now(), message_id))
        except CallFailed as failed:
            return Move(letter, Outcome.SENT, str(failed), message_id, failed.failure)
        return await self._cleared(letter, Outcome.DONE, message_id)

    async def _sent_before(self, letter: Letter) -> str:
        """Return the id of the message that an earlier run sent for this letter, or nothing."""
        ref = letter.ref.at(Place.ARCHIVED)
        stored = await self._bucket.get(ref.name)
        return Letter.parse(ref, stored.body, stored.last_modified).redriven_as if stored else ""

    async def _shift(self, letter: Letter, body: bytes) -> Move:
        """Write the letter to the other place, and only then delete it from this one."""
        other = Place.DEAD if letter.ref.place is Place.ARCHIVED else Place.ARCHIVED
        await self._bucket.put(letter.ref.at(other).name, body)
        await self._bucket.delete(letter.ref.name)
        return Move(letter, Outcome.DONE)

    async def _cleared(self, letter: Letter, outcome: Outcome, message_id: str) -> Move:
        """Delete the failed records that this very message left: one of a later message tells the truth."""
        try:
            for key in letter.key_errors:
                await self._clear(key, letter.ref.message_id)
        except CallFailed as failed:
            why = f"a failed record could not be cleared: {failed}"
            return Move(letter, outcome, why, message_id, failed.failure)
        return Move(letter, outcome, message_id=message_id)

    async def _clear(self, key: str, message_id: str) -> None:
        name = record_name(self._bucket.task_id, FAILED, key).removeprefix(self._bucket.root)
        stored = await self._bucket.get(name)
        if stored is not None and _message_id(stored.body) == message_id:
            await self._bucket.delete(name)

    def _now(self) -> float:
        return self._clients.clock.wall()


def _message_id(record: bytes) -> str:
    try:
        return str(json.loads(record).get("message_id", ""))
    except (ValueError, AttributeError):
        return ""
