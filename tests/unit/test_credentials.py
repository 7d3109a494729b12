from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from alibabacloud_credentials.exceptions import CredentialException
from pydantic import SecretStr

from doubles.build import Heard
from doubles.clock import QuickClock
from doubles.hurry import hurried
from worker.clouds.credentials import (
    REFRESH_SECONDS,
    AlibabaCredentials,
    Chain,
    Credentials,
    alibaba_from,
    huawei_from,
)
from worker.clouds.oms_signature import HuaweiCredentials
from worker.errors import Fatal
from worker.settings import Settings

OLD = AlibabaCredentials("AK", "old-secret", "old-token")
NEW = AlibabaCredentials("AK", "new-secret", "new-token")
SECRETS = ("old-secret", "old-token", "new-secret", "new-token")


class EndOfScriptError(BaseException):
    """Everything that the test is about was fetched. No fault of a source, or it would be survived."""


class Source:
    """Gives what the script says, one after the other; remembers where it was called."""

    def __init__(self, *script: AlibabaCredentials | Exception) -> None:
        self.script = list(script)
        self.threads: list[threading.Thread] = []

    def __call__(self) -> AlibabaCredentials:
        self.threads.append(threading.current_thread())
        if not self.script:
            raise EndOfScriptError
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


class Bench:
    def __init__(self, fetch: Callable[[], AlibabaCredentials]) -> None:
        self.heard = Heard()
        self.clock = QuickClock()
        self.credentials = Credentials(fetch, self.clock, self.heard.journal)


async def test_before_the_first_fetch_there_is_nothing_to_sign_with() -> None:
    with pytest.raises(Fatal, match="nothing was sent"):
        Bench(Source(OLD)).credentials.current()


async def test_the_source_is_asked_off_the_loop() -> None:
    """It may block for seconds: it refreshes under a thread lock, over the network."""
    source = Source(OLD)
    bench = Bench(source)
    assert await bench.credentials.refresh()
    assert bench.credentials.current() == OLD
    assert source.threads[0] is not threading.current_thread()


async def test_a_refresh_says_whether_the_credentials_changed() -> None:
    bench = Bench(Source(OLD, OLD, NEW))
    assert [await bench.credentials.refresh() for _ in range(3)] == [True, False, True]
    assert bench.credentials.current() == NEW


FAULTS = [
    CredentialException("no credential"),
    OSError("metadata service"),
    ValueError("not JSON"),
    TimeoutError(),
    Fatal("a file is missing"),
    RuntimeError("of no class that the library names"),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failed_refresh_keeps_the_old_snapshot_and_is_logged(fault: Exception) -> None:
    bench = Bench(Source(OLD, fault))
    await bench.credentials.refresh()
    assert not await bench.credentials.refresh()
    assert bench.credentials.current() is OLD
    (line,) = bench.heard.lines
    assert (line["log_level"], line["why"]) == ("warning", type(fault).__name__)


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_any_credentials_the_relay_ends_and_says_what_to_do(
    fault: Exception,
) -> None:
    with pytest.raises(Fatal) as raised:
        await Bench(Source(fault)).credentials.refresh()
    text = str(raised.value)
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in text
    assert "RAM role" in text
    assert type(fault).__name__ in text


async def test_a_source_that_hangs_is_waited_for_half_a_minute() -> None:
    may_end = threading.Event()

    def hang() -> AlibabaCredentials:
        may_end.wait()
        return OLD

    try:
        with hurried() as asked, pytest.raises(Fatal, match="TimeoutError"):
            await Bench(hang).credentials.refresh()
    finally:
        may_end.set()
    assert asked == [30.0]


async def test_fresh_credentials_are_fetched_again_and_again_and_a_change_is_told() -> None:
    bench = Bench(Source(OLD, OLD, OSError("hiccup"), NEW, NEW))
    await bench.credentials.refresh()
    changes = []
    with pytest.raises(EndOfScriptError):
        await bench.credentials.keep_fresh(lambda: changes.append(bench.credentials.current()))
    assert changes == [NEW]
    assert bench.clock.slept == [REFRESH_SECONDS] * 5
    assert "credentials have changed" in [line["event"] for line in bench.heard.lines]


async def test_one_fetch_runs_at_a_time() -> None:
    running = most = 0
    lock = threading.Lock()

    def fetch() -> AlibabaCredentials:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        if len(bench.clock.slept) > 20:
            raise EndOfScriptError
        return OLD

    bench = Bench(fetch)
    with pytest.raises(EndOfScriptError):
        await asyncio.create_task(bench.credentials.keep_fresh(lambda: None))
    assert most == 1


@dataclass
class Found:
    access_key_id: str = "AK"
    access_key_secret: str = "new-secret"
    security_token: str | None = None


class ChainClient:
    """The library's client, as far as we use it."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.found = Found()

    def get_credential(self) -> Found:
        return self.found


def test_the_chain_is_made_once_on_first_use() -> None:
    ChainClient.made = 0
    chain = Chain(ChainClient)
    assert ChainClient.made == 0
    assert chain.fetch() == chain.fetch() == AlibabaCredentials("AK", "new-secret", "")
    assert ChainClient.made == 1


def test_a_token_of_the_chain_is_kept() -> None:
    client = ChainClient()
    client.found = Found(security_token="new-token")
    assert Chain(lambda: client).fetch() == NEW


def settings(**values: Any) -> Settings:
    secrets = {
        name: SecretStr(value) if value else None
        for name, value in {
            "access_key_id": "AK",
            "access_key_secret": "new-secret",
            "security_token": "new-token",
            "hw_ak": "HAK",
            "hw_sk": "new-secret",
            "hw_security_token": "new-token",
        }.items()
    }
    return Settings.model_construct(None, **(secrets | values))


def test_the_settings_own_key_comes_before_the_chain() -> None:
    assert alibaba_from(settings()) == NEW
    assert alibaba_from(settings(security_token=None)) == AlibabaCredentials("AK", "new-secret", "")


@pytest.mark.parametrize("missing", ["access_key_id", "access_key_secret"])
def test_without_a_whole_key_the_chain_is_asked(missing: str) -> None:
    assert alibaba_from(settings(**{missing: None})) is None


def test_the_huawei_key_comes_from_the_settings() -> None:
    assert huawei_from(settings()) == HuaweiCredentials("HAK", "new-secret", "new-token")
    assert huawei_from(settings(hw_security_token=None)) == HuaweiCredentials(
        "HAK", "new-secret", ""
    )


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{0!r}".format])
@pytest.mark.parametrize("of", [NEW, HuaweiCredentials("AK", "new-secret", "new-token")])
def test_no_form_of_credentials_shows_a_secret(show: Callable[[object], str], of: object) -> None:
    assert "AK" in show(of)
    assert not any(secret in show(of) for secret in SECRETS)


def test_the_getters_are_what_the_vendors_signers_read() -> None:
    assert NEW.get_access_key_id() == "AK"
    assert NEW.get_access_key_secret() == "new-secret"
    assert NEW.get_security_token() == "new-token"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Found("", "S", "T"), "without a key"),
        (Found("AK", "", "T"), "without a key"),
        (Found(None, None, "T"), "no key"),  # type: ignore[arg-type]
        (Found({"a": 1}, "S", "T"), "no key"),  # type: ignore[arg-type]
        (Found("<html>\n", "S", "T"), "no key"),
        (Found("AK", "s\u00e9cret", "T"), "no key"),
        (Found("STS.AK", "S", None), "without its token"),
        (Found("STS.AK", "S", ""), "without its token"),
    ],
)
def test_part_of_a_key_is_none(found: Found, why: str) -> None:
    client = ChainClient()
    client.found = found
    with pytest.raises(ValueError, match=why):
        Chain(lambda: client).fetch()
