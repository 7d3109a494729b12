"""Tells the fleet once a minute how this worker is, and at once when its state has changed.

A pulse that cannot be written is no trouble: the next one comes in a minute, and messages go on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from worker import __version__
from worker.clock import Clock
from worker.errors import CallFailed
from worker.fleet.folder import FleetFolder
from worker.ledger.day import DayKeeper, Tally, tally
from worker.ledger.names import pulse_name
from worker.ledger.pulse import Pulse, PulseState, Rates
from worker.observe.metrics import Metrics
from worker.process.health import Health

PULSE_SECONDS = 60.0
# How often it looks whether the state has changed; also the least time between two pulses.
LOOK_SECONDS = 5.0
LAST_PULSE_SECONDS_MAX = 1.0
# The counters that operators sum, as `Metrics.totals` names them.
TOLD = frozenset(
    {
        "arrivals_proved_total",
        "arrivals_total:arrived",
        "keys_waiting",
        "lag_seconds_count:live",
        "lag_seconds_sum:live",
        "messages_deleted_total",
        "messages_ended_total:dead_letter",
        "messages_received_total",
        "oldest_in_hand_seconds",
        "records_written_total",
        "records_written_total:success_object",
    }
)
TOLD_OF = "events_decoded_total:"


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was counted up to a moment of the monotonic clock."""

    at: float
    totals: Mapping[str, float]


class Heart:
    """Writes the pulses of one worker."""

    def __init__(
        self,
        folder: FleetFolder,
        health: Health,
        metrics: Metrics,
        clock: Clock,
        *,
        worker: str,
        host: str,
    ) -> None:
        self._folder = folder
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._worker = worker
        self._host = host
        self._started_at = clock.monotonic()
        self._day = DayKeeper(self._tally(self._started_at))
        self._told: _Counted | None = None
        self._told_state: PulseState | None = None

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if self._folder.is_open and self._is_due():
                await self.beat(self.state())

    async def stop(self, seconds: float) -> None:
        """Tell that the worker has stopped, within so many seconds, or leave it untold."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(min(seconds, LAST_PULSE_SECONDS_MAX)):
                await self.beat(PulseState.STOPPED)
        except TimeoutError:
            pass

    def state(self) -> PulseState:
        """Say how the worker is."""
        if self._health.is_stopping:
            return PulseState.STOPPING
        if self._health.causes():
            return PulseState.NOT_READY
        return PulseState.READY if self._health.pause is None else PulseState.PAUSED

    async def beat(self, state: PulseState) -> None:
        """Write a pulse, or let it be: one that fails is not repeated."""
        now = _Counted(self._clock.monotonic(), self._counted())
        day = self._day.tell(self._tally(now.at))
        pulse = Pulse(
            self._worker,
            self._host,
            __version__,
            state,
            round(now.at - self._started_at, 1),
            self._health.as_object(),
            now.totals,
            _moved(self._told, now) if self._told else None,
            day,
        )
        try:
            await self._folder.write(pulse_name(self._worker), pulse.as_bytes())
        except CallFailed:
            return
        self._told, self._told_state = now, state

    def _is_due(self) -> bool:
        if self._told is None or self.state() is not self._told_state:
            return True
        return self._clock.monotonic() - self._told.at >= PULSE_SECONDS - LOOK_SECONDS / 2

    def _counted(self) -> dict[str, float]:
        self._health.sample()
        return {
            name: value
            for name, value in self._metrics.totals().items()
            if name in TOLD or name.startswith(TOLD_OF)
        }

    def _tally(self, at: float) -> Tally:
        return tally(at, self._metrics.totals(), self._metrics.lag_counts())


def _moved(before: _Counted, now: _Counted) -> Rates | None:
    seconds = now.at - before.at
    if seconds <= 0:
        return None

    def more(name: str) -> float:
        return now.totals.get(name, 0.0) - before.totals.get(name, 0.0)

    lags = more("lag_seconds_count:live")
    return Rates(
        over_seconds=seconds,
        received=more("messages_received_total") / seconds,
        done=more("messages_deleted_total") / seconds,
        recorded=more("records_written_total") / seconds,
        dead=more("messages_ended_total:dead_letter") / seconds,
        lag_seconds=more("lag_seconds_sum:live") / lags if lags > 0 else None,
    )
