"""Ids of calls and uploads that never come twice, not even from another process."""

from __future__ import annotations

import secrets
from itertools import count


class FreshIds:
    """Gives ids: a time, a salt of this process, and a number. `salt` is 8 hex digits."""

    def __init__(self) -> None:
        self.salt = secrets.token_hex(4).upper()
        self._numbers = count(1)

    def fresh(self, time: int, digits: int) -> str:
        """Return a new id in hex, whose time has so many digits; 16 digits follow it."""
        return f"{time:0{digits}X}{self.salt}{next(self._numbers):08X}"
