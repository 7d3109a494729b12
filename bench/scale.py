"""`make bench-scale`: how much more two relay processes on two cores carry than one process on one core.

Both runs get whole cores and nothing else: one relay shares its core with the stand-in, and two relays
share their two cores with the same stand-in, which then may run on either. So its cost is part of a core in
both runs, and what is compared is one core with two. Latency is that of remote services.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.harness import CORES, REMOTE, StandIn, relay, stand_in


def events_per_second(server: StandIn, layout: str, processes: int, count: int) -> float:
    """Carry `count` events with that many relays, a core for each."""
    server.ask("reset", **REMOTE)
    server.bind(CORES[-processes:])
    with ExitStack() as stack:
        relays = [
            stack.enter_context(relay(server.url, layout, core))
            for core in range(len(CORES) - processes, len(CORES))
        ]
        server.warm_up(relays, first=count)
        server.ask("load", count=count, per_second=0)
        for _ in server.deleted(count, relays):
            pass
    return count / float(server.ask("report")["seconds"])


def main(
    events: Annotated[int, typer.Option(help="Events for each core.")] = 20_000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; medians are shown.")] = 3,
) -> None:
    """Compare one relay on one core with two relays on two."""
    if len(CORES) < 2:
        raise SystemExit("this needs two cores")
    shown = Table(title="relay and stand-in together on whole cores; medians", title_justify="left")
    for name in ("layout", "one core, events/s", "two cores, events/s", "factor"):
        shown.add_column(name, justify="left" if name == "layout" else "right")
    with stand_in() as server:
        for layout in ("object", "log"):
            runs = [
                [events_per_second(server, layout, cores, events * cores) for cores in (1, 2)]
                for _ in range(rounds)
            ]
            one, two = (median(run[at] for run in runs) for at in (0, 1))
            factor = median(run[1] / run[0] for run in runs)
            shown.add_row(layout, f"{one:,.0f}", f"{two:,.0f}", f"{factor:.2f}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    typer.run(main)
