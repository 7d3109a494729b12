"""Whole relays on one queue whose shares meet what all of them may have; small numbers, the same rules."""

from __future__ import annotations

from collections import Counter

import pytest

from simulation.bodies import Mix
from simulation.queue import Habits
from simulation.scenario import Blow, Scenario
from simulation.world import World
from worker.flow import share as rules
from worker.flow.share import Share

pytestmark = pytest.mark.no_cover

AIM = 256
ALLOWED = AIM * 5 / 4
WORKERS = 8
SCENARIO = Scenario(
    1,
    mix=Mix(letters=800, span_seconds=1.0, plain_keys=800),
    habits=Habits(is_short=False),
    blows=(Blow(12.0, "kill"),),
    workers=WORKERS,
    clears_at=15.0,
    work_seconds=5.0,
    batch_keys=100,
    max_in_flight=AIM,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "AIM", AIM)
    monkeypatch.setattr(rules, "STARTERS", WORKERS)


def lived() -> tuple[int, Counter[str], float]:
    world, seen = World(SCENARIO), [0]
    for step in range(1, 400):
        world.at(step / 4, lambda: seen.append(world.queue.in_hand()))
    report = world.play()
    assert report.violations == ()
    deleted = Counter(who for _, who, what, _ in world.ledger.entries if what == "deleted")
    return max(seen), deleted, report.drained_seconds


def test_relays_on_one_queue_stay_below_what_it_allows_and_all_of_them_work() -> None:
    most, deleted, drained_seconds = lived()
    assert AIM * 0.8 <= most < ALLOWED
    assert len(deleted) >= WORKERS
    assert drained_seconds < 60


def test_without_shares_they_would_take_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Share, "_move", lambda self, _: self._leases.allow(SCENARIO.max_in_flight))
    most, _, _ = lived()
    assert most > ALLOWED
