"""Signing in with the token, and the token of every form. Nothing secret leaves but in an HttpOnly cookie."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict

from worker.clock import Clock

SESSIONS_MAX = 100
SESSION_SECONDS_MAX = 12 * 3600.0
ADDRESSES_MAX = 1000
ATTEMPTS_MAX = 5
ATTEMPT_SECONDS = 60.0

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")


class Sessions:
    """Who is signed in. Without a token everyone is: the console then serves this machine only."""

    def __init__(self, token: str | None, clock: Clock) -> None:
        self.attempts = Attempts(clock)
        self._token = token
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[str, tuple[float, str]] = OrderedDict()

    @property
    def needs_token(self) -> bool:
        """Whether there is anything to sign in with."""
        return self._token is not None

    @staticmethod
    def usable(cookie: str) -> str:
        """Return the cookie if it is one of ours in form, else a new one that means nothing yet."""
        return cookie if _COOKIE.fullmatch(cookie) else secrets.token_urlsafe(32)

    def is_signed_in(self, cookie: str) -> bool:
        """Whether pages may be shown to the bearer of this cookie."""
        if not self.needs_token:
            return True
        until, _ = self._until.get(_digest(cookie), (0.0, ""))
        return self._clock.monotonic() < until

    def name(self, cookie: str) -> str:
        """Return the name given at sign-in, or nothing."""
        return self._until.get(_digest(cookie), (0.0, ""))[1]

    def sign_in(self, given: str, name: str) -> str | None:
        """Return the cookie of a new session, or None if the token is another."""
        expected = (self._token or "").encode()
        if not self.needs_token or not hmac.compare_digest(expected, given.encode()):
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
    """At most five wrong tokens a minute from one address; addresses beyond a thousand push out old ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait_seconds(self, address: str) -> float:
        """Return how long this address has to wait before its next attempt; 0 if it may try."""
        since = self._clock.monotonic() - ATTEMPT_SECONDS
        recent = [at for at in self._failed.get(address, ()) if at > since]
        return recent[0] - since if len(recent) >= ATTEMPTS_MAX else 0.0

    def failed(self, address: str) -> None:
        """Note a wrong token."""
        times = self._failed.pop(address, [])
        self._failed[address] = [*times, self._clock.monotonic()][-ATTEMPTS_MAX:]
        while len(self._failed) > ADDRESSES_MAX:
            self._failed.popitem(last=False)


def _digest(cookie: str) -> str:
    # The store knows no cookie, only what it hashes to: a look-up tells nothing by its time.
    return hashlib.sha256(cookie.encode()).hexdigest()
