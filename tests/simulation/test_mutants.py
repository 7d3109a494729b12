from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulation.mutants import MUTANTS, planted
from simulation.named import NAMED
from simulation.report import play_seed
from simulation.world import Report, play

# Thousands of times the same lines: measured elsewhere, and four times as fast without the tracer.
pytestmark = pytest.mark.no_cover

# The unharmed relay passes all of these: see test_random_worlds.py and test_named_worlds.py.
SEEDS_FIRST, SEEDS = 8, 40


def _worlds() -> Iterator[Report]:
    yield from (play_seed(seed) for seed in range(SEEDS_FIRST))
    yield from (play(scenario) for scenario in NAMED.values())
    yield from (play_seed(seed) for seed in range(SEEDS_FIRST, SEEDS))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_noticed(name: str) -> None:
    with planted(name):
        found = next((report for report in _worlds() if report.violations), None)
    assert found is not None, f"{name} lives on unnoticed"
