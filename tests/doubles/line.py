"""A queue that many workers drain, as a model of flows: real shares, and numbers instead of messages."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from doubles.build import Heard
from doubles.clock import QuickClock
from doubles.vendors import ModelQueue
from worker.flow.lease import Leases
from worker.flow.share import JITTER, LOOK_SECONDS, Share
from worker.observe.depth import SAMPLE_SECONDS
from worker.ports import BATCH, QueueAttributes

STEP_SECONDS = 0.5
VISIBILITY_SECONDS = 30
HIDDEN_SECONDS = 300.0


@dataclass
class Habits:
    """How true the count of what is in hand is. `foreign` messages are in the hands of somebody else."""

    stale_seconds: float = 2.0
    noise: float = 0.05
    foreign: int = 0
    is_counted: bool = True


@dataclass
class Drain:
    """One worker. A message is in its hands for `seconds` at least; its core carries `per_second`.

    Of what comes the part `down` is of a route that is down, and is hidden for five minutes.
    """

    seconds: float = 5.0
    per_second: float = 1e9
    starts_at: float = 0.0
    killed_at: float = 1e9
    ceiling: int = 4000
    down: float = 0.0
    share: Share = field(init=False)
    leases: Leases = field(init=False)
    learns_at: float = 0.0
    samples_at: float = 0.0
    carried: float = 0.0
    asked: int = 0
    entered: deque[tuple[float, int]] = field(default_factory=deque)
    in_hand: int = 0


class Line:
    """Time goes in steps of half a second; there is always more to take."""

    def __init__(
        self, drains: Sequence[Drain], habits: Habits | None = None, seed: int = 1
    ) -> None:
        self.habits = habits or Habits()
        self.clock = QuickClock()
        self._heard = Heard()
        self.drains = list(drains)
        self.hidden: list[tuple[float, int]] = []
        self.peak = 0
        self.totals: list[int] = []
        self._rng = random.Random(seed)
        for drain in self.drains:
            drain.starts_at += self.clock.now

    def live(self, seconds: float) -> None:
        """Let so many seconds pass."""
        for _ in range(round(seconds / STEP_SECONDS)):
            self.clock.now += STEP_SECONDS
            running = [each for each in self.drains if self._runs(each)]
            self._rng.shuffle(running)
            for each in running:
                self._finish(each)
                self._take(each)
            total = self._total()
            self.totals.append(total)
            self.peak = max(self.peak, total)
            for each in running:
                self._look(each)

    @property
    def shares(self) -> list[int]:
        """The share of each worker that runs."""
        return [each.share.limit for each in self.drains if self._runs(each)]

    def _total(self) -> int:
        now = self.clock.now
        hidden = sum(count for until, count in self.hidden if until > now)
        hidden += sum(len(each.leases.hidden) for each in self.drains if hasattr(each, "share"))
        return hidden + sum(each.in_hand for each in self.drains) + self.habits.foreign

    def _runs(self, each: Drain) -> bool:
        now = self.clock.now
        if now < each.starts_at:
            return False
        if not hasattr(each, "share"):
            self._start(each)
        if now < each.killed_at + each.starts_at:
            return True
        if each.in_hand:
            self.hidden.append((now + VISIBILITY_SECONDS, each.in_hand))
            each.in_hand = 0
        return False

    def _start(self, each: Drain) -> None:
        each.leases = Leases(
            ModelQueue(self.clock, VISIBILITY_SECONDS),
            self.clock,
            self._heard.journal,
            visibility_seconds=VISIBILITY_SECONDS,
            limit=each.ceiling,
        )

        async def look() -> QueueAttributes:
            return self.attributes()

        each.share = Share(
            each.leases,
            look,
            lambda: True,
            lambda: each.seconds,
            self.clock,
            self._rng,
            ceiling=each.ceiling,
        )
        # The probe at the start, before anything is taken.
        each.share.see(self.attributes())
        each.learns_at = self.clock.now + self._until_next()
        each.samples_at = self.clock.now + SAMPLE_SECONDS * self._rng.random()

    def _finish(self, each: Drain) -> None:
        room = each.per_second * STEP_SECONDS
        while each.entered and each.entered[0][0] + each.seconds <= self.clock.now and room >= 1:
            at, count = each.entered.popleft()
            done = min(count, int(room))
            if done < count:
                each.entered.appendleft((at, count - done))
            room -= done
            each.in_hand -= done
            each.carried += done
            each.leases.left += done
            self._hold(each)

    def _take(self, each: Drain) -> None:
        # A step is many turns for whoever is near.
        turns = max(1.0, STEP_SECONDS / each.seconds)
        if turns > 1:
            done = int(min(each.per_second * STEP_SECONDS, each.share.limit * turns)) - 1
            each.carried += done
            each.leases.left += done
        taken = max(0, each.share.limit - each.in_hand) // BATCH * BATCH
        if each.down:
            taken = self._take_but_what_is_down(each)
        each.entered.append((self.clock.now, taken))
        each.in_hand += taken
        self._hold(each)
        each.leases.has_room(BATCH)

    def _take_but_what_is_down(self, each: Drain) -> int:
        """Poll until there is no room, or the core has enough; put off what is of the route that is down."""
        taken = 0
        while taken < each.per_second * STEP_SECONDS and each.leases.has_room(taken + BATCH):
            for _ in range(BATCH):
                if self._rng.random() < each.down:
                    each.leases.hidden.add("down", HIDDEN_SECONDS)
                    each.leases.left += 1
                else:
                    taken += 1
        return taken

    def _hold(self, each: Drain) -> None:
        each.leases.in_hand = range(each.in_hand)  # type: ignore[assignment]
        each.leases.most = max(each.leases.most, each.leases.taken)

    def _look(self, each: Drain) -> None:
        if self.clock.now >= each.samples_at:
            # As for its metrics: whether it wants more or not.
            each.samples_at = self.clock.now + SAMPLE_SECONDS
            each.share.see(self.attributes())
        if self.clock.now < each.learns_at:
            return
        each.learns_at = self.clock.now + self._until_next()
        each.share.learn()
        if each.share._wants_more:
            each.asked += 1
            each.share.see(self.attributes())

    def _until_next(self) -> float:
        return LOOK_SECONDS * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def attributes(self) -> QueueAttributes:
        """Count as MNS does: some seconds ago, and about."""
        back = int(self.habits.stale_seconds / STEP_SECONDS)
        seen = self.totals[-1 - back] if len(self.totals) > back else self.habits.foreign
        noisy = round(seen * self._rng.uniform(1 - self.habits.noise, 1 + self.habits.noise))
        if not self.habits.is_counted:
            return QueueAttributes(VISIBILITY_SECONDS, 345_600, 0, 0, 0)
        return QueueAttributes(VISIBILITY_SECONDS, 345_600, 100_000, noisy, 0)
