"""How much waits in the queue, and for how long: sampled beside the flow, for dashboards and autoscalers.

MNS announces that the counters of GetQueueAttributes will read 0 some day (page getqueueattributes, 2026-01).
All 0 while messages come is then no figure (`QueueAttributes.counts`); a peek still tells the age.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from worker.advice import advise
from worker.clock import Clock
from worker.errors import Blame, CallFailed, Failure
from worker.events.event import Message
from worker.observe.journal import Journal
from worker.ports import QueueAttributes, QueueView

SAMPLE_SECONDS = 30.0
# Replicas that started together must not ask together.
JITTER = 0.3
PAUSE_SECONDS = 1.0

UNCOUNTED = "MNS's counters all read 0 while messages come"
SCALE_OTHERWISE = (
    "MNS may have withdrawn its counters: scale by CPU or by oms_relay_queue_oldest_seconds; CloudMonitor "
    "has NumberOfMessagesVisible"
)


class Depth:
    """Shows the queue in the metrics, and no figure while it cannot be seen: none is better than an old one.

    `in_hand` says how many messages this relay holds, `on_seen` hears the queue's attributes. `may_ask` says
    whether MNS works; while it does not, its credentials are left alone.
    """

    def __init__(
        self,
        queue: QueueView,
        clock: Clock,
        rng: random.Random,
        journal: Journal,
        in_hand: Callable[[], int],
        on_seen: Callable[[QueueAttributes], None],
        may_ask: Callable[[], bool] = lambda: True,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._rng = rng
        self._journal = journal
        self._in_hand = in_hand
        self._on_seen = on_seen
        self._may_ask = may_ask
        self._complaint = ""
        self._forget()

    async def run(self) -> None:
        """Sample for ever. Whatever fails here is logged once, and stops nothing."""
        while True:
            while not self._may_ask():
                self._forget()
                await self._clock.sleep(PAUSE_SECONDS)
            try:
                await self.sample()
            except CallFailed as failed:
                self._forget()
                self._complain_of(failed.failure)
            except Exception as error:  # noqa: BLE001  a missing figure is worth no restart
                self._forget()
                self._complain(repr(error), repr(error), "please report this")
            await self._clock.sleep(SAMPLE_SECONDS * self._rng.uniform(1 - JITTER, 1 + JITTER))

    async def sample(self) -> None:
        """Look once. Raises `CallFailed`; a peek that is denied leaves only the age unknown."""
        found = await self._queue.attributes()
        self._on_seen(found)
        seen = await self._peek()
        metrics = self._journal.metrics
        counts = found.counts(None if seen is None else len(seen) + self._in_hand())
        if counts is None:
            metrics.queue_messages.clear()
        else:
            for state, count in counts._asdict().items():
                metrics.queue_messages.labels(state).set(count)
        metrics.queue_retention.set(found.retention_seconds)
        oldest = None if seen is None else self._oldest_seconds(seen)
        metrics.queue_oldest.set(math.nan if oldest is None else oldest)
        tally = self._journal.tally
        tally.waiting = None if counts is None else counts.active
        tally.oldest_seconds = None if oldest is None else round(oldest, 1)

        if counts is None and seen is not None:
            self._complain("uncounted", UNCOUNTED, SCALE_OTHERWISE)
        elif seen is not None and self._complaint != "uncounted":
            self._complaint = ""

    async def _peek(self) -> Sequence[Message] | None:
        try:
            return await self._queue.peek()
        except CallFailed as failed:
            if failed.failure.blame is not Blame.SERVICE:
                raise
            self._complain_of(failed.failure)
            return None

    def _oldest_seconds(self, seen: Sequence[Message]) -> float:
        now = self._clock.wall()
        return max((now - each.enqueue_time_ms / 1000 for each in seen), default=0.0)

    def _forget(self) -> None:
        metrics = self._journal.metrics
        metrics.queue_messages.clear()
        metrics.queue_retention.set(math.nan)
        metrics.queue_oldest.set(math.nan)
        self._journal.tally.waiting = self._journal.tally.oldest_seconds = None

    def _complain_of(self, failure: Failure) -> None:
        kind = f"{failure.operation} {failure.status} {failure.code}"
        self._complain(kind, str(failure), str(advise(failure)))

    def _complain(self, kind: str, why: str, what_next: str) -> None:
        if kind == self._complaint:
            return
        self._complaint = kind
        self._journal.log.warning(
            "the queue cannot be looked at: metrics of its depth or age are missing, the relay works on",
            action="depth",
            why=why,
            hint=what_next,
        )
