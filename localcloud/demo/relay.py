"""The relay and its console as processes: started, watched, killed and ended from here, never imported."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

READY_SECONDS_MAX = 20.0
GRACE_SECONDS = 9
STOP_SECONDS_MAX = GRACE_SECONDS + 5.0
LEAVE_SECONDS_MAX = 3.0
BETWEEN_SIGNALS_SECONDS = 0.2
LOG_LINES_SHOWN = 5
PROJECT = Path(__file__).resolve().parents[2]
# Settings of a real relay must not find their way into this one.
_NOT_INHERITED = re.compile(
    r"(RELAY|ALIBABA_CLOUD|MNS|OSS|OBS|HW|HUAWEICLOUD)_|(LOG_BUCKET|SYNC_URL)"
)
_QUEUE = re.compile(r',?\bqueue="[^"]*"')
_SAMPLE = re.compile(r"^(oms_relay_\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


class RelayFailedError(Exception):
    """A program did not do as it was told; the text says what it did and what it last logged."""


class Program:
    """`python -m worker` with some words and settings, in `folder`, where its log is kept.

    As a context it starts the program, and ends it for certain. It is up once it answers 200 at
    `path` of `url`.
    """

    def __init__(
        self,
        *words: str,
        name: str,
        port: int,
        path: str,
        settings: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.log = folder / f"{name}.log"
        self.url = f"http://127.0.0.1:{port}"
        self._words = words
        self._name = name
        self._path = path
        self._folder = folder
        kept = {name: value for name, value in os.environ.items() if not _NOT_INHERITED.match(name)}
        python = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
        self._environment = {
            **kept,
            **settings,
            "PYTHONPATH": python,
            "RELAY_LOG_FORMAT": "json",
        }
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2))
        try:
            await self.start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    async def start(self) -> None:
        """Start the process and return when it says that it is ready."""
        # The folder is the working directory, so that no .env of the user's is read.
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "worker", *self._words),
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                while (await self.get(self._path))[0] != 200:
                    self.check()
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise self._failed(f"was not ready within {READY_SECONDS_MAX:.0f} s") from error

    def check(self) -> None:
        """Raise `RelayFailedError` if the process has ended by itself."""
        code = None if self._process is None else self._process.returncode
        if code is not None:
            raise self._failed(f"ended by itself with exit code {code}")

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page; status 0 if it does not answer just now."""
        if self._session is None:
            raise RuntimeError(f"the {self._name} is not started: use it as a context")
        try:
            async with self._session.get(f"{self.url}{path}") as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def _end(self) -> None:
        """Leave no process behind: SIGTERM twice makes it leave at once, SIGKILL makes sure."""
        process, session = self._process, self._session
        try:
            if session is not None:
                await session.close()
            if process is not None and process.returncode is None:
                await _leave(process)
        finally:
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()

    def _running(self) -> asyncio.subprocess.Process:
        self.check()
        if self._process is None:
            raise RuntimeError(f"the {self._name} is not started: use it as a context")
        return self._process

    def _failed(self, what: str) -> RelayFailedError:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES_SHOWN:]
        last = "\n".join(f"    {line[:300]}" for line in lines) or "    (it logged nothing)"
        return RelayFailedError(f"The {self._name} {what}. The last it said:\n{last}")


class RelayProcess(Program):
    """`python -m worker run`."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        port = free_port()
        own = {
            "RELAY_ADMIN_PORT": str(port),
            "RELAY_SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
        }
        super().__init__(
            "run",
            name="relay",
            port=port,
            path="/readyz",
            settings={**settings, **own},
            folder=folder,
        )
        self.kills = 0

    async def metrics(self) -> dict[str, float]:
        """Return its counters and gauges by sample, such as `oms_relay_keys_merged_total`.

        Empty if it does not answer just now.
        """
        status, text = await self.get("/metrics")
        return samples(text) if status == 200 else {}

    async def kill_and_restart(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does, and start another."""
        process = self._running()
        process.kill()
        await process.wait()
        self.kills += 1
        await self.start()

    async def stop(self) -> int:
        """Ask it to stop with SIGTERM; return its exit code."""
        process = self._running()
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                return await process.wait()
        except TimeoutError as error:
            raise self._failed(f"did not stop within {STOP_SECONDS_MAX:.0f} s") from error


def samples(text: str) -> dict[str, float]:
    """Return the relay's samples out of a page of metrics, without the label that each has: its queue."""
    found = _SAMPLE.findall(_QUEUE.sub("", text).replace("{}", ""))
    return {name: float(value) for name, value in found}


async def _leave(process: asyncio.subprocess.Process) -> None:
    """Ask twice; return when it has left or the time is up."""
    try:
        async with asyncio.timeout(LEAVE_SECONDS_MAX):
            process.terminate()
            # Two signals at once would be heard as one.
            await asyncio.sleep(BETWEEN_SIGNALS_SECONDS)
            process.terminate()
            await process.wait()
    except (ProcessLookupError, TimeoutError):
        return


def free_port() -> int:
    """Return a port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
