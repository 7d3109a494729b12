from __future__ import annotations

from collections import Counter

import pytest

from simulation.report import Sums, corpus, explain, play_seed

# Thousands of times the same lines: measured elsewhere, and four times as fast without the tracer.
pytestmark = pytest.mark.no_cover

CHUNK = 50
WORLDS = 300


@pytest.mark.parametrize("first", range(0, WORLDS, CHUNK))
def test_every_promise_holds_in_random_worlds(first: int) -> None:
    sums = Sums()
    for seed in range(first, first + CHUNK):
        report = play_seed(seed)
        sums.add(report)
        assert report.violations == (), explain(report)
    assert sums.not_exercised == [], "worlds that test nothing are not green"


@pytest.mark.parametrize("seed", corpus())
def test_what_was_found_once_stays_mended(seed: int) -> None:
    report = play_seed(seed)
    assert report.violations == (), explain(report)


def test_a_seed_is_one_world() -> None:
    digests = {seed: Counter(play_seed(seed).digest for _ in range(2)) for seed in (3, 16, 49)}
    assert [len(each) for each in digests.values()] == [1, 1, 1]
    assert len({digest for each in digests.values() for digest in each}) == 3
