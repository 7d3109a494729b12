from __future__ import annotations

import asyncio

import pytest

from doubles.build import Heard, failure
from doubles.clock import QuickClock, settle
from worker.errors import Blame, CallFailed
from worker.outages.breaker import Breaker, State
from worker.outages.breakers import Breakers, Cloud
from worker.outages.trial import TRIED_MAX, Door, Gate, Trial
from worker.ports import BATCH


class Bench:
    """Six services that work, the gate before them, and the trial of the last."""

    def __init__(self) -> None:
        self.clock = QuickClock()
        breakers = Breakers(self.clock, Heard().journal)
        self.breakers = [breakers.add(f"oms-{number}", Cloud.HUAWEI) for number in range(6)]
        self.gate = Gate(breakers)
        for breaker in breakers:
            breaker._become(State.CLOSED, None)
        self.trial = Trial(self.last, self.clock)

    @property
    def last(self) -> Breaker:
        return self.breakers[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_while_all_services_work_polls_leave_side_by_side(bench: Bench) -> None:
    assert bench.gate.lets_pass(1000)
    with bench.gate.poll():
        assert bench.gate.lets_pass(1000)


def test_one_service_of_many_that_is_down_stops_all_polls(bench: Bench) -> None:
    bench.breakers[0]._become(State.TRIAL, None)
    bench.last.open(failure(Blame.SERVICE))
    assert not bench.gate.is_open
    assert not bench.gate.lets_pass(0)


def test_one_service_of_many_on_trial_lets_one_poll_leave_at_a_time(bench: Bench) -> None:
    bench.last._become(State.TRIAL, None)
    assert bench.gate.is_on_trial
    with bench.gate.poll():
        assert not bench.gate.lets_pass(0)
    assert bench.gate.lets_pass(0)
    assert not bench.gate.lets_pass(1), "it has brought what is to be tried"


def test_each_trial_lets_one_poll_leave_beside_what_is_in_hand_up_to_a_bound(bench: Bench) -> None:
    bench.last._become(State.TRIAL, None)
    with bench.gate.poll():
        pass
    bench.last.open(failure())
    bench.last._become(State.TRIAL, None)
    assert bench.gate.lets_pass(TRIED_MAX)
    assert not bench.gate.lets_pass(TRIED_MAX + 1)
    with bench.gate.poll():
        pass
    assert not bench.gate.lets_pass(TRIED_MAX)


def test_one_key_goes_ahead_after_an_outage_and_not_at_start(bench: Bench) -> None:
    assert not bench.trial.wants_one_ahead
    bench.last._become(State.TRIAL, None)
    assert not bench.trial.wants_one_ahead
    bench.last._become(State.TRIAL, failure())
    assert bench.trial.wants_one_ahead


@pytest.mark.parametrize("blame", list(Blame))
async def test_a_batch_goes_on_in_parts_if_refused_or_if_others_worked_meanwhile(
    bench: Bench, blame: Blame
) -> None:
    began = bench.clock.monotonic()
    assert await bench.trial.may_go_on(failure(blame), began) is (blame is Blame.SERVICE)
    bench.clock.now += 1
    bench.last.succeeded()
    assert await bench.trial.may_go_on(failure(blame), began) is True


async def test_a_batch_does_not_go_on_while_nothing_works(bench: Bench) -> None:
    bench.last.open(failure(Blame.SERVICE))
    assert await bench.trial.may_go_on(failure(Blame.SERVICE), bench.clock.monotonic()) is False


async def test_one_batch_at_a_time_waits_for_the_next_trial_to_go_on(bench: Bench) -> None:
    began = bench.clock.monotonic()
    bench.clock.now += 1
    bench.last.succeeded()
    bench.last.open(failure(Blame.SERVICE))
    waiting = asyncio.ensure_future(bench.trial.may_go_on(failure(), began))
    await settle()
    assert await bench.trial.may_go_on(failure(), began) is False
    assert not waiting.done()
    bench.last._become(State.TRIAL, failure())
    assert await waiting is True
    bench.last.open(failure(Blame.SERVICE))
    again = asyncio.ensure_future(bench.trial.may_go_on(failure(), began))
    await settle()
    assert not again.done(), "the place is free again"
    bench.last.stop()
    assert await again is False


async def test_a_trial_that_is_over_before_anybody_woke_is_not_taken_for_the_next(
    bench: Bench,
) -> None:
    bench.last.open(failure(Blame.SERVICE))
    waiting = asyncio.ensure_future(bench.trial.next())
    await settle()
    bench.last._become(State.TRIAL, failure())
    bench.last.open(failure(Blame.SERVICE))
    await settle()
    assert not waiting.done()
    bench.last._become(State.TRIAL, failure())
    assert await waiting is True


def test_a_door_is_shut_while_its_route_is_down_and_open_while_it_works(bench: Bench) -> None:
    door = Door(bench.last, bench.clock)
    assert door.lets_in(1000)
    bench.last.open(failure(Blame.SERVICE))
    bench.last.open(failure(Blame.CREDENTIALS))
    assert not door.lets_in(0)


def test_on_trial_a_door_lets_in_what_one_poll_brings_and_as_much_in_each_next_trial(
    bench: Bench,
) -> None:
    door = Door(bench.last, bench.clock)
    for trial in range(1, 4):
        bench.last._become(State.OPEN, failure(Blame.CREDENTIALS))
        bench.last._become(State.TRIAL, None)
        let_in = sum(door.lets_in(unsettled) for unsettled in range(1, 40))
        assert let_in == BATCH, trial
    assert not door.lets_in(TRIED_MAX + 1)


def test_a_trial_in_which_nothing_was_tried_goes_on(bench: Bench) -> None:
    door = Door(bench.last, bench.clock)
    bench.last._become(State.TRIAL, None)
    assert [door.lets_in(1) for _ in range(BATCH + 1)] == [True] * BATCH + [False]
    # All of it was recorded already: nothing is under way, and the trial is not decided.
    assert door.lets_in(0)


async def test_of_several_routes_nothing_waits_for_a_trial(bench: Bench) -> None:
    trial = Trial(bench.last, bench.clock, holds=False)
    bench.last._become(State.TRIAL, failure())
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        bench.last.failed(failure())
        raise CallFailed(failure())

    with pytest.raises(CallFailed):
        await trial.held(call)
    assert calls == 1
    assert bench.last.is_open
    assert await trial.next()
    assert not await trial.may_go_on(failure(), -1.0)
