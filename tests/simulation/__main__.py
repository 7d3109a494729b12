"""Live through worlds: `--seed N` replays one with its whole story, otherwise many are run in a row."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from time import monotonic

from simulation.named import NAMED
from simulation.report import Sums, explain, soak
from simulation.scenario import Scenario, random_scenario
from simulation.world import World


def main() -> int:
    """Return 0 if every promise was kept in every world."""
    options = _options()
    if options.scenario:
        return _replay(replace(NAMED[options.scenario], layout=options.layout), options.grep)
    if options.seed is not None:
        return _replay(random_scenario(options.seed), options.grep)
    minutes = options.minutes
    worlds = options.worlds or (None if minutes else 10_000)
    return _soak(options.first, worlds, minutes, options.jobs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay the random world of this seed")
    parser.add_argument("--scenario", choices=sorted(NAMED), help="play a named scenario")
    parser.add_argument("--layout", choices=("object", "log"), default="object")
    parser.add_argument("--grep", default="", help="show only events with this text")
    parser.add_argument("--worlds", type=int, help="how many random worlds (default 10,000)")
    parser.add_argument("--minutes", type=float, help="how long, instead of how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _replay(scenario: Scenario, text: str) -> int:
    world = World(scenario)
    report = world.play()
    _say(str(scenario))
    for number, (at, who, what, detail) in enumerate(world.ledger.entries, 1):
        line = f"{number:6} {at:10.3f} {who:10} {what:16} {detail}"
        if text in line:
            _say(line)
    _say(f"digest {report.digest}, {report.seconds:.1f} virtual seconds")
    for violation in report.violations:
        _say(f"VIOLATED {violation}")
    return 1 if report.violations else 0


def _soak(first: int, worlds: int | None, minutes: float | None, jobs: int) -> int:
    started, sums = monotonic(), Sums()
    for report in soak(first, worlds, minutes, jobs):
        sums.add(report)
        if report.violations:
            _say(explain(report))
        if sums.worlds % 1000 == 0:
            _say(f"{sums.worlds} worlds, {len(sums.failures)} with violations")
    took, counts = monotonic() - started, sums.counts
    _say(
        f"{sums.worlds} worlds from seed {first} in {took:.0f} s ({sums.worlds / took:.0f} a second), "
        f"{sums.seconds / 3600:.0f} virtual hours: {counts['sent']} messages, "
        f"{counts['handed out']} deliveries, {counts['kill']} kills, {counts['freeze']} freezes, "
        f"{counts['stop']} stops, {counts['post']} posts; {len(sums.failures)} worlds with violations"
    )
    _say(_table(first, sums))
    if sums.worlds >= 500 and sums.not_exercised:
        _say(f"not exercised at all: {', '.join(sums.not_exercised)}")
        return 1
    return 1 if sums.failures else 0


def _table(first: int, sums: Sums) -> str:
    """Lay out the proof as Markdown."""
    counts, last = sums.counts, first + sums.worlds - 1
    again = counts["keys accepted again"]
    rows = {
        "worlds": f"{sums.worlds:,} (seeds {first:,} to {last:,}), {sums.seconds / 3600:,.0f} virtual hours",
        "messages": f"{counts['sent']:,}, delivered {counts['handed out']:,} times",
        "kill -9": f"{counts['kill']:,}",
        "stops, hard stops, freezes": f"{counts['stop']:,}, {counts['leave']:,}, {counts['freeze']:,}",
        "changes lost": f"{len(sums.failures)}",
        "keys posted again": f"{again:,} of {counts['keys accepted']:,}",
        "longest drain after the last fault": f"{sums.drained_seconds_max:.0f} s",
    }
    return "\n".join(["| proof | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
