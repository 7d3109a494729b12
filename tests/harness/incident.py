"""An incident: a cloud and a relay at work in a thread, a fault, and the commands that a person types."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from signal import Signals
from typing import Any, TypeVar

import aiohttp

from harness.ops import CommandLine, command_line
from harness.processes import RUN, unmeasured
from harness.relay import Running, free_port, relaying
from harness.runbook_cases import Case, hold_against_row
from localcloud.cloud import TASK_ID, LocalCloud
from localcloud.identity import ALIBABA, HUAWEI

T = TypeVar("T")
LIMIT_SECONDS = 60


@dataclass(slots=True)
class Incident:
    """The commands are typed in this thread; everything else is done in that of the cloud.

    `shown` counts how often the case has held what was printed against its row.
    """

    case: Case
    line: CommandLine
    relay: Running
    shown: int = 0

    @property
    def settings(self) -> dict[str, str]:
        """What the relay and the commands are told over the cloud's own settings."""
        return settings_of(self.case, self.line.cloud)

    def shows(self, printed: str) -> None:
        """Fail unless the words of the case's row, and the fixes it names, were printed."""
        self.shown += 1
        hold_against_row(self.case.row, printed)

    def cloud(self, change: Callable[[LocalCloud], T]) -> T:
        """Change or read the cloud in its own thread."""
        found: T = self.line.within(change)
        return found

    def send(self, *keys: str) -> None:
        """Write objects, whose events reach the queue."""
        self.cloud(lambda cloud: [cloud.oss.put("source", key, key.encode()) for key in keys])

    def stop_task(self) -> None:
        """Stop the sync task."""
        self.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].stop())

    def start_task(self) -> None:
        """Start the sync task again."""
        self.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].start(cloud.oms.clock.now()))

    def ask(self, *arguments: str, **settings: str) -> str:
        """Type a command; return what it prints, with its columns run together."""
        result = self.line(*arguments, **self.settings | settings)
        return " ".join(result.output.split())

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Type a command that must succeed; return the JSON lines it prints."""
        return self.line.lines(*arguments, **self.settings)

    def status(self) -> str:
        """Type `status` with the relay's address."""
        return self.ask("status", "--worker", self.relay.admin_url)

    def metrics(self) -> str:
        """Ask the relay for its metrics."""

        async def get() -> str:
            async with aiohttp.request("GET", f"{self.relay.admin_url}/metrics") as answer:
                return await answer.text()

        return self.wait(get())

    def logged(self) -> str:
        """Return what the relay has logged."""
        return "\n".join(
            f"{line.get('why', '')} {line['event']} {line.get('hint', '')}"
            for line in self.relay.logs
        )

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for a condition while the relay lives."""
        self.wait(self.relay.until(condition, what))

    def works(self) -> None:
        """Wait until the relay takes messages."""
        self.until(lambda: not any(b.is_open for b in self.relay.assembled.breakers), "readiness")

    def refused(self, service: str) -> None:
        """Wait until a service cannot be used."""
        self.wait(self.relay.not_ready(service))

    def recovered(self) -> None:
        """Wait until all that was sent is done."""
        self.probed()
        self.wait(self.relay.settle())

    def probed(self) -> None:
        """Probe now, as a restart does, and wait until the relay works."""
        for breaker in self.relay.assembled.breakers:
            self.line.loop.call_soon_threadsafe(breaker.probe_now)
        self.works()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for something that happens in the thread of the cloud."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.line.loop).result(LIMIT_SECONDS)


def settings_of(case: Case, cloud: LocalCloud) -> dict[str, str]:
    """The settings of a case, over those that lead to the destination where it follows keys there."""
    follows = {"RELAY_ARRIVAL_RATIO": "1", "RELAY_ARRIVAL_SECONDS": "1"}
    named = cloud.settings(with_destination=True) | follows if case.follows else {}
    return named | dict(case.settings)


@contextmanager
def beginning(case: Case) -> Iterator[Incident]:
    """A prepared cloud as the case wants it, and a relay with its settings over the cloud's own."""
    with command_line(**case.prepare) as line:
        line.within(case.before)
        leaving = asyncio.Event()

        async def relay(started: asyncio.Future[Running]) -> None:
            async with relaying(line.cloud, settings=settings_of(case, line.cloud)) as running:
                started.set_result(running)
                await leaving.wait()

        async def start() -> tuple[Running, asyncio.Task[None]]:
            started = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(relay(started), name="relay of the incident")
            await asyncio.wait((started, task), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return started.result(), task

        async def end(task: asyncio.Task[None]) -> None:
            leaving.set()
            await task

        running, task = asyncio.run_coroutine_threadsafe(start(), line.loop).result(LIMIT_SECONDS)
        try:
            yield Incident(case, line, running)
        finally:
            asyncio.run_coroutine_threadsafe(end(task), line.loop).result(LIMIT_SECONDS)


def deny(cloud: LocalCloud, *actions: str) -> None:
    """Take these rights from the relay's keys, and give all others back."""
    cloud.alibaba.add(replace(ALIBABA, denied=actions))
    cloud.huawei.add(replace(HUAWEI, denied=actions))


def process(
    cloud: LocalCloud,
    signals: Sequence[Signals] = (),
    program: Sequence[str] = RUN,
    **settings: str,
) -> str:
    """Run a relay as a process, send it signals once it has started; return its exit code and its log."""
    names = unmeasured() | {
        "RELAY_ADMIN_PORT": str(free_port()),
        "RELAY_SHUTDOWN_GRACE_SECONDS": "5",
    }
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            (sys.executable, *program),
            env=names | cloud.settings() | settings,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as relay,
    ):
        assert relay.stdout is not None
        log = []
        waiting = list(signals)
        for text in relay.stdout:
            log.append(text)
            # The second one comes once the first was heard, which is when it is logged.
            if waiting and ('"action":"start"' in text or "stopping" in text):
                relay.send_signal(waiting.pop(0))
        code = relay.wait(LIMIT_SECONDS)
    return f"{code if code >= 0 else 128 - code}: {''.join(log)}"
