"""RRSA through the vendor's own library, with an STS on loopback that cannot be reached."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from alibabacloud_credentials.client import Client
from alibabacloud_credentials.http import HttpOptions
from alibabacloud_credentials.provider import (
    DefaultCredentialsProvider,
    EcsRamRoleCredentialsProvider,
    OIDCRoleArnCredentialsProvider,
    ecs_ram_role,
    refreshable,
)
from alibabacloud_credentials.provider.refreshable import Credentials as Found
from alibabacloud_credentials.provider.refreshable import RefreshResult
from structlog.testing import capture_logs

from doubles.build import Heard
from doubles.clock import QuickClock, until
from harness.proxy import SECRET, proxying
from worker.clouds.credentials import LIBRARIES, AlibabaCredentials, Chain, Credentials
from worker.config.proxies import find_proxies
from worker.errors import Fatal

JWT = ("eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJyZWxheSJ9", "c2lnbmF0dXJlLW9mLWl0")


@contextmanager
def refusing() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def closing() -> Iterator[int]:
    def hang_up() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                if not connection.recv(65536):
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            socket.create_connection(server.getsockname()).close()
            thread.join()


FAULTS = [refusing, silent, closing]


@pytest.fixture(params=FAULTS, ids=[each.__name__ for each in FAULTS])
def rrsa(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The library's provider for RRSA, whose STS does not answer."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / "token"
    token.write_text(".".join(JWT))
    with request.param() as port:
        yield OIDCRoleArnCredentialsProvider(
            role_arn="acs:ram::1:role/relay",
            oidc_provider_arn="acs:ram::1:oidc-provider/ack",
            oidc_token_file_path=str(token),
            role_session_name="relay",
            sts_endpoint=f"127.0.0.1:{port}",
            http_options=HttpOptions(connect_timeout=200, read_timeout=200),
        )


def chained(provider: Any, **environ: str) -> Chain:
    default = DefaultCredentialsProvider()
    default._DefaultCredentialsProvider__providers_chain = [provider]
    return Chain(lambda: Client(provider=default), find_proxies(environ)[0])


def issued(key: str, *, is_stale: bool) -> Any:
    """What the provider holds after a fetch; from 15 minutes before the end on it has to ask STS again."""
    found = Found(access_key_id=key, access_key_secret="s", security_token="t")
    return RefreshResult(value=found, stale_time=0 if is_stale else int(time.time()) + 3600)


def assert_no_part_of_the_token_in(*texts: str) -> None:
    assert not [part for part in JWT for text in texts if part in text]


async def test_an_sts_that_cannot_be_reached_costs_no_relay_its_good_token(rrsa: Any) -> None:
    heard = Heard()
    credentials = Credentials(chained(rrsa).fetch, QuickClock(), heard.journal)
    rrsa._credentials_cache._cached_value = issued("A", is_stale=False)
    assert await credentials.refresh()
    rrsa._credentials_cache._cached_value = issued("A", is_stale=True)
    with capture_logs():
        assert not await credentials.refresh()
    assert credentials.current() == AlibabaCredentials("A", "s", "t")
    assert [line["why"] for line in heard.lines] == ["RetryError"]

    rrsa._credentials_cache._cached_value = issued("B", is_stale=False)
    changes: list[None] = []
    task = asyncio.create_task(credentials.keep_fresh(lambda: changes.append(None)))
    await until(lambda: bool(changes))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert credentials.current().access_key_id == "B"


async def test_the_token_for_sts_is_shown_nowhere(
    rrsa: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = Heard()
    credentials = Credentials(chained(rrsa).fetch, QuickClock(), heard.journal)
    with capture_logs() as lines, pytest.raises(Fatal) as raised:
        await credentials.refresh()
    told = str(raised.value)
    assert "CredentialException: unable to load credentials" in told
    assert "127.0.0.1" in told
    (line,) = lines
    assert line["action"] == "credentials"
    assert "Refresh credentials failed" in line["why"]
    trace = "".join(traceback.format_exception(raised.value))
    assert_no_part_of_the_token_in(
        told, trace, str(lines + heard.lines), caplog.text, *capfd.readouterr()
    )


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("say", [logging.Logger.warning, logging.Logger.error])
def test_what_the_libraries_log_goes_through_our_log_and_nowhere_else(
    library: str, say: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    Chain()
    url = f"/?Action=AssumeRoleWithOIDC&OIDCToken={'.'.join(JWT)}"
    with capture_logs() as lines:
        say(
            logging.getLogger(library),
            "Failed to parse headers (url=%s)",
            url,
            exc_info=OSError(url),
        )
        say(logging.getLogger(f"{library}.part"), "OIDCToken: %s", JWT[0])
        logging.getLogger(library).info("OIDCToken: %s", JWT[0])
    assert [line["why"] for line in lines] == [
        "Failed to parse headers (url=/?...",
        "OIDCToken: ***",
    ]
    assert {line["log_level"] for line in lines} == {"warning"}
    assert capfd.readouterr() == ("", "")


METADATA = {
    "Code": "Success",
    "AccessKeyId": "STS.A",
    "AccessKeySecret": "s",
    "SecurityToken": "t",
    "Expiration": "2099-01-01T00:00:00Z",
}


async def test_the_metadata_service_is_never_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def token(_: web.Request) -> web.Response:
        return web.Response(text="token")

    async def found(_: web.Request) -> web.Response:
        return web.json_response(METADATA)

    app = web.Application()
    app.router.add_put("/latest/api/token", token)
    app.router.add_get("/latest/meta-data/ram/security-credentials/role", found)
    async with TestServer(app) as server, proxying() as proxy:
        environ = dict.fromkeys(("HTTP_PROXY", "http_proxy"), proxy.url)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        provider = EcsRamRoleCredentialsProvider(role_name="role", async_update_enabled=False)
        where = f"127.0.0.1:{server.port}"
        provider._EcsRamRoleCredentialsProvider__metadata_service_host = where
        credentials = Credentials(chained(provider, **environ).fetch, QuickClock(), Heard().journal)
        assert await credentials.refresh()
    assert credentials.current() == AlibabaCredentials("STS.A", "s", "t")
    assert proxy.asked == []


HOUR = 3600.0


class Metadata:
    """The metadata service of a machine with a RAM role: keys of six hours, a new one half an hour before."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.is_down = False
        self.issued = 0
        self.ends_at = 0.0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_put("/latest/api/token", self.token)
        app.router.add_get("/latest/meta-data/ram/security-credentials/role", self.key)
        return app

    async def token(self, _: web.Request) -> web.Response:
        return web.Response(text="token", status=500 if self.is_down else 200)

    async def key(self, _: web.Request) -> web.Response:
        if self.is_down:
            return web.Response(status=500)
        if self.ends_at - self.now < HOUR / 2:
            self.issued, self.ends_at = self.issued + 1, self.now + 6 * HOUR
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.ends_at))
        return web.json_response(
            METADATA | {"AccessKeyId": f"STS.{self.issued}", "Expiration": ends}
        )


class LibraryTime:
    """What the library reads of `time`, on the clock of the test."""

    strptime = staticmethod(time.strptime)

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def localtime(self) -> float:
        return self._metadata.now

    def mktime(self, now: float) -> float:
        return now


async def test_after_an_outage_of_the_metadata_service_the_first_fetch_brings_a_new_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library alone hands out the dead key, and asks again hours later."""
    metadata = Metadata()
    for module in (refreshable, ecs_ram_role):
        monkeypatch.setattr(module, "time", LibraryTime(metadata))
    async with TestServer(metadata.application()) as server:

        def source() -> Any:
            made = EcsRamRoleCredentialsProvider(role_name="role", async_update_enabled=False)
            where = f"127.0.0.1:{server.port}"
            made._EcsRamRoleCredentialsProvider__metadata_service_host = where
            return made

        default = DefaultCredentialsProvider()
        default._DefaultCredentialsProvider__providers_chain = [source()]
        chain = Chain(lambda: Client(provider=default), role=source, now=lambda: metadata.now)
        credentials = Credentials(chain.fetch, QuickClock(), (heard := Heard()).journal)
        assert await credentials.refresh()
        while metadata.ends_at - metadata.now > HOUR:
            metadata.now += 1000
            assert not await credentials.refresh()
        assert (credentials.current().access_key_id, heard.lines) == ("STS.1", [])
        metadata.is_down = True
        for _ in range(20):
            metadata.now += 300
            with capture_logs():
                assert not await credentials.refresh()
        assert metadata.now - metadata.ends_at > HOUR / 2
        assert credentials.current().access_key_id == "STS.1"
        assert {line["why"] for line in heard.lines} == {"CredentialException"}
        metadata.is_down = False
        metadata.now += 10
        assert await credentials.refresh()
    assert credentials.current().access_key_id == "STS.2"


@pytest.mark.parametrize(
    ("no_proxy", "asked"), [("", ["CONNECT 0.0.0.0:443"]), (".aliyuncs.com", [])]
)
async def test_sts_is_asked_through_the_proxy_unless_no_proxy_names_it(
    no_proxy: str, asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(".".join(JWT))
    async with proxying(refusal=b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        environ = {"https_proxy": proxy.url_with_user, "NO_PROXY": no_proxy}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        provider = OIDCRoleArnCredentialsProvider(
            role_arn="acs:ram::1:role/relay",
            oidc_provider_arn="acs:ram::1:oidc-provider/ack",
            oidc_token_file_path=str(tmp_path / "token"),
            role_session_name="relay",
            sts_endpoint="0.0.0.0",
            http_options=HttpOptions(connect_timeout=500, read_timeout=500),
        )
        credentials = Credentials(chained(provider, **environ).fetch, QuickClock(), Heard().journal)
        with pytest.raises(Fatal) as raised:
            await credentials.refresh()
    assert proxy.asked[:1] == asked
    assert SECRET not in str(raised.value)
