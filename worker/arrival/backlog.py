"""The copy backlog: how many accepted keys OMS has not copied, skipped or failed yet, as it counts itself.

An upper bound: each post of a key counts, also one of a key that is on its way already.
"""

from __future__ import annotations

from worker.advice import advise
from worker.clock import Clock
from worker.errors import CallFailed
from worker.observe.journal import Journal
from worker.outages.service import Service
from worker.ports import Statistics

LOOK_SECONDS = 300.0
PAUSE_SECONDS = 5.0
SPAN_SECONDS = 86_400.0


class CopyBacklog:
    """Asks every five minutes, behind the breaker of OMS, and shows the difference of the last day.

    `objects` is what was found last, None while it is not known. It is a bound of that time, not of now.
    """

    def __init__(
        self, statistics: Statistics, service: Service, clock: Clock, journal: Journal
    ) -> None:
        self._statistics = statistics
        self._service = service
        self._clock = clock
        self._journal = journal
        self._is_told = False
        self.objects: int | None = None
        self._read_at = clock.monotonic()

    @property
    def age_seconds(self) -> float | None:
        """How long ago that was; None while it is not known."""
        return None if self.objects is None else self._clock.monotonic() - self._read_at

    async def run(self) -> None:
        """Look for ever. What cannot be asked is said once, and shown as not known."""
        while True:
            while self._service.breaker.is_open:
                await self._clock.sleep(PAUSE_SECONDS)
            await self._look()
            await self._clock.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        now = self._clock.wall()
        try:
            found = await self._statistics.copies(now - SPAN_SECONDS, now)
        except CallFailed as failed:
            self.objects = None
            self._journal.counts.copy_backlog.set(float("nan"))
            if not self._is_told:
                self._is_told = True
                self._journal.log.warning(
                    "how many copies OMS still owes is not known: the relay works on, and asks again",
                    action="arrival",
                    why=str(failed),
                    hint=str(advise(failed.failure)),
                )
            return
        self._is_told = False
        self._read_at = self._clock.monotonic()
        self.objects = max(0, found.requested - found.done)
        self._journal.counts.copy_backlog.set(self.objects)
