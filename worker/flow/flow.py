"""The flow: receive -> decode -> dedupe -> post -> record -> delete. Read this first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.errors import Blame, Failure
from worker.events.decode import decode
from worker.events.event import ObjectEvent, Undecodable
from worker.flow.bury import DeadLetters
from worker.flow.dedupe import Change, Dedupe
from worker.flow.delete import Deleter
from worker.flow.deletion import Propagation
from worker.flow.lease import Held, Leases
from worker.flow.post import Poster, Verdict
from worker.flow.receive import Receiver
from worker.flow.record import Records
from worker.flow.selection import Selected, Selection, is_resolved
from worker.ledger.letter import Cause
from worker.observe.journal import Journal
from worker.observe.trace import Verb

# Asks a service for what it did before, and says whether it did it again: then one item's failure is its own.
Witness = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Flow:
    """Carries messages through the six verbs; each is deleted only after all its keys are recorded.

    `witnesses` has one per service that can fail a message: "oms" and "oss". `follow` hears of each verdict
    whose record is confirmed; it must not wait.
    """

    receiver: Receiver
    selection: Selection
    dedupe: Dedupe
    poster: Poster
    records: Records
    deleter: Deleter
    dead_letters: DeadLetters
    leases: Leases
    journal: Journal
    deliveries_max: int
    witnesses: Mapping[str, Witness]
    follow: Callable[[Verdict], None] | None = None
    propagation: Propagation | None = None

    async def take(self, *, is_short: bool = False) -> None:
        """Receive once, decode each message, and let dedupe merge their keys into what waits to be posted."""
        async with asyncio.TaskGroup() as aside:
            for held in await self.receiver.receive(is_short=is_short):
                try:
                    choice = self.selection.select(decode(held.message.body))
                except Undecodable as why:
                    held.passed(Verb.DECODE)
                    aside.create_task(
                        self._bury(held, Cause.UNDECODABLE, why.reason), name="dead letter"
                    )
                    continue
                changes, held.foreign_buckets, held.deletions = choice
                if not is_resolved(changes):
                    aside.create_task(self._resolve(held, changes), name="key readings")
                elif self._admit(held, [(each.event, each.readings[0]) for each in changes]):
                    continue
                elif held.foreign_buckets or held.deletions:
                    aside.create_task(self._finish(held), name="dead letter or deletion")
                else:
                    self.deleter.delete(held)

    async def carry(self, batch: Sequence[Change]) -> None:
        """Post a batch, record what became of each key, delete the messages that wait for nothing more."""
        self._passed(Verb.DEDUPE, batch)
        verdicts = await self.poster.post(batch)
        self._passed(Verb.POST, batch, verdicts)
        failures = await self.records.record(verdicts)
        self._passed(Verb.RECORD, batch)
        for verdict, failure in zip(verdicts, failures, strict=True):
            if self.follow is not None and failure is None:
                self.follow(verdict)
            for held in self.dedupe.settle(
                verdict.change, undone=failure, rejected=verdict.rejection
            ):
                await self._finish(held)

    def _passed(
        self, verb: Verb, batch: Iterable[Change], verdicts: Iterable[Verdict] = ()
    ) -> None:
        """Note that a verb is done with a batch, and which calls did it. Free while nothing is traced."""
        if self.journal.traces is None:
            return
        note_pass(verb, batch)
        for verdict in verdicts:
            note_request(verdict.change, verdict.request_id)

    async def _resolve(self, held: Held, changes: Sequence[Selected]) -> None:
        if not self._admit(held, await self.selection.resolve(changes)):
            await self._finish(held)

    def _admit(self, held: Held, changes: Iterable[tuple[ObjectEvent, str]]) -> bool:
        held.passed(Verb.DECODE)
        return self.dedupe.admit(held, changes)

    async def _finish(self, held: Held) -> None:
        """End a message whose changes are all settled."""
        if held.undone is not None:
            if await self._is_hopeless(held, held.undone):
                await self._bury(held, Cause.MAX_DELIVERIES, str(held.undone))
            else:
                await self.leases.give_back(held, str(held.undone))
        elif held.rejected:
            await self._bury(held, Cause.REJECTED, str(held.rejected[0][1]))
        elif held.foreign_buckets:
            names = ", ".join(held.foreign_buckets)
            await self._bury(held, Cause.UNROUTED, f"the sync task does not copy {names}")
        elif held.deletions and self.propagation is not None:
            await self.propagation.take(held)
        else:
            self.deleter.delete(held)

    async def _is_hopeless(self, held: Held, undone: Failure) -> bool:
        """Whether it was delivered often enough, and it is the message and no outage that failed it."""
        if held.message.dequeue_count < self.deliveries_max or not self.receiver.is_open:
            return False
        return undone.blame is Blame.ITEM or await self.witnesses[undone.service]()

    async def _bury(self, held: Held, cause: Cause, error: str) -> None:
        """Keep a message as a dead letter, and only then delete it."""
        failure = await self.dead_letters.write(held.message, cause, error, held.rejected)
        held.passed(Verb.RECORD)
        if failure is None:
            self.deleter.delete(held, end="dead_letter", why=f"{cause}: {error}")
        else:
            await self.leases.give_back(held, str(failure))


def note_pass(verb: Verb, changes: Iterable[Change]) -> None:
    """Note in the traces of all their messages that a verb is done with these changes."""
    for change in changes:
        for waiter in change.waiters:
            waiter.held.passed(verb)


def note_request(change: Change, request_id: str) -> None:
    """Note in the traces of its messages which call posted a change."""
    for waiter in change.waiters:
        if waiter.held.trace is not None and request_id:
            waiter.held.trace.request_id = request_id
