"""The messages in hand: whose lease is kept, under which receipt handle, and what each still waits for.

Vendor facts (MNS changemessagevisibility): every change returns a new receipt handle and kills the old
one, the new timeout counts from the call, and there is no batch form. So one place holds the handle.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from math import inf
from operator import attrgetter
from typing import NamedTuple, Protocol

from worker.clock import Clock, is_set_within
from worker.errors import CallFailed, Failure
from worker.events.event import Message, ObjectEvent
from worker.flow.put_off import PutOff, put_off_seconds
from worker.observe.journal import Journal, Story
from worker.observe.trace import Trace, Verb
from worker.ports import QueueAttributes

RENEWALS_AT_ONCE = 32
RENEWAL_SECONDS_MIN = 0.005
RENEWAL_SMOOTHING = 0.1
IDLE_SECONDS = 1.0
RELEASE_SECONDS_BASE = 2.0
RELEASE_SECONDS_MAX = 300


class Visibility(Protocol):
    """What leases need of MNS."""

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        """Return the new handle; None if the lease is lost."""
        ...


class Undone(NamedTuple):
    """Why a change of a message is not recorded, and whose change it is."""

    failure: Failure
    route: str = ""


class Refused(NamedTuple):
    """A key that OMS refuses for good, why, and which route's it is."""

    key: str
    failure: Failure
    route: str = ""


class Removal(NamedTuple):
    """A deletion in the source: whose it is, the event, and a key that it may mean."""

    route: str
    event: ObjectEvent
    key: str


@dataclass(slots=True, eq=False)
class Held:
    """One message in hand. `pending` counts its changes that are not settled yet; few have a `trace`.

    `waits_for` is a route that is down and has a change in it. `unrouted` are the buckets of its changes that
    no route takes.
    """

    message: Message
    receipt_handle: str
    taken_at: float
    renew_at: float
    lease_ends_at: float
    keys: int = 0
    first_key: str = ""
    pending: int = 0
    undone: Undone | None = None
    waits_for: str = ""
    rejected: tuple[Refused, ...] = ()
    unrouted: tuple[str, ...] = ()
    deletions: tuple[Removal, ...] = ()
    is_leaving: bool = False
    renewal: asyncio.Task[None] | None = None
    trace: Trace | None = None

    @property
    def needs_more(self) -> bool:
        """Whether it is not simply to be deleted once nothing of it is pending."""
        return bool(
            self.undone or self.waits_for or self.rejected or self.unrouted or self.deletions
        )

    def story(self) -> Story:
        """Return what is told of it at its end."""
        message = self.message
        return Story(
            message.message_id, self.first_key, self.keys, message.dequeue_count, self.trace
        )

    def passed(self, verb: Verb) -> None:
        """Note in its trace, if it has one, that a verb is done with it."""
        if self.trace is not None:
            self.trace.passed(verb)


class Leases:
    """Holds messages, renews them at half their visibility, and knows when there is room for more."""

    def __init__(
        self,
        queue: Visibility,
        clock: Clock,
        journal: Journal,
        *,
        visibility_seconds: int,
        limit: int,
    ) -> None:
        self.visibility_seconds = visibility_seconds
        self.in_hand: dict[str, Held] = {}
        self.hidden = PutOff(clock, _most_hidden(limit))
        self._queue = queue
        self._clock = clock
        self._journal = journal
        self._limit = limit
        self.left = 0
        """How many messages have left the hand so far."""
        self.was_short = False
        """Whether a poll found no room since somebody reset this."""
        self.most = 0
        """The most that were taken at once since somebody reset this."""
        self._reserved = 0
        self._renewal_seconds = 0.0
        self._renewed_at = 0.0
        self._changed = asyncio.Event()

    def follow(self, queue: QueueAttributes) -> None:
        """Take the visibility timeout that the queue has by now."""
        self.visibility_seconds = queue.visibility_seconds

    def has_room(self, count: int) -> bool:
        """Whether that many more messages may be taken, beside those already promised room.

        What is put off has not been acknowledged either, and takes room.
        """
        room = self._limit - len(self.hidden)
        taken = len(self.in_hand) + self._reserved + count
        self.was_short |= taken > room or self.hidden.is_full
        return taken <= max(min(room, self._renewable()), count) and not self.hidden.is_full

    @property
    def taken(self) -> int:
        """How many messages MNS counts as received by this worker and not deleted: in hand, or put off."""
        return len(self.in_hand) + len(self.hidden)

    def allow(self, limit: int) -> None:
        """Let so many be in hand or put off from now on; what is more already stays until it is done."""
        is_more = limit > self._limit
        self._limit = limit
        self.hidden.most = _most_hidden(limit)
        if is_more:
            self._changed.set()

    def _renewable(self) -> int:
        """Return how many leases can be renewed in time at the speed that renewals have shown."""
        waves = self.visibility_seconds / 2 / max(self._expected_seconds(), RENEWAL_SECONDS_MIN)
        return int(RENEWALS_AT_ONCE * waves)

    def _expected_seconds(self) -> float:
        """Return the mean of the renewals so far, halved for each visibility in which none was due.

        Messages that are done before their renewal would otherwise never correct what a slow spell taught.
        """
        idle_seconds = self._clock.monotonic() - self._renewed_at
        fadings = max(0.0, idle_seconds / self.visibility_seconds - 1)
        return self._renewal_seconds * math.exp2(-fadings)

    def reserve(self, count: int) -> None:
        """Promise room for a poll that is about to leave."""
        self._reserved += count

    def unreserve(self, count: int) -> None:
        """Take the promise back; the messages that came are held by then."""
        self._reserved -= count
        self._changed.set()

    async def changed(self) -> None:
        """Wait until a message has left, a promise was taken back, or one put off is visible again."""
        self._changed.clear()
        seconds = self.hidden.seconds_left()
        if seconds < inf:
            await is_set_within(self._changed, seconds)
        else:
            await self._changed.wait()

    async def wait_empty(self) -> None:
        """Wait until nothing is in hand."""
        while self.in_hand:
            await self.changed()

    def hold(self, messages: Iterable[Message]) -> list[Held]:
        """Take messages in hand and return those that are new.

        A message that is already in hand was delivered again: its newest handle is adopted, since the
        older one is dead, and the work that is under way goes on.
        """
        now = self._clock.monotonic()
        fresh = []
        for message in messages:
            known = self.in_hand.get(message.message_id)
            if known is None:
                known = self.in_hand[message.message_id] = Held(
                    message, message.receipt_handle, now, now, now
                )
                fresh.append(known)
            self._leased(known, message.receipt_handle, now)
        self.most = max(self.most, self.taken)
        return fresh

    def forget(self, held: Held) -> bool:
        """Forget a message: it is deleted, released, or its lease is left to end.

        Returns whether it was in hand until now: of a delete and a release that overlap at the end of the
        grace time, only the first one is how the message ended.
        """
        was_in_hand = self.in_hand.get(held.message.message_id) is held
        if was_in_hand:
            del self.in_hand[held.message.message_id]
            self.left += 1
        self._changed.set()
        return was_in_hand

    async def give_back(self, held: Held, why: str) -> None:
        """Release a message that could not be finished: the more deliveries, the later it comes back."""
        await self.release(held, release_seconds(held.message.dequeue_count), why)

    async def postpone(self, held: Held, seconds: int, why: str) -> None:
        """Put a message off that has to wait: nothing is wrong with it."""
        await self.release(held, seconds, why, "postponed")

    async def put_off(self, held: Held, why: str) -> None:
        """Hide a message whose route is down, while other routes work: longer each time."""
        seconds = put_off_seconds(held.message.dequeue_count)
        self.hidden.add(held.waits_for, seconds)
        await self.release(held, seconds, why, "postponed")

    async def release(self, held: Held, seconds: int, why: str, released: str = "released") -> None:
        """Make the message visible again in `seconds` and forget it; if that fails, its time-out does it."""
        await self.freeze_handles((held,))
        end, was_in_hand = "lapsed", False
        try:
            if await self._queue.change_visibility(held.receipt_handle, seconds) is not None:
                end = released
        except CallFailed:
            pass
        finally:
            was_in_hand = self.forget(held)
        if was_in_hand:
            self._journal.ended(held.story(), end, self._clock.monotonic() - held.taken_at, why)

    async def freeze_handles(self, leaving: Iterable[Held]) -> None:
        """Stop renewing, and wait for renewals under way: afterwards every handle is the last one."""
        renewals = []
        for held in leaving:
            held.is_leaving = True
            if held.renewal is not None:
                renewals.append(held.renewal)
        if renewals:
            await asyncio.wait(renewals)

    async def keep(self) -> None:
        """Renew every message that is past half its visibility; run for ever, also while draining."""
        while True:
            due = self._due()
            if not due:
                await self._clock.sleep(self._until_next())
                continue
            async with asyncio.TaskGroup() as renewals:
                for held in due:
                    held.renewal = renewals.create_task(
                        self._renew(held), name=f"renew {held.message.message_id}"
                    )

    def _due(self) -> list[Held]:
        now = self._clock.monotonic()
        # All are looked at: after a failed renewal, or a new visibility, the order says nothing.
        due = [each for each in self._kept() if each.renew_at <= now]
        return nsmallest(RENEWALS_AT_ONCE, due, key=attrgetter("lease_ends_at"))

    def _until_next(self) -> float:
        soonest = min((each.renew_at for each in self._kept()), default=float("inf"))
        idle = min(IDLE_SECONDS, self.visibility_seconds / 8)
        return min(max(soonest - self._clock.monotonic(), 0.01), idle)

    def _kept(self) -> Iterator[Held]:
        return (each for each in self.in_hand.values() if not each.is_leaving)

    async def _renew(self, held: Held) -> None:
        started = self._clock.monotonic()
        try:
            # A renewal that hangs must not cost the others of its wave their leases.
            async with asyncio.timeout(self.visibility_seconds / 4):
                handle = await self._queue.change_visibility(
                    held.receipt_handle, self.visibility_seconds
                )
        except (CallFailed, TimeoutError):
            pause = max(0.2, self.visibility_seconds / 16)
            held.renew_at = self._clock.monotonic() + pause
            self._journal.renewed("failed")
        else:
            self._leased(held, handle or held.receipt_handle, started)
            self._journal.renewed("renewed" if handle else "lost")
        finally:
            now, expected = self._clock.monotonic(), self._expected_seconds()
            self._renewal_seconds = expected + RENEWAL_SMOOTHING * (now - started - expected)
            self._renewed_at = now
            held.renewal = None

    def _leased(self, held: Held, handle: str, since: float) -> None:
        held.receipt_handle = handle
        held.lease_ends_at = since + self.visibility_seconds
        held.renew_at = since + self.visibility_seconds / 2


def _most_hidden(limit: int) -> int:
    """Return how many may be put off: half of the limit is kept for the routes that work."""
    return limit // 2


def release_seconds(dequeue_count: int) -> int:
    """Return how long an unfinished message stays invisible: longer each time, up to 5 minutes."""
    return int(min(RELEASE_SECONDS_MAX, RELEASE_SECONDS_BASE ** min(max(dequeue_count, 1), 16)))
