from __future__ import annotations

import re
import stat
from contextlib import AsyncExitStack
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from doubles.clock import QuickClock
from harness.ops import bodies, put_letter
from harness.site import site
from localcloud.cloud import LocalCloud
from worker.console.options import Options, fresh_token, kept_link, link
from worker.console.sessions import (
    ATTEMPTS_MAX,
    ATTEMPTS_OF_ALL,
    SLOW_SECONDS,
    TURNS_AT_ONCE,
    Attempts,
)
from worker.errors import Fatal

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def cloud(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    put_letter(cloud, 1)
    return cloud


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8081", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8081", 200),
        ("relay.example:8081", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.168.1.5", 421),
        ("localhost.evil.example:8081", 421),
        ("", 421),
    ],
)
async def test_only_known_names_are_answered(cloud: LocalCloud, host: str, status: int) -> None:
    async with site(cloud, names=frozenset({"relay.example"})) as console:
        for path in ("/", "/api/overview", "/operations"):
            assert (await console.raw("GET", path, Host=host)).status == status


async def test_beyond_loopback_addresses_are_answered_and_names_are_not(cloud: LocalCloud) -> None:
    async with site(cloud, host="0.0.0.0", token=TOKEN) as console:
        assert (await console.raw("GET", "/login", Host="10.0.0.5:8081")).status == 200
        assert (await console.raw("GET", "/login", Host="evil.example")).status == 421


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "file://", "https://127.0.0.1", "http://127.0.0.1:1"],
)
@pytest.mark.parametrize("path", ["/operations", "/operations/1/stop", "/language", "/login"])
async def test_forms_from_elsewhere_are_refused(cloud: LocalCloud, origin: str, path: str) -> None:
    async with site(cloud) as console:
        page = await console.post(path, {"action": "redrive"}, Origin=origin)
        assert page.status == 403
        assert "Nothing was done." in page.text
        assert console.here.running is None
        assert not console.here.operations.recent


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "ü"])
async def test_forms_without_the_mark_of_the_session_are_refused(
    cloud: LocalCloud, csrf: str | None
) -> None:
    form = {"action": "redrive"} | ({} if csrf is None else {"csrf": csrf})
    async with site(cloud) as console:
        await console.get("/")
        page = await console.raw("POST", "/operations", form, Origin=console.url)
        assert page.status == 403
        assert not console.here.operations.recent


async def test_a_mark_is_worth_nothing_with_another_cookie(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        await console.get("/")
        console.cookies = dict.fromkeys(console.cookies, "x" * 43)
        assert (await console.post("/operations", {"action": "redrive"})).status == 403


@pytest.mark.parametrize("path", ["/operations", "/operations/1/act", "/operations/1/stop"])
async def test_nothing_is_changed_by_get(cloud: LocalCloud, path: str) -> None:
    async with site(cloud) as console:
        assert (await console.get(f"{path}?action=redrive")).status in (200, 404, 405)
        assert not console.here.operations.recent


async def test_read_only_hides_and_refuses_every_change(cloud: LocalCloud) -> None:
    async with site(cloud, is_read_only=True) as console:
        for path in ("/letters", "/letters/list", "/letters?place=archived"):
            page = await console.get(path)
            assert page.status == 200
            assert 'action="/operations"' not in page.html
            assert "read-only" in page.text
        for path in ("/operations", "/operations/1/act", "/operations/1/stop"):
            page = await console.post(path, {"action": "redrive"})
            assert page.status == 403
            assert "--read-only" in page.text
        assert (await console.post("/language", {"language": "zh"})).status == 200
    assert bodies(cloud) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "relay.example"])
def test_nothing_is_served_beyond_loopback_without_a_token(host: str) -> None:
    with pytest.raises(Fatal, match="RELAY_CONSOLE_TOKEN_FILE"):
        fresh_token(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_console_of_this_machine_makes_a_token_of_its_own(host: str) -> None:
    assert len({fresh_token(host) for _ in range(10)}) == 10
    assert len(fresh_token(host)) >= 32


def test_the_link_is_kept_where_only_its_owner_reads_it_and_not_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with kept_link(link("http://127.0.0.1:8081/", TOKEN)) as file:
        assert file.read_text() == f"http://127.0.0.1:8081/open?token={TOKEN}\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(Fatal, match="Set RELAY_CONSOLE_TOKEN_FILE"), kept_link("x"):
        pass


def test_a_worker_address_must_be_one_and_is_shown_without_its_password() -> None:
    for url in ("10.0.0.5:8080", "http://me:secret@10.0.0.5", "file:///etc/passwd"):
        with pytest.raises(Fatal) as caught:
            Options(TOKEN, workers=(url,)).check()
        assert "secret" not in str(caught.value)
    assert TOKEN not in repr(Options(TOKEN))


async def test_with_a_token_nothing_is_shown_before_the_sign_in(cloud: LocalCloud) -> None:
    async with site(cloud, token=TOKEN) as console:
        for path in ("/", "/letters", "/letters/list", "/operations", "/search?key=a", "/nowhere"):
            page = await console.raw("GET", path)
            then = "" if path == "/" else f"?{urlencode({'next': path})}"
            assert (page.status, page.headers["Location"]) == (303, f"/login{then}")
        for path in ("/api/overview", "/api/letters", "/api/operations/1"):
            assert (await console.raw("GET", path)).status == 401
        await console.get("/login")
        form = {"action": "redrive", "csrf": console.csrf}
        page = await console.raw("POST", "/operations", form, Origin=console.url)
        assert page.status == 303
        assert not console.here.operations.recent


async def test_the_token_opens_a_session_and_signing_out_ends_it(cloud: LocalCloud) -> None:
    async with site(cloud, token=TOKEN) as console:
        page = await console.post("/login", {"token": "wrong-token-wrong-token"})
        assert page.status == 403
        assert "This is not the token." in page.text
        before = dict(console.cookies)
        page = await console.post("/login", {"token": TOKEN, "name": "Ada  L."})
        assert page.path == "/"
        assert console.cookies != before, "a cookie from before the sign-in is worth nothing after"
        tried = await console.post("/operations", {"action": "redrive", "letters": "filter"})
        assert "Ada L. (127.0.0.1)" in tried.text
        page = await console.post("/logout")
        assert page.path == "/login"
        assert (await console.raw("GET", "/")).status == 303


async def test_a_link_to_a_page_leads_there_after_the_sign_in(cloud: LocalCloud) -> None:
    wanted = "/letters/list?cause=rejected&key=%E7%85%A7%E7%89%87/a+b"
    async with site(cloud, token=TOKEN) as console:
        asked = await console.raw("GET", wanted)
        page = await console.get(asked.headers["Location"])
        assert f'name="next" value="{escape(wanted)}"' in page.html
        page = await console.post("/login", {"token": "wrong", "next": wanted})
        assert f'name="next" value="{escape(wanted)}"' in page.html
        page = await console.post("/login", {"token": TOKEN, "next": wanted})
        assert page.path == wanted
        assert (await console.get(asked.headers["Location"])).path == wanted


@pytest.mark.parametrize(
    "foreign", ["https://evil.example/", "//evil.example", "/\\evil.example", "x"]
)
async def test_after_the_sign_in_nobody_is_sent_elsewhere(cloud: LocalCloud, foreign: str) -> None:
    async with site(cloud, token=TOKEN) as console:
        page = await console.post("/login", {"token": TOKEN, "next": foreign})
        assert (page.status, page.path) == (200, "/")


async def test_wrong_tokens_are_taken_five_times_a_minute(cloud: LocalCloud) -> None:
    async with site(cloud, token=TOKEN) as console:
        for _ in range(ATTEMPTS_MAX):
            assert (await console.post("/login", {"token": "wrong"})).status == 403
        page = await console.post("/login", {"token": TOKEN})
        assert page.status == 429
        assert "Wait " in page.text


async def test_wrong_tokens_of_one_browser_lock_no_other_out_behind_the_same_proxy(
    cloud: LocalCloud,
) -> None:
    async with site(cloud, token=TOKEN) as console:
        for _ in range(ATTEMPTS_MAX):
            await console.post("/login", {"token": "wrong"})
        locked = dict(console.cookies)
        assert (await console.get(f"/open?token={TOKEN}")).status == 429
        console.cookies = {}
        assert (await console.get(f"/open?token={TOKEN}")).path == "/"
        console.cookies = locked
        assert (await console.get(f"/open?token={TOKEN}")).status == 429


async def test_many_wrong_tokens_of_all_slow_every_attempt_down_and_refuse_none() -> None:
    clock = QuickClock()
    attempts = Attempts(clock)
    for number in range(ATTEMPTS_OF_ALL):
        async with attempts.turn():
            attempts.failed(f"browser {number}")
    assert clock.slept == []
    async with attempts.turn():
        assert clock.slept == [SLOW_SECONDS]
    assert attempts.wait_seconds("another") == 0.0
    async with AsyncExitStack() as stack:
        for _ in range(TURNS_AT_ONCE):
            await stack.enter_async_context(attempts.turn())
        assert attempts.wait_seconds("another") == SLOW_SECONDS
    clock.now += 60.0
    async with attempts.turn():
        assert len(clock.slept) == 1 + TURNS_AT_ONCE


async def test_the_link_signs_in_and_a_wrong_one_does_not(cloud: LocalCloud) -> None:
    async with site(cloud, token=TOKEN) as console:
        page = await console.get("/open?token=wrong-token-wrong-token")
        assert page.status == 403
        assert (await console.get("/open")).status == 403
        assert (await console.raw("GET", "/")).status == 303
        page = await console.get(f"/open?token={TOKEN}")
        assert (page.status, page.path) == (200, "/")
        assert TOKEN not in page.html


async def test_every_answer_keeps_the_browser_strict(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        for path in ("/", "/letters", "/api/overview", "/nowhere", "/letters?since=x"):
            answer = await console.raw("GET", path)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "aiohttp" not in answer.headers["Server"]
            assert " style=" not in answer.html
            assert not re.search(r"<[^>]+\son[a-z]+=", answer.html)
            assert "<script>" not in answer.html
            assert "http://www." not in answer.html


async def test_cookies_are_out_of_reach_for_scripts_and_other_sites(cloud: LocalCloud) -> None:
    async with site(cloud, token=TOKEN) as console:
        page = await console.raw("GET", "/login")
        cookie = page.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert f"relay_console_{console.here.options.port}=" in cookie


async def test_static_files_may_be_kept_and_only_as_they_are(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        page = await console.get("/")
        for name in ("console.css", "console.js", "icon.svg"):
            path = next(part for part in page.html.split('"') if part.endswith(name))
            answer = await console.raw("GET", path)
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
        assert (await console.raw("GET", "/static/000000000000/console.js")).status == 404
        assert (await console.raw("GET", "/static/x/..%2f..%2fapp.py")).status == 404


async def test_forms_too_large_are_refused(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        page = await console.post("/operations", {"action": "redrive", "reason": "x" * 200_000})
        assert page.status == 413


async def test_no_page_and_no_log_line_holds_a_secret(cloud: LocalCloud) -> None:
    settings = cloud.settings()
    secrets = [
        settings["HW_SK"],
        settings["HW_AK"],
        settings["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
        TOKEN,
    ]
    with capture_logs() as lines:
        async with site(cloud, token=TOKEN, watches=True) as console:
            await console.post("/login", {"token": "wrong"})
            await console.post("/login", {"token": TOKEN, "name": "x"})
            pages = [
                (await console.get(path)).html
                for path in ("/", "/letters", "/operations", "/search?key=a", "/api/overview")
            ]
            pages.append((await console.run("redrive")).html)
    assert any(line.get("action") == "wrong_token" for line in lines)
    assert any(line.get("event_kind") == "begun" for line in lines)
    for text in [*pages, repr(lines)]:
        assert not any(secret in text for secret in secrets)
