"""What the services share: raw requests in, plain replies out, faults in between."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import unquote_to_bytes

from aiohttp import web

from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults

CALLS_KEPT = 10_000
STOP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Call:
    """One request exactly as it came: `target` is the raw request target, nothing decoded.

    `is_connected` tells whether the caller still listens; a long poll asks before it hands out.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    is_connected: Callable[[], bool] = field(default=lambda: True, compare=False, repr=False)

    @property
    def path(self) -> str:
        """The raw path, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query, decoded (`+` stays `+`).

        A bare name has the empty value; of several pairs with one name the last counts.
        """
        pairs = (part.partition("=") for part in self.target.partition("?")[2].split("&") if part)
        return {_decode(name): _decode(value) for name, _, value in pairs}


@dataclass(slots=True)
class Reply:
    """One answer. Text bodies are sent as UTF-8."""

    status: int
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body_bytes(self) -> bytes:
        """The body as sent."""
        return self.body.encode() if isinstance(self.body, str) else self.body


@dataclass(frozen=True, slots=True)
class Served:
    """A finished call, for assertions and for the admin API."""

    operation: str
    method: str
    target: str
    status: int
    at: float


class Service:
    """One HTTP service on its own loopback port; subclasses give `name`, `operation`, `serve`.

    `served` keeps the latest calls, `counts` all of them by operation and status (0: cut off).
    """

    name = "service"

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.clock = clock
        self.faults = faults
        self.served: deque[Served] = deque(maxlen=CALLS_KEPT)
        self.counts: Counter[tuple[str, int]] = Counter()
        self._runner: web.ServerRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where the service listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one. Stop with `stop`."""
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None), shutdown_timeout=STOP_SECONDS
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection; open calls are cut."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def operation(self, call: Call) -> str:
        """Name the operation, for faults and counters: `BatchReceiveMessage`, `PutObject`, ..."""
        raise NotImplementedError

    async def serve(self, call: Call) -> Reply:
        """Verify, act, answer."""
        raise NotImplementedError

    def common_headers(self) -> dict[str, str]:
        """Headers that every answer of this service carries."""
        return {"Date": formatdate(self.clock.now(), usegmt=True)}

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = await _call(request)
        operation = self.operation(call)
        fault = self.faults.pick(self.name, operation)
        reply = await self._under(fault, call)
        status = 0 if reply is None else reply.status
        self.served.append(Served(operation, call.method, call.target, status, self.clock.now()))
        self.counts[operation, status] += 1
        if reply is None:
            return _cut(request)
        return self._response(call, reply)

    async def _under(self, fault: Fault | None, call: Call) -> Reply | None:  # noqa: PLR0911  a table
        """Serve the call as the fault lets it; None means that the connection is cut."""
        if fault is None:
            return await self.serve(call)
        match fault.action:
            case Action.STATUS:
                await asyncio.sleep(fault.seconds)
                headers = {"Content-Type": fault.content_type, **(fault.headers or {})}
                return Reply(fault.status, fault.body, headers)
            case Action.CUT_BEFORE:
                return None
            case Action.HANG:
                await asyncio.sleep(fault.seconds)
                return None
            case Action.LATENCY:
                await asyncio.sleep(fault.seconds)
                return await self.serve(call)
            case Action.TRUNCATE:
                reply = await self.serve(call)
                half = reply.body_bytes[: len(reply.body_bytes) // 2]
                return Reply(reply.status, half, reply.headers)
            case Action.CUT_AFTER | Action.HANG_AFTER:
                await self.serve(call)
                await asyncio.sleep(fault.seconds)
                return None
            case Action.CUSTOM:
                return await self.serve(call)

    def _response(self, call: Call, reply: Reply) -> web.Response:
        headers = self.common_headers() | reply.headers
        # An answer to HEAD has no body, but may state the length of the body that GET would get.
        # Without one, clients cannot tell where it ends and give the connection up.
        if call.method == "HEAD":
            return web.Response(status=reply.status, headers={"Content-Length": "0"} | headers)
        return web.Response(status=reply.status, body=reply.body_bytes, headers=headers)


async def _call(request: web.BaseRequest) -> Call:
    def is_connected() -> bool:
        return request.transport is not None and not request.transport.is_closing()

    body = await request.content.read()
    return Call(request.method, request.raw_path, request.headers, body, is_connected)


def _cut(request: web.BaseRequest) -> web.Response:
    """Close the connection under the client without a byte of answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")
