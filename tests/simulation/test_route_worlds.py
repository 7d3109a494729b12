"""Worlds of three routes on one queue, one of them down for an hour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from statistics import quantiles

import pytest

from simulation.bodies import Mix
from simulation.faults import Phase, Trouble
from simulation.mutants_of_routes import ROUTE_MUTANTS
from simulation.scenario import Blow, Scenario
from simulation.world import Report, World

pytestmark = pytest.mark.no_cover

HOUR = 3600.0
DOWN = "music"
OTHERS = ("photos", "stills")
ROUTES = ("photos", DOWN, "stills")

CALM = Scenario(
    1,
    mix=Mix(letters=100, span_seconds=HOUR + 300.0, buckets=ROUTES),
    routes=ROUTES,
    max_in_flight=200,
    clears_at=HOUR + 310.0,
    wait_seconds=30,
)
OUTAGES = {
    "its task is stopped": (Phase("oms", Trouble.STOPPED, 10.0, 10.0 + HOUR, route=DOWN),),
    "its key is refused": (Phase("oms", Trouble.CREDENTIALS, 10.0, 10.0 + HOUR, route=DOWN),),
    "it was never up": (Phase("oms", Trouble.CREDENTIALS, 0.0, HOUR, route=DOWN),),
    "it does not answer": (Phase("oms", Trouble.SILENT, 10.0, 10.0 + HOUR, route=DOWN),),
    "it refuses posts while its task answers": (
        Phase("oms", Trouble.DENIED, 10.0, 10.0 + HOUR, 1.0, frozenset({"post"}), DOWN),
    ),
}
# So many messages of the route that is down that not all of them can be hidden.
CROWDED = replace(
    CALM,
    mix=replace(CALM.mix, letters=200, span_seconds=60.0),
    phases=(Phase("oms", Trouble.STOPPED, 10.0, 600.0, route=DOWN),),
    max_in_flight=48,
    clears_at=600.0,
)
# Back again, the route fails now and then, and messages that were put off often must not be given up for it.
SHAKY = replace(
    CALM,
    mix=replace(CALM.mix, letters=60, span_seconds=400.0),
    phases=(
        Phase("oms", Trouble.STOPPED, 10.0, 600.0, route=DOWN),
        Phase("oms", Trouble.DENIED, 600.0, 1500.0, 0.4, frozenset({"post"}), DOWN),
    ),
    max_deliveries=8,
    clears_at=1500.0,
)
KILLED = replace(
    CROWDED,
    blows=tuple(Blow(7.0 * n, "kill", steps=5 * n) for n in range(2, 40)),
    max_in_flight=200,
)


class Lived:
    """A world that was lived through, and how long the messages of each route took."""

    def __init__(self, scenario: Scenario) -> None:
        self.world = World(scenario)
        self.report: Report = self.world.play()

    @property
    def dead(self) -> set[str]:
        return set(self.world.oracles.dead.values())

    @property
    def deliveries_max(self) -> int:
        return max(each.dequeue_count for each in self.world.oracles.messages.values())

    def lags(self, *routes: str) -> list[float]:
        """Seconds from sent to deleted of the messages all of whose changes are of these routes."""
        ends = {what: at for at, _, noted, what in self.world.ledger.entries if noted == "deleted"}
        return [
            ends[message_id] - stored.sent_at
            for message_id, stored in self.world.oracles.messages.items()
            if (buckets := {event.bucket for event in stored.letter.changes})
            and buckets <= set(routes)
            and message_id in ends
        ]

    @property
    def slowest(self) -> float:
        """The lag of the others that one message in twenty exceeds."""
        return quantiles(self.lags(*OTHERS), n=20)[-1]


@lru_cache
def lived(seed: int, outage: str = "") -> Lived:
    return Lived(replace(CALM, seed=seed, phases=OUTAGES.get(outage, ())))


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_route_that_is_down_for_an_hour_costs_the_others_nothing(outage: str) -> None:
    calm, found = lived(1), lived(1, outage)
    assert calm.report.violations == found.report.violations == ()
    assert len(calm.lags(*OTHERS)) == len(found.lags(*OTHERS)) > 20
    # What chance does to the same world: less than half a second.
    assert found.slowest < calm.slowest + 0.5
    # Nothing of the route is lost, or a dead letter; it came late, as it had to, and later each time.
    assert found.dead <= {"undecodable", "unrouted"}
    assert max(found.lags(DOWN)) > HOUR / 2
    assert found.report.drained_seconds < 1000.0
    assert 10 <= found.deliveries_max <= 18


def test_what_cannot_be_hidden_stays_in_the_queue() -> None:
    found = Lived(CROWDED)
    assert found.report.violations == ()
    assert CROWDED.max_in_flight / 2 <= found.world.oracles.hidden_most <= CROWDED.max_in_flight
    assert found.dead <= {"undecodable", "unrouted"}
    assert found.report.counts["deleted"] == CROWDED.mix.letters


def test_deliveries_of_an_outage_do_not_count() -> None:
    found = Lived(SHAKY)
    assert found.report.violations == ()
    assert found.deliveries_max > SHAKY.max_deliveries
    assert found.dead <= {"undecodable", "unrouted"}


def test_kills_lose_nothing_while_a_route_is_down() -> None:
    found = Lived(KILLED)
    assert found.report.violations == ()
    assert found.report.counts["kill"] > 20


ONE_WRONG_KEY = replace(
    CALM,
    mix=Mix(letters=20, span_seconds=120.0, buckets=ROUTES),
    phases=(Phase("oms", Trouble.CREDENTIALS, 0.0, 1300.0),),
    clears_at=1300.0,
    workers=4,
    is_fleet=True,
    share_a_key=True,
)


@pytest.mark.parametrize("trouble", [None, Trouble.DENIED])
def test_a_wrong_key_that_routes_share_is_tried_as_if_there_were_one(
    trouble: Trouble | None,
) -> None:
    """Where the workers cannot agree, because nothing can be read, each of them is alone."""
    phases = ONE_WRONG_KEY.phases
    if trouble is not None:
        phases += (Phase("oss", trouble, 0.0, 1300.0, 1.0, frozenset({"get"})),)
    found = Lived(replace(ONE_WRONG_KEY, phases=phases))
    assert found.report.violations == ()
    refused = [at for at, _, what, _ in found.world.ledger.entries if what == "refused"]
    most = max(sum(at <= each < at + 300 for each in refused) for at in refused)
    assert most <= (2 if trouble is None else ONE_WRONG_KEY.workers)


def found_by_worlds() -> Iterator[str]:
    for scenario in (CROWDED, SHAKY):
        yield from Lived(scenario).report.violations
    stopped = Lived(replace(CALM, phases=OUTAGES["its key is refused"]))
    yield from stopped.report.violations
    if stopped.slowest > lived(1).slowest + 0.5:
        yield "the others are slower"


@pytest.mark.parametrize("mutant", ROUTE_MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_bug_is_noticed(mutant: Callable[[ExitStack], None]) -> None:
    assert lived(1).report.violations == ()
    with ExitStack() as stack:
        mutant(stack)
        assert next(found_by_worlds(), None) is not None
