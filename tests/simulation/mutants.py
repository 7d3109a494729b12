"""Planted bugs: each is a mistake that somebody could make in the flow, and the worlds must notice it.

A mutant patches the real code for the length of a `with` block and is never shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from simulation.mutants_of_life import LIFE_MUTANTS
from worker.errors import Failure, Outcome
from worker.flow.dedupe import Change, Dedupe, Waiter
from worker.flow.flow import Flow
from worker.flow.lease import Held
from worker.flow.post import Poster, Verdict
from worker.flow.record import Records
from worker.flow.record_log import LogRecords
from worker.flow.route import Route
from worker.flow.source import Source
from worker.ledger.letter import Cause

Mutant = Callable[[ExitStack], None]


def _patch(stack: ExitStack, owner: type, name: str, value: Any) -> None:
    stack.enter_context(mock.patch.object(owner, name, value))


def delete_before_record(stack: ExitStack) -> None:
    """Settle and delete as soon as the post is accepted; write the record afterwards."""

    async def carry(self: Flow, route: Route, batch: Sequence[Change]) -> None:
        verdicts = await route.poster.post(batch)
        for verdict in verdicts:
            failure = None if verdict.outcome is Outcome.ACCEPTED else verdict.failure
            for held in route.dedupe.settle(verdict.change, undone=failure, rejected=None):
                await self._finish(held)
        await route.records.record(verdicts)

    _patch(stack, Flow, "carry", carry)


def swallowed_store_error(stack: ExitStack) -> None:
    """Take a record that OSS refused as confirmed."""
    for records in (Records, LogRecords):
        record = records.record

        async def swallowing(
            self: Any, verdicts: Sequence[Verdict], record: Any = record
        ) -> list[Failure | None]:
            found = await record(self, verdicts)
            return [failure if failure and failure.service != "oss" else None for failure in found]

        _patch(stack, records, "record", swallowing)


def rejection_taken_as_whole(stack: ExitStack) -> None:
    """Blame every key of a refused batch."""

    async def split(_: Poster, refused: Any, **__: Any) -> list[Verdict]:
        return refused.verdicts()  # type: ignore[no-any-return]

    _patch(stack, Poster, "_split", split)


def acceptance_taken_as_whole(stack: ExitStack) -> None:
    """After a split, take the verdict of the first half for all of them."""
    split = Poster._split

    async def first_half(self: Poster, refused: Any, **more: Any) -> list[Verdict]:
        verdicts = await split(self, refused, **more)
        first = verdicts[0]
        return [
            Verdict(each.change, first.outcome, first.posted_at, first.request_id, first.failure, 1)
            for each in verdicts
        ]

    _patch(stack, Poster, "_split", first_half)


def done_with_any_key(stack: ExitStack) -> None:
    """Finish a message as soon as one of its keys is settled."""
    admit = Dedupe.admit

    def admit_one(self: Dedupe, held: Held, events: Iterable[Any]) -> bool:
        is_waiting = admit(self, held, events)
        held.pending = min(held.pending, 1)
        return is_waiting

    _patch(stack, Dedupe, "admit", admit_one)


def remembered_before_record(stack: ExitStack) -> None:
    """Remember an event when it is taken for its post, not when its record is confirmed."""
    batch = Dedupe.batch

    async def remembering(self: Dedupe, keys_max: int, linger_seconds: float) -> list[Change]:
        changes = await batch(self, keys_max, linger_seconds)
        for change in changes:
            self._remember(change)
        return changes

    _patch(stack, Dedupe, "batch", remembering)


def dead_letters_in_an_outage(stack: ExitStack) -> None:
    """Bury a message after two deliveries although a service is down."""

    async def finish(self: Flow, held: Held) -> None:
        if held.undone is not None and held.message.dequeue_count >= 2:
            await self._bury(held, Cause.MAX_DELIVERIES, str(held.undone.failure))
        else:
            await original(self, held)

    original = Flow._finish
    _patch(stack, Flow, "_finish", finish)


def max_deliveries_in_an_outage(stack: ExitStack) -> None:
    """Count deliveries against a message although a service is known to be down."""

    async def finish(self: Flow, held: Held) -> None:
        if held.undone is not None and held.message.dequeue_count >= self.deliveries_max:
            await self._bury(held, Cause.MAX_DELIVERIES, str(held.undone.failure))
        else:
            await original(self, held)

    original = Flow._finish
    _patch(stack, Flow, "_finish", finish)


def deduped_by_key(stack: ExitStack) -> None:
    """Take a key that was recorded once for done for ever."""
    _patch_identity(stack, lambda _id, _index, _event, key, _intent: key.encode())


def deduped_by_key_and_time(stack: ExitStack) -> None:
    """Take two changes of a key in one second for the same."""
    _patch_identity(stack, lambda _id, _index, event, key, _intent: f"{key} {event.time}".encode())


def _patch_identity(stack: ExitStack, identity: Callable[..., bytes]) -> None:
    stack.enter_context(mock.patch("worker.flow.dedupe.identity", identity))


def merged_into_a_started_post(stack: ExitStack) -> None:
    """Let an event join a change whose post is already on its way."""
    batch, settle, join = Dedupe.batch, Dedupe.settle, Dedupe._join

    async def starting(self: Dedupe, keys_max: int, linger_seconds: float) -> list[Change]:
        changes = await batch(self, keys_max, linger_seconds)
        self.__dict__.setdefault("started", {}).update({each.key: each for each in changes})
        return changes

    def joining(self: Dedupe, key: str, waiter: Waiter) -> None:
        started = self.__dict__.get("started", {}).get(key)
        if started is None:
            join(self, key, waiter)
        else:
            started.waiters.append(waiter)

    def settling(self: Dedupe, change: Change, **how: Any) -> list[Held]:
        self.__dict__["started"].pop(change.key, None)
        return settle(self, change, **how)

    for name, value in (("batch", starting), ("_join", joining), ("settle", settling)):
        _patch(stack, Dedupe, name, value)


def log_objects_replaced(stack: ExitStack) -> None:
    """Write log objects as if nobody else could bear this worker's name."""
    put = LogRecords.put

    async def replacing(self: LogRecords, *args: Any, may_replace: bool = True) -> Failure | None:
        del may_replace
        return await put(self, *args)

    _patch(stack, LogRecords, "put", replacing)


def strangers_believed(stack: ExitStack) -> None:
    """Take every 200 for OMS's."""
    stack.enter_context(mock.patch("worker.clouds.oms.is_acceptance", return_value=True))


def refusals_taken_at_their_word(stack: ExitStack) -> None:
    """Bury what is refused while the task says SYNCHRONIZING, whatever else is refused as well."""

    async def vouch(*_: Any) -> None:
        return None

    _patch(stack, Poster, "_vouch", vouch)


def foreign_bucket_posted(stack: ExitStack) -> None:
    """Post the keys of a bucket that the task does not copy."""
    _patch(stack, Source, "is_foreign", lambda *_: False)


def undecodable_dropped(stack: ExitStack) -> None:
    """Delete what cannot be read, without a dead letter."""

    async def bury(self: Flow, held: Held, *_: Any) -> None:
        self.deleter.delete(held)

    _patch(stack, Flow, "_bury", bury)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        delete_before_record,
        swallowed_store_error,
        rejection_taken_as_whole,
        acceptance_taken_as_whole,
        done_with_any_key,
        remembered_before_record,
        dead_letters_in_an_outage,
        max_deliveries_in_an_outage,
        deduped_by_key,
        deduped_by_key_and_time,
        merged_into_a_started_post,
        log_objects_replaced,
        foreign_bucket_posted,
        refusals_taken_at_their_word,
        strangers_believed,
        undecodable_dropped,
        *LIFE_MUTANTS,
    )
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Live with one bug."""
    with ExitStack() as stack:
        MUTANTS[name](stack)
        yield
