"""Drains the queue's own dead-letter queue into the dead-letter store, slowly, beside the flow.

MNS moves a message there when its receive count passes the policy's limit (MNS dead-letter-queue), and
forgets it when its retention ends: time in both queues counts together.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.advice import advise
from worker.clock import Clock
from worker.errors import CallFailed
from worker.events.event import Message
from worker.flow.bury import DeadLetters
from worker.ledger.letter import Cause
from worker.observe.journal import Journal, Story
from worker.ports import Queue

WAIT_SECONDS = 30
PAUSE_SECONDS = 1.0
PAUSE_SECONDS_AFTER_FAILURE = 60.0
ERROR = "MNS moved the message to the dead-letter queue: it was received too often without being deleted"


class Undelivered:
    """One poll at a time and one dead letter at a time: the flow's own calls come first.

    `may_keep` says whether the store works; while it does not, nothing is received.
    """

    def __init__(
        self,
        queue: Queue,
        dead_letters: DeadLetters,
        clock: Clock,
        journal: Journal,
        may_keep: Callable[[], bool] = lambda: True,
    ) -> None:
        self._queue = queue
        self._dead_letters = dead_letters
        self._clock = clock
        self._journal = journal
        self._may_keep = may_keep

    async def run(self) -> None:
        """Drain for ever. A failed call is logged and repeated after a minute; nothing is lost by it."""
        while True:
            while not self._may_keep():
                await self._clock.sleep(PAUSE_SECONDS)
            started = self._clock.monotonic()
            try:
                drained = await self.drain_once()
            except CallFailed as failed:
                self._journal.log.warning(
                    "the dead-letter queue cannot be drained now; the relay tries again in a minute",
                    action="dead_letter",
                    why=str(failed),
                    hint=str(advise(failed.failure)),
                )
                await self._clock.sleep(PAUSE_SECONDS_AFTER_FAILURE)
            else:
                took = self._clock.monotonic() - started
                await self._clock.sleep(_pause_seconds(drained, took))

    async def drain_once(self) -> int:
        """Poll once; keep each message as a dead letter, then delete it. Return how many are done."""
        messages = await self._queue.receive(WAIT_SECONDS)
        kept = [message for message in messages if await self._keep(message)]
        if kept:
            await self._queue.delete([message.receipt_handle for message in kept])
        return len(kept)

    async def _keep(self, message: Message) -> bool:
        now = self._clock.monotonic()
        failure = await self._dead_letters.write(message, Cause.RECEIVE_LIMIT, ERROR)
        if failure is None:
            story = Story(message.message_id, "", 0, message.dequeue_count)
            self._journal.ended(story, "dead_letter", self._clock.monotonic() - now)
        return failure is None


def _pause_seconds(drained: int, took_seconds: float) -> float:
    """Return the wait before the next poll: a poll that ends early with nothing done asks for fewer polls."""
    if drained:
        return PAUSE_SECONDS
    return 0.0 if took_seconds >= WAIT_SECONDS / 2 else PAUSE_SECONDS_AFTER_FAILURE
