from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from doubles.web import talked
from worker.clouds import http
from worker.clouds.http import (
    ANSWER_BYTES_MAX,
    TEXT_CHARS_MAX,
    Answer,
    Request,
    one_line,
    open_session,
    retry_after_seconds,
    send,
    skew_seconds,
)
from worker.errors import Blame, CallFailed, Failure, Outcome

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NOW = 1_790_000_000.0
NOW_TEXT = "Mon, 21 Sep 2026 14:13:20 GMT"


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[URL]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    async with TestServer(app) as server:
        yield server.make_url("/")


async def sent(url: URL, method: str = "POST", body: bytes = b"", seconds: float = 20) -> Answer:
    async with open_session(connections=1, total_seconds=seconds) as session:
        return await send(session, Request("oms", "Call", method, url, {"x": "y"}, body))


async def failed(url: URL, method: str = "POST", seconds: float = 20) -> Failure:
    with pytest.raises(CallFailed) as raised:
        await sent(url, method, seconds=seconds)
    failure = raised.value.failure
    assert (failure.service, failure.operation, failure.blame) == ("oms", "Call", Blame.PASSING)
    assert failure.status == 0
    return failure


async def test_the_whole_answer_comes_back_whatever_its_status() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.raw_path == "/a%2Fb/..%2F?x=%20"
        assert await request.read() == b"body"
        return web.Response(status=418, body=b"short and stout", headers={"Date": NOW_TEXT})

    async with served(handler) as url:
        target = URL(str(url).rstrip("/") + "/a%2Fb/..%2F?x=%20", encoded=True)
        answer = await sent(target, body=b"body")
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert answer.headers["date"] == NOW_TEXT


async def test_nothing_is_added_that_was_not_signed() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(sorted(name.lower() for name in request.headers))

    async with served(handler) as url:
        answer = await sent(url, body=b"b")
    assert answer.body == b'["accept-encoding", "content-length", "host", "x"]'


async def test_a_refused_connection_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    failure = await failed(URL(f"http://127.0.0.1:{port}/"))
    assert failure.outcome is Outcome.RETRY_LATER


async def test_a_connection_cut_before_the_answer_is_unknown() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with talked(talk) as url:
        assert (await failed(url)).outcome is Outcome.UNKNOWN


async def test_a_connection_cut_within_the_answer_is_unknown() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()

    async with talked(talk) as url:
        assert (await failed(url)).outcome is Outcome.UNKNOWN


async def test_an_answer_that_is_not_http_is_unknown() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()

    async with talked(talk) as url:
        assert (await failed(url)).outcome is Outcome.UNKNOWN


async def test_a_time_out_after_sending_is_unknown() -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with talked(talk) as url:
        failure = await failed(url, seconds=0.2)
    assert (failure.outcome, failure.message) == (Outcome.UNKNOWN, "timed out")


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 1000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 400)

    async with served(endless) as url:
        failure = await failed(url)
    assert failure.outcome is Outcome.UNKNOWN
    assert "larger than 1000 bytes" in failure.message


async def test_an_answer_of_the_largest_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ANSWER_BYTES_MAX == 4 * 1024 * 1024
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 1000)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1000)

    async with served(handler) as url:
        assert len((await sent(url)).body) == 1000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers_and_not_followed(status: int) -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with served(handler) as url:
        assert (await sent(url)).status == status
    assert seen == ["/"]


async def test_a_session_keeps_no_cookies_and_trusts_no_environment() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session(connections=3, total_seconds=7))
        assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
        assert session.trust_env is False
        assert session.timeout.total == 7
        assert session.connector is not None
        assert session.connector.limit == 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("-5", 0.0),
        ("nan", 0.0),
        (NOW_TEXT, 0.0),
        ("Mon, 21 Sep 2026 14:13:50 GMT", 30.0),
        ("Mon, 21 Sep 2020 14:13:50 GMT", 0.0),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": text}, NOW) == seconds


def test_without_a_retry_after_nothing_is_asked() -> None:
    assert retry_after_seconds({}, NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (NOW_TEXT, 0.0),
        ("Mon, 21 Sep 2026 14:03:20 GMT", 600.0),
        ("Mon, 21 Sep 2026 14:23:20 GMT", -600.0),
        ("", None),
        ("yesterday", None),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999", None),
    ],
)
def test_skew_is_how_far_our_clock_is_ahead(text: str, seconds: float | None) -> None:
    assert skew_seconds({"Date": text}, NOW) == seconds


def test_without_a_date_the_skew_is_not_known() -> None:
    assert skew_seconds({}, NOW) is None


@given(st.text())
def test_no_header_text_is_an_error_of_ours(text: str) -> None:
    asked = retry_after_seconds({"Retry-After": text}, NOW)
    assert asked is None or asked >= 0
    skew_seconds({"Date": text}, NOW)


@given(st.text() | st.text("ab \n\x1b\u2028", min_size=TEXT_CHARS_MAX - 2))
def test_one_line_is_printable_and_bounded(text: str) -> None:
    line = one_line(text)
    assert len(line) <= TEXT_CHARS_MAX
    assert line.isprintable()


@given(st.binary(max_size=5000))
def test_an_excerpt_of_any_bytes_is_one_bounded_line(body: bytes) -> None:
    excerpt = Answer(502, {}, body).excerpt()
    assert len(excerpt) <= TEXT_CHARS_MAX
    assert excerpt.isprintable()


@pytest.mark.parametrize(
    "echo",
    [
        "verify aksk signature fail,canonicalRequest:POST|/v2/|host:h|X-Security-Token:S3CRET+/=|",
        "x-oss-security-token:S3CRET\nhost",
        "GET /?security-token=S3CRET&x=1",
        "X-Security-Token: S3CRET",
        "url: /?Action=AssumeRoleWithOIDC&OIDCToken=eyJS3CRET.S3CRET.S3CRET-_&RoleSessionName=x",
        "/?AccessKeyId=S3CRET&Signature=S3CRET%3D&SecurityToken=S3CRET%2B",
        "to sign: GET&%2F&AccessKeyId%3DS3CRET%26SecurityToken%3DS3CRET%252B%26Version%3D1",
        '{"AccessKeySecret": "S3CRET", "SecurityToken":"S3CRET\\/S3CRET"}',
        r"result: {\"AccessKeySecret\": \"S3CRET\"}",
        "{'SecurityToken': 'S3CRET'}",
        "<AccessKeySecret>S3CRET</AccessKeySecret><SecurityToken>S3CRET</SecurityToken>",
    ],
)
def test_a_token_that_a_gateway_echoes_is_blotted_out(echo: str) -> None:
    line = one_line(echo)
    assert "S3CRET" not in line
    assert "***" in line


@pytest.mark.parametrize(
    "text",
    [
        "The security token included in the request is expired.",
        "verify signature: the signature does not match",
        "InvalidSecurityToken.Expired",
        "decrypt token fail",
    ],
)
def test_what_only_talks_about_a_token_is_left_alone(text: str) -> None:
    assert one_line(text) == text


def test_a_line_may_be_longer_where_it_is_asked_for() -> None:
    text = "a" * 2 * TEXT_CHARS_MAX
    assert one_line(text, chars_max=len(text)) == text


@pytest.mark.parametrize(
    "url", ["http://a..b/", f"http://{'x' * 64}.example/", "http:///", "ftp://a/"]
)
async def test_an_address_that_cannot_be_called_is_a_call_that_sent_nothing(url: str) -> None:
    async with open_session(connections=1, total_seconds=5) as session:
        request = Request("oss", "PutObject", "PUT", URL(url, encoded=True), {})
        with pytest.raises(CallFailed) as raised:
            await send(session, request)
    assert raised.value.failure.outcome is Outcome.RETRY_LATER
