"""The share of each worker, in models of a queue with many workers, and what each rule is for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from statistics import mean
from typing import Any
from unittest import mock

import pytest

from doubles.build import Heard, failure, message
from doubles.clock import EndOfTestError, QuickClock
from doubles.line import Drain, Habits, Line
from doubles.vendors import ModelQueue
from worker.errors import CallFailed
from worker.flow import share as rules
from worker.flow.lease import Leases
from worker.flow.put_off import PutOff
from worker.flow.share import AIM, START, UNSEEN_SECONDS, Share
from worker.ports import BATCH, QueueAttributes

ALLOWED = 5000
OLD = Habits(stale_seconds=4.0, noise=0.1)
SEEDS = (1, 2, 3)

World = Callable[[int], str]


def at_once(seed: int) -> str:
    """30 workers start at once on a backlog."""
    line = Line([Drain() for _ in range(30)], OLD, seed)
    line.live(240)
    return verdict(line, used=0.85)


def one_after_the_other(seed: int) -> str:
    """One has all of it when 29 more come."""
    line = Line([Drain(), *(Drain(starts_at=60) for _ in range(29))], OLD, seed)
    line.live(300)
    return verdict(line, used=0.85)


def as_many_again(seed: int) -> str:
    """30 have all of it when 30 more come."""
    line = Line([Drain(starts_at=60.0 * (at >= 30)) for at in range(60)], OLD, seed)
    line.live(300)
    return verdict(line, used=0.85)


def not_counted(seed: int) -> str:
    """MNS's counters read 0."""
    line = Line([Drain() for _ in range(30)], Habits(is_counted=False), seed)
    line.live(60)
    return verdict(line, used=0.85)


def counted_late(seed: int) -> str:
    """The count is eight seconds old."""
    line = Line([Drain() for _ in range(30)], Habits(stale_seconds=8.0, noise=0.1), seed)
    line.live(120)
    return verdict(line, part=0.2)


def killed(seed: int) -> str:
    """Ten of twenty are killed with all in hand; others take their places."""
    line = Line(
        [
            *(Drain(killed_at=60) for _ in range(10)),
            *(Drain() for _ in range(10)),
            *(Drain(starts_at=61) for _ in range(10)),
        ],
        OLD,
        seed,
    )
    line.live(240)
    return verdict(line, used=0.85)


def far_and_near(seed: int) -> str:
    """One is 40 times as far from the services as nine others, which need little."""
    near, far = [Drain(0.5, per_second=50) for _ in range(9)], Drain(8.0)
    line = Line([*near, far], OLD, seed)
    line.live(240)
    if far.share.limit < 1500:
        return f"the far one may have {far.share.limit}"
    if min(each.share.limit for each in near) < 25:
        return "a near one may have less than it needs"
    return verdict(line, part=0.0)


def others_hold(seed: int) -> str:
    """3,000 messages are in the hands of another program, or wait as deletions do."""
    line = Line([Drain() for _ in range(10)], Habits(4.0, 0.05, foreign=3000), seed)
    line.live(180)
    return verdict(line, used=0.85, part=0.2)


def comes_nearer(seed: int) -> str:
    """A worker with slow services needs much; then they answer sooner, and it is bound by its core."""
    line = Line([Drain(8.0, per_second=250)], OLD, seed)
    line.live(90)
    (one,) = line.drains
    most = one.share.limit
    one.seconds = 1.0
    line.live(180)
    if most < 2500:
        return f"it needs 4,000 and may have {most}"
    return "" if 250 <= one.share.limit <= 700 else f"it needs 250 and may have {one.share.limit}"


def a_route_is_down(seed: int) -> str:
    """One event in a hundred is of a route that is down: 1,500 are hidden, and the others must go on."""
    line = Line([Drain(1.0, per_second=100, down=0.01) for _ in range(5)], OLD, seed)
    line.live(300)
    before = sum(each.carried for each in line.drains)
    line.live(60)
    per_second = (sum(each.carried for each in line.drains) - before) / 60
    if line.peak >= ALLOWED:
        return f"{line.peak} in hand or hidden at once"
    return "" if per_second > 400 else f"only {per_second:.0f} of 500 in a second are carried"


WORLDS: tuple[World, ...] = (
    at_once,
    one_after_the_other,
    as_many_again,
    not_counted,
    counted_late,
    killed,
    far_and_near,
    others_hold,
    comes_nearer,
    a_route_is_down,
)


def verdict(line: Line, *, used: float = 0.0, part: float = 0.25) -> str:
    """Say what is wrong: too much in hand, too little used, or somebody starves."""
    if line.peak >= ALLOWED:
        return f"{line.peak} in hand at once"
    in_hand = mean(line.totals[-100:])
    if in_hand < used * AIM:
        return f"only {in_hand:.0f} in hand on average"
    low, fair = min(line.shares), mean(line.shares)
    if low < part * fair:
        return f"one may have {low}, on average {fair:.0f}"
    return ""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("world", WORLDS)
def test_all_stay_below_what_mns_allows_and_nobody_starves(world: World, seed: int) -> None:
    assert world(seed) == ""


def _changed(name: str, value: Any) -> Callable[[], Any]:
    return lambda: mock.patch.object(rules, name, value)


def _see(change: Callable[[QueueAttributes, Share], None]) -> Callable[[], Any]:
    see = Share.see

    def seeing(self: Share, found: QueueAttributes) -> None:
        change(found, self)
        see(self, found)

    return lambda: mock.patch.object(Share, "see", seeing)


def _holds_all(_: QueueAttributes, share: Share) -> None:
    """Plan with the whole room, as if nobody else saw it."""
    share._leases.in_hand = range(AIM)  # type: ignore[assignment]


def _without_hidden(share: Share, learn: Callable[[Share], None]) -> None:
    """Learn as if nothing were put off."""
    with mock.patch.object(PutOff, "__len__", return_value=0):
        learn(share)


MUTANTS: dict[str, Callable[[], Any]] = {
    "start with as much as a worker alone may have": _changed("START", 1000),
    "a newcomer takes no heed of what is in hand": _changed("STARTERS", 1),
    "no step that is the same for all": _changed("STEP", 0.0),
    "a step that is too large for many": _changed("STEP", 64.0),
    "no room to grow into": _changed("ROOM", 0.9),
    "never smaller, whatever is needed": _changed("SHRINK", 1.0),
    "aim at the limit itself": _changed("AIM", 5000),
    "all of the room for whoever sees it": _see(_holds_all),
    "what is put off needs no room": lambda: mock.patch.object(
        Share, "learn", lambda self, learn=Share.learn: _without_hidden(self, learn)
    ),
    "never down": lambda: mock.patch.object(
        Share, "_move", lambda self, limit, move=Share._move: move(self, max(limit, self._limit))
    ),
    "grow whether it is wanted or not, from the first look on": lambda: mock.patch.object(
        Share, "_may_grow", return_value=True
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_that_is_broken_shows_in_a_world(name: str) -> None:
    with MUTANTS[name]():
        assert any(world(seed) for world in WORLDS for seed in SEEDS[:1])


class LookClock(QuickClock):
    """Ends the test's call at the second sleep from here, which takes no time."""

    sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps -= 1
        if not self.sleeps:
            raise EndOfTestError
        await super().sleep(seconds)


class Bench:
    """One share over a queue that answers what it is told."""

    def __init__(self, ceiling: int = 4000) -> None:
        self.clock = LookClock()
        self.heard = Heard()
        queue = ModelQueue(self.clock)
        self.leases = Leases(
            queue, self.clock, self.heard.journal, visibility_seconds=30, limit=ceiling
        )
        self.answer: QueueAttributes | CallFailed = found(0)
        self.asked: list[float] = []
        self.works = True
        self.share = Share(
            self.leases,
            self.look,
            lambda: self.works,
            lambda: 1.0,
            self.clock,
            random.Random(1),
            ceiling=ceiling,
        )

    async def look(self) -> QueueAttributes:
        self.asked.append(self.clock.now)
        if isinstance(self.answer, CallFailed):
            raise self.answer
        return self.answer

    def hold(self, count: int) -> None:
        self.leases.hold([message(f"M{number}") for number in range(count)])

    def carry(self, count: int) -> None:
        """Be short of room, with so many messages done since the last time."""
        self.leases.left += count
        self.leases.was_short = True

    async def pass_looks(self, looks: int, *, each: int = 1000) -> None:
        """Live through so many looks, with so many messages carried before each, and no room for more."""
        for _ in range(looks):
            self.carry(each)
            self.clock.sleeps = 2
            with pytest.raises(EndOfTestError):
                await self.share.run()


def found(inactive: int, active: int = 100_000) -> QueueAttributes:
    return QueueAttributes(30, 345_600, active, inactive, 0)


DENIED = CallFailed(failure(service="mns", operation="GetQueueAttributes", status=403))


async def test_a_worker_alone_comes_to_what_it_needs_within_a_few_looks() -> None:
    bench = Bench()
    bench.share.see(found(0))
    limits = []
    for _ in range(8):
        bench.hold(bench.share.limit)
        bench.answer = found(bench.share.limit)
        await bench.pass_looks(1, each=30_000)
        limits.append(bench.share.limit)
    assert limits[:3] == [128, 2064, 3032]
    assert limits[-1] > 3500
    assert bench.leases.has_room(BATCH)


async def test_what_is_put_off_counts_as_ones_own() -> None:
    bench = Bench()
    bench.share.see(found(0))
    bench.hold(START // 2)
    for _ in range(START // 2):
        bench.leases.hidden.add("films", 900.0)
    bench.answer = found(START)
    await bench.pass_looks(2, each=30_000)
    # As for a worker alone that has all of them in hand.
    assert bench.share.limit == 2064


async def test_what_is_put_off_keeps_its_room_and_as_much_for_the_routes_that_work() -> None:
    bench = Bench()
    bench.share.see(found(0))
    for _ in range(3):
        bench.hold(bench.share.limit)
        bench.answer = found(bench.share.limit)
        await bench.pass_looks(1, each=30_000)
    bench.leases.in_hand.clear()
    assert bench.share.limit > 3000
    for _ in range(500):
        bench.leases.hidden.add("films", 900.0)
    for _ in range(50):
        bench.clock.now += 5
        bench.share.learn()
        bench.share.see(found(500))
    assert 1000 <= bench.share.limit < 1100
    for _ in range(bench.share.limit // 2 - 500):
        bench.leases.hidden.add("films", 900.0)
    assert not bench.leases.has_room(BATCH)
    assert bench.leases.was_short
    bench.clock.now += 900
    assert bench.leases.has_room(BATCH)


async def test_the_ceiling_holds_whatever_is_free() -> None:
    bench = Bench(ceiling=600)
    for _ in range(5):
        bench.hold(bench.share.limit)
        bench.answer = found(bench.share.limit)
        await bench.pass_looks(1, each=30_000)
    assert bench.share.limit == 600
    asked = len(bench.asked)
    await bench.pass_looks(3, each=30_000)
    assert len(bench.asked) == asked


async def test_who_needs_no_more_asks_nothing() -> None:
    bench = Bench()
    await bench.pass_looks(5, each=10)
    assert bench.asked == []
    bench.works = False
    await bench.pass_looks(5, each=30_000)
    assert bench.asked == []


async def test_a_count_that_does_not_show_even_the_own_messages_lets_nobody_grow() -> None:
    bench = Bench()
    bench.hold(START)
    bench.answer = found(START // 2 - 1)
    await bench.pass_looks(4, each=30_000)
    assert bench.share.limit == START
    bench.answer = found(START // 2)
    await bench.pass_looks(1, each=30_000)
    assert bench.share.limit > START


async def test_where_the_queue_may_not_be_looked_at_the_share_stays_small_and_says_so() -> None:
    bench = Bench()
    bench.hold(START)
    bench.answer = found(START)
    await bench.pass_looks(3, each=30_000)
    assert bench.share.limit > START
    assert bench.share.notices == ()
    asked, bench.answer = len(bench.asked), DENIED
    began = bench.clock.now
    await bench.pass_looks(30, each=30_000)
    assert bench.clock.now - began > UNSEEN_SECONDS
    assert bench.share.limit == START
    assert "mns:GetQueueAttributes" in "".join(bench.share.notices)
    assert len(bench.asked) - asked <= (bench.clock.now - began) / 60 + 1
    bench.share.see(found(START))
    assert bench.share.notices == ()


def test_a_small_ceiling_is_not_worth_a_notice() -> None:
    bench = Bench(ceiling=START)
    bench.hold(1)
    bench.share.see(found(0, active=0))
    assert bench.share.notices == ()
    assert bench.share.limit == START


async def test_each_refusal_of_mns_halves_the_share_but_one_burst_counts_once() -> None:
    bench = Bench()
    for _ in range(3):
        bench.share.throttled()
    assert bench.share.limit == START / 2
    for _ in range(5):
        bench.clock.now += 5
        bench.share.throttled()
    assert bench.share.limit == BATCH


async def test_after_refusals_a_worker_that_sees_no_count_comes_back_in_small_steps() -> None:
    bench = Bench()
    bench.hold(1)
    bench.share.see(found(0, active=0))
    bench.share.throttled()
    await bench.pass_looks(1)
    assert START / 2 < bench.share.limit < START
    await bench.pass_looks(10)
    assert bench.share.limit == START


def test_a_newcomer_to_a_full_queue_begins_with_one_batch() -> None:
    bench = Bench()
    bench.share.see(found(AIM))
    assert bench.share.limit == BATCH


async def test_more_room_wakes_who_waits_for_it() -> None:
    bench = Bench()
    bench.hold(START)
    assert not bench.leases.has_room(BATCH)
    waiting = asyncio.create_task(bench.leases.changed())
    await asyncio.sleep(0)
    bench.leases.allow(START + BATCH)
    await waiting
    assert bench.leases.has_room(BATCH)
