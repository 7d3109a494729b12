"""Wall clocks that can be set wrong on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch as one service sees them; `offset_seconds` skews them."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset_seconds = 0.0
        self._listeners: list[Callable[[], None]] = []

    @property
    def offset_seconds(self) -> float:
        """How far this clock stands from its source; setting it wakes whoever waits on it."""
        return self._offset_seconds

    @offset_seconds.setter
    def offset_seconds(self, seconds: float) -> None:
        self._offset_seconds = seconds
        for listener in self._listeners:
            listener()

    def now(self) -> float:
        """Return the time in seconds since the epoch, skew included."""
        return self._source() + self._offset_seconds

    def on_jump(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the clock is set: a timer computed before is then wrong."""
        self._listeners.append(listener)
