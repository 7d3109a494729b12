from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from worker import listen
from worker.errors import Fatal
from worker.listen import CONNECTIONS_MAX, listening


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def fault(_: web.Request) -> web.Response:
    raise RuntimeError("a fault of ours")


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes([web.get("/", hello), web.get("/fault", fault)])
    async with listening(app, "127.0.0.1", 0, what="it", otherwise="go") as (_, port):
        yield port


async def ask(port: int, path: str = "/") -> int:
    async with aiohttp.request("GET", f"http://127.0.0.1:{port}{path}") as answer:
        await answer.read()
        return answer.status


@contextmanager
def half_open(port: int) -> Iterator[list[socket.socket]]:
    """More connections than may stay, none of which sends a whole request."""
    with ExitStack() as stack:
        found = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(CONNECTIONS_MAX + 50)
        ]
        for each in found[:10]:
            each.sendall(b"GET / HT")
        yield found


def is_ended(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_connections_that_send_nothing_keep_no_probe_out() -> None:
    async with served() as port:
        with half_open(port) as opened:
            assert [await ask(port) for _ in range(5)] == [200] * 5
            assert sum(map(is_ended, opened)) >= 50


async def test_one_that_has_asked_is_pushed_out_by_none_that_has_not() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served() as port, connection(port) as (reader, writer):
        for _ in range(2):
            writer.write(whole)
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
            with half_open(port):
                assert await ask(port) == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_request_that_does_not_arrive_is_not_waited_for(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "HEAD_SECONDS_MAX", 0.05)
    async with served() as port, connection(port) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_a_head_in_pieces_is_one() -> None:
    async with served() as port, connection(port) as (reader, writer):
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_cannot_be_served_leaves_one_line_and_no_trace(
    sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with capture_logs() as lines:
        async with served() as port, connection(port) as (reader, writer):
            writer.write(sent)
            assert (await reader.readline()).split()[1] in (b"400", b"500")
    assert len(lines) <= 1
    assert not [line for line in lines if "Traceback" in str(line) or "exc_info" in line]
    assert capfd.readouterr() == ("", "")


async def test_an_address_that_cannot_be_taken_is_told_with_the_next_step() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Fatal) as caught:
            async with listening(
                web.Application(), "127.0.0.1", port, what="the admin server", otherwise="go"
            ):
                pass
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use). Nothing" in str(
        caught.value
    )
    assert "stop whatever uses the port" in str(caught.value)
    with pytest.raises(Fatal, match="this machine has no such address"):
        async with listening(web.Application(), "192.0.2.1", 8080, what="it", otherwise="go"):
            pass


def test_a_port_below_1024_is_told_as_such() -> None:
    """As nobody but root meets it."""
    error = PermissionError(errno.EACCES, "Permission denied")
    text = listen._why_not("it", "127.0.0.1:80", error, "go")
    assert text.startswith(
        "it cannot listen on 127.0.0.1:80 (Permission denied). Nothing was started."
    )
    assert "ports below 1024" in text
