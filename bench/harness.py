"""What every measurement needs: the stand-in and the clients as processes, bound to cores, and their cost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
CORES = sorted(os.sched_getaffinity(0))
READY_SECONDS_MAX = 30.0
STUCK_SECONDS = 60.0
WARM_UP_EVENTS = 60_000

NEAR = {"mns": 0.0, "oss": 0.0, "oms": 0.0}
REMOTE = {"mns": 0.010, "oss": 0.015, "oms": 0.080}


class Program:
    """A child process: how soon a relay was ready, what it has cost so far, and where it may run."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.ready_seconds = 0.0

    @property
    def has_failed(self) -> bool:
        return self.process.poll() not in (None, 0)

    def line(self) -> str:
        """Wait for a line of its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def say(self, text: str) -> None:
        """Write to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / TICKS

    def cpu_ns(self) -> int:
        """User and system time so far of the threads that are there, as finely as the scheduler counts."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def rss_mib(self) -> float:
        """Resident memory."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_MIB
        except (FileNotFoundError, IndexError):
            return 0.0

    def bind(self, cores: Sequence[int]) -> None:
        """Let it run on these cores only."""
        os.sched_setaffinity(self.process.pid, cores)


class StandIn(Program):
    """The stand-in server, and its control path."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(process)
        self.url = f"http://127.0.0.1:{int(self.line())}"

    def ask(self, verb: str, **query: Any) -> dict[str, Any]:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        with urlopen(f"{self.url}/control/{verb}?{asked}", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def deleted(self, count: int, programs: Sequence[Program]) -> Iterator[int]:
        """Yield how many events are deleted, ten times a second, until `count` are.

        Raises `SystemExit` if one of the programs fails, or nothing moves any more.
        """
        done, moved_at = 0, time.perf_counter()
        while done < count:
            time.sleep(0.1)
            before, done = done, self.ask("progress")["deleted"]
            now = time.perf_counter()
            moved_at = now if done > before else moved_at
            is_stuck = now - moved_at > STUCK_SECONDS
            # Not asked at the end: asking one that is over forgets what it has cost.
            if done < count and (is_stuck or any(each.has_failed for each in programs)):
                raise SystemExit(f"stopped after {done} of {count} events")
            yield done

    def warm_up(self, programs: Sequence[Program], first: int) -> None:
        """Let the relays carry a backlog that is not counted; its numbers begin at `first`.

        They need some ten seconds of one until they have found their shares of what MNS allows.
        """
        count = WARM_UP_EVENTS * len(programs)
        self.ask("load", count=count, per_second=0, first=first)
        for _ in self.deleted(count, programs):
            pass
        self.ask("warm")


@contextmanager
def child(
    command: Sequence[str], core: int, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command on one core (the last one, if there are fewer) and kill it at the end."""
    bound = ("taskset", "-c", str(CORES[min(core, len(CORES) - 1)]), *command)
    with (
        Path(os.devnull).open("w") as quiet,
        subprocess.Popen(
            bound,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=quiet,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Run the stand-in on the first core."""
    with child((sys.executable, "-m", "bench.standin"), core=0) as process:
        yield StandIn(process)


@contextmanager
def relay(
    url: str, layout: str, core: int, settings: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a relay as users do, in a process of its own, and wait until it is ready."""
    port = _free_port()
    command = (sys.executable, "-m", "worker", "run")
    env = _environment(url, layout, port) | dict(settings or {})
    with child(command, core, env) as process:
        found = Program(process)
        found.ready_seconds = _seconds_until_ready(port)
        yield found


def _environment(url: str, layout: str, port: int) -> dict[str, str]:
    """What the relay is configured with: ordinary settings, and what the stand-in is reached by."""
    return {
        **os.environ,
        "MNS_ENDPOINT": url,
        "MNS_QUEUE": "bench",
        "OSS_ENDPOINT": url,
        "OSS_REGION": "cn-hangzhou",
        "LOG_BUCKET": "records",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "bench",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "bench-secret",
        "SYNC_URL": f"{url}/v2/p/sync-tasks/t/events",
        "HW_AK": "BENCHKEY",
        "HW_SK": "bench-secret",
        "RELAY_RECORD_LAYOUT": layout,
        "RELAY_SHUTDOWN_GRACE_SECONDS": "6",
        "RELAY_LOG_FORMAT": "json",
        "RELAY_ADMIN_PORT": str(port),
    }


def _free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        port: int = line.getsockname()[1]
        return port


def _seconds_until_ready(port: int) -> float:
    """Wait until /readyz answers 200; return how long it took."""
    started = time.perf_counter()
    while (took := time.perf_counter() - started) < READY_SECONDS_MAX:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return took
        except HTTPError as error:
            error.close()
        except URLError:
            pass
        time.sleep(0.01)
    raise SystemExit(f"the relay was not ready after {READY_SECONDS_MAX:.0f} s")
