"""Who may ask for what: the rules that stand before every page, in the order in which they are checked."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from worker.config import addresses
from worker.console.options import Options
from worker.console.page_frame import VISIT, Refused, see_other
from worker.console.sessions import Sessions

# Reachable without a session.
OPEN = frozenset({"/login", "/open", "/language"})
# Changes nothing but what the visitor sees.
HARMLESS = frozenset({"/login", "/logout", "/language"})

_IP = re.compile(r"[\d.]+|\[[0-9A-Fa-f:.]+\]")


class Guard:
    """Refuses what did not come from our own pages, or from someone who may not act."""

    def __init__(self, options: Options, sessions: Sessions) -> None:
        self._options = options
        self._sessions = sessions

    def middleware(self) -> Any:
        """Return the middleware that checks a request before it is served."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.check_host(request)
            if request.path.startswith("/static/"):
                return await handler(request)
            if request.method not in ("GET", "HEAD"):
                await self._check_change(request)
            if request[VISIT].is_signed_in or request.path in OPEN:
                return await handler(request)
            if request.path.startswith("/api/"):
                raise Refused(401, "session")
            return see_other(_login(request))

        return guarded

    def check_host(self, request: web.Request) -> None:
        """Refuse foreign names: a page elsewhere may make its own name point here (DNS rebinding)."""
        host = host_of(request.headers.get("Host", ""))
        if host in self._options.names or addresses.is_loopback(host.strip("[]")):
            return
        if not self._options.is_loopback and _IP.fullmatch(host):
            return
        raise Refused(421, "host", host=host or "?")

    async def _check_change(self, request: web.Request) -> None:
        if not _is_own_origin(request):
            raise Refused(403, "origin")
        form = await request.post()
        given = form.get("csrf", "")
        visit = request[VISIT]
        if not isinstance(given, str) or not self._sessions.is_csrf(visit.cookie, given):
            raise Refused(403, "csrf")
        if self._options.is_read_only and request.path not in HARMLESS:
            raise Refused(403, "read_only")


def _login(request: web.Request) -> str:
    """Return where to sign in, and from there to the page that was asked for."""
    is_page = request.method == "GET" and request.path_qs != "/"
    return f"/login?{urlencode({'next': request.path_qs})}" if is_page else "/login"


def host_of(header: str) -> str:
    """Return the host of a Host header without its port, in lower case."""
    host = re.sub(r":\d{0,5}$", "", header.strip().lower())
    return host.removesuffix(".")


def _is_own_origin(request: web.Request) -> bool:
    """Whether a browser says that the form stood on one of our pages."""
    origin = urlsplit(request.headers.get("Origin", ""))
    is_same = origin.netloc.lower() == request.headers.get("Host", "").lower()
    return origin.scheme in ("http", "https") and bool(origin.netloc) and is_same
