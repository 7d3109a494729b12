from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest

from simulation.mutants_of_trial import BURNING, Planted
from simulation.named import NAMED
from simulation.world import Report, World

# Measured elsewhere, line for line, and far slower under the tracer.
pytestmark = pytest.mark.no_cover

LAYOUTS = ("object", "log")


@dataclass(frozen=True)
class Lived:
    world: World
    report: Report

    @property
    def counts(self) -> Counter[str]:
        return self.report.counts

    @property
    def dead(self) -> Counter[str]:
        return Counter(self.world.oracles.dead.values())

    @property
    def deliveries_max(self) -> int:
        return max(each.dequeue_count for each in self.world.oracles.messages.values())

    def times(self, what: str) -> list[float]:
        return [at for at, _, noted, _ in self.world.ledger.entries if noted == what]


@lru_cache
def _live(name: str, layout: str = "object") -> Lived:
    world = World(replace(NAMED[name], layout=layout))
    report = world.play()
    replay = f"replay it: make replay SCENARIO={name} LAYOUT={layout}"
    assert report.violations == (), "\n".join((*report.violations, replay))
    return Lived(world, report)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMED)
def test_every_promise_holds(name: str, layout: str) -> None:
    lived = _live(name, layout)
    assert lived.counts["deleted"] == lived.world.scenario.mix.letters


OUTAGES = [name for name, scenario in NAMED.items() if "down" in name or "stopped" in name]


@pytest.mark.parametrize("name", [*OUTAGES, "store-read-only", "sink-silent"])
def test_an_outage_costs_no_message_and_few_deliveries(name: str) -> None:
    lived = _live(name)
    assert lived.dead["max-deliveries"] == lived.dead["rejected"] == 0
    assert lived.deliveries_max <= 1 + 6
    assert lived.report.drained_seconds < 60


MISSING_RIGHTS = {
    "posts-refused-while-the-task-answers": 3,
    "deletes-refused-while-polls-work": 3,
}


@pytest.mark.parametrize("name", MISSING_RIGHTS)
def test_a_right_that_is_missing_burns_few_deliveries(name: str) -> None:
    assert _live(name).deliveries_max <= MISSING_RIGHTS[name]


@pytest.mark.parametrize("bug", BURNING)
@pytest.mark.parametrize("name", MISSING_RIGHTS)
def test_that_burns_many_with_a_bug_in_the_trial(name: str, bug: Callable[[], Planted]) -> None:
    world = World(NAMED[name])
    with bug():
        lived = Lived(world, world.play())
    assert lived.deliveries_max > 3 * MISSING_RIGHTS[name]


def test_each_layout_writes_its_own_records() -> None:
    assert _live("calm", "log").counts["success_object"] == 0
    assert _live("calm", "log").counts["log"] > 0
    assert _live("calm", "object").counts["log"] == 0


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith("credentials")])
def test_refused_credentials_are_hardly_ever_tried(name: str) -> None:
    refused = _live(name).times("refused")
    assert len(refused) >= 4
    # Huawei locks a key after more than 5 refusals in a row.
    assert all(later - at >= 300 for at, later in zip(refused, refused[5:], strict=False))


def test_one_poison_key_costs_few_posts_and_no_neighbour() -> None:
    lived = _live("one-poison-key-in-a-full-batch")
    assert lived.dead["rejected"] == lived.counts["failed_object"] == 1
    assert lived.counts["post"] <= 40 / 10 + 2 * 4 + 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_thousand_changes_of_three_keys_share_their_posts(layout: str) -> None:
    lived = _live("a-thousand-duplicates", layout)
    assert lived.counts["sent"] == 1000
    assert lived.counts["post"] < 700


def test_lost_answers_to_deletes_cause_no_second_post() -> None:
    lived = _live("lost-delete-replies")
    assert lived.counts["redelivered"] > 0
    assert max(lived.world.oracles.known_accepts.values()) <= max(
        Counter(event.key for event in lived.world.oracles.events).values()
    )


@pytest.mark.parametrize(
    "name", ["slow-sink-short-visibility", "slow-drain-short-visibility", "one-failed-renewal"]
)
def test_a_slow_sink_brings_no_message_back(name: str) -> None:
    lived = _live(name)
    assert lived.counts["visibility"] > 0
    assert lived.counts["redelivered"] == 0


def test_a_hard_stop_takes_a_moment_and_hides_nothing() -> None:
    lived = _live("hard-stop")
    asked, ended = lived.times("leave"), lived.times("end")
    assert len(asked) == 2
    assert all(min(end for end in ended if end >= at) - at < 1.0 for at in asked)


def test_early_empty_answers_are_not_answered_with_haste() -> None:
    lived = _live("early-empty-answers")
    # Four pollers in 200 seconds, each at most 20 seconds apart in the end.
    assert lived.counts["received"] < 150


def test_a_key_that_cannot_be_recorded_is_buried_after_its_deliveries() -> None:
    lived = _live("a-record-that-cannot-be-written")
    assert lived.dead["max-deliveries"] > 0
    assert lived.deliveries_max == lived.world.scenario.max_deliveries
