"""A forward proxy on loopback: tunnels for CONNECT, forwards plain http, and remembers all that it was asked.

It knows no name service: `routes` says which port of loopback stands behind each `host:port`.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SECRET = "s3cr3t-of-the-proxy"
ALLOWED = "Basic " + base64.b64encode(f"relay:{SECRET}".encode()).decode()
NEEDS_A_USER = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


@dataclass
class ForwardProxy:
    """`refusal` is sent instead of passing anything on; `needs_user` asks for `relay:SECRET`."""

    port: int = 0
    routes: dict[str, int] = field(default_factory=dict)
    refusal: bytes = b""
    needs_user: bool = False
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url_with_user(self) -> str:
        return f"http://relay:{SECRET}@127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split("\r\n")[0].split()
        self.heads.append(head)
        self.asked.append(f"{method} {target}")
        if self.refusal or (self.needs_user and f"\r\nProxy-Authorization: {ALLOWED}" not in head):
            writer.write(self.refusal or NEEDS_A_USER)
            await writer.drain()
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        port = self.routes[f"{parts.hostname}:{parts.port or 80}"]
        behind = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            behind[1].write(_in_origin_form(head, target).encode("latin-1"))
        await joined((reader, writer), behind)


def _in_origin_form(head: str, target: str) -> str:
    path = target.split("/", 3)[3] if target.count("/") > 2 else ""
    lines = [each for each in head.split("\r\n") if not each.lower().startswith("proxy-")]
    return "\r\n".join(lines).replace(target, f"/{path}", 1)


async def joined(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until both sides have ended."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while chunk := await reader.read(65_536):
                    writer.write(chunk)
                    await writer.drain()
        finally:
            writer.close()

    await asyncio.gather(carry(one[0], other[1]), carry(other[0], one[1]))


@asynccontextmanager
async def proxying(
    routes: dict[str, int] | None = None, *, refusal: bytes = b"", needs_user: bool = False
) -> AsyncIterator[ForwardProxy]:
    """Serve a proxy."""
    proxy = ForwardProxy(routes=routes or {}, refusal=refusal, needs_user=needs_user)
    async with _listening(proxy.serve) as proxy.port:
        yield proxy


@asynccontextmanager
async def behind_tls(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve TLS before a plain port of loopback; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await joined((reader, writer), await asyncio.open_connection("127.0.0.1", port))

    async with _listening(serve, context) as tls_port:
        yield tls_port


@asynccontextmanager
async def _listening(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(noted, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
