"""Programs as their users start them: a process, its log in a file, and addresses that answer."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from harness.until import TICK_SECONDS

LIMIT_SECONDS = 60


@asynccontextmanager
async def running(
    program: Path, *words: str, folder: Path, **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program with these settings alone; SIGTERM must end it with exit code 0."""
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            program, *words, cwd=folder, env=settings, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0, (folder / "log").read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def local_cloud(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run the local cloud of the checkout; yields the settings that it prints."""
    async with running(Path(sys.executable), "-m", "localcloud", "--json", folder=folder) as cloud:
        assert cloud.stdout is not None
        yield json.loads(await cloud.stdout.readline())


def fetched(url: str) -> tuple[int, str, bytes]:
    """Status, media type and content of an address; status 0 while nobody answers well.

    Cookies are kept from one redirection to the next, as a browser does that follows a link to sign in.
    """
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    try:
        with browser.open(url, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except OSError:
        return 0, "", b""


async def answered(url: str) -> bytes:
    """Wait until an address answers 200, and return the content."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            status, _, content = await asyncio.to_thread(fetched, url)
            if status == 200:
                return content
            await asyncio.sleep(TICK_SECONDS)
