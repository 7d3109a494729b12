from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.certificate import certificate
from harness.ops import connected
from harness.proxy import ForwardProxy, proxying
from harness.relay import free_port
from localcloud.cloud import LocalCloud
from worker.clock import SystemClock
from worker.config.proxies import find_proxies
from worker.operate.check import Check, CheckStatus
from worker.operate.doctor import examine
from worker.operate.network import Network, Unreachable


@asynccontextmanager
async def serving(file: Path, answer: bytes) -> AsyncIterator[str]:
    """Answer every connection over TLS; yield the URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


def answer(skew_seconds: float = 0.0) -> bytes:
    at = datetime.now(UTC) + timedelta(seconds=skew_seconds)
    return f"HTTP/1.1 403 Forbidden\r\ndate: {at:%a, %d %b %Y %H:%M:%S} GMT\r\n\r\n".encode()


def trusting(file: Path) -> Network:
    return Network(SystemClock(), ssl.create_default_context(cafile=str(file)))


async def checked(cloud: LocalCloud, url: str, network: Network) -> dict[str, Check]:
    cloud.prepare()
    async with connected(cloud, settings={"MNS_ENDPOINT": url}) as clients:
        return {each.name: each async for each in examine(clients, network)}


async def test_a_sound_endpoint_shows_its_certificate_and_its_time(tmp_path: Path) -> None:
    file = certificate(tmp_path, days=90)
    async with serving(file, answer(-300)) as url:
        reached = await trusting(file).reach(url)
    assert reached.tls.startswith("TLSv1.")
    assert reached.certificate_ends_at is not None
    assert reached.skew_seconds == pytest.approx(300, abs=20)


class LateClock(SystemClock):
    """A clock between whose looks ten minutes pass."""

    looks = 0

    @classmethod
    def wall(cls) -> float:
        cls.looks += 1
        return SystemClock.wall() + 600 * (cls.looks - 1)


async def test_the_time_of_an_answer_is_the_middle_of_the_call(tmp_path: Path) -> None:
    file = certificate(tmp_path, days=90)
    async with serving(file, answer()) as url:
        trust = ssl.create_default_context(cafile=str(file))
        reached = await Network(LateClock(), trust).reach(url)
    assert reached.skew_seconds == pytest.approx(300, abs=20)


async def test_a_certificate_that_ends_soon_is_a_warning(cloud: LocalCloud, tmp_path: Path) -> None:
    file = certificate(tmp_path, days=5)
    async with serving(file, answer()) as url:
        checks = await checked(cloud, url, trusting(file))
    assert checks["mns.network"].verdict is CheckStatus.WARNING
    assert "good for 5 days" in checks["mns.network"].detail
    assert "renew" in checks["mns.network"].fix


@pytest.mark.parametrize(
    ("days", "name", "why"),
    [
        (90, "localhost", "self-signed"),
        (-1, "localhost", "expired"),
        (90, "elsewhere.test", "mismatch"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_a_failure(
    cloud: LocalCloud, tmp_path: Path, days: int, name: str, why: str
) -> None:
    file = certificate(tmp_path, days=days, name=name)
    network = Network(SystemClock()) if why == "self-signed" else trusting(file)
    async with serving(file, answer()) as url:
        checks = await checked(cloud, url, network)
    assert checks["mns.network"].verdict is CheckStatus.FAILURE
    assert why in checks["mns.network"].detail
    assert "trust store" in checks["mns.network"].fix
    assert checks["mns.delete"].verdict is CheckStatus.SKIPPED


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nDate: soon\r\n\r\n", b"\xff\xfe"]
)
async def test_an_endpoint_without_a_date_is_reached_all_the_same(
    tmp_path: Path, sent: bytes
) -> None:
    file = certificate(tmp_path, days=90)
    async with serving(file, sent) as url:
        reached = await trusting(file).reach(url)
    assert reached.skew_seconds is None


async def test_plain_http_where_tls_is_expected_is_a_failure(cloud: LocalCloud) -> None:
    url = cloud.mns.url.replace("http://127.0.0.1", "https://localhost")
    checks = await checked(cloud, url, Network(SystemClock()))
    assert checks["mns.network"].verdict is CheckStatus.FAILURE
    assert "the port does not speak TLS" in checks["mns.network"].detail
    assert (
        "name the TLS port in MNS_ENDPOINT, or begin it with http://" in checks["mns.network"].fix
    )


async def test_tls_where_plain_http_is_expected_is_a_failure(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    async with serving(certificate(tmp_path, days=90), answer()) as url:
        plain = url.replace("https://", "http://")
        checks = await checked(cloud, plain, Network(SystemClock()))
    assert checks["mns.network"].verdict is CheckStatus.FAILURE
    assert "speaks TLS only, and MNS_ENDPOINT says http" in checks["mns.network"].detail
    assert checks["mns.network"].fix.endswith("begin MNS_ENDPOINT with https://")


HOST = "mns.relay.test"


def proxied(proxy: ForwardProxy, file: Path, *, user: bool = False) -> Network:
    url = proxy.url_with_user if user else proxy.url
    proxies, _ = find_proxies({"HTTPS_PROXY": url, "HTTP_PROXY": url})
    return replace(trusting(file), proxies=proxies)


async def test_an_endpoint_behind_a_proxy_is_reached_through_it(tmp_path: Path) -> None:
    file = certificate(tmp_path, days=90, name=HOST)
    async with (
        serving(file, answer(-300)) as url,
        proxying({f"{HOST}:443": int(url.rpartition(":")[2])}, needs_user=True) as proxy,
    ):
        reached = await proxied(proxy, file, user=True).reach(f"https://{HOST}")
    assert proxy.asked == [f"CONNECT {HOST}:443"]
    assert reached.address == f"through the proxy 127.0.0.1:{proxy.port}"
    assert reached.tls.startswith("TLSv1.")
    assert reached.certificate_ends_at is not None
    assert reached.skew_seconds == pytest.approx(300, abs=20)


async def test_plain_http_behind_a_proxy_is_reached_through_it(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    port = int(cloud.mns.url.rpartition(":")[2])
    file = certificate(tmp_path, days=90)
    async with proxying({f"{HOST}:80": port}, needs_user=True) as proxy:
        reached = await proxied(proxy, file, user=True).reach(f"http://{HOST}")
    assert proxy.asked == [f"HEAD http://{HOST}/"]
    assert reached.skew_seconds == pytest.approx(0, abs=20)


async def test_loopback_is_reached_without_the_proxy(tmp_path: Path) -> None:
    file = certificate(tmp_path, days=90)
    async with serving(file, answer()) as url, proxying() as proxy:
        await proxied(proxy, file).reach(url)
    assert proxy.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_asks_for_a_user_is_named(tmp_path: Path, scheme: str) -> None:
    file = certificate(tmp_path, days=90)
    async with proxying(needs_user=True) as proxy:
        with pytest.raises(Unreachable, match="407 Proxy Authentication Required") as raised:
            await proxied(proxy, file).reach(f"{scheme}://{HOST}")
    assert raised.value.fix == f"check user and password in {scheme.upper()}_PROXY"


@pytest.mark.parametrize(
    ("refusal", "told"),
    [(b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"), (b"\xff\r\n", "no HTTP answer")],
)
async def test_a_proxy_that_lets_nothing_through_is_named(
    tmp_path: Path, refusal: bytes, told: str
) -> None:
    file = certificate(tmp_path, days=90)
    async with proxying(refusal=refusal) as proxy:
        with pytest.raises(Unreachable) as raised:
            await proxied(proxy, file).reach(f"https://{HOST}")
    assert f"the proxy 127.0.0.1:{proxy.port} did not let the call through ({told})" in str(
        raised.value
    )
    assert "name the host in NO_PROXY" in raised.value.fix


async def test_a_proxy_that_is_away_is_named(tmp_path: Path) -> None:
    network = proxied(ForwardProxy(port=free_port()), certificate(tmp_path, days=90))
    with pytest.raises(
        Unreachable, match=f"{HOST}:443 .through the proxy .* cannot be reached"
    ) as raised:
        await network.reach(f"https://{HOST}")
    assert raised.value.fix.startswith("check that the proxy of HTTPS_PROXY runs")
