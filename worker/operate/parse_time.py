"""Times as operators write them: `15m` for so long ago, or ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_span(text: str, seconds_max: float) -> float:
    """Read a length of time such as `90s`, `15m`, `2h` or `1d`. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text.strip(), re.ASCII)
    seconds = int(match[1]) * UNIT_SECONDS[match[2]] if match else 0
    if not 0 < seconds <= seconds_max:
        raise ValueError(
            f"{text!r} is no length of time such as 90s, 15m, 2h or 1d, at most "
            f"{seconds_max / UNIT_SECONDS['d']:.0f}d"
        )
    return float(seconds)


def parse_time(text: str, now: float) -> float:
    """Read `90s`, `15m`, `24h`, `7d` (so long ago) or an ISO 8601 time (UTC unless it says otherwise).

    Answers seconds since the epoch. Raises ValueError.
    """
    match = re.fullmatch(r"(\d{1,9})([smhd])", text.strip(), re.ASCII)
    if match:
        return max(0.0, now - int(match[1]) * UNIT_SECONDS[match[2]])
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a length of time (90s, 15m, 24h, 7d) nor an ISO 8601 time"
        ) from None
