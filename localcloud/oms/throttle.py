"""The gateway's rate limit: so many calls of one API in a window of seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from localcloud.oms.errors import throttled


@dataclass(slots=True)
class RateLimit:
    """At most `calls` of each operation in a window of `seconds`; the first call opens the window.

    Vendor facts: 429 APIGW.0308 names the policy, the number and the window. Whether the gateway
    sends Retry-After is not documented: `sends_retry_after` switches it on.
    """

    calls: int
    seconds: int
    sends_retry_after: bool = False
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict, repr=False)

    def admit(self, operation: str, now: float) -> None:
        """Count a call; raises `RefusedError` once the window is full."""
        # Assumption: windows do not slide, and refused calls do not prolong them.
        opened, used = self._windows.get(operation, (now, 0))
        if now - opened >= self.seconds:
            opened, used = now, 0
        if used >= self.calls:
            left = max(1, round(opened + self.seconds - now))
            raise throttled(self.calls, self.seconds, left if self.sends_retry_after else None)
        self._windows[operation] = (opened, used + 1)
