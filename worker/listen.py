"""A port of ours: who may stay connected, and for how long, so that strangers cannot keep probes out.

The HTTP server of aiohttp waits for ever for a request to arrive, and takes as many connections as the system
lets it; then none comes through any more, and a probe takes a relay that works for a dead one.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import structlog
from aiohttp import web

from worker.errors import Fatal
from worker.observe import logs

CONNECTIONS_MAX = 100
# For the first line and all headers of a request.
HEAD_SECONDS_MAX = 5.0
# From one complete head to the next, or to the end: longer than any page of ours takes.
IDLE_SECONDS_MAX = 60.0
WHY_CHARS_MAX = 300
_END_OF_HEAD = b"\r\n\r\n"
_WHY = {
    errno.EACCES: "ports below 1024 need a right of their own (CAP_NET_BIND_SERVICE): give it",
    errno.EADDRINUSE: "stop whatever uses the port",
    errno.EADDRNOTAVAIL: "this machine has no such address: name one of its own",
}


class Door:
    """Makes the protocol of each connection. Beyond the limit the one that has waited longest has to go.

    First go those that have not sent a whole request yet: whoever opens many and sends nothing pushes out
    nobody else.
    """

    def __init__(self, server: web.Server, connections_max: int = CONNECTIONS_MAX) -> None:
        self._server = server
        self._connections_max = connections_max
        # In the order in which they came.
        self._waiting: dict[Visitor, None] = {}
        self._served: dict[Visitor, None] = {}

    def __call__(self) -> Visitor:
        """Return the protocol of a new connection."""
        return Visitor(self, cast("asyncio.Protocol", self._server()))

    def came(self, visitor: Visitor) -> None:
        """Take a connection in, and let another one go where there are too many."""
        self._waiting[visitor] = None
        if len(self._waiting) + len(self._served) > self._connections_max:
            next(
                iter(self._waiting if len(self._waiting) > 1 else self._served or self._waiting)
            ).end()

    def asked(self, visitor: Visitor) -> None:
        """Note that a whole request has come."""
        if visitor in self._waiting:
            del self._waiting[visitor]
        else:
            self._served.pop(visitor, None)
        self._served[visitor] = None

    def left(self, visitor: Visitor) -> None:
        """Note that a connection is gone."""
        self._waiting.pop(visitor, None)
        self._served.pop(visitor, None)


class Visitor(asyncio.Protocol):
    """One connection: hands everything on to aiohttp, and ends it when a request does not come in time."""

    def __init__(self, door: Door, served_by: asyncio.Protocol) -> None:
        self._door = door
        self._served_by = served_by
        self._transport: asyncio.Transport | None = None
        self._last_bytes = b""
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count the time."""
        self._transport = cast("asyncio.Transport", transport)
        self._served_by.connection_made(transport)
        self._ends_in(HEAD_SECONDS_MAX)
        self._door.came(self)

    def data_received(self, data: bytes) -> None:
        """Hand on what came; a whole head gives the connection time to be served."""
        seen = self._last_bytes + data
        self._last_bytes = seen[-len(_END_OF_HEAD) + 1 :]
        if _END_OF_HEAD in seen:
            self._ends_in(IDLE_SECONDS_MAX)
            self._door.asked(self)
        self._served_by.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand on that nothing more comes."""
        return self._served_by.eof_received()

    def pause_writing(self) -> None:
        """Hand on that the other side does not read."""
        self._served_by.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that it reads again."""
        self._served_by.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._end is not None:
            self._end.cancel()
        self._door.left(self)
        self._served_by.connection_lost(exc)

    def end(self) -> None:
        """End the connection at once."""
        self._door.left(self)
        if self._transport is not None:
            self._transport.abort()

    def _ends_in(self, seconds: float) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(seconds, self.end)


@asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    what: str,
    otherwise: str,
    closing_seconds_max: float = 5.0,
) -> AsyncIterator[tuple[str, int]]:
    """Serve an application while the context lasts; yields where. Port 0 takes a free one.

    `what` says to people who wants to listen, `otherwise` how another place is named. Raises `Fatal` where
    nobody can listen there.
    """
    for library in ("aiohttp.server", "aiohttp.web"):
        logs.hear(library, _complain)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=closing_seconds_max,
        keepalive_timeout=IDLE_SECONDS_MAX / 2,
    )
    await runner.setup()
    door = Door(cast("web.Server", runner.server))
    try:
        server = await asyncio.get_running_loop().create_server(
            door, host, port, backlog=4 * CONNECTIONS_MAX
        )
    except OSError as error:
        await runner.cleanup()
        raise Fatal(_why_not(what, f"{host}:{port}", error, otherwise)) from error
    try:
        bound = server.sockets[0].getsockname()
        yield bound[0], bound[1]
    finally:
        server.close()
        await runner.cleanup()


def _why_not(what: str, place: str, error: OSError, otherwise: str) -> str:
    # What asyncio adds repeats the address.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    step = _WHY.get(error.errno or 0, "check the address and the port")
    return f"{what} cannot listen on {place} ({why}). Nothing was started. Next: {step}, or {otherwise}."


def _complain(text: str) -> None:
    structlog.get_logger("listen").warning(
        "a request could not be served: it was no HTTP, or met a fault of ours; everything else goes on",
        action="listen",
        why=logs.visible(text)[:WHY_CHARS_MAX],
    )
