"""Calls through a real proxy: tunnels with TLS to the end, plain http, exceptions and refusals."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from doubles.web import talked
from harness.certificate import certificate, shown_by, trusting
from harness.proxy import ALLOWED, SECRET, ForwardProxy, behind_tls, proxying
from harness.relay import free_port
from worker.clock import SystemClock
from worker.clouds.http import Answer, Request, open_session, send
from worker.config.proxies import DIRECT, Proxies, find_proxies
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.operate.workers import look

HOST = "oms.relay.test"
TARGET = f"https://{HOST}:443"


@dataclass
class Site:
    """A service in plain and over TLS, with a certificate for `HOST` and localhost."""

    port: int
    tls_port: int
    trust: ssl.SSLContext
    seen: list[web.Request] = field(default_factory=list)

    @property
    def routes(self) -> dict[str, int]:
        return {f"{HOST}:443": self.tls_port, f"{HOST}:80": self.port}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    file = certificate(tmp_path, days=9, name=HOST, more=("localhost", "0.0.0.0"))
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(text=f"{request.raw_path} {(await request.read()).decode()}")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    async with (
        TestServer(app) as server,
        behind_tls(server.port or 0, shown_by(file)) as tls_port,
    ):
        yield Site(server.port or 0, tls_port, trusting(file), seen)


def through(proxy: ForwardProxy, no_proxy: str = "", *, user: bool = False) -> Proxies:
    url = proxy.url_with_user if user else proxy.url
    proxies, problems = find_proxies({"HTTPS_PROXY": url, "http_proxy": url, "NO_PROXY": no_proxy})
    assert not problems
    return proxies


async def sent(site: Site, url: str, proxies: Proxies = DIRECT) -> Answer:
    async with open_session(
        connections=2, total_seconds=20, proxies=proxies, trust=site.trust
    ) as session:
        target = URL(f"{url}/a%2Fb?x=%20", encoded=True)
        return await send(session, Request("oms", "Call", "POST", target, {"x": "y"}, b"body"))


async def failed(site: Site, url: str, proxies: Proxies = DIRECT) -> Failure:
    with pytest.raises(CallFailed) as raised:
        await sent(site, url, proxies)
    failure = raised.value.failure
    assert failure.blame is Blame.PASSING
    assert failure.status == 0
    assert SECRET not in str(failure)
    assert ALLOWED.split()[1] not in str(failure)
    return failure


@asynccontextmanager
async def refusing(status: str) -> AsyncIterator[ForwardProxy]:
    async with proxying(refusal=f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as it:
        yield it


async def test_https_goes_through_a_tunnel_and_the_service_sees_nothing_of_it(site: Site) -> None:
    async with proxying(site.routes, needs_user=True) as proxy:
        answer = await sent(site, TARGET, through(proxy, user=True))
    assert answer.body == b"/a%2Fb?x=%20 body"
    assert proxy.asked == [f"CONNECT {HOST}:443"]
    names = {name.lower() for name in site.seen[0].headers}
    assert names == {"host", "x", "accept-encoding", "content-length"}


async def test_plain_http_is_forwarded_by_the_proxy(site: Site) -> None:
    async with proxying(site.routes, needs_user=True) as proxy:
        answer = await sent(site, f"http://{HOST}", through(proxy, user=True))
    assert answer.body == b"/a%2Fb?x=%20 body"
    assert proxy.asked == [f"POST http://{HOST}/a%2Fb?x=%20"]
    assert site.seen[0].headers["Host"] == HOST


async def test_a_tunnel_is_used_again(site: Site) -> None:
    async with (
        proxying(site.routes, needs_user=True) as proxy,
        open_session(
            connections=2,
            total_seconds=20,
            proxies=through(proxy, user=True),
            trust=site.trust,
        ) as session,
    ):
        for _ in range(3):
            await send(session, Request("oms", "Call", "GET", URL(f"{TARGET}/"), {}))
    assert proxy.asked == [f"CONNECT {HOST}:443"]
    assert len(site.seen) == 3


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_loopback_is_called_directly(site: Site, scheme: str) -> None:
    port = site.tls_port if scheme == "https" else site.port
    async with refusing("403 Forbidden") as proxy:
        answer = await sent(site, f"{scheme}://localhost:{port}", through(proxy))
    assert (answer.status, proxy.asked) == (200, [])


async def test_what_no_proxy_names_does_not_go_through(site: Site) -> None:
    # This machine, by an address that is not loopback's.
    url = f"https://0.0.0.0:{site.tls_port}"
    async with refusing("403 Forbidden") as proxy:
        assert (await failed(site, url, through(proxy))).outcome is Outcome.RETRY_LATER
        assert len(proxy.asked) == 1
        answer = await sent(site, url, through(proxy, no_proxy="0.0.0.0"))
    assert answer.body == b"/a%2Fb?x=%20 body"
    assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("407 Proxy Authentication Required", "check user and password in HTTPS_PROXY"),
        ("403 Forbidden", "allow this host, or name the host in NO_PROXY"),
        ("503 Service Unavailable", "allow this host, or name the host in NO_PROXY"),
    ],
)
async def test_a_proxy_that_refuses_a_tunnel_is_named_and_nothing_was_sent(
    site: Site, status: str, advice: str
) -> None:
    async with refusing(status) as proxy:
        failure = await failed(site, TARGET, through(proxy, user=True))
    assert failure.outcome is Outcome.RETRY_LATER
    assert f"the proxy 127.0.0.1:{proxy.port} did not let the call through ({status})" in str(
        failure
    )
    assert advice in str(failure)
    assert site.seen == []


async def test_plain_http_without_the_user_that_the_proxy_asks_for_was_not_sent(
    site: Site,
) -> None:
    async with proxying(site.routes, needs_user=True) as proxy:
        failure = await failed(site, f"http://{HOST}", through(proxy))
    assert failure.outcome is Outcome.RETRY_LATER
    assert "check user and password in http_proxy" in failure.message
    assert site.seen == []


async def test_a_proxy_that_is_away_is_named(site: Site) -> None:
    proxies = through(ForwardProxy(port=free_port()), user=True)
    failure = await failed(site, TARGET, proxies)
    assert failure.outcome is Outcome.RETRY_LATER
    assert f"the proxy {proxies.https} cannot be reached" in failure.message
    assert "check HTTPS_PROXY" in failure.message


async def test_a_proxy_whose_name_is_unknown_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", getaddrinfo)
    proxies, _ = find_proxies({"HTTPS_PROXY": f"http://relay:{SECRET}@proxy.relay.test"})
    failure = await failed(site, TARGET, proxies)
    assert failure.outcome is Outcome.RETRY_LATER
    assert "the proxy proxy.relay.test:80 cannot be reached" in failure.message


async def test_looks_at_workers_go_through_the_proxy_too(site: Site) -> None:
    async with (
        proxying(site.routes, needs_user=True) as proxy,
        open_session(
            connections=1, total_seconds=20, proxies=through(proxy, user=True), trust=site.trust
        ) as session,
    ):
        for scheme in ("http", "https"):
            await look(session, f"{scheme}://{HOST}", SystemClock())
    assert proxy.asked == [f"GET http://{HOST}/readyz", f"CONNECT {HOST}:443"]
    assert all("Proxy-Authorization" not in each.headers for each in site.seen)
    assert [each.path for each in site.seen] == ["/readyz", "/readyz"]


async def test_https_to_a_port_that_speaks_plain_http_is_told(site: Site) -> None:
    failure = await failed(site, f"https://localhost:{site.port}")
    assert failure.outcome is Outcome.RETRY_LATER
    assert failure.message == (
        f"localhost:{site.port} does not speak TLS: check scheme and port of SYNC_URL"
    )


async def test_https_through_a_tunnel_to_a_plain_port_is_told(site: Site) -> None:
    async with proxying({f"{HOST}:443": site.port}) as proxy:
        failure = await failed(site, TARGET, through(proxy))
    assert failure.outcome is Outcome.RETRY_LATER
    assert f"{HOST}:443 does not speak TLS: check scheme and port" in failure.message


async def test_plain_http_to_a_port_that_speaks_tls_is_told(site: Site) -> None:
    failure = await failed(site, f"http://localhost:{site.tls_port}")
    assert failure.outcome is Outcome.UNKNOWN
    assert "if it never answers, check scheme and port of SYNC_URL" in failure.message


TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
OF_NGINX = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
    b"<center>The plain HTTP request was sent to HTTPS port</center>"
)


@pytest.mark.parametrize("said", [TLS_ALERT, OF_NGINX])
async def test_a_port_that_says_that_it_wants_tls_got_nothing(site: Site, said: bytes) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with talked(talk) as url:
        failure = await failed(site, str(url).rstrip("/"))
    assert failure.outcome is Outcome.RETRY_LATER
    assert f"{url.port} speaks TLS only: check scheme and port of SYNC_URL" in failure.message
