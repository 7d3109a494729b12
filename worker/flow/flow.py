"""The flow: receive -> decode -> dedupe -> post -> record -> delete. Read this first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from worker.errors import Blame
from worker.events.decode import decode
from worker.events.event import Undecodable
from worker.flow.bury import DeadLetters
from worker.flow.dedupe import Change
from worker.flow.delete import Deleter
from worker.flow.deletion import Propagation
from worker.flow.lease import Held, Leases, Refused, Undone
from worker.flow.post import Verdict
from worker.flow.put_off import Deliveries
from worker.flow.receive import Receiver
from worker.flow.route import Route
from worker.flow.selection import Choice, Selection
from worker.ledger.letter import Cause
from worker.observe.journal import Journal
from worker.observe.trace import Verb

# Asks a service for what it did before, and says whether it did it again: then one item's failure is its own.
Witness = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Flow:
    """Carries messages through the six verbs; each is deleted only after all its keys are recorded.

    Behind decode every change belongs to one of the `routes`. `records_work` is the witness of OSS.
    `dead_letters` takes what belongs to no route.
    """

    receiver: Receiver
    selection: Selection
    routes: Sequence[Route]
    deleter: Deleter
    dead_letters: DeadLetters
    leases: Leases
    journal: Journal
    deliveries_max: int
    records_work: Witness
    deliveries: Deliveries = field(default_factory=Deliveries)
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
                if choice.unclear:
                    aside.create_task(self._resolve(held, choice), name="key readings")
                elif self._admit(held, choice):
                    continue
                elif held.needs_more:
                    aside.create_task(self._finish(held), name="an end other than deleted")
                else:
                    self.deleter.delete(held)

    async def carry(self, route: Route, batch: Sequence[Change]) -> None:
        """Post a batch, record what became of each key, delete the messages that wait for nothing more."""
        self._passed(Verb.DEDUPE, batch)
        verdicts = await route.poster.post(batch)
        self._passed(Verb.POST, batch, verdicts)
        failures = await route.records.record(verdicts)
        self._passed(Verb.RECORD, batch)
        for verdict, failure in zip(verdicts, failures, strict=True):
            if route.follow is not None and failure is None:
                route.follow(verdict)
            if failure is not None and failure.service == "oms" and route.is_down:
                _let_wait(verdict.change, route)
            for held in route.dedupe.settle(
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

    async def _resolve(self, held: Held, choice: Choice) -> None:
        await self.selection.resolve(choice)
        if not self._admit(held, choice):
            await self._finish(held)

    def _admit(self, held: Held, choice: Choice) -> bool:
        """Let the message wait for its changes, each at its route; return False if it waits for none.

        A route that is down lets nothing in. The others do their part all the same; then the message is put
        off, and what is recorded by then is not posted again.
        """
        held.passed(Verb.DECODE)
        held.unrouted, held.deletions = choice.unrouted, choice.deletions
        for route in dict.fromkeys(each.route for each in choice.changes):
            if route.lets_in():
                changes = [(each.event, each.key) for each in choice.changes if each.route is route]
                route.dedupe.admit(held, changes)
            else:
                held.waits_for = route.name
        return held.pending > 0

    async def _finish(self, held: Held) -> None:
        """End a message whose changes are all settled."""
        if held.waits_for:
            self.deliveries.excuse(held.message)
            await self.leases.put_off(held, f"route {held.waits_for} is down")
        elif held.undone is not None:
            if await self._is_hopeless(held, held.undone):
                await self._bury(held, Cause.MAX_DELIVERIES, str(held.undone.failure))
            else:
                await self.leases.give_back(held, str(held.undone.failure))
        elif held.rejected:
            await self._bury(held, Cause.REJECTED, str(held.rejected[0].failure))
        elif held.unrouted:
            await self._bury(held, Cause.UNROUTED, self._why_unrouted(held))
        elif held.deletions and self.propagation is not None:
            await self.propagation.take(held)
        else:
            self.deleter.delete(held)

    def _why_unrouted(self, held: Held) -> str:
        names = ", ".join(held.unrouted)
        if self.routes[0].name:
            return f"no route takes these changes of {names}"
        return f"the sync task does not copy {names}"

    async def _is_hopeless(self, held: Held, undone: Undone) -> bool:
        """Whether it was delivered often enough, and it is the message and no outage that failed it."""
        route = self._route(undone.route)
        backs = [each.door.back_at for each in self.routes if each.door is not None]
        count = held.message.dequeue_count
        if count >= self.deliveries_max and backs:
            count = self.deliveries.counted(held.message, max(backs))
        if count < self.deliveries_max or not self.receiver.is_open or route.breaker.is_open:
            return False
        if undone.failure.blame is Blame.ITEM:
            return True
        is_of_oms = undone.failure.service == "oms"
        return await (route.poster.takes_keys() if is_of_oms else self.records_work())

    async def _bury(self, held: Held, cause: Cause, error: str) -> None:
        """Keep a message as a dead letter, and only then delete it."""
        for dead_letters, rejected in self._graves(held, cause):
            failure = await dead_letters.write(held.message, cause, error, rejected)
            if failure is not None:
                held.passed(Verb.RECORD)
                await self.leases.give_back(held, str(failure))
                return
        held.passed(Verb.RECORD)
        self.deleter.delete(held, end="dead_letter", why=f"{cause}: {error}")

    def _graves(self, held: Held, cause: Cause) -> Iterator[tuple[DeadLetters, Sequence[Refused]]]:
        """Yield where the letter has to stand: at each route that refused a key or could not finish one."""
        if cause is Cause.REJECTED:
            for name in dict.fromkeys(each.route for each in held.rejected):
                of_route = [each for each in held.rejected if each.route == name]
                yield self._route(name).dead_letters, of_route
        elif cause is Cause.MAX_DELIVERIES and held.undone is not None:
            yield self._route(held.undone.route).dead_letters, held.rejected
        else:
            yield self.dead_letters, held.rejected

    def _route(self, name: str) -> Route:
        return next(each for each in self.routes if each.name == name)


def _let_wait(change: Change, route: Route) -> None:
    """Let all messages of a change wait for its route."""
    for waiter in change.waiters:
        waiter.held.waits_for = route.name


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
