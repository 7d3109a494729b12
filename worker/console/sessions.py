"""Signing in with the token, and the token of every form. Nothing secret leaves but in an HttpOnly cookie."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.clock import Clock

SESSIONS_MAX = 100
SESSION_SECONDS_MAX = 12 * 3600.0
BROWSERS_MAX = 1000
ATTEMPTS_MAX = 5
ATTEMPTS_OF_ALL = 20
ATTEMPT_SECONDS = 60.0
SLOW_SECONDS = 2.0
TURNS_AT_ONCE = 5

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")


class Sessions:
    """Who is signed in."""

    def __init__(self, token: str, clock: Clock) -> None:
        self.attempts = Attempts(clock)
        self._token = token
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[str, tuple[float, str]] = OrderedDict()

    @staticmethod
    def usable(cookie: str) -> str:
        """Return the cookie if it is one of ours in form, else a new one that means nothing yet."""
        return cookie if _COOKIE.fullmatch(cookie) else secrets.token_urlsafe(32)

    def is_signed_in(self, cookie: str) -> bool:
        """Whether pages may be shown to the bearer of this cookie."""
        until, _ = self._until.get(_digest(cookie), (0.0, ""))
        return self._clock.monotonic() < until

    def name(self, cookie: str) -> str:
        """Return the name given at sign-in, or nothing."""
        return self._until.get(_digest(cookie), (0.0, ""))[1]

    def sign_in(self, given: str, name: str) -> str | None:
        """Return the cookie of a new session, or None if the token is another."""
        if not hmac.compare_digest(self._token.encode(), given.encode()):
            return None
        # A new cookie, so that one planted before the sign-in is worth nothing after it.
        cookie = secrets.token_urlsafe(32)
        self._until[_digest(cookie)] = (self._clock.monotonic() + SESSION_SECONDS_MAX, name)
        while len(self._until) > SESSIONS_MAX:
            self._until.popitem(last=False)
        return cookie

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        self._until.pop(_digest(cookie), None)

    def csrf(self, cookie: str) -> str:
        """Return what each form must carry: it cannot be known without the cookie."""
        return hmac.new(self._key, cookie.encode(), hashlib.sha256).hexdigest()

    def is_csrf(self, cookie: str, given: str) -> bool:
        """Whether a form carries what it must."""
        return hmac.compare_digest(self.csrf(cookie).encode(), given.encode("utf-8", "replace"))


class Attempts:
    """At most five wrong tokens a minute from one browser; many from all together slow every attempt down.

    A browser is an address and a cookie: behind a proxy all have one address, and one of them must not lock
    the others out. Whoever throws its cookies away meets the second limit: 2.5 guesses a second at most,
    which never refuses the right token for good.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()
        self._all_failed: deque[float] = deque(maxlen=ATTEMPTS_OF_ALL)
        self._turns = asyncio.Semaphore(TURNS_AT_ONCE)

    def wait_seconds(self, browser: str) -> float:
        """Return how long this browser has to wait before its next attempt; 0 if it may try."""
        since = self._clock.monotonic() - ATTEMPT_SECONDS
        recent = [at for at in self._failed.get(browser, ()) if at > since]
        if len(recent) >= ATTEMPTS_MAX:
            return recent[0] - since
        return SLOW_SECONDS if self._turns.locked() else 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Take one of the turns; slowly while many tokens are wrong."""
        async with self._turns:
            if self._is_slow:
                await self._clock.sleep(SLOW_SECONDS)
            yield

    @property
    def _is_slow(self) -> bool:
        since = self._clock.monotonic() - ATTEMPT_SECONDS
        return len(self._all_failed) == ATTEMPTS_OF_ALL and self._all_failed[0] > since

    def failed(self, browser: str) -> None:
        """Note a wrong token."""
        now = self._clock.monotonic()
        self._all_failed.append(now)
        times = self._failed.pop(browser, [])
        self._failed[browser] = [*times, now][-ATTEMPTS_MAX:]
        while len(self._failed) > BROWSERS_MAX:
            self._failed.popitem(last=False)


def _digest(cookie: str) -> str:
    # The store knows no cookie, only what it hashes to: a look-up tells nothing by its time.
    return hashlib.sha256(cookie.encode()).hexdigest()
