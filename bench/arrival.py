"""`make bench-arrival`: what it costs an event that a share of the keys is followed to the destination.

Three relays run side by side, each with a stand-in of its own: one follows nothing, one a hundredth of the
keys, one all. In each round each gets the same events in turn, in random order, and time for all its looks;
only the CPU time of that relay's process counts, by the scheduler's own nanoseconds. A round gives one
ratio of each to the relay that follows nothing: what the machine does beside it strikes all nearly alike.
Medians of many rounds are shown, with the span in which the true median lies nineteen times in twenty.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.harness import NEAR, Program, StandIn, relay, stand_in

NONE = ""
RATIOS = (NONE, "0.01", "1")
# A key is first looked at after a quarter of this.
ARRIVAL_SECONDS = 8
LOOKS_SECONDS = ARRIVAL_SECONDS / 4 + 1.0
# The first events load what is loaded on demand.
WARM_UP_EVENTS = 500


@dataclass
class Lane:
    """One relay and its own stand-in; `sent` counts the events that it got so far."""

    server: StandIn
    program: Program
    follows_all: bool
    sent: int = 0

    def cpu_us_and_looks(self, events: int) -> tuple[float, float]:
        """Let it take so many events and look at their copies; return CPU and looks of one event."""
        self.server.ask("reset", **NEAR)
        before = self.program.cpu_ns()
        self.server.ask("load", count=events, per_second=0, first=self.sent)
        self.sent += events
        for _ in self.server.deleted(events, [self.program]):
            pass
        # The same time for all, in which a relay idles as well; where each key is followed it takes longer.
        time.sleep(LOOKS_SECONDS)
        while self.follows_all and self.looks() < events:
            time.sleep(0.1)
        looks = self.looks()
        cpu = self.program.cpu_ns() - before
        return cpu / events / 1000, looks / events

    def looks(self) -> int:
        """Ask how often the destination was looked at in this round."""
        found: int = self.server.ask("report")["calls"].get("obs HEAD", 0)
        return found


@contextmanager
def lanes(layout: str) -> Iterator[dict[str, Lane]]:
    """Start a relay for each ratio, all on one core, and the stand-ins on the other."""
    with ExitStack() as stack:
        found = {}
        for ratio in RATIOS:
            server = stack.enter_context(stand_in())
            settings = {
                "OBS_ENDPOINT": server.url,
                "RELAY_ARRIVAL_RATIO": ratio,
                "RELAY_ARRIVAL_SECONDS": str(ARRIVAL_SECONDS),
            }
            started = relay(server.url, layout, 1, settings if ratio else None)
            found[ratio] = Lane(server, stack.enter_context(started), ratio == "1")
        yield found


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the span in which the median of the whole lies with 95 %: by the ranks of what was measured."""
    ordered = sorted(values)
    cut = max(0, int(len(ordered) / 2 - 0.98 * len(ordered) ** 0.5))
    return ordered[cut], ordered[-1 - cut]


def main(
    events: Annotated[int, typer.Option(help="Events for each relay in a round.")] = 4_000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.")] = 20,
    layout: Annotated[str, typer.Option(help="Of the records; both unless given.")] = "",
) -> None:
    """Compare a relay that looks at nothing with those that follow a hundredth and all of the keys."""
    shown = Table(title="arrival: CPU of one relay; medians of ratios", title_justify="left")
    for name in ("layout", "RELAY_ARRIVAL_RATIO", "CPU us/event", "x none", "95 %", "looks/event"):
        shown.add_column(name, justify="left" if name == "layout" else "right")
    order = random.Random(1)
    for each in (layout,) if layout else ("object", "log"):
        with lanes(each) as relays:
            for lane in relays.values():
                lane.cpu_us_and_looks(WARM_UP_EVENTS)
            runs = []
            for _ in range(rounds):
                ratios = order.sample(RATIOS, len(RATIOS))
                runs.append({ratio: relays[ratio].cpu_us_and_looks(events) for ratio in ratios})
        for ratio in RATIOS:
            quotients = [run[ratio][0] / run[NONE][0] for run in runs]
            low, high = spread(quotients)
            cpu, looks = (median(run[ratio][at] for run in runs) for at in (0, 1))
            row = (f"{cpu:.0f}", f"{median(quotients):.3f}", f"{low:.3f} .. {high:.3f}")
            shown.add_row(each, ratio or "no OBS_ENDPOINT", *row, f"{looks:.3f}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    typer.run(main)
