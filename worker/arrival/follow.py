"""Follow accepted keys to the destination, beside the flow, and announce again what does not arrive.

A key is looked at soon after OMS has accepted it, and then ever more rarely until it is late. Before anything
is announced again both sides are looked at: what is gone from the source, or the same already, ends it. Then
it is announced at most three times for one state of the source, and at last given up: with a failed record,
and a dead letter of the cause `not_arrived`.

A key that is late may have been lost, or OMS may be behind with all of them. So it is announced again once a
key that was accepted no earlier has arrived: then it was passed over. Where none does, as when copying has
stopped, that is waited for: four times as long as a copy may take, and before it is given up for a day.

An object that is overwritten again and again has a newest state that is never late. So some copy has to be
made after the oldest state that is owed, by that state's own deadline: else the key is late, and once more
after each such term. While newer states come they are announced by their own events, and by nothing else.
After as long as a state at rest would have been announced again it is given up.

Nothing here is needed for a message to be deleted: what a crash forgets is a measurement, not an object, and
how often a state was announced. `reconcile` finds what nobody follows any more.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from dataclasses import dataclass
from itertools import count
from math import inf

from worker.arrival.again import Again, SourceState
from worker.arrival.compare import Comparison, Verdict, compare
from worker.arrival.destination import DestinationView
from worker.arrival.history import ArrivalHistory, Count
from worker.clock import Clock, seconds_of
from worker.errors import Blame, CallFailed, Outcome
from worker.flow.post import Verdict as Posted
from worker.flow.record import RESENT_SECONDS
from worker.observe.journal import Journal
from worker.outages.breaker import BreakerOpen
from worker.ports import ObjectFacts

FOLLOWED_MAX = 50_000
# So many that were given up are remembered, those of last.
GIVEN_UP_MAX = 10_000
LOOKS_AT_ONCE = 32
IDLE_SECONDS_MIN = 0.1
IDLE_SECONDS_MAX = 5.0
# A look is not worth planning for less.
LOOK_SECONDS_MIN = 1.0
# When the first look is due, until it is known how long copies take; at most a quarter of the deadline.
FIRST_LOOK_SECONDS = 15.0
FIRST_LOOK_SECONDS_MIN = 5.0
SMOOTHING = 0.1
# After a look that failed: an outage of OBS, or of what is asked of the source.
BLIND_SECONDS = 30.0
# What is due is looked at within this time, unless nobody can look.
OVERDUE_SECONDS = 60.0
AGAIN_AFTER_FAILURE_SECONDS = 60.0
# From one announcement of a state to the next, and from the last one to the end.
WAITS_SECONDS = (600.0, 3600.0, 21_600.0)
# For so many deadlines a later key is waited for, before a key is announced again, and before it is given up.
PATIENCE_ANNOUNCING = 4.0
PATIENCE_GIVING_UP = 96.0
OVERWRITTEN = "overwritten again and again, and no copy of any state has come"


@dataclass(slots=True, eq=False)
class Followed:
    """One key on its way. Times are epoch seconds.

    `etag` is that of the newest event, empty where none told it. `is_live` is false for events that were sent
    long after their change: they say nothing of how long copies take. `is_suspect` marks what OMS itself
    lists as failed or skipped: it is not waited for. `is_chosen` says whether it counts for the share that is
    in time: it was taken by chance, and not because something is known to be wrong with it.

    `owed_since` is when the oldest state changed that no copy is known to be newer than; one has to be there
    at `owed_by`. `stuck_since` is when that was late first, None while copies come.
    """

    key: str
    etag: str
    changed_at: float
    posted_at: float
    late_at: float
    is_live: bool = True
    is_suspect: bool = False
    is_chosen: bool = True
    is_told_late: bool = False
    look_seconds: float = 0.0
    state: SourceState | None = None
    # How often its present state was announced again, and how often all since a copy came.
    announced: int = 0
    announced_in_all: int = 0
    again_at: float = 0.0
    owed_since: float = 0.0
    owed_by: float = 0.0
    stuck_since: float | None = None
    # Grows with each newer event of the key, so that a look at the older state ends nothing.
    version: int = 0
    # Which plan counts: a key is looked at once at a time, however often it was planned.
    turn: int = 0
    is_looked_at: bool = False

    def __post_init__(self) -> None:
        self.owed_since, self.owed_by = self.changed_at, self.late_at

    def owe(self, since: float, by: float) -> None:
        """A copy has come: from now on one is owed that is newer than a later state."""
        self.owed_since, self.owed_by = since, by
        self.stuck_since, self.announced_in_all = None, 0


class Follower:
    """Follows a share of the accepted keys, at most `FOLLOWED_MAX` at a time, of all `routes` together."""

    def __init__(
        self,
        view: DestinationView,
        again: Again,
        clock: Clock,
        rng: random.Random,
        journal: Journal,
        *,
        ratio: float,
        late_seconds: float,
        routes: int = 1,
    ) -> None:
        self._routes = routes
        self._view = view
        self._again = again
        self._clock = clock
        self._rng = rng
        self._journal = journal
        self._ratio = ratio
        self.late_seconds = late_seconds
        self.history = ArrivalHistory(clock.monotonic())
        self._typical_seconds = FIRST_LOOK_SECONDS / 2
        self._newest_arrival = -inf
        self._followed: dict[str, Followed] = {}
        self._given_up: dict[str, SourceState] = {}
        self._due: list[tuple[float, int, Followed]] = []
        self._numbers = count()
        self._places = asyncio.Semaphore(LOOKS_AT_ONCE)
        journal.counts.arrivals_pending.set_function(lambda: self.pending)

    @property
    def pending(self) -> int:
        """How many keys are being followed."""
        return len(self._followed)

    @property
    def overdue(self) -> int:
        """How many keys are due for a minute, and no look could tell whether they have arrived."""
        due = self._clock.wall() - OVERDUE_SECONDS
        return sum(
            each.owed_by < due and each.is_chosen and not each.is_told_late
            for each in self._followed.values()
        )

    @property
    def has_room(self) -> bool:
        """Whether one more key may be followed."""
        return len(self._followed) < FOLLOWED_MAX // self._routes

    @property
    def has_room_for_suspects(self) -> bool:
        """Whether one more suspect may be taken: a long list must not take the places of all others."""
        return len(self._followed) < FOLLOWED_MAX // self._routes // 2

    def expect(self, key: str, etag: str) -> None:
        """Follow a key that was announced past the flow: it has to arrive like any other."""
        now = self._clock.wall()
        late_at = now + self.late_seconds
        self._follow(Followed(key, etag, now, now, late_at, is_live=False, is_chosen=False))

    def accepted(self, posted: Posted) -> None:
        """Take a key whose record is confirmed, or leave it to chance. Never waits."""
        if posted.outcome is not Outcome.ACCEPTED:
            return
        is_chosen = self._rng.random() < self._ratio
        # For most keys this is all.
        if not is_chosen and not self._view.is_listening:
            return
        newest = posted.change.newest
        self._view.hear(newest.event.bucket)
        if not is_chosen:
            return
        changed_at = seconds_of(newest.event.time) or posted.posted_at
        sent_at = newest.held.message.enqueue_time_ms / 1000
        self._follow(
            Followed(
                posted.change.key,
                newest.event.etag,
                changed_at,
                posted.posted_at,
                max(changed_at, posted.posted_at) + self.late_seconds,
                is_live=sent_at - changed_at <= RESENT_SECONDS,
            )
        )

    def suspect(self, key: str) -> None:
        """Take a key that OMS lists as failed or skipped: it is looked at as soon as may be."""
        now = self._clock.wall()
        self._follow(
            Followed(key, "", now, now, now, is_live=False, is_suspect=True, is_chosen=False)
        )

    def _follow(self, new: Followed) -> None:
        old = self._followed.get(new.key)
        if old is not None:
            _renew(old, new)
            if new.is_suspect and not old.is_looked_at:
                self._plan(old, 0.0)
        elif self.has_room:
            self._followed[new.key] = new
            self._plan(new, 0.0 if new.is_suspect else self._first_look_seconds())
        else:
            self._unknown(new)

    def _unknown(self, each: Followed) -> None:
        """Note that it is not followed to its end: it was due, and what was told late is late already."""
        if not each.is_chosen:
            self._journal.suspect_unfollowed()
        elif not each.is_told_late:
            self._journal.arrival("unknown", each.key)
            self.history.count(Count.UNKNOWN, self._clock.monotonic())

    def _first_look_seconds(self) -> float:
        least = max(FIRST_LOOK_SECONDS_MIN, 2 * self._typical_seconds)
        return min(least, self.late_seconds / 4)

    def _plan(self, each: Followed, seconds: float) -> None:
        each.turn = next(self._numbers)
        heapq.heappush(self._due, (self._clock.monotonic() + seconds, each.turn, each))

    async def run(self) -> None:
        """Look at what is due, a few at a time, for ever. While OBS cannot be used nothing is looked at."""
        async with asyncio.TaskGroup() as looks:
            while True:
                each = self._taken() if self._view.is_usable else None
                if each is None:
                    await self._clock.sleep(self._idle_seconds())
                    continue
                await self._places.acquire()
                look = looks.create_task(self._look(each), name=f"look {each.key[:80]!r}")
                look.add_done_callback(lambda _: self._places.release())

    def _taken(self) -> Followed | None:
        """Take what is due first; None if nothing is due."""
        while self._due and self._due[0][0] <= self._clock.monotonic():
            _, turn, each = heapq.heappop(self._due)
            # A key may have been planned again since, or be done with by now.
            if turn == each.turn and self._followed.get(each.key) is each:
                each.is_looked_at = True
                return each
        return None

    def _idle_seconds(self) -> float:
        """Wait until something is due, but not for long: a newcomer may be due earlier."""
        left = self._due[0][0] - self._clock.monotonic() if self._due else IDLE_SECONDS_MAX
        return min(max(left, IDLE_SECONDS_MIN), IDLE_SECONDS_MAX)

    async def _look(self, each: Followed) -> None:
        version = each.version
        try:
            seconds = await self._looked(each)
        except CallFailed as failed:
            self._journal.look_failed(failed.failure)
            seconds = self._after(each, failed)
        each.is_looked_at = False
        if seconds is None and each.version == version:
            self._followed.pop(each.key, None)
        else:
            self._plan(each, seconds or self._first_look_seconds())

    def _after(self, each: Followed, failed: CallFailed) -> float | None:
        """Look again later; but where a side may not be looked at, what became of the key stays unknown."""
        is_sent = not isinstance(failed, BreakerOpen)
        if (
            is_sent
            and failed.failure.service in ("oss", "obs")
            and failed.failure.blame is Blame.SERVICE
            and failed.failure.operation == "HeadObject"
        ):
            self._unknown(each)
            return None
        return BLIND_SECONDS

    async def _looked(self, each: Followed) -> float | None:
        """Look once; return after how many seconds to look again, None when there is nothing more to do."""
        copy = await self._view.copy(each.key)
        if copy is not None and each.etag and copy.etag.lower() == each.etag.lower():
            self._arrived(each, copy, each.changed_at, Verdict.PROVED)
            return None
        now = self._clock.wall()
        if copy is None and now < min(each.late_at, each.owed_by):
            return self._next_look_seconds(each)
        source = await self._view.source(each.key)
        grace_seconds = 0.0 if each.is_suspect else self.late_seconds
        found = compare(source, copy, now=now, grace_seconds=grace_seconds)
        if source is None:
            return None
        if copy is not None and found.verdict.has_arrived:
            changed_at = max(each.changed_at, source.last_modified)
            self._arrived(each, copy, changed_at, found.verdict)
            return None
        if copy is not None and _is_since_owed(each, copy):
            each.owe(source.last_modified, now + self.late_seconds)
        if found.verdict is Verdict.PENDING or now < each.late_at:
            return await self._on_its_way(each, source)
        return await self._not_arrived(each, source, found)

    def _next_look_seconds(self, each: Followed) -> float:
        """Wait twice as long as before, and not past the moment at which something has to be done."""
        longer = 2 * each.look_seconds or self._first_look_seconds()
        each.look_seconds = min(longer, self.late_seconds)
        now = self._clock.wall()
        moments = (each.owed_by, max(each.late_at, each.again_at))
        left = min((at - now for at in moments if at > now), default=inf)
        return min(each.look_seconds, max(left, LOOK_SECONDS_MIN))

    def _arrived(
        self, each: Followed, copy: ObjectFacts, changed_at: float, verdict: Verdict
    ) -> None:
        # It is followed on if a newer event has come during this look.
        each.owe(each.changed_at, self._clock.wall() + self.late_seconds)
        took = max(0.0, copy.last_modified - changed_at)
        self._newest_arrival = max(self._newest_arrival, each.posted_at)
        if each.is_live and not each.is_suspect:
            since_post = max(0.0, copy.last_modified - each.posted_at)
            self._typical_seconds += SMOOTHING * (since_post - self._typical_seconds)
        if not each.is_suspect or each.announced or each.is_chosen:
            seconds = took if each.is_live else None
            self._journal.arrived(seconds, is_proved=verdict is Verdict.PROVED)
            self._note_arrival(each, seconds)

    def _note_arrival(self, each: Followed, seconds: float | None) -> None:
        """Count it once, as in time or late: it may have arrived late while nobody could look."""
        now = self._clock.monotonic()
        if seconds is not None:
            self.history.took(seconds, now)
        if not each.is_chosen or each.is_told_late:
            return
        if (seconds or 0.0) <= self.late_seconds:
            self.history.count(Count.IN_TIME, now)
        else:
            self._late(each, f"arrived after {seconds:.0f} s")

    def _late(self, each: Followed, why: str) -> None:
        """Tell once that it was not in time; what was not chosen by chance tells nothing about the share."""
        if each.is_told_late or not each.is_chosen:
            return
        each.is_told_late = True
        self.history.count(Count.LATE, self._clock.monotonic())
        self._journal.arrival("late", each.key, why)

    async def _on_its_way(self, each: Followed, source: ObjectFacts) -> float | None:
        """Wait for its newest state; but where no copy of an older one came either, tell so, and end it."""
        now = self._clock.wall()
        if each.is_suspect or now < each.owed_by:
            return self._next_look_seconds(each)
        # Of others that were accepted in this term some have arrived, or a day has passed.
        is_passed_over = self._newest_arrival >= each.owed_by - self.late_seconds
        self._late(each, OVERWRITTEN)
        each.owed_by = now + self.late_seconds
        if each.stuck_since is None:
            each.stuck_since = now
        waited_until = each.stuck_since + PATIENCE_GIVING_UP * self.late_seconds
        if _is_stuck_for_good(each, now) and (is_passed_over or now >= waited_until):
            await self._view.require_bucket()
            return await self._give_up(
                each, SourceState(source.etag, source.last_modified), OVERWRITTEN
            )
        return self._next_look_seconds(each)

    async def _not_arrived(
        self, each: Followed, source: ObjectFacts, found: Comparison
    ) -> float | None:
        """Announce it again, or wait for that, or give it up."""
        if not each.is_suspect:
            self._late(each, found.why or str(found.verdict))
        state = SourceState(source.etag, source.last_modified)
        if each.state != state:
            each.state, each.announced, each.again_at = state, 0, 0.0
        now = self._clock.wall()
        if each.stuck_since is None:
            each.stuck_since = now
        is_tired = each.announced >= len(WAITS_SECONDS) or (
            each.announced_in_all >= len(WAITS_SECONDS) and _is_stuck_for_good(each, now)
        )
        if now < each.again_at or not self._is_passed_over(each, is_tired=is_tired):
            return self._next_look_seconds(each)
        if found.verdict is Verdict.MISSING:
            await self._view.require_bucket()
        hopeless = self._again.is_futile(found) or (
            f"announced {_times(each)} times" if is_tired else ""
        )
        refused = None if hopeless else await self._again.announce(each.key, each.etag, state)
        if refused is not None and refused.outcome is not Outcome.REJECTED:
            return AGAIN_AFTER_FAILURE_SECONDS
        if hopeless or refused is not None:
            return await self._give_up(
                each, state, f"{found.why or found.verdict}; {hopeless or refused}"
            )
        self.history.count(Count.RESENT, self._clock.monotonic())
        self._journal.arrival("resent", each.key, found.why or str(found.verdict))
        each.posted_at = self._clock.wall()
        each.again_at = each.posted_at + WAITS_SECONDS[each.announced]
        each.announced += 1
        each.announced_in_all += 1
        each.look_seconds = 0.0
        return self._next_look_seconds(each)

    async def _give_up(self, each: Followed, state: SourceState, why: str) -> float | None:
        # A list may name hours later what was given up by following: its letter may have been redriven since,
        # so it is kept again, and the same state of one object counts once.
        is_news = not (each.is_suspect and self._given_up.get(each.key) == state)
        if not await self._again.give_up(each.key, state, _times(each), why, is_news=is_news):
            return AGAIN_AFTER_FAILURE_SECONDS
        self._late(each, why)
        if is_news:
            self.history.count(Count.GIVEN_UP, self._clock.monotonic())
            self._given_up[each.key] = state
            if len(self._given_up) > GIVEN_UP_MAX:
                del self._given_up[next(iter(self._given_up))]
        # A newer event may have come meanwhile: that one is followed from now on.
        each.owe(self._clock.wall(), self._clock.wall() + self.late_seconds)
        return None

    def _is_passed_over(self, each: Followed, *, is_tired: bool) -> bool:
        """Whether others have arrived that were accepted no earlier, or this has been waited for long."""
        if each.is_suspect and not is_tired:
            return True
        deadlines = PATIENCE_GIVING_UP if is_tired else PATIENCE_ANNOUNCING
        waited_until = max(each.posted_at, each.late_at) + deadlines * self.late_seconds
        return self._newest_arrival >= each.posted_at or self._clock.wall() >= waited_until


def _is_since_owed(each: Followed, copy: ObjectFacts) -> bool:
    """Whether a copy, of whichever state, was made after what is owed; stores tell whole seconds."""
    return copy.last_modified >= int(each.owed_since)


def _times(each: Followed) -> int:
    return max(each.announced, each.announced_in_all)


def _is_stuck_for_good(each: Followed, now: float) -> bool:
    """Whether no copy of any state came for as long as one state is announced again."""
    return each.stuck_since is not None and now >= each.stuck_since + sum(WAITS_SECONDS)


def _renew(old: Followed, new: Followed) -> None:
    """Let what is followed stand for the newer event of its key."""
    if new.is_suspect:
        old.is_suspect, old.late_at = True, min(old.late_at, new.late_at)
        return
    if new.changed_at < old.changed_at:
        # An older event that came later, or came again, says nothing of the newer state.
        return
    if old.is_told_late or not old.is_chosen:
        # What was late has been told: the newer state has a term of its own.
        old.owed_by = new.late_at
    old.etag, old.changed_at, old.posted_at = new.etag, new.changed_at, new.posted_at
    old.late_at, old.is_live, old.is_suspect, old.is_chosen = new.late_at, new.is_live, False, True
    old.is_told_late, old.look_seconds, old.again_at = False, 0.0, 0.0
    old.version += 1
