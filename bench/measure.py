"""One client over so many events: what it costs, and how fast it is. `harness` runs the processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.harness import Program, StandIn, child, relay


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

    @property
    def core_share(self) -> float:
        """How much of its core the client used."""
        return self.cpu_us_per_event * self.events_per_second / 1e6


@dataclass(frozen=True)
class Client:
    """What drains the queue: a relay of this layout, or a command that says `ready` and waits for `go`."""

    name: str
    layout: str = ""
    command: tuple[str, ...] = ()
    share: float = 1.0


def measure(
    server: StandIn, client: Client, count: int, latency: Mapping[str, float], rate: float = 0.0
) -> Result:
    """Run one client over `count` events, enqueued at once or at a rate, and return what it took.

    CPU is user and system time from the first event to the last delete; start-up is not counted.
    """
    count = int(count * client.share)
    server.ask("reset", **latency)
    if client.layout:
        with relay(server.url, client.layout, core=1) as program:
            server.ask("mark")
            server.warm_up([program], first=count)
            return _drain(server, client.name, program, count, rate)
    with child(client.command, core=1) as process:
        program = Program(process)
        program.line()
        server.ask("mark")
        return _drain(server, client.name, program, count, rate, go="go\n")


def _drain(
    server: StandIn, name: str, program: Program, count: int, rate: float, go: str = ""
) -> Result:
    program.say(go)
    cpu, rss = program.cpu_seconds(), 0.0
    server.ask("load", count=count, per_second=rate)
    for _ in server.deleted(count, [program]):
        rss = max(rss, program.rss_mib())
    cpu = program.cpu_seconds() - cpu
    report = server.ask("report")
    return Result(
        name=name,
        events=count,
        events_per_second=count / report["seconds"],
        cpu_us_per_event=cpu / count * 1e6,
        calls_per_event=sum(report["calls"].values()) / count,
        connections=report["connections"],
        rss_mib=rss,
        p50_ms=report["p50_seconds"] * 1000,
        p99_ms=report["p99_seconds"] * 1000,
    )
