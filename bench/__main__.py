"""`make bench`: the relay against the floor and the rivals, in one run, as ratios. Loopback only.

Each client is a process of its own on one core, the stand-in server another on the other core. CPU is
user + system time of the client from the first event to the last delete; start-up is not counted.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from urllib.request import urlopen

import typer
from rich.console import Console
from rich.table import Table

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
WAIT_SECONDS_MAX = 300.0


@dataclass(frozen=True)
class Result:
    """One client, one run."""

    name: str
    events: int
    events_per_second: float
    cpu_us_per_event: float
    calls_per_event: float
    connections: int
    rss_mib: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Client:
    """A process that drains the queue: its command line, and its share of the events."""

    name: str
    command: tuple[str, ...]
    layout: str = "object"
    share: float = 1.0
    reads_go: bool = True


def clients(url: str, count: int) -> Iterator[Client]:
    """All that is compared; the slow ones get fewer events."""
    python = sys.executable
    for layout in ("object", "log"):
        yield Client(
            f"floor {layout}", (python, "-m", "bench.floor", url, layout, str(count)), layout
        )
        yield Client(
            f"relay {layout}",
            (python, "-m", "worker", "run"),
            layout,
            reads_go=False,
        )
    few = max(200, count // 10)
    yield Client(
        "SDKs, 16 threads", (python, "-m", "bench.rivals", "sdks", url, str(few)), share=few / count
    )
    yield Client(
        "documented function",
        (python, "-m", "bench.rivals", "function", url, str(few)),
        share=few / count,
    )


class StandIn:
    """The stand-in server as a child process, and its control path."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}"

    def ask(self, verb: str, **query: Any) -> dict[str, Any]:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        with urlopen(f"{self.url}/control/{verb}?{asked}", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Run the stand-in on the first core."""
    command = pinned(0, (sys.executable, "-m", "bench.standin"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield StandIn(process)
        finally:
            process.terminate()


def pinned(core: int, command: tuple[str, ...]) -> tuple[str, ...]:
    """Bind a command to one core, where there are at least two."""
    return ("taskset", "-c", str(core), *command) if (os.cpu_count() or 1) > 1 else command


def environment(url: str, layout: str) -> dict[str, str]:
    """What the relay is configured with: ordinary settings, warnings only where a bench needs them."""
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
        "RELAY_ADMIN_PORT": "0",
        "RELAY_RECORD_LAYOUT": layout,
        "RELAY_SHUTDOWN_GRACE_SECONDS": "6",
        "RELAY_LOG_FORMAT": "json",
    }


def measure(
    server: StandIn, client: Client, count: int, latency: dict[str, float], rate: float
) -> Result:
    """Run one client over `count` events and return what it took."""
    count = int(count * client.share)
    server.ask("reset", **latency)
    with (
        Path(os.devnull).open("w") as quiet,
        subprocess.Popen(
            pinned(1, client.command),
            env=environment(server.url, client.layout),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=quiet,
            text=True,
        ) as process,
    ):
        try:
            return _drain(server, client, process, count, rate)
        finally:
            process.kill()


def _drain(
    server: StandIn, client: Client, process: subprocess.Popen[str], count: int, rate: float
) -> Result:
    _until_ready(server, client, process)
    server.ask("mark")
    if client.reads_go:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    started, cpu = time.perf_counter(), cpu_seconds(process.pid)
    server.ask("load", count=count, per_second=rate)
    rss = 0.0
    while (report := server.ask("report"))["deleted"] < count:
        if process.poll() not in (None, 0) or time.perf_counter() - started > WAIT_SECONDS_MAX:
            raise SystemExit(f"{client.name} stopped after {report['deleted']} of {count} events")
        rss = max(rss, rss_mib(process.pid))
        time.sleep(0.05)
    return Result(
        name=client.name,
        events=count,
        events_per_second=count
        / (report["last_delete_at"] - report["now"] + time.perf_counter() - started),
        cpu_us_per_event=(cpu_seconds(process.pid) - cpu) / count * 1e6,
        calls_per_event=sum(report["calls"].values()) / count,
        connections=report["connections"] - 1,
        rss_mib=rss,
        p50_ms=report["p50_seconds"] * 1000,
        p99_ms=report["p99_seconds"] * 1000,
    )


def _until_ready(server: StandIn, client: Client, process: subprocess.Popen[str]) -> None:
    if client.reads_go:
        assert process.stdout is not None
        process.stdout.readline()
        return
    while server.ask("report")["calls"].get("oms GET", 0) == 0:
        time.sleep(0.02)
    time.sleep(0.3)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MIB
    except (FileNotFoundError, IndexError):
        return 0.0


def table(results: list[Result], baseline: dict[str, Result]) -> Table:
    """Lay the results out; ratios are to the floor of the same layout in the same run."""
    shown = Table(title="one process, one core; medians", title_justify="left")
    for name in (
        "client",
        "events/s",
        "CPU us/event",
        "x floor",
        "calls/event",
        "conns",
        "RSS MiB",
        "p50 ms",
        "p99 ms",
    ):
        shown.add_column(name, justify="left" if name == "client" else "right")
    floors = {each.name.split()[1]: each for each in results if each.name.startswith("floor")}
    for each in results:
        floor = floors.get("log" if each.name.endswith("log") else "object")
        was = baseline.get(each.name)
        cpu = f"{each.cpu_us_per_event:.0f}" + (f" (was {was.cpu_us_per_event:.0f})" if was else "")
        shown.add_row(
            each.name,
            f"{each.events_per_second:,.0f}",
            cpu,
            f"{each.cpu_us_per_event / floor.cpu_us_per_event:.2f}" if floor else "-",
            f"{each.calls_per_event:.3f}",
            str(each.connections),
            f"{each.rss_mib:.0f}",
            f"{each.p50_ms:.0f}",
            f"{each.p99_ms:.0f}",
        )
    return shown


def middle(runs: list[Result]) -> Result:
    """Return the run with the median CPU."""
    wanted = median(each.cpu_us_per_event for each in runs)
    return min(runs, key=lambda each: abs(each.cpu_us_per_event - wanted))


def main(
    events: Annotated[int, typer.Option(help="Events per run.")] = 10_000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; medians are shown.")] = 3,
    only: Annotated[str, typer.Option(help="Only clients whose name contains this.")] = "",
    rate: Annotated[float, typer.Option(help="Events per second; 0 enqueues all at once.")] = 0.0,
    remote: Annotated[
        bool, typer.Option(help="Add latency: OMS 80 ms, OSS 15 ms, MNS 10 ms.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Write the results as JSON.")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Show the figures of an earlier run beside.")
    ] = None,
) -> None:
    """Measure CPU and calls per event against the floor of the same run."""
    latency = (
        {"mns": 0.010, "oss": 0.015, "oms": 0.080}
        if remote
        else {"mns": 0.0, "oss": 0.0, "oms": 0.0}
    )
    runs: dict[str, list[Result]] = {}
    with stand_in() as server:
        for _ in range(rounds):
            for client in clients(server.url, events):
                if only in client.name:
                    result = measure(server, client, events, latency, rate)
                    runs.setdefault(client.name, []).append(result)
    results = [middle(each) for each in runs.values()]
    earlier = json.loads(compare.read_text())["results"] if compare else []
    Console(width=120).print(table(results, {each["name"]: Result(**each) for each in earlier}))
    if save:
        where = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
        }
        save.write_text(
            json.dumps({"where": where, "results": [asdict(each) for each in results]}, indent=1)
        )


if __name__ == "__main__":
    typer.run(main)
