"""Worlds of a fleet whose key is wrong: who races for the right to probe, and what kills do to it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from simulation.bodies import Mix
from simulation.faults import Phase, Trouble
from simulation.scenario import Blow, Scenario
from simulation.world import Report, World

pytestmark = pytest.mark.no_cover

WORKERS = 12
WRONG_SECONDS = 1500.0
SLOT_SECONDS = 300.0
SLOTS = WRONG_SECONDS / SLOT_SECONDS
REFUSED_MAX = 5

WRONG_KEY = Scenario(
    1,
    mix=Mix(letters=60, span_seconds=120.0),
    phases=(Phase("oms", Trouble.CREDENTIALS, 0.0, WRONG_SECONDS),),
    clears_at=WRONG_SECONDS,
    workers=WORKERS,
    is_fleet=True,
)


def killed(seed: int) -> Scenario:
    """Kills at any await, most of them soon after the start and after each change of the slot."""
    rng = random.Random(seed)
    soon = [rng.uniform(0.01, 0.3) + rng.choice((0, 1, 2, 3, 4)) * SLOT_SECONDS for _ in range(30)]
    late = [rng.uniform(1, WRONG_SECONDS - 1) for _ in range(10)]
    blows = tuple(Blow(at, "kill", rng.randint(0, 60)) for at in (*soon, *late))
    return replace(WRONG_KEY, seed=seed, blows=blows)


def troubled(seed: int) -> Scenario:
    """Answers of the log bucket are lost, before and after their effect."""
    share = Phase("oss", Trouble.MIXED, 0.0, WRONG_SECONDS, 0.3)
    return replace(WRONG_KEY, seed=seed, phases=(*WRONG_KEY.phases, share))


def lived(scenario: Scenario) -> tuple[Report, list[float]]:
    world = World(scenario)
    report = world.play()
    assert report.violations == ()
    return report, [at for at, _, what, _ in world.ledger.entries if what == "refused"]


def most_in_five_minutes(times: list[float]) -> int:
    return max(sum(at <= each < at + SLOT_SECONDS for each in times) for at in times)


def test_a_fleet_with_a_wrong_key_makes_one_refused_call_a_slot() -> None:
    report, refused = lived(WRONG_KEY)
    assert 2 <= len(refused) <= SLOTS + 1
    assert most_in_five_minutes(refused) <= 2
    assert report.drained_seconds < SLOT_SECONDS + 60


@pytest.mark.parametrize("seed", range(1, 5))
def test_kills_of_whoever_holds_the_right_cost_a_few_calls_and_no_time(seed: int) -> None:
    report, refused = lived(killed(seed))
    assert most_in_five_minutes(refused) <= REFUSED_MAX
    assert report.counts["kill"] >= 20
    assert report.drained_seconds < 2 * SLOT_SECONDS + 60


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_log_bucket_that_loses_answers_costs_a_few_calls(seed: int) -> None:
    report, refused = lived(troubled(seed))
    assert len(refused) < WORKERS * SLOTS / 3
    assert report.drained_seconds < 2 * SLOT_SECONDS + 60


def test_without_agreement_every_worker_asks_for_itself() -> None:
    """The same world shows what the right to probe is for."""
    _, refused = lived(replace(WRONG_KEY, is_fleet=False))
    assert most_in_five_minutes(refused) >= WORKERS


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_fleet_with_a_right_key_starts_at_once_whatever_is_killed(seed: int) -> None:
    scenario = replace(killed(seed), phases=(), clears_at=130.0)
    report, refused = lived(scenario)
    assert refused == []
    assert report.drained_seconds < 2 * SLOT_SECONDS
