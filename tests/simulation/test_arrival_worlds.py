"""Whatever OMS loses, delays or skips: in the end all has arrived, or a dead letter says what has not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from simulation.arrival import HOUR, CopyWorld, Fortune, Story, random_story
from worker.arrival import follow
from worker.arrival.again import Again
from worker.arrival.compare import Comparison, Verdict
from worker.arrival.deletions import Brake, Deletions
from worker.arrival.destination import DestinationView
from worker.arrival.follow import Followed, Follower
from worker.arrival.result_lists import ResultLists
from worker.flow.deletion import DONE

WORLDS = 40
WORLDS_LONG = 2000

NAMED = {
    "calm": Story(1),
    "one-copy-in-a-hundred-is-lost": Story(1, Fortune(lost=0.01), writes=300, keys=200),
    "many-are-lost": Story(1, Fortune(lost=0.5)),
    "failures-listed-at-once": Story(1, Fortune(failed=0.3, list_seconds=1.0), ratio=0.0),
    "failures-listed-late": Story(1, Fortune(failed=0.3, list_seconds=2 * HOUR), ratio=0.0),
    "failures-never-listed": Story(1, Fortune(failed=0.3, list_seconds=None)),
    "slow-copies-of-equal-size": Story(1, Fortune(copy_seconds=300.0), keys=3),
    "skipped-in-silence": Story(1, Fortune(copy_seconds=300.0), keys=3, by_content=False),
    "copies-two-hours-late": Story(1, Fortune(late=0.3)),
    "an-hour-without-obs": Story(1, Fortune(lost=0.2), outages=(("obs", 600.0, 600.0 + HOUR),)),
    "an-hour-without-oss": Story(1, Fortune(lost=0.2), outages=(("oss", 600.0, 600.0 + HOUR),)),
    "an-hour-without-oms": Story(1, Fortune(lost=0.2), outages=(("oms", 600.0, 600.0 + HOUR),)),
    "killed-while-following": Story(1, Fortune(lost=0.2), kills=(300.0, 900.0, 1500.0)),
    "deletions": Story(1, deleted=0.5, keys=3, writes=200, propagates=True),
    "deletions-of-what-is-created-alike": Story(
        1, deleted=0.5, keys=3, writes=200, propagates=True, has_one_content=True
    ),
    "deletions-and-slow-copies": Story(
        1,
        Fortune(copy_seconds=60.0),
        deleted=0.5,
        keys=10,
        writes=80,
        span_seconds=300.0,
        propagates=True,
    ),
    "deletions-and-kills": Story(
        1, deleted=0.5, keys=3, writes=200, propagates=True, kills=(300.0, 1200.0, 2500.0, 4000.0)
    ),
    "deletions-and-outages": Story(
        1,
        deleted=0.5,
        keys=3,
        writes=200,
        propagates=True,
        outages=(("obs", 900.0, 2000.0), ("oss", 2500.0, 3000.0), ("oms", 3500.0, 4500.0)),
    ),
    "more-deletions-than-the-brake-allows": Story(
        1, deleted=0.5, keys=40, writes=200, propagates=True, per_hour=5
    ),
    "overwritten-all-the-time-and-never-copied": Story(
        1,
        overwritten_each_seconds=20.0,
        span_seconds=9 * HOUR,
        bad_until=9 * HOUR,
    ),
    "nothing-ever-arrives": Story(1, Fortune(lost=1.0), bad_until=20 * HOUR),
}


@pytest.mark.parametrize("name", NAMED)
def test_in_the_end_all_has_arrived_or_somebody_was_told(name: str) -> None:
    found = CopyWorld(NAMED[name]).play()
    assert found.violations == []
    if name == "nothing-ever-arrives":
        assert found.counts["given up"] > 0
    if name.startswith("overwritten"):
        assert found.counts["late"] > 25
        assert found.counts["given_up"] == 1
    if name == "deletions":
        assert found.counts["deleted"] > 0
    if name.startswith("more-deletions"):
        assert found.counts["held"] > 0
        assert found.counts["deleted"] <= 5
    if name in ("many-are-lost", "failures-listed-late", "failures-never-listed"):
        assert found.counts["announced again"] > 0


def test_what_is_skipped_in_silence_is_given_up_and_not_announced_again() -> None:
    counts: Counter[str] = Counter()
    for seed in range(1, 9):
        found = CopyWorld(replace(NAMED["skipped-in-silence"], seed=seed)).play()
        assert found.violations == []
        counts += found.counts
    assert counts["given up"] > 0
    assert counts["announced again"] == 0


def test_random_worlds_of_copies(is_long: bool) -> None:
    counts: Counter[str] = Counter()
    for seed in range(WORLDS_LONG if is_long else WORLDS):
        found = CopyWorld(random_story(seed)).play()
        assert found.violations == [], random_story(seed)
        counts += found.counts
    assert counts["announced again"] > 0


def test_a_world_replays_from_its_seed() -> None:
    story = replace(NAMED["many-are-lost"], seed=7)
    one, other = CopyWorld(story).play(), CopyWorld(story).play()
    assert one.counts == other.counts
    assert one.announced == other.announced


Mutant = Callable[[ExitStack], None]


def equal_size_is_enough(stack: ExitStack) -> None:
    """Take an object of equal size for the same."""
    stack.enter_context(mock.patch("worker.arrival.compare._is_same", return_value=None))


def nothing_is_announced_again(stack: ExitStack) -> None:
    """Say that it was announced, and do not."""

    async def silent(*_: Any) -> None:
        return None

    async def kept(*_: Any) -> bool:
        return True

    stack.enter_context(mock.patch.object(Again, "announce", silent))
    stack.enter_context(mock.patch.object(Again, "give_up", kept))


def announced_without_an_end(stack: ExitStack) -> None:
    """Announce more often than three times for one state."""
    stack.enter_context(mock.patch.object(follow, "WAITS_SECONDS", (600.0,) * 9))


def given_up_in_silence(stack: ExitStack) -> None:
    """Give up without a dead letter."""

    async def silent(*_: Any) -> bool:
        return True

    stack.enter_context(mock.patch.object(Again, "give_up", silent))


def one_look_is_enough(stack: ExitStack) -> None:
    """Forget a key that is not there at the first look."""
    looked = Follower._looked

    async def once(self: Follower, each: Followed) -> float | None:
        await looked(self, each)
        return None

    stack.enter_context(mock.patch.object(Follower, "_looked", once))


def lists_are_not_read(stack: ExitStack) -> None:
    """Leave OMS's lists alone, and follow nothing."""

    async def blind(_: ResultLists) -> None:
        return None

    stack.enter_context(mock.patch.object(ResultLists, "look", blind))


def silent_skips_are_announced_again(stack: ExitStack) -> None:
    """Announce again what OMS's rule skips each time."""
    stack.enter_context(mock.patch.object(Again, "is_futile", return_value=""))


def a_failed_look_ends_it(stack: ExitStack) -> None:
    """Drop a key when OBS cannot be looked at."""
    stack.enter_context(mock.patch.object(Follower, "_after", return_value=None))


def an_older_state_ends_a_newer_one(stack: ExitStack) -> None:
    """Take what a look says of an older state for the newer one, too."""

    def same(old: Followed, _: Followed) -> None:
        del old

    stack.enter_context(mock.patch("worker.arrival.follow._renew", same))


def a_newer_state_is_a_new_deadline(stack: ExitStack) -> None:
    """Forget what was owed with each newer state."""
    renew = follow._renew

    def forgetful(old: Followed, new: Followed) -> None:
        renew(old, new)
        old.owe(new.changed_at, new.late_at)

    stack.enter_context(mock.patch.object(follow, "_renew", forgetful))


def any_copy_is_new(stack: ExitStack) -> None:
    """Take a copy of long ago for one of what is owed."""
    stack.enter_context(mock.patch.object(follow, "_is_since_owed", return_value=True))


def what_is_overwritten_is_followed_for_ever(stack: ExitStack) -> None:
    """Tell late again and again, and never come to an end."""
    stack.enter_context(mock.patch.object(follow, "_is_stuck_for_good", return_value=False))


def what_its_own_events_announce_is_announced_again(stack: ExitStack) -> None:
    """Announce a key that is overwritten all the time as if it were at rest."""

    async def announce(self: Follower, each: Followed, source: Any) -> float | None:
        if self._clock.wall() < each.owed_by:
            return self._next_look_seconds(each)
        return await self._not_arrived(each, source, Comparison(Verdict.STALE))

    stack.enter_context(mock.patch.object(Follower, "_on_its_way", announce))


def the_source_is_not_looked_at(stack: ExitStack) -> None:
    """Announce what is missing without asking whether the source still has it."""

    def missing(source: Any, copy: Any, **_: Any) -> Comparison:
        del source
        return Comparison(Verdict.MISSING if copy is None else Verdict.UNPROVED)

    stack.enter_context(mock.patch("worker.arrival.follow.compare", missing))


def deleted_without_a_look(stack: ExitStack) -> None:
    """Take the event's word for it that the source has no such object."""

    async def gone(*_: Any) -> bool:
        return False

    stack.enter_context(mock.patch.object(DestinationView, "source_has", gone))


def deleted_at_once(stack: ExitStack) -> None:
    """Wait for no copy that may be on its way."""
    stack.enter_context(mock.patch.object(Deletions, "_not_yet", return_value=DONE))


def no_brake(stack: ExitStack) -> None:
    """Delete as many as come."""

    async def always(*_: Any) -> bool:
        return True

    stack.enter_context(mock.patch.object(Brake, "lets_pass", always))
    stack.enter_context(mock.patch.object(Brake, "lets_wait", return_value=True))


MUTANTS: dict[str, tuple[Mutant, str]] = {
    mutant.__name__: (mutant, world)
    for mutant, world in (
        (equal_size_is_enough, "slow-copies-of-equal-size"),
        (equal_size_is_enough, "skipped-in-silence"),
        (nothing_is_announced_again, "many-are-lost"),
        (announced_without_an_end, "nothing-ever-arrives"),
        (given_up_in_silence, "nothing-ever-arrives"),
        (one_look_is_enough, "many-are-lost"),
        (a_failed_look_ends_it, "an-hour-without-obs"),
        (a_newer_state_is_a_new_deadline, "overwritten-all-the-time-and-never-copied"),
        (any_copy_is_new, "overwritten-all-the-time-and-never-copied"),
        (what_is_overwritten_is_followed_for_ever, "overwritten-all-the-time-and-never-copied"),
        (
            what_its_own_events_announce_is_announced_again,
            "overwritten-all-the-time-and-never-copied",
        ),
        (the_source_is_not_looked_at, "skipped-in-silence"),
        (deleted_without_a_look, "deletions-of-what-is-created-alike"),
        (deleted_at_once, "deletions-and-slow-copies"),
    )
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_noticed(name: str) -> None:
    mutant, world = MUTANTS[name]
    with ExitStack() as stack:
        mutant(stack)
        worlds = (CopyWorld(replace(NAMED[world], seed=seed)).play() for seed in range(1, 16))
        is_noticed = any(each.violations for each in worlds)
    assert is_noticed, f"nobody noticed {name} in {world}"


def test_without_the_brake_more_is_deleted() -> None:
    with ExitStack() as stack:
        no_brake(stack)
        found = CopyWorld(NAMED["more-deletions-than-the-brake-allows"]).play()
    assert found.counts["deleted"] > 5


def test_without_the_lists_failures_are_not_announced_again() -> None:
    with ExitStack() as stack:
        lists_are_not_read(stack)
        found = CopyWorld(NAMED["failures-listed-at-once"]).play()
    assert found.counts["announced again"] == 0


def test_without_the_rule_a_silent_skip_is_announced_in_vain() -> None:
    with ExitStack() as stack:
        silent_skips_are_announced_again(stack)
        worlds = (
            CopyWorld(replace(NAMED["skipped-in-silence"], seed=n)).play() for n in range(1, 9)
        )
        is_announced = any(each.counts["announced again"] for each in worlds)
    assert is_announced


def test_a_newer_state_is_followed_in_place_of_the_older_one() -> None:
    with ExitStack() as stack:
        an_older_state_ends_a_newer_one(stack)
        few = replace(NAMED["many-are-lost"], keys=3)
        worlds = (CopyWorld(replace(few, seed=seed)).play() for seed in range(1, 30))
        is_noticed = any(each.violations for each in worlds)
    assert is_noticed
