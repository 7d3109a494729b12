"""The console as a process of its own: it starts, says what is wrong, and stops cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from harness.ops import bodies, objects, put_letter
from harness.processes import Supervisor, Worker, supervising
from harness.relay import free_port
from harness.site import CSRF
from harness.until import until
from localcloud.cloud import LocalCloud

LETTERS = 5


@pytest.fixture
def cloud(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    for number in range(LETTERS):
        put_letter(cloud, number)
    return cloud


async def start(supervisor: Supervisor, *options: str, **settings: str) -> tuple[Worker, str]:
    port = free_port()
    worker = await supervisor.start(
        "-m",
        "worker",
        "console",
        "--port",
        str(port),
        *options,
        RELAY_LOG_FORMAT="json",
        **settings,
    )
    await until(lambda: "has started" in str(worker.printed) or not worker.is_alive, "its start")
    return worker, f"http://127.0.0.1:{port}"


async def test_sigterm_stops_a_running_redrive_and_leaves_with_its_account(
    cloud: LocalCloud,
) -> None:
    # Unsafe is what the library calls cookies of an IP address.
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        supervising(cloud) as supervisor,
        aiohttp.ClientSession(cookie_jar=jar) as browser,
    ):
        worker, url = await start(supervisor)
        origin = {"Origin": url}
        [file] = [line["file"] for line in worker.lines if line["action"] == "sign_in"]
        async with browser.get((await asyncio.to_thread(Path(file).read_text)).strip()) as page:
            found = CSRF.search(await page.text())
        assert found is not None
        form = {"csrf": found[1], "action": "redrive", "letters": "filter"}
        act = form | {"scope": "all", "rate": "0.05"}
        async with browser.post(f"{url}/operations", data=form, headers=origin) as page:
            assert page.url.path == "/operations/1"
        async with browser.post(f"{page.url}/act", data=act, headers=origin) as page:
            assert page.url.path == "/operations/2"
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
        lines = [line for line in worker.lines if line.get("event_kind") == "ended"]
        assert lines[-1]["state"] == "stopped"
        assert not await asyncio.to_thread(Path(file).exists)
        assert "token=" not in "".join(worker.printed)
        assert worker.lines[-1]["action"] == "stop"
    sent = len(bodies(cloud))
    assert sent == 1
    kept = [name for name in objects(cloud) if name.startswith("dead_letter/")]
    assert len(kept) == LETTERS - sent


async def test_it_refuses_to_be_reachable_without_a_token(cloud: LocalCloud) -> None:
    async with supervising(cloud) as supervisor:
        worker, _ = await start(supervisor, "--host", "0.0.0.0")
        assert await worker.ended() == 2
        assert "RELAY_CONSOLE_TOKEN_FILE" in worker.printed[0]
        worker.printed.clear()


async def test_a_port_in_use_is_said_in_plain_words(cloud: LocalCloud) -> None:
    async with supervising(cloud) as supervisor:
        first, url = await start(supervisor)
        second = await supervisor.start("-m", "worker", "console", "--port", url.rpartition(":")[2])
        assert await second.ended() == 2
        assert "cannot listen" in second.printed[0]
        second.printed.clear()
        assert await first.stop() == 0


async def test_the_token_is_read_from_a_file_and_asked_for(
    cloud: LocalCloud, tmp_path: object
) -> None:
    file = f"{tmp_path}/token"
    with open(file, "w", encoding="ascii") as out:  # noqa: ASYNC230, PTH123  a few bytes
        out.write("correct-horse-battery-staple\n")
    async with supervising(cloud, RELAY_CONSOLE_TOKEN_FILE=file) as supervisor:
        worker, url = await start(supervisor)
        async with aiohttp.ClientSession() as browser, browser.get(url) as page:
            assert page.url.path == "/login"
        assert await worker.stop() == 0
