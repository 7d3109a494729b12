"""Hears a pause of the fleet: looks at its object every few seconds, and tells the receiver.

A pause object that cannot be read is no pause. If one was read before, it holds for its own time: an outage
of the log bucket neither ends it nor makes it longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.advice import advise
from worker.clock import Clock
from worker.errors import CallFailed
from worker.fleet.folder import FleetFolder
from worker.ledger.pause import PAUSE_NAME, Pause, pause_from
from worker.observe.journal import Journal
from worker.ports import Stored

LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A pause, and when it ends by the monotonic clock; None: when it is ended."""

    pause: Pause
    ends_at: float | None


class PauseWatch:
    """`hear` is told whether to take; for the first time when the object has been looked at once."""

    def __init__(
        self, folder: FleetFolder, clock: Clock, journal: Journal, hear: Callable[[bool], None]
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._journal = journal
        self._hear = hear
        self._held: _Held | None = None
        self._told: Pause | None = None
        self._notice = ""

    @property
    def pause(self) -> Pause | None:
        """The pause that holds now."""
        held = self._held
        if held is None or (held.ends_at is not None and self._clock.monotonic() >= held.ends_at):
            return None
        return held.pause

    @property
    def notices(self) -> tuple[str, ...]:
        """Say that a pause would not be heard, if that is so."""
        return (self._notice,) if self._notice else ()

    async def run(self) -> None:
        """Look for ever. The first look comes as soon as the log bucket works: before it nothing is taken."""
        await self._folder.opened()
        while True:
            await self.look()
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once, and tell what holds now."""
        if self._folder.is_open:
            try:
                self._learn(await self._folder.read(PAUSE_NAME))
                self._notice = ""
            except CallFailed as failed:
                self._note(failed)
            except ValueError as error:
                self._held = None
                self._tell_once(f"the pause object of the fleet cannot be read ({error}): no pause")
        self._tell()

    def _learn(self, stored: Stored | None) -> None:
        if stored is None:
            self._held = None
            return
        pause = pause_from(stored.body, stored.last_modified)
        now = stored.at or self._clock.wall()
        if pause.is_over(now):
            self._held = None
        else:
            until = pause.until
            left = None if until is None else self._clock.monotonic() + until - now
            self._held = _Held(pause, left)

    def _note(self, failed: CallFailed) -> None:
        """Say once what is denied; what passes is not worth a word."""
        if failed.failure.status == 403:
            self._tell_once(
                f"a pause of the fleet would not be heard: {failed}. Next: {advise(failed.failure)}"
            )

    def _tell_once(self, text: str) -> None:
        if not self._notice:
            self._journal.log.warning(text, action="pause")
        self._notice = text

    def _tell(self) -> None:
        pause = self.pause
        if pause != self._told:
            self._journal.paused(pause)
        self._told = pause
        self._hear(pause is not None)
