"""The share: how many messages this worker may have in hand.

So many that latency does not bind it, by Little's law: what it carries in a second, times the seconds that a
message waits for calls, and as much again to grow into. And so few that all consumers of the queue together
stay below what MNS allows. Nobody hands the shares out. Every worker reads the same number, the queue's own
count of messages that were received and not deleted, and keeps to the same rules:

- below the aim, who is bound by its share adds a part of the room that is left, as large as its part of what
  is in hand, so that all together never add more than there is; and a small step, the same for everybody;
- above it everybody goes down in proportion, and who has much, more: the same step up and a part of what one
  has down makes shares equal in the end, as for streams that share a line.

A message that was put off because its route is down counts with MNS like one in hand, and so it does here. At
most half of the share may be put off: the other half is for the routes that work.

The count holds whatever else takes messages from the queue: relays of another task, another program, workers
that were killed, deletions that wait in the queue. It is some seconds old and not exact; so nobody goes up by
more than a part of the room, nor before the count has had time to show what everybody holds.

Vendor facts (MNS flow-limiting-policy): from 5,000 messages received and not deleted on, receiving is cut
sharply, with 429. GetQueueAttributes counts them as InactiveMessages; the counters will read 0 some day.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from worker.clock import Clock
from worker.errors import CallFailed
from worker.flow.lease import Leases
from worker.ports import BATCH, QueueAttributes

# The rest of the 5,000 is for what the count does not show yet.
AIM = 4000
# In hand before anything is known of the others, and where it never is: 39 workers are below 5,000.
START = 128
# So many workers may start at once on what is free.
STARTERS = 30
LOOK_SECONDS = 5.0
# Workers that started together must not all move at the same moment.
JITTER = 0.2
# A count as old as this says nothing any more. The depth of the queue is looked at each half minute.
UNSEEN_SECONDS = 90.0
# What is denied is not asked for every few seconds.
FAILED_SECONDS = 60.0
# Looks in a row at which room was missing, before more is taken: by then the count shows what all hold.
SHORT_LOOKS = 2
# Room to grow into: twice what throughput and latency ask for.
ROOM = 2.0
SHRINK = 0.9
STEP = 8.0
SMOOTHING = 0.3

UNCOUNTED = (
    "MNS does not tell how many messages of the queue are in hand: this worker takes at most "
    f"{START}. Next: allow mns:GetQueueAttributes; if its counters read 0, run more workers"
)


class Share:
    """Finds the limit of `leases` between one poll's messages and the ceiling.

    `look` asks for the queue's attributes, and is asked only while more is wanted; `may_look` says whether
    MNS works. `latency` is how many seconds a message waits for calls on its way through the flow.
    """

    def __init__(
        self,
        leases: Leases,
        look: Callable[[], Awaitable[QueueAttributes]],
        may_look: Callable[[], bool],
        latency: Callable[[], float],
        clock: Clock,
        rng: random.Random,
        *,
        ceiling: int,
    ) -> None:
        self._leases = leases
        self._look = look
        self._may_look = may_look
        self._latency = latency
        self._clock = clock
        self._rng = rng
        self._ceiling = ceiling
        self._limit = self._least = float(min(START, ceiling))
        self._per_second = 0.0
        self._short_looks = self._most = 0
        self._wants_more = False
        self._is_counted, self._is_new = True, True
        self._learned_at = self._seen_at = clock.monotonic()
        self._moved_at = self._look_at = self._learned_at - LOOK_SECONDS
        self._left = leases.left
        self._move(self._limit)

    @property
    def limit(self) -> int:
        """How many messages may be in hand or put off now."""
        return int(self._limit)

    @property
    def notices(self) -> tuple[str, ...]:
        """Say that the share cannot grow, if that is so."""
        if self._is_counted or self._ceiling <= START:
            return ()
        return (UNCOUNTED,)

    async def run(self) -> None:
        """Learn and adjust for ever. What fails here leaves the share as it is, and stops nothing."""
        while True:
            await self._clock.sleep(LOOK_SECONDS * self._rng.uniform(1 - JITTER, 1 + JITTER))
            self.learn()
            if self._wants_more and self._may_look() and self._clock.monotonic() >= self._look_at:
                try:
                    self.see(await self._look())
                except CallFailed:
                    self._look_at = self._clock.monotonic() + FAILED_SECONDS

    def learn(self) -> None:
        """Compare what was carried since the last time with the share. Called every few seconds."""
        leases, now = self._leases, self._clock.monotonic()
        seconds = now - self._learned_at
        if seconds <= 0:
            return
        per_second = (leases.left - self._left) / seconds
        smooth = self._per_second + SMOOTHING * (per_second - self._per_second)
        self._per_second = max(per_second, smooth)
        self._learned_at, self._left = now, leases.left
        self._short_looks = self._short_looks + 1 if leases.was_short else 0
        self._most = leases.most
        leases.was_short, leases.most = False, leases.taken
        need = ROOM * (self._per_second * self._latency() + len(leases.hidden))
        self._wants_more = self._short_looks > 0 and self._limit < min(need, self._ceiling)
        if now - self._seen_at > UNSEEN_SECONDS:
            self._is_counted = False
        if not self._is_counted:
            self._move(min(START, self._limit + STEP))
        elif need < self._limit:
            self._move(max(need, self._limit * SHRINK))

    def see(self, found: QueueAttributes) -> None:
        """Take in how many messages of the queue are in somebody's hands, and for how long each is hidden."""
        self._leases.follow(found)
        own = self._leases.taken
        counts = found.counts(own)
        now = self._clock.monotonic()
        if counts is None:
            self._is_counted, self._least, self._look_at = False, float(BATCH), now + FAILED_SECONDS
            return
        self._is_counted, self._seen_at = True, now
        inactive = counts.inactive
        free = AIM - max(0, inactive - own)
        self._least = min(float(START), max(float(BATCH), free / STARTERS))
        if self._is_new:
            self._is_new = False
            self._move(self._least)
        if now - self._moved_at < LOOK_SECONDS / 2:
            return
        part = own / max(inactive, own, 1)
        if inactive > AIM:
            # What has to leave first, after a step down, must not count twice.
            self._moved_at = now
            most = max(self._most, own)
            # The last poll needed room for a whole batch.
            used = most if most > self._limit else min(self._limit, most + BATCH - 1)
            self._move(min(self._limit, used * AIM / inactive * (1 - part / 4)))
        elif self._may_grow(inactive, own):
            self._moved_at = now
            more = (AIM - inactive) * part / (2 if part >= 0.5 else 4)
            self._move(self._limit + max(STEP, more))
        else:
            self._move(self._limit)

    def throttled(self) -> None:
        """MNS has refused to hand out more (429): halve the share."""
        now = self._clock.monotonic()
        if now - self._moved_at >= LOOK_SECONDS / 2:
            self._moved_at, self._least = now, float(BATCH)
            self._move(self._limit / 2)

    def _may_grow(self, inactive: int, own: int) -> bool:
        """Whether more is wanted, and the count has seen at least what this worker itself holds."""
        return self._wants_more and self._short_looks >= SHORT_LOOKS and inactive >= own / 2

    def _move(self, limit: float) -> None:
        self._limit = min(float(self._ceiling), max(limit, self._least))
        self._leases.allow(int(self._limit))
