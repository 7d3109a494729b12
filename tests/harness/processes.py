"""Real processes of the relay under a small supervisor, against a local cloud in the test process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from harness import account
from harness.relay import free_port
from harness.until import TICK_SECONDS, until
from localcloud.cloud import LocalCloud
from localcloud.mns.message import Counts

RUN = ("-m", "worker", "run")
# A third of it, in whole seconds, is the length of a poll, and 3 s of it are kept for releases.
GRACE_SECONDS = "5"
LIMIT_SECONDS = 60.0


@dataclass(slots=True)
class Worker:
    """One process of the relay and what it has printed so far."""

    process: asyncio.subprocess.Process
    admin_url: str
    printed: list[str] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log, parsed."""
        return [json.loads(line) for line in self.printed]

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ready(self) -> None:
        """Wait until /readyz answers 200."""
        async with asyncio.timeout(LIMIT_SECONDS), aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                assert self.is_alive, self.printed
                await asyncio.sleep(TICK_SECONDS)

    async def ended(self) -> int:
        """Wait for the end; return the exit code, negative for a signal."""
        async with asyncio.timeout(LIMIT_SECONDS):
            code = await self.process.wait()
            if self.reader is not None:
                await self.reader
            return code

    async def stop(self) -> int:
        """Send SIGTERM, not before the process can hear it, and wait for the end."""
        await until(
            lambda: bool(self.printed) or not self.is_alive, "the first line", LIMIT_SECONDS
        )
        self.send(signal.SIGTERM)
        return await self.ended()

    async def read(self) -> None:
        """Collect what is printed, for ever."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.printed.append(line.decode().rstrip("\n"))

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.admin_url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False


class Supervisor:
    """Starts workers, ends those left over by their process, and reads all they print."""

    def __init__(
        self, cloud: LocalCloud, directory: str, settings: dict[str, str], *, is_measured: bool
    ) -> None:
        self.cloud = cloud
        self._environment = dict(os.environ) if is_measured else unmeasured()
        self.workers: list[Worker] = []
        self._directory = directory
        self._settings = settings

    async def start(self, *arguments: str, **settings: str) -> Worker:
        """Start `python -m worker run`, or Python with other arguments."""
        port = free_port()
        environment = {
            **self._environment,
            **self.cloud.settings(),
            "RELAY_ADMIN_PORT": str(port),
            "RELAY_SHUTDOWN_GRACE_SECONDS": GRACE_SECONDS,
            **self._settings,
            **settings,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(arguments or RUN),
            env=environment,
            cwd=self._directory,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        worker = Worker(process, f"http://127.0.0.1:{port}")
        worker.reader = asyncio.create_task(worker.read(), name="read output")
        self.workers.append(worker)
        return worker

    async def until(self, condition: Any, what: str) -> None:
        """Wait for a condition on the cloud."""
        await until(lambda: bool(condition()), what, LIMIT_SECONDS)

    async def drained(self) -> None:
        """Wait until the queue is empty and all that OMS accepted is copied."""
        await self.until(
            lambda: account.waiting(self.cloud) == 0 or not self._is_any_alive(), "an empty queue"
        )
        last = "\n".join(self.workers[-1].printed[-3:])
        assert account.waiting(self.cloud) == 0, f"all workers have ended: {last}"
        await self.cloud.oms.drained()

    def _is_any_alive(self) -> bool:
        return any(worker.is_alive for worker in self.workers)

    def counts(self) -> Counts:
        """How many messages of the queue stand where."""
        queue = self.cloud.mns.queue(account.prepared(self.cloud).queue)
        return queue.counts(self.cloud.mns.store.now_ms())

    async def finish(self) -> None:
        """Let another relay, and no fault, do what is left."""
        self.cloud.faults.clear()
        worker = await self.start(RELAY_SHUTDOWN_GRACE_SECONDS=GRACE_SECONDS)
        await self.drained()
        worker.process.kill()

    async def end(self) -> None:
        """End what is left, and check everything that was ever printed."""
        for worker in self.workers:
            if worker.is_alive:
                worker.process.kill()
            await worker.ended()
        secrets = [value for name, value in self.cloud.settings().items() if "SECRET" in name]
        secrets.append(self.cloud.settings()["HW_SK"])
        for worker in self.workers:
            text = "\n".join(worker.printed)
            assert "Traceback" not in text, text
            assert not any(secret in text for secret in secrets)
            assert all(line["event"] and line["level"] for line in worker.lines)


@asynccontextmanager
async def supervising(
    cloud: LocalCloud, *, is_measured: bool = False, **settings: str
) -> AsyncIterator[Supervisor]:
    """Supervise workers of what was prepared in the cloud; `settings` are over the cloud's own."""
    with tempfile.TemporaryDirectory() as directory:
        supervisor = Supervisor(cloud, directory, settings, is_measured=is_measured)
        try:
            yield supervisor
        finally:
            await supervisor.end()


def unmeasured() -> dict[str, str]:
    """Return this environment for a process whose coverage is not measured.

    Measuring makes a start half as long again, and who is killed reports nothing.
    """
    return {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and not yet seen end."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]
