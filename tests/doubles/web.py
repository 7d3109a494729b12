"""A real HTTP server on loopback that answers as a script says and remembers what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from worker.clouds.http import open_session

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """One request as it arrived: the raw target and body are what a signature covers."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Vendor:
    """The last scripted answer is repeated for ever. `mark` is on all of them."""

    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    mark: dict[str, str] = field(default_factory=dict)

    def answer(self, status: int, body: bytes | str = b"", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, data, named))

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append(Asked(request.method, request.raw_path, request.headers, body))
        status, data, headers = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return web.Response(status=status, body=data, headers=self.mark | headers)


@asynccontextmanager
async def vendor(**mark: str) -> AsyncIterator[tuple[Vendor, aiohttp.ClientSession]]:
    """Serve a vendor, with a session to reach it; `mark` names a header that it sends always."""
    script = Vendor(mark={name.replace("_", "-"): value for name, value in mark.items()})
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", script.handle)
    async with TestServer(app) as server, open_session(connections=4, total_seconds=20) as session:
        script.url = str(server.make_url("")).rstrip("/")
        yield script, session


@asynccontextmanager
async def talked(talk: Talk) -> AsyncIterator[URL]:
    """Serve bytes instead of HTTP; `talk` has read the head of the request."""

    talks = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        await talk(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await asyncio.wait(filter(None, talks))
