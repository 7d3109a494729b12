"""`make bench`: the relay against the floor and the rivals, in one run, as ratios. Loopback only.

Each client is a process of its own on one core, the stand-in server another on the other core. CPU is
user + system time of the client from the first event to the last delete; start-up is not counted.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.harness import NEAR, REMOTE, stand_in
from bench.measure import Client, Result, measure


def clients(url: str, count: int) -> Iterator[Client]:
    """All that is compared; the slow ones get fewer events."""
    python = sys.executable

    def floor(kind: str, keys_per_record: int) -> tuple[str, ...]:
        return (python, "-m", "bench.floor", kind, url, str(keys_per_record), str(count))

    yield Client("floor object", command=floor("strict", 1))
    yield Client("SDK floor object", command=floor("sdks", 1))
    yield Client("relay object", "object")
    yield Client("floor log", command=floor("strict", 80))
    yield Client("floor log, 16 keys", command=floor("strict", 16))
    yield Client("SDK floor log", command=floor("sdks", 80))
    yield Client("relay log", "log")
    few = max(200, count // 10)
    for name, rival in (("SDKs, 16 threads", "sdks"), ("documented function", "function")):
        command = (python, "-m", "bench.rivals", rival, url, str(few))
        yield Client(name, command=command, share=few / count)


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
    floors = {each.name: each for each in results}
    for each in results:
        floor = floors.get("floor log" if " log" in each.name else "floor object")
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
    latency = REMOTE if remote else NEAR
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
