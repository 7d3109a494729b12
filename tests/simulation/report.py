"""Many worlds: their seeds, their sums, and one line that replays a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from time import monotonic

from simulation.scenario import random_scenario
from simulation.world import Report, play

CORPUS = Path(__file__).with_name("corpus.txt")
# A run that tested nothing is not green: each of these has to have happened.
EXERCISED = (
    *("sent", "handed out", "redelivered", "post", "accepted", "rejected", "success_object", "log"),
    *("failed_object", "dead_letter", "deleted", "kill", "freeze", "stop", "leave", "stale handle"),
)
CHUNK = 20


@dataclass(slots=True)
class Sums:
    """What happened in many worlds together."""

    worlds: int = 0
    seconds: float = 0.0
    drained_seconds_max: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Report] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Add one world."""
        self.worlds += 1
        self.seconds += report.seconds
        self.drained_seconds_max = max(self.drained_seconds_max, report.drained_seconds)
        self.counts.update(report.counts)
        if report.violations:
            self.failures.append(report)

    @property
    def not_exercised(self) -> list[str]:
        """What never happened, and so was not tested."""
        return [what for what in EXERCISED if not self.counts[what]]


def play_seed(seed: int) -> Report:
    """Live through the random world of a seed."""
    return play(random_scenario(seed))


def explain(report: Report) -> str:
    """Say what was violated and how to see it again."""
    lines = "\n".join(f"  {violation}" for violation in report.violations)
    return f"seed {report.seed} violates:\n{lines}\nreplay it: make replay SEED={report.seed}"


def corpus() -> list[int]:
    """Return the seeds that found something once; a `#` begins a remark."""
    lines = (line.partition("#")[0].strip() for line in CORPUS.read_text().splitlines())
    return [int(line) for line in lines if line]


def soak(first: int, worlds: int | None, minutes: float | None, jobs: int) -> Iterator[Report]:
    """Live through many random worlds on several cores, until their number or the time is used up."""
    ends_at = monotonic() + minutes * 60 if minutes else float("inf")
    seeds: Iterable[int] = islice(count(first), worlds)
    numbers = iter(seeds)
    with ProcessPoolExecutor(jobs) as pool:
        while (chunk := list(islice(numbers, CHUNK * jobs))) and monotonic() < ends_at:
            yield from pool.map(play_seed, chunk, chunksize=CHUNK)
