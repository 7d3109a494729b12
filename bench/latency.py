"""`make bench-latency`: what remote services cost in throughput: OMS 80 ms away, OSS 15 ms, MNS 10 ms.

Near and remote runs take turns, so that both meet the same machine. A relay that hides latency is bound by
its core in both; settings are taken from the environment.
"""

from __future__ import annotations

from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.harness import NEAR, REMOTE, stand_in
from bench.measure import Client, measure


def main(
    events: Annotated[int, typer.Option(help="Events per run.")] = 60_000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; medians are shown.")] = 3,
    only: Annotated[str, typer.Option(help="Only the layout whose name contains this.")] = "",
) -> None:
    """Compare the throughput of one relay near its services and far from them."""
    shown = Table(title="one relay, one core; medians", title_justify="left")
    for name in ("layout", "near, events/s", "remote, events/s", "ratio", "its core, remote"):
        shown.add_column(name, justify="left" if name == "layout" else "right")
    with stand_in() as server:
        for layout in (each for each in ("object", "log") if only in each):
            client = Client(f"relay {layout}", layout)
            pairs = [
                [measure(server, client, events, latency) for latency in (NEAR, REMOTE)]
                for _ in range(rounds)
            ]
            near, remote = (median(pair[at].events_per_second for pair in pairs) for at in (0, 1))
            ratio = median(far.events_per_second / by.events_per_second for by, far in pairs)
            core = median(far.core_share for _, far in pairs)
            shown.add_row(layout, f"{near:,.0f}", f"{remote:,.0f}", f"{ratio:.2f}", f"{core:.0%}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    typer.run(main)
