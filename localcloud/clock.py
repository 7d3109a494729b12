"""Wall clocks that can be set wrong on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch as one service sees them; `offset_seconds` skews them."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self.offset_seconds = 0.0

    def now(self) -> float:
        """Return the time in seconds since the epoch, skew included."""
        return self._source() + self.offset_seconds
