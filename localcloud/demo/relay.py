"""The relay as a process of its own: started, watched, killed and stopped from here, never imported."""

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
_SAMPLE = re.compile(r"^(oms_relay_\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


class RelayFailedError(Exception):
    """The relay did not do as it was told; the text says what it did and where its log is."""


class RelayProcess:
    """`python -m worker run` with the given settings, in `folder`, where its log is kept.

    As a context it starts the relay, and ends it for certain.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.log = folder / "relay.log"
        self.kills = 0
        self._folder = folder
        self._port = _free_port()
        kept = {name: value for name, value in os.environ.items() if not _NOT_INHERITED.match(name)}
        path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
        self._environment = {
            **kept,
            **settings,
            "PYTHONPATH": path,
            "RELAY_ADMIN_PORT": str(self._port),
            "RELAY_SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
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
                *(sys.executable, "-m", "worker", "run"),
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                while (await self._get("/readyz"))[0] != 200:
                    self.check()
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise self._failed(f"was not ready within {READY_SECONDS_MAX:.0f} s") from error

    def check(self) -> None:
        """Raise `RelayFailedError` if the process has ended by itself."""
        code = None if self._process is None else self._process.returncode
        if code is not None:
            raise self._failed(f"ended by itself with exit code {code}")

    async def metrics(self) -> dict[str, float]:
        """Return its counters and gauges by sample, such as `oms_relay_keys_merged_total`.

        Empty if it does not answer just now.
        """
        status, text = await self._get("/metrics")
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
            raise RuntimeError("the relay is not started: use it as a context")
        return self._process

    async def _get(self, path: str) -> tuple[int, str]:
        if self._session is None:
            raise RuntimeError("the relay is not started: use it as a context")
        try:
            async with self._session.get(f"http://127.0.0.1:{self._port}{path}") as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    def _failed(self, what: str) -> RelayFailedError:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES_SHOWN:]
        last = "\n".join(f"    {line[:300]}" for line in lines) or "    (it logged nothing)"
        return RelayFailedError(f"The relay {what}. The last it said:\n{last}")


def samples(text: str) -> dict[str, float]:
    """Return the relay's samples out of a page of metrics."""
    return {name: float(value) for name, value in _SAMPLE.findall(text)}


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
