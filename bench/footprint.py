"""`make bench-footprint`: how soon a relay is ready, its cost when idle, its memory over a long backlog."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.harness import NEAR, Program, StandIn, relay, stand_in

WAITING = 100_000
PARTS = 10


def rss_by_part(server: StandIn, program: Program, count: int) -> list[float]:
    """Keep 100,000 events waiting until `count` are done; return the highest RSS in each tenth, in MiB."""
    server.ask("load", count=WAITING, per_second=0)
    loaded, highest = WAITING, [0.0] * PARTS
    for done in server.deleted(count, [program]):
        if loaded < count and loaded - done < WAITING:
            more = min(WAITING - (loaded - done), count - loaded)
            server.ask("load", count=more, per_second=0, first=loaded)
            loaded += more
        part = min(done * PARTS // count, PARTS - 1)
        highest[part] = max(highest[part], program.rss_mib())
    return highest


def row(server: StandIn, layout: str, count: int, idle_seconds: float) -> tuple[str, ...]:
    """Start a relay, let it idle, then let it carry the events."""
    server.ask("reset", **NEAR)
    with relay(server.url, layout, core=1) as program:
        before = program.cpu_seconds()
        time.sleep(idle_seconds)
        idle = (program.cpu_seconds() - before) / idle_seconds
        rss = rss_by_part(server, program, count)
    growth = max(rss[1:]) - rss[0]
    return (
        layout,
        f"{program.ready_seconds:.2f} s",
        f"{idle:.2%}",
        f"{max(rss):.0f} MiB",
        f"{growth:+.0f} MiB",
        " ".join(f"{each:.0f}" for each in rss),
    )


def main(
    events: Annotated[int, typer.Option(help="Events to carry.")] = 1_000_000,
    idle_seconds: Annotated[float, typer.Option(help="How long to look at an idle relay.")] = 60.0,
    layout: Annotated[str, typer.Option(help="Only this record layout.")] = "",
) -> None:
    """Show start, idle cost and memory, with 100,000 messages waiting all the time."""
    title = f"{events:,} events, {WAITING:,} of them waiting"
    shown = Table(title=title, title_justify="left")
    names = ("layout", "ready after", "CPU idle", "RSS, highest", "after the first tenth")
    for name in (*names, "RSS by tenths, MiB"):
        shown.add_column(name, justify="left" if name == "layout" else "right")
    with stand_in() as server:
        for each in ("object", "log"):
            if layout in each:
                shown.add_row(*row(server, each, events, idle_seconds))
    Console(width=120).print(shown)


if __name__ == "__main__":
    typer.run(main)
