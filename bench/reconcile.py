"""`make bench-reconcile`: what a comparison of two buckets costs a pair of objects, beside rclone's.

Both run against the same stand-in, which makes its pages as it goes, on a core of its own. CPU is user and
system time of the process as a whole, less that of a run over 1,000 pairs: the start is no cost of a pair.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.harness import CORES, child

FIRST_SIZES = (1_000_000, 10_000_000)
WITH_OPTION = 100_000_000
START_PAIRS = 1_000
TWO = ("--processes", "2", "--unordered")
RCLONE_PAIRS_MAX = 200_000
CREDENTIALS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "bench",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "bench-secret",
    "HW_AK": "BENCHKEY",
    "HW_SK": "bench-secret",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took."""

    cpu_seconds: float
    seconds: float
    rss_mib: float


@contextmanager
def listings(count: int, *, is_alone: bool) -> Iterator[str]:
    """Serve two buckets of so many pairs: on the first core alone, or wherever there is room."""
    command = (sys.executable, "-m", "bench.listings", "--count", str(count))
    with child(command, core=0) as process:
        if not is_alone:
            os.sched_setaffinity(process.pid, CORES)
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def cost(command: Sequence[str], env: Mapping[str, str], cores: Sequence[int]) -> Cost:
    """Run a command on these cores and its children with it. Raises `SystemExit` if it fails."""
    began = time.perf_counter()
    with Path(os.devnull).open("w") as quiet:
        bound = ("taskset", "-c", ",".join(map(str, cores)), *command)
        process = subprocess.Popen(bound, env={**os.environ, **env}, stdout=quiet, stderr=quiet)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    seconds = time.perf_counter() - began
    return Cost(used.ru_utime + used.ru_stime, seconds, used.ru_maxrss / 1024)


def reconcile(url: str, cores: Sequence[int], *options: str) -> Cost:
    """Compare as users do."""
    env = {
        **CREDENTIALS,
        "MNS_ENDPOINT": url,
        "MNS_QUEUE": "bench",
        "OSS_ENDPOINT": url,
        "OSS_REGION": "cn-hangzhou",
        "LOG_BUCKET": "records",
        "SYNC_URL": f"{url}/v2/p/sync-tasks/t/events",
        "OBS_ENDPOINT": url,
    }
    command = (sys.executable, "-m", "worker", "reconcile", "source", *options)
    return cost(command, env, cores)


def rclone(url: str, cores: Sequence[int]) -> Cost:
    """Compare names and sizes with rclone, which takes both sides for S3."""
    # A bundle of certificates in the environment stops rclone 1.60 at its start.
    env = {"AWS_CA_BUNDLE": ""}
    for side in ("SOURCE", "COPY"):
        env |= {
            f"RCLONE_CONFIG_{side}_TYPE": "s3",
            f"RCLONE_CONFIG_{side}_PROVIDER": "Other",
            f"RCLONE_CONFIG_{side}_ENDPOINT": url,
            f"RCLONE_CONFIG_{side}_ACCESS_KEY_ID": "bench",
            f"RCLONE_CONFIG_{side}_SECRET_ACCESS_KEY": "bench-secret",
        }
    sides = ("source:source", "copy:destination")
    return cost(("rclone", "check", "--size-only", "--config", os.devnull, *sides), env, cores)


def row(name: str, count: int, start: Cost, run: Cost) -> tuple[str, ...]:
    """Return a line of the table."""
    pairs = count - START_PAIRS
    cpu = (run.cpu_seconds - start.cpu_seconds) / pairs
    return (
        name,
        f"{count:,}",
        f"{cpu * 1e6:.1f} us",
        f"{1 / cpu:,.0f}/s",
        f"{pairs / (run.seconds - start.seconds):,.0f}/s",
        f"{run.rss_mib:.0f} MiB",
    )


def main(
    pairs: Annotated[int, typer.Option(help="Only this many pairs.")] = 0,
    with_100_million: Annotated[bool, typer.Option(help="100 million pairs as well.")] = False,
) -> None:
    """Show what a pair costs by the number of pairs; rclone gets 200,000 at most, as it holds a folder."""
    sizes = (pairs,) if pairs else FIRST_SIZES + ((WITH_OPTION,) if with_100_million else ())
    core = CORES[-1:]
    shown = Table(title="comparisons of two buckets, all pairs equal", title_justify="left")
    for name in ("", "pairs", "CPU a pair", "pairs by a core", "pairs, elapsed", "RSS, highest"):
        shown.add_column(name, justify="right" if name else "left")
    with listings(START_PAIRS, is_alone=True) as url:
        start = reconcile(url, core)
    for count in sizes:
        with listings(count, is_alone=True) as url:
            shown.add_row(*row("reconcile", count, start, reconcile(url, core)))
    with listings(START_PAIRS, is_alone=False) as url:
        start = reconcile(url, CORES, *TWO)
    with listings(sizes[0], is_alone=False) as url:
        shown.add_row(*row("--processes 2", sizes[0], start, reconcile(url, CORES, *TWO)))
    console = Console(width=100)
    if shutil.which("rclone"):
        count = min(sizes[0], RCLONE_PAIRS_MAX)
        with listings(START_PAIRS, is_alone=True) as url:
            start = rclone(url, core)
        with listings(count, is_alone=True) as url:
            shown.add_row(*row("rclone check", count, start, rclone(url, core)))
    else:
        console.print("rclone is not installed, and left out: apt-get install rclone")
    console.print(shown)


if __name__ == "__main__":
    typer.run(main)
