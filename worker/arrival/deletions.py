"""Propagate deletions: what the source has no more goes from the destination, too. Off unless asked for.

Nothing else in the relay destroys anything, so every doubt ends in keeping. A deletion waits until copies of
the older state have landed. Then the source itself has to say that it has no such object: an answer that
could mean something else (no bucket, no right, a stranger) is no such word. Both buckets have to be named by
the task itself. What was written at the
destination after the deletion is kept, unless its checksum is that of what was deleted. Where an event may
name one object or another, people decide.

The brake holds for all relays of a task and through restarts: each deletion takes one of so many places an
hour, which are objects in the log bucket that only one can write. Once none is free, one more object says
that the brake is on. While it stands no relay of the task deletes anything: each deletion, also one that
waits already, is kept as a dead letter. Who redrives or archives such a letter has looked, and lifts the
brake.

An object may be created again between the look and the deletion. So the source is looked at once more
afterwards, and what is there again is announced again, and followed. So is what a deletion finds in the
source and not at the destination: delivered before, it may have been carried out already.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
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
from worker.ledger.letter import HELD_BY_BRAKE, kind
from worker.ledger.line import fields_of, line_of
from worker.ledger.names import BRAKE, DELETED, place_name, record_name, task_folder
from worker.observe.journal import Journal
from worker.ports import NAME_TAKEN, ObjectFacts, Stored

HOUR_SECONDS = 3600.0
# MNS hides a message for 12 hours at most.
WAIT_SECONDS_MAX = 43_200
AGAIN_SECONDS = 300
AGAIN_SECONDS_MAX = 21_600
# A place is taken before its copy is deleted. With twice so long in hand any hour has no more than allowed.
TAKE_SECONDS_MAX = 60.0
SPAN_SECONDS = HOUR_SECONDS + 2 * TAKE_SECONDS_MAX
# The lists of OMS stand there, and whatever else it keeps.
KEPT_PREFIX = "oms/"
GRACE = "copies may still be on their way"
# MNS lets a queue hide 5,000 messages.
PUT_OFF_MAX = 10_000
TOO_MANY = (
    f"{HELD_BY_BRAKE}: the brake is on, and no relay of the task deletes anything. Look whether the "
    "deletions were meant; redriving or archiving one of these letters lifts the brake"
)
UNCERTAIN = (
    "the sync task does not say what it copies, and where to, so nothing is deleted: let the relay read it "
    "(oms:synctask:get)"
)
AMBIGUOUS = (
    "the event may name one object or another: set RELAY_KEY_ENCODING to raw or url, as events really are, "
    "then redrive"
)


class Brake:
    """Lets so many deletions an hour through, of all relays together; one more, and it stays on for all.

    What stands in the log bucket decides, and nothing that only one process knows: `read` reads there. Each
    deletion takes one of `per_hour` places. A place is an object of the present span that only one can
    write, and it is free only if the span before has none of it that is younger than a span; one that is not
    there is written, too, so that nobody takes it afterwards. So any two deletions of one place are a span
    apart. Every method raises `CallFailed`.
    """

    def __init__(
        self,
        records: Records,
        read: Callable[[str], Awaitable[Stored | None]],
        clock: Clock,
        rng: random.Random,
        per_hour: int,
    ) -> None:
        self._records = records
        self._read = read
        self._clock = clock
        self._rng = rng
        self._per_hour = per_hour
        self._name = task_folder(records.task_id) + BRAKE
        # Until when a place is known to be taken (epoch seconds): what was learned is not asked again.
        self._taken: dict[int, float] = {}
        self._waiting: dict[str, float] = {}

    async def is_on(self) -> bool:
        """Whether a relay of the task has put it on, and nobody has lifted it."""
        return await self._read(self._name) is not None

    async def lets_wait(self, key: str) -> bool:
        """Whether the copy of one more key may wait in the queue to be deleted; if not, put the brake on.

        MNS allows 5,000 messages that nobody acknowledges.
        """
        now = self._clock.monotonic()
        self._waiting = {
            each: since for each, since in self._waiting.items() if since > now - HOUR_SECONDS
        }
        if key not in self._waiting and len(self._waiting) >= self._per_hour:
            await self._put_on(key)
            return False
        self._waiting[key] = now
        return True

    async def lets_pass(self, key: str) -> bool:
        """Take a place for a deletion that is about to begin; if none is free, put the brake on."""
        now = self._clock.wall()
        places = [each for each in range(self._per_hour) if self._taken.get(each, 0.0) <= now]
        self._rng.shuffle(places)
        for place in places:
            if await self._take(place, key):
                # Another relay may have put it on meanwhile.
                return not await self.is_on()
        await self._put_on(key)
        return False

    async def _take(self, place: int, key: str) -> bool:
        now = self._clock.wall()
        span = int(now // SPAN_SECONDS)
        before = place_name(self._records.task_id, span - 1, place)
        if not await self._write(before, 0.0, ""):
            ends_at = _taken_at(await self._read(before), now) + SPAN_SECONDS
            if ends_at > now:
                self._taken[place] = ends_at
                return False
        name = place_name(self._records.task_id, span, place)
        is_ours = await self._write(name, now, key)
        # In the next span its object tells until when it is taken.
        self._taken[place] = (span + 1) * SPAN_SECONDS
        return is_ours and self._clock.wall() - now <= TAKE_SECONDS_MAX

    async def _write(self, name: str, posted_at: float, key: str) -> bool:
        """Write an object that only one can write; return whether it was this call."""
        body = line_of(posted_at=posted_at, key=key)
        failure = await self._records.put(name, body, "application/json", may_replace=False)
        if failure is not None and failure.code != NAME_TAKEN:
            raise CallFailed(failure)
        return failure is None

    async def _put_on(self, key: str) -> None:
        await self._write(self._name, self._clock.wall(), key)


class Deletions:
    """Carries out the deletions of one message at a time; `grace_seconds` is how long each one waits."""

    def __init__(
        self,
        view: DestinationView,
        again: Again,
        records: Records,
        brake: Brake,
        expect: Callable[[str, str], None],
        clock: Clock,
        journal: Journal,
        *,
        grace_seconds: float,
    ) -> None:
        self._view = view
        self._again = again
        self._records = records
        self._brake = brake
        self._expect = expect
        self._clock = clock
        self._journal = journal
        self._grace_seconds = grace_seconds
        # Of each key that waits for more than its grace: until when, and why.
        self._put_off: dict[str, tuple[float, str]] = {}
        self._told = ""

    @property
    def notices(self) -> tuple[str, ...]:
        """Say how many deletions are put off, and why the last one is; nothing if none is."""
        # One that came back to another relay is no longer ours to tell of.
        now = self._clock.monotonic() - AGAIN_SECONDS
        self._put_off = {key: each for key, each in self._put_off.items() if each[0] > now}
        if not self._put_off:
            self._told = ""
            return ()
        _, why = next(reversed(self._put_off.values()))
        return (f"deletions put off: {len(self._put_off)}; their copies stay until then. {why}",)

    def _note(self, keys: Iterable[str], end: Deletion) -> None:
        """Keep what is put off, and log each kind of reason once."""
        for key in keys:
            self._put_off.pop(key, None)
            if end.wait_seconds and end.why != GRACE and len(self._put_off) < PUT_OFF_MAX:
                self._put_off[key] = (self._clock.monotonic() + end.wait_seconds, end.why)
        if end.wait_seconds and end.why != GRACE and kind(end.why) != self._told:
            self._told = kind(end.why)
            self._journal.deletions_put_off(len(self._put_off), end.why)

    async def carry(
        self, deletions: Sequence[tuple[ObjectEvent, str]], *, deliveries: int = 1
    ) -> Deletion:
        """Carry them out as `_carry` does, and keep what is put off for the notices."""
        end = await self._carry(deletions, deliveries)
        self._note((key for _, key in deletions), end)
        return end

    async def _carry(
        self, deletions: Sequence[tuple[ObjectEvent, str]], deliveries: int
    ) -> Deletion:
        """Delete the keys at the destination, or say how long to wait, or why people have to decide.

        `deliveries` counts those of the message: only at the first the brake counts what waits, and after a
        failure each next one waits longer.
        """
        try:
            newest = max(datetime.fromisoformat(event.time).timestamp() for event, _ in deletions)
        except ValueError:
            return self._held("the time of the deletion cannot be read")
        if len({id(event) for event, _ in deletions}) < len(deletions):
            return self._held(AMBIGUOUS)
        try:
            end = await self._not_yet(deletions, newest, deliveries)
            for event, key in deletions:
                if end is not DONE:
                    break
                end = await self._carry_one(event, key, newest, deliveries)
        except CallFailed as failed:
            return _later(deliveries, f"{failed}. Next: {advise(failed.failure)}")
        return end

    async def _not_yet(
        self, deletions: Sequence[tuple[ObjectEvent, str]], deleted_at: float, deliveries: int
    ) -> Deletion:
        """Say how long a deletion has to wait; `DONE` if no longer."""
        if await self._brake.is_on():
            return self._held(TOO_MANY)
        wait_seconds = ceil(deleted_at + self._grace_seconds - self._clock.wall())
        if wait_seconds > 0:
            for _, key in deletions if deliveries == 1 else ():
                if await self._may_go(key) and not await self._brake.lets_wait(key):
                    return self._held(TOO_MANY)
            return Deletion(min(wait_seconds, WAIT_SECONDS_MAX), GRACE)
        if not self._view.is_usable:
            return _later(deliveries, "the destination cannot be looked at")
        if not self._view.is_certain:
            return _later(deliveries, UNCERTAIN)
        return DONE

    async def _may_go(self, key: str) -> bool:
        """Whether there may be a copy to delete, as things stand now."""
        if not (self._view.is_usable and self._view.is_certain):
            return True
        return not await self._view.source_has(key) and await self._view.copy(key) is not None

    async def _carry_one(
        self, event: ObjectEvent, key: str, deleted_at: float, deliveries: int
    ) -> Deletion:
        is_there, copy = await self._view.source_has(key), await self._view.copy(key)
        if copy is None:
            # Without its bucket every object looks as if it were gone already.
            await self._view.require_bucket()
            return await self._announce(event, key) if is_there else self._kept("absent")
        if is_there or key.startswith(KEPT_PREFIX) or _is_foreign(event, copy, deleted_at):
            return self._kept("there_again" if is_there else "kept")
        if not await self._brake.lets_pass(key):
            return self._held(TOO_MANY)
        await self._view.delete(key)
        self._journal.deletion("deleted", key)
        if await self._view.source_has(key):
            return await self._announce(event, key)
        line = _line(event, key, copy, self._clock.wall())
        name = record_name(self._records.task_id, DELETED, key)
        failure = await self._records.put(name, line, "application/json")
        return DONE if failure is None else _later(deliveries, str(failure))

    async def _announce(self, event: ObjectEvent, key: str) -> Deletion:
        """The object is there again: its copy may have gone with a deletion that was late or doubled."""
        state = SourceState(event.etag, self._clock.wall())
        failure = await self._again.announce(key, event.etag, state)
        if failure is not None:
            return Deletion(AGAIN_SECONDS, str(failure))
        self._expect(key, "")
        return self._kept("there_again")

    def _kept(self, outcome: str) -> Deletion:
        self._journal.deletion(outcome)
        return DONE

    def _held(self, why: str) -> Deletion:
        self._journal.deletion("held", why=why)
        return Deletion(0, why, is_held=True)


def _taken_at(stored: Stored | None, now: float) -> float:
    """Return when a place was taken (epoch seconds); what cannot be read counts as taken now."""
    if stored is None:
        return now
    try:
        return datetime.fromisoformat(fields_of(stored.body)["posted_at"]).timestamp()
    except (ValueError, TypeError, KeyError):
        return now


def _later(deliveries: int, why: str) -> Deletion:
    """Wait twice as long each time: an outage of days must not use up what the queue allows in receives."""
    seconds = AGAIN_SECONDS * 2 ** min(max(0, deliveries - 2), 10)
    return Deletion(min(seconds, AGAIN_SECONDS_MAX), why)


def _is_foreign(event: ObjectEvent, copy: ObjectFacts, deleted_at: float) -> bool:
    """Whether it was written after the deletion, and is not known to be a late copy of what was deleted."""
    is_known = bool(event.etag) and event.etag.lower() == copy.etag.lower()
    return copy.last_modified > deleted_at and not is_known


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
