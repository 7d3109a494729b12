from __future__ import annotations

import asyncio

import pytest

from doubles.build import Heard, failure, service
from doubles.clock import HandClock, QuickClock, settle
from worker.errors import Blame, CallFailed, Failure
from worker.outages.breaker import BreakerOpen, State
from worker.outages.limit import AdaptiveLimit
from worker.outages.service import Pace, Service


class Calls:
    """Fails as the script says, then succeeds."""

    def __init__(self, *script: Failure) -> None:
        self.script = list(script)
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        if self.script:
            raise CallFailed(self.script.pop(0))
        return "done"


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def called(clock: QuickClock, heard: Heard) -> Service:
    return service(clock, heard.journal)


async def test_a_call_returns_what_the_attempt_returns(called: Service, heard: Heard) -> None:
    assert await called.call("Post", Calls()) == "done"
    assert called.limit.in_flight == 0
    assert heard.count("call_seconds_count", service="oms", operation="Post", result="ok") == 1


async def test_nothing_is_sent_while_the_breaker_is_open(called: Service) -> None:
    called.breaker.open(failure(Blame.SERVICE, message="no such task"))
    calls = Calls()
    with pytest.raises(BreakerOpen, match="no such task"):
        await called.call("Post", calls)
    assert calls.made == 0


async def test_before_the_first_probe_the_reason_is_that_there_was_none(
    clock: QuickClock, heard: Heard
) -> None:
    with pytest.raises(BreakerOpen, match="not probed yet"):
        await service(clock, heard.journal, state=State.OPEN).call("Post", Calls())


async def test_a_passing_failure_is_repeated_and_counts_as_congestion(called: Service) -> None:
    called.limit = AdaptiveLimit(8)
    called.limit.limit = 4.0
    calls = Calls(*[failure()] * 4)
    assert await called.call("Post", calls) == "done"
    assert calls.made == 5
    assert called.limit.limit < 4


async def test_a_bad_item_is_neither_repeated_nor_held_against_the_service(called: Service) -> None:
    for _ in range(50):
        calls = Calls(failure(Blame.ITEM))
        with pytest.raises(CallFailed):
            await called.call("Post", calls)
        assert calls.made == 1
    assert called.breaker.state is State.CLOSED


async def test_repeating_ends_as_soon_as_the_breaker_opens(called: Service) -> None:
    calls = Calls(failure(), failure(Blame.CREDENTIALS), failure())
    with pytest.raises(CallFailed):
        await called.call("Post", calls)
    assert calls.made == 2
    assert called.breaker.is_open


async def test_a_call_that_waited_for_its_place_is_not_sent_once_the_breaker_opens(
    called: Service,
) -> None:
    called.limit = AdaptiveLimit(1)
    await called.limit.acquire()
    calls = Calls()
    waiting = asyncio.create_task(called.call("Post", calls))
    await settle()
    called.breaker.open(failure(Blame.CREDENTIALS))
    called.limit.release()
    with pytest.raises(BreakerOpen):
        await waiting
    assert calls.made == 0
    assert called.limit.in_flight == 0


async def test_refused_calls_are_no_calls_in_the_metrics(called: Service, heard: Heard) -> None:
    called.breaker.open(failure(Blame.SERVICE))
    with pytest.raises(BreakerOpen):
        await called.call("Post", Calls())
    names = [each.name for each in heard.journal.metrics.registry.collect() if each.samples]
    assert "oms_relay_call_seconds" not in names


async def test_opening_makes_the_limit_begin_again(called: Service) -> None:
    called.limit = AdaptiveLimit(64)
    called.limit.limit = 32.0
    with pytest.raises(CallFailed):
        await called.call("Post", Calls(failure(Blame.CREDENTIALS)))
    assert called.limit.limit == 1


async def test_wrong_keys_meet_one_call_only_however_many_wait(called: Service) -> None:
    """The first refusal stops all sending: Huawei locks a key after five in a row."""
    called.limit = AdaptiveLimit(64)
    calls = Calls(*[failure(Blame.CREDENTIALS)] * 100)
    ends = await asyncio.gather(
        *(called.call("Post", calls) for _ in range(100)), return_exceptions=True
    )
    assert calls.made == 1
    assert all(isinstance(end, CallFailed) for end in ends)


async def test_a_cancelled_call_gives_its_place_back(called: Service) -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(called.call("Post", hang))
    await settle()
    assert called.limit.in_flight == 1
    task.cancel()
    await settle()
    assert called.limit.in_flight == 0


async def test_a_ceiling_spaces_calls_evenly(clock: QuickClock) -> None:
    pace = Pace(clock, 4.0)
    left = []
    for _ in range(5):
        await pace.wait()
        left.append(clock.now)
    assert left == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


async def test_idle_time_does_not_add_up_to_a_burst(clock: QuickClock) -> None:
    pace = Pace(clock, 4.0)
    await pace.wait()
    clock.now = 100.0
    await pace.wait()
    await pace.wait()
    assert clock.slept == [0.25]


async def test_without_a_ceiling_nothing_waits(clock: QuickClock) -> None:
    pace = Pace(clock, None)
    for _ in range(100):
        await pace.wait()
    assert clock.slept == []


async def test_a_call_on_trial_is_held_through_failed_trials(called: Service) -> None:
    called.breaker.open(failure(Blame.SERVICE))
    called.breaker._become(State.TRIAL, None)
    calls = Calls(failure(Blame.SERVICE), failure(Blame.SERVICE))
    held = asyncio.ensure_future(called.persist("Post", calls))
    for trials in (1, 2):
        await settle()
        assert (calls.made, called.breaker.state) == (trials, State.OPEN)
        called.breaker._become(State.TRIAL, None)
    assert await held == "done"
    assert called.breaker.state is State.CLOSED


async def test_a_call_that_was_not_on_trial_is_not_held(called: Service) -> None:
    with pytest.raises(CallFailed):
        await called.persist("Post", Calls(failure(Blame.CREDENTIALS)))
    assert called.breaker.is_open


async def test_a_bad_item_on_trial_is_not_held(called: Service) -> None:
    called.breaker._become(State.TRIAL, None)
    with pytest.raises(CallFailed):
        await called.persist("Post", Calls(failure(Blame.ITEM)))


async def test_a_stop_lets_held_calls_go(called: Service) -> None:
    called.breaker._become(State.TRIAL, None)
    held = asyncio.ensure_future(called.persist("Post", Calls(failure(Blame.SERVICE))))
    await settle()
    called.breaker.stop()
    with pytest.raises(CallFailed):
        await held
    called.breaker.open(failure(Blame.SERVICE))
    assert await called.trial.next() is False


async def test_a_held_call_lets_others_go_first_in_the_next_trial(heard: Heard) -> None:
    clock = HandClock()
    called = service(clock, heard.journal, state=State.TRIAL)
    bad, good = Calls(*[failure(Blame.SERVICE)] * 3), Calls()
    held = asyncio.ensure_future(called.persist("Post", bad))
    await settle()
    late = asyncio.ensure_future(called.persist("Post", good))
    await settle()
    assert (bad.made, good.made, str(called.breaker.state)) == (1, 0, "open")
    called.breaker._become(State.TRIAL, None)
    await settle()
    clock.advance(0.1)
    assert await late == "done"
    assert bad.made == 1
    clock.advance(1.0)
    with pytest.raises(CallFailed):
        await held
    assert bad.made == 2, "once others work, it is not held any more"


async def test_a_call_that_comes_too_late_for_a_trial_is_held_with_the_others(
    called: Service,
) -> None:
    called.breaker._become(State.TRIAL, None)
    first = asyncio.ensure_future(called.persist("Post", Calls(failure(Blame.SERVICE))))
    await settle()
    late = asyncio.ensure_future(called.persist("Post", Calls()))
    await settle()
    assert not late.done()
    called.breaker._become(State.TRIAL, None)
    assert (await first, await late) == ("done", "done")
