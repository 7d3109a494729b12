"""Credentials as immutable snapshots: signers read one, a single refresher replaces it.

They come from the settings (and their *_FILE forms, read again while running), or for Alibaba from the
default chain of alibabacloud-credentials (ECS RAM role, RRSA over OIDC). That library refreshes under a
thread lock, which would stall the event loop for seconds: it is called in one thread at a time, never in a
coroutine. Its errors and its log lines quote whole requests, bearer tokens included: they are redacted.

Its source for a RAM role hides that it cannot renew a key, hands the old one out, and asks ever more rarely,
hours apart after an outage of an hour: `RamRole` replaces it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from worker.clock import Clock, SystemClock
from worker.clouds.http import one_line
from worker.clouds.oms_signature import HuaweiCredentials
from worker.config.proxies import DIRECT, Proxies
from worker.errors import Fatal
from worker.observe import logs
from worker.observe.journal import Journal
from worker.settings import Settings

T = TypeVar("T")

REFRESH_SECONDS = 10.0
FETCH_SECONDS_MAX = 30.0
STS = "https://sts.aliyuncs.com"
# How the default chain says that the key is one of the machine's RAM role.
OF_RAM_ROLE = "default/ecs_ram_role"
# The library wants a new key from here on, and the metadata service has one by then (ECS, "RAM roles").
NEAR_END_SECONDS = 900.0
# The chain says in one text why each of its sources gave nothing.
WHY_CHARS_MAX = 1000
# The library, its HTTP client, its timer and its connection pool: all of them write to standard error.
LIBRARIES = ("credentials", "alibabacloud-tea", "apscheduler", "urllib3")
_QUERY = re.compile(r"\?[^\s'\"]+")


@dataclass(frozen=True, slots=True)
class AlibabaCredentials:
    """One access key of Alibaba Cloud; the getters are the protocol that oss2 and aliyun-mns-sdk sign by."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)

    def get_access_key_id(self) -> str:
        """Return the access key id."""
        return self.access_key_id

    def get_access_key_secret(self) -> str:
        """Return the secret."""
        return self.access_key_secret

    def get_security_token(self) -> str:
        """Return the token of temporary credentials, or the empty string."""
        return self.security_token


def alibaba_from(settings: Settings) -> AlibabaCredentials | None:
    """Return the Alibaba key of the settings; None means that the credential chain is to be asked."""
    if settings.access_key_id is None or settings.access_key_secret is None:
        return None
    token = settings.security_token
    return AlibabaCredentials(
        settings.access_key_id.get_secret_value(),
        settings.access_key_secret.get_secret_value(),
        token.get_secret_value() if token else "",
    )


def huawei_from(settings: Settings) -> HuaweiCredentials:
    """Return the Huawei key of the settings. Raises `Fatal` where each route has one and none is chosen."""
    if settings.hw_ak is None or settings.hw_sk is None:
        raise Fatal(
            "each route has a Huawei key of its own, and none was chosen. Nothing was sent."
        )
    token = settings.hw_security_token
    return HuaweiCredentials(
        settings.hw_ak.get_secret_value(),
        settings.hw_sk.get_secret_value(),
        token.get_secret_value() if token else "",
    )


def obs_from(settings: Settings) -> HuaweiCredentials:
    """Return the key that looks at the destination: its own, or else that of `huawei_from`."""
    if settings.obs_ak is None or settings.obs_sk is None:
        return huawei_from(settings)
    token = settings.obs_security_token
    return HuaweiCredentials(
        settings.obs_ak.get_secret_value(),
        settings.obs_sk.get_secret_value(),
        token.get_secret_value() if token else "",
    )


class RamRole:
    """The key of the machine's RAM role, from the library's own source, which is made anew while it fails.

    `make` returns such a source, one without a timer of its own.
    """

    def __init__(self, make: Callable[[], Any], now: Callable[[], float]) -> None:
        self._make = make
        self._now = now
        self._source: Any = None

    def fetch(self) -> tuple[object, object, object]:
        """Return id, secret and token. Blocks. Raises what the library does if a key near its end stays."""
        if self._source is not None:
            found = self._source.get_credentials()
            if found.get_expiration() - self._now() > NEAR_END_SECONDS:
                return _parts_of(found)
            self._source = None
        # A fresh source has no old key to hand out, and no pause after failures.
        source = self._make()
        found = source.get_credentials()
        self._source = source
        return _parts_of(found)


def _parts_of(found: Any) -> tuple[object, object, object]:
    return (
        found.get_access_key_id(),
        found.get_access_key_secret(),
        found.get_security_token() or "",
    )


class Chain:
    """The default credential chain of alibabacloud-credentials, loaded and made on first use."""

    def __init__(
        self,
        client: Callable[[], Any] | None = None,
        proxies: Proxies = DIRECT,
        *,
        role: Callable[[], Any] | None = None,
        now: Callable[[], float] = SystemClock.wall,
    ) -> None:
        self._make = client or _library_client
        self._proxies = proxies
        self._client: Any = None
        self._role = RamRole(role or _library_role, now)
        self._is_of_role = False
        _hear_the_library()

    def fetch(self) -> AlibabaCredentials:
        """Return what the chain gives now. Blocks; the library caches until shortly before expiry.

        Raises `ValueError` for part of a key, as a stranger that answers for STS or the metadata service may
        give one. Keys of STS begin with "STS." and work only with their token (RAM, AssumeRole).
        """
        parts = self._role.fetch() if self._is_of_role else self._first()
        key_id, secret, token = parts
        if not all(
            isinstance(part, str) and part.isascii() and part.isprintable() for part in parts
        ):
            raise ValueError("the source of credentials answered with something that is no key")
        if not (key_id and secret):
            raise ValueError("the source of credentials answered without a key")
        if str(key_id).startswith("STS.") and not token:
            raise ValueError(
                "the source of credentials answered with a temporary key without its token"
            )
        return AlibabaCredentials(str(key_id), str(secret), str(token))

    def _first(self) -> tuple[object, object, object]:
        """Ask the whole chain. A key of a RAM role is fetched by its own source from the next time on."""
        if self._client is None:
            _leave_to_the_library(self._proxies)
            self._client = self._make()
        found = self._client.get_credential()
        self._is_of_role = getattr(found, "provider_name", "") == OF_RAM_ROLE
        return found.access_key_id, found.access_key_secret, found.security_token or ""


def _library_role() -> Any:
    from alibabacloud_credentials.provider import (  # noqa: PLC0415  loaded by the chain before
        EcsRamRoleCredentialsProvider,
    )

    return EcsRamRoleCredentialsProvider(async_update_enabled=False)


def _library_client() -> Any:
    # Some 500 modules, which whoever has a key in the settings does without.
    from alibabacloud_credentials.client import Client  # noqa: PLC0415

    # While they load they let their loggers write to standard error, whole requests and all.
    _hear_the_library()
    return Client()


def _hear_the_library() -> None:
    for library in LIBRARIES:
        logs.hear(library, _complain)


def _leave_to_the_library(proxies: Proxies) -> None:
    """Let the process's environment name the proxy for STS, and none for the metadata service.

    The library reads the environment at each call, also in a timer of its own, and knows no NO_PROXY: its
    calls over http, which go to the metadata service, would go through HTTP_PROXY. The relay's own calls do
    not look at the environment any more.
    """
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        os.environ.pop(name, None)
    if proxy := proxies.of(STS):
        os.environ["HTTPS_PROXY"] = proxy.secret_url


class _Fetch(Generic[T]):
    """One call of a function that blocks, in a thread of its own."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_over = asyncio.Event()
        self._outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        # A daemon, because a thread of an executor would be waited for at the end of the process.
        threading.Thread(
            target=self._run, args=(call,), name="fetch credentials", daemon=True
        ).start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001  it is raised again where the outcome is read
            self._outcome.set_exception(error)
        with suppress(RuntimeError):  # Nobody waits any more, and the loop is closed.
            self._loop.call_soon_threadsafe(self._is_over.set)

    async def over(self) -> None:
        """Wait for the end. May be cancelled and called again: the fetch goes on meanwhile."""
        await self._is_over.wait()

    def outcome(self) -> T:
        """Return or raise what the call did, once it is over."""
        return self._outcome.result()


class Credentials(Generic[T]):
    """The current snapshot, and where a fresh one comes from: `fetch` blocks and runs in a thread."""

    def __init__(self, fetch: Callable[[], T], clock: Clock, journal: Journal) -> None:
        self._fetch = fetch
        self._clock = clock
        self._log = journal.log
        self._current: T | None = None
        self._under_way: _Fetch[T] | None = None

    def current(self) -> T:
        """Return the snapshot to sign with. Raises `Fatal` before the first one was fetched."""
        if self._current is None:
            raise Fatal("there are no credentials yet; nothing was sent")
        return self._current

    async def refresh(self) -> bool:
        """Fetch once; return whether the credentials changed. Raises `Fatal` with nothing to fall back on."""
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                fetched = await self._fetched()
        except Exception as error:  # noqa: BLE001  the library documents no common base of its errors
            if self._current is None:
                # The cause stays behind: its text and its traceback hold the token that was sent.
                raise Fatal(_no_credentials(error)) from None
            self._log.warning(
                "credentials could not be refreshed: the relay goes on with those it has and asks again in "
                "ten seconds. If this goes on, mend their source before they expire",
                action="credentials",
                why=type(error).__name__,
            )
            return False
        is_changed = fetched != self._current
        self._current = fetched
        return is_changed

    async def _fetched(self) -> T:
        """Return what one fetch gives. One that was given up on is waited for again, never doubled."""
        if self._under_way is None:
            self._under_way = _Fetch(self._fetch)
        fetch = self._under_way
        await fetch.over()
        self._under_way = None
        return fetch.outcome()

    async def keep_fresh(self, on_change: Callable[[], None]) -> None:
        """Refresh every ten seconds, for ever; `on_change` is called when the credentials are other ones."""
        while True:
            await self._clock.sleep(REFRESH_SECONDS)
            if await self.refresh():
                self._log.info("credentials have changed", action="credentials")
                on_change()


def _no_credentials(error: Exception) -> str:
    why = f"{type(error).__name__}: {_redacted(str(error))}"
    return (
        f"no credentials were found ({why}). Nothing was received or sent. "
        "Set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET (or their *_FILE forms), "
        "or give the machine an ECS RAM role or the pod an RRSA service account."
    )


def _complain(text: str) -> None:
    structlog.get_logger("relay").warning(
        "the library that fetches credentials reports trouble: the relay goes on with those it has and asks "
        "again. If this goes on, check the RAM role or the RRSA service account, and the way to its service",
        action="credentials",
        why=_redacted(text),
    )


def _redacted(text: str) -> str:
    """Leave out every query: all of a signed request is in it, and it pushes the cause out of sight."""
    return one_line(_QUERY.sub("?...", text), WHY_CHARS_MAX)
