from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from doubles.build import Heard, failure
from doubles.clock import QuickClock, settle, until
from doubles.hurry import hurried
from worker.errors import Blame, CallFailed, Failure
from worker.outages.breaker import FAILURES_MIN, PATIENCE_SECONDS, Breaker, State


class EndOfScriptError(Exception):
    """The probes that the test is about have been made."""


class Probe:
    """Answers as the script says, and never lets two run at once."""

    def __init__(self, *script: Failure | None) -> None:
        self.script = list(script)
        self.made = 0
        self.running = 0

    async def __call__(self) -> None:
        if not self.script:
            raise EndOfScriptError
        self.made += 1
        self.running += 1
        assert self.running == 1
        await asyncio.sleep(0)
        self.running -= 1
        answer = self.script.pop(0)
        if answer:
            raise CallFailed(answer)


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def breaker(clock: QuickClock, heard: Heard) -> Breaker:
    return Breaker("oms", clock, heard.journal)


@pytest.fixture
def asked() -> Iterator[list[float]]:
    with hurried() as asked:
        yield asked


def closed(breaker: Breaker) -> Breaker:
    breaker.state = State.CLOSED
    return breaker


async def probed(breaker: Breaker, probe: Probe) -> None:
    with pytest.raises(EndOfScriptError):
        await breaker.keep_probing(probe)


async def test_it_starts_open_and_probes_at_once(breaker: Breaker, asked: list[float]) -> None:
    assert breaker.is_open
    await probed(breaker, Probe(failure()))
    assert asked[0] == 0.0


async def test_a_probe_puts_the_service_on_trial_and_a_real_call_closes_it(
    breaker: Breaker, asked: list[float], heard: Heard
) -> None:
    task = asyncio.create_task(breaker.keep_probing(Probe(None)))
    await settle()
    assert (breaker.state, asked) == (State.TRIAL, [0.0])
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.failure is None
    assert [line["event"] for line in heard.lines] == [
        "a service answers: one batch is on trial",
        "a service works",
    ]
    task.cancel()


async def test_a_failure_on_trial_opens_it_again_whatever_the_blame(breaker: Breaker) -> None:
    breaker.state = State.TRIAL
    breaker.failed(failure())
    assert breaker.is_open


async def test_a_bad_item_on_trial_changes_nothing(breaker: Breaker) -> None:
    breaker.state = State.TRIAL
    breaker.failed(failure(Blame.ITEM))
    assert breaker.state is State.TRIAL


def test_refused_credentials_open_it_at_once(breaker: Breaker) -> None:
    closed(breaker).failed(failure(Blame.CREDENTIALS))
    assert breaker.is_open


def test_a_wrong_service_opens_it_when_it_has_failed_a_few_calls_in_a_row(breaker: Breaker) -> None:
    closed(breaker)
    for _ in range(FAILURES_MIN - 1):
        breaker.failed(failure(Blame.SERVICE))
    assert not breaker.is_open
    breaker.failed(failure(Blame.SERVICE))
    assert breaker.is_open


def test_one_item_refused_for_ever_among_many_that_work_never_opens_it(breaker: Breaker) -> None:
    closed(breaker)
    for _ in range(10 * FAILURES_MIN):
        breaker.failed(failure(Blame.SERVICE, status=403))
        breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_bad_items_never_open_it(breaker: Breaker, clock: QuickClock) -> None:
    closed(breaker)
    for _ in range(100):
        clock.now += 1
        breaker.failed(failure(Blame.ITEM))
    assert breaker.state is State.CLOSED


def test_a_passing_fault_opens_it_only_after_some_time_and_some_failures(
    breaker: Breaker, clock: QuickClock
) -> None:
    closed(breaker)
    for _ in range(10 * FAILURES_MIN):
        breaker.failed(failure())
    assert not breaker.is_open
    clock.now = PATIENCE_SECONDS
    breaker.failed(failure())
    assert breaker.is_open


def test_few_failures_over_a_long_time_do_not_open_it(breaker: Breaker, clock: QuickClock) -> None:
    closed(breaker)
    for _ in range(FAILURES_MIN - 1):
        breaker.failed(failure())
        clock.now += 100
    assert not breaker.is_open


def test_one_success_in_between_starts_the_patience_anew(
    breaker: Breaker, clock: QuickClock
) -> None:
    closed(breaker)
    for _ in range(5):
        breaker.failed(failure())
        clock.now += PATIENCE_SECONDS / 2
        breaker.failed(failure())
        breaker.succeeded()
    assert not breaker.is_open


async def test_probes_come_at_most_thirty_seconds_apart(
    breaker: Breaker, asked: list[float]
) -> None:
    await probed(breaker, Probe(*[failure(Blame.SERVICE)] * 8))
    assert asked == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


async def test_refused_credentials_are_probed_five_minutes_apart(
    breaker: Breaker, asked: list[float]
) -> None:
    await probed(breaker, Probe(*[failure(Blame.CREDENTIALS)] * 3))
    assert asked == [0.0, 300.0, 300.0, 300.0]


async def test_a_refusal_that_arrives_while_a_short_wait_runs_makes_it_five_minutes(
    breaker: Breaker, asked: list[float]
) -> None:
    breaker.failure = failure()
    task = asyncio.create_task(probed(breaker, Probe()))
    await asyncio.sleep(0)
    breaker.open(failure(Blame.CREDENTIALS))
    await task
    assert asked == [0.0, 300.0]


async def test_trials_that_fail_space_the_probes_and_a_real_success_resets_them(
    breaker: Breaker, asked: list[float]
) -> None:
    probe = Probe(failure(), None, None, None)
    task = asyncio.create_task(probed(breaker, probe))
    await settle()
    for opens in (False, True, False):
        while breaker.state is not State.TRIAL:
            await settle()
        if opens:
            breaker.succeeded()
        breaker.open(failure(Blame.SERVICE))
        assert breaker.is_open
    await task
    assert asked == [0.0, 1.0, 2.0, 1.0, 2.0]


async def test_a_probe_can_be_asked_for_at_once(breaker: Breaker) -> None:
    breaker.failure = failure(Blame.CREDENTIALS)
    task = asyncio.create_task(probed(breaker, Probe()))
    await settle()
    assert not task.done()
    breaker.probe_now()
    await task


async def test_a_probe_asked_for_during_a_probe_follows_it_at_once(breaker: Breaker) -> None:
    """The keys changed while the old ones were being refused: five minutes would be lost."""
    probe = Probe(failure(Blame.CREDENTIALS))
    task = asyncio.create_task(probed(breaker, probe))
    await until(lambda: probe.running == 1)
    breaker.probe_now()
    await task
    assert probe.made == 1


@pytest.mark.parametrize("state", [State.CLOSED, State.TRIAL])
async def test_a_probe_asked_for_while_the_service_works_is_not_made_later(
    breaker: Breaker, state: State
) -> None:
    breaker.state = state
    breaker.probe_now()
    probe = Probe(failure())
    task = asyncio.create_task(breaker.keep_probing(probe))
    breaker.open(failure(Blame.CREDENTIALS))
    await settle()
    assert probe.made == 0
    task.cancel()


async def test_a_successful_probe_drops_the_wish_for_another(breaker: Breaker) -> None:
    probe = Probe(None)
    task = asyncio.create_task(breaker.keep_probing(probe))
    await until(lambda: probe.running == 1)
    breaker.probe_now()
    await settle()
    breaker.open(failure(Blame.CREDENTIALS))
    await settle()
    assert not task.done()
    task.cancel()


def test_an_open_breaker_keeps_the_first_passing_reason_and_takes_a_graver_one(
    breaker: Breaker,
) -> None:
    closed(breaker)
    breaker.open(failure(message="first"))
    breaker.open(failure(message="second"))
    assert breaker.failure == failure(message="first")
    breaker.open(failure(Blame.CREDENTIALS))
    assert breaker.failure == failure(Blame.CREDENTIALS)


def test_the_same_news_is_told_once_with_the_next_step(breaker: Breaker, heard: Heard) -> None:
    closed(breaker)
    for _ in range(3):
        breaker.open(failure(Blame.CREDENTIALS, status=401))
    (line,) = heard.lines
    assert line["log_level"] == "error"
    assert "HW_AK" in line["hint"]
    assert heard.count("breaker_open", service="oms") == 1


async def test_an_error_that_is_no_failed_call_ends_the_probing(breaker: Breaker) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await breaker.keep_probing(broken)


async def test_a_probe_waits_as_long_as_the_service_has_asked_for(
    breaker: Breaker,
) -> None:
    waits: list[float] = []

    async def until(_: asyncio.Event, seconds: float) -> bool:
        waits.append(seconds)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.outages.breaker.is_set_within", until)
        breaker._become(State.CLOSED, None)
        for asked in (None, 20.0, 4000.0):
            breaker.open(failure(Blame.SERVICE, retry_after_seconds=asked))
            await breaker._until_probe_is_due()
    assert waits == [0.0, 20.0, 60.0]


async def test_calls_that_fail_together_are_one_piece_of_news() -> None:
    heard = Heard()
    breaker = Breaker("oss", QuickClock(), heard.journal)
    for number in range(10):
        why = failure(Blame.SERVICE, status=404, code="NoSuchBucket")
        breaker.open(replace(why, request_id=f"R{number}", message=f"no bucket ({number})"))
    assert len(heard.lines) == 1
    assert breaker.failure is not None
    assert breaker.failure.request_id == "R9"
