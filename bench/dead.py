"""`make bench-dead`: time and memory of `dead groups`, `redrive` and `archive` by the number of letters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from urllib.request import urlopen

import typer
from rich.console import Console
from rich.table import Table

MNS_MS, OSS_MS = 80, 15
COMMANDS = (
    ("groups", ("dead", "groups", "--json")),
    ("dry run", ("dead", "archive", "--dry-run")),
    ("redrive", ("dead", "redrive", "--yes")),
    ("unarchive", ("dead", "unarchive", "--redriven", "--yes")),
    ("archive", ("dead", "archive", "--yes")),
)


@contextmanager
def stand_in(letters: int, mns_ms: float, oss_ms: float) -> Iterator[str]:
    """Serve so many letters, with the latencies of a real network."""
    arguments = [str(each) for each in (letters, mns_ms, oss_ms)]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.dead_standin", *arguments], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def measured(url: str, arguments: tuple[str, ...]) -> tuple[float, float, float, str]:
    """Run a command; return its wall time, CPU time, highest RSS in MiB, and what it printed last."""
    settings = {
        "MNS_ENDPOINT": url,
        "MNS_QUEUE": "bench",
        "OSS_ENDPOINT": url,
        "OSS_REGION": "cn-hangzhou",
        "LOG_BUCKET": "bench-logs",
        "SYNC_URL": f"{url}/v2/project/sync-tasks/bench/events",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "id",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "secret",
        "HW_AK": "id",
        "HW_SK": "secret",
    }
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        assert program.stdout is not None
        last = "".join(program.stdout.readlines()[-1:]).strip()
        _, status, usage = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {program.returncode}: {last}")
    took = time.perf_counter() - started
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, last


def main(
    letters: Annotated[str, typer.Option(help="How many, by commas.")] = "10000,100000",
    mns_ms: Annotated[float, typer.Option(help="Latency of MNS.")] = MNS_MS,
    oss_ms: Annotated[float, typer.Option(help="Latency of OSS.")] = OSS_MS,
    only: Annotated[str, typer.Option(help="Only this command.")] = "",
) -> None:
    """Show for each command: letters a second, CPU and calls for each letter, and the highest RSS."""
    shown = Table(title=f"MNS {mns_ms:g} ms, OSS {oss_ms:g} ms", title_justify="left")
    for name in (
        "letters",
        "command",
        "seconds",
        "letters/s",
        "CPU a letter",
        "calls a letter",
        "RSS",
    ):
        shown.add_column(name, justify="left" if name == "command" else "right")
    for count in (int(each) for each in letters.split(",")):
        with stand_in(count, mns_ms, oss_ms) as url:
            for name, arguments in COMMANDS:
                if only and name != only:
                    continue
                before = calls(url)
                took, cpu, rss, _ = measured(url, arguments)
                made = calls(url) - before
                shown.add_row(
                    f"{count:,}",
                    name,
                    f"{took:.1f}",
                    f"{count / took:,.0f}",
                    f"{cpu / count * 1e6:,.0f} us",
                    f"{made / count:.3f}",
                    f"{rss:.0f} MiB",
                )
                Console(stderr=True).print(f"{count:,} {name}: {took:.1f} s")
    Console(width=120).print(shown)


def calls(url: str) -> int:
    """Return how many calls the stand-in has answered."""
    with urlopen(f"{url}/control", timeout=60) as answer:
        return sum(json.load(answer)["calls"].values())


if __name__ == "__main__":
    typer.run(main)
