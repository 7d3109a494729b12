from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.build import failure
from doubles.clock import QuickClock
from worker.errors import Blame, CallFailed, Failure
from worker.outages.retry import BASE_SECONDS, CAP_SECONDS, RETRY_AFTER_SECONDS_MAX, Backoff, Retry


class Attempts:
    """Fails as the script says, then succeeds."""

    def __init__(self, *script: Failure) -> None:
        self.script = list(script)
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        if self.script:
            raise CallFailed(self.script.pop(0))
        return "done"


async def run(
    attempts: Callable[[], Awaitable[str]], may_retry: Callable[[], bool] = lambda: True
) -> tuple[str, QuickClock]:
    clock = QuickClock()
    retry = Retry(clock, Backoff(random.Random(1)), attempts_max=4)
    return await retry.call(attempts, may_retry=may_retry), clock


@given(st.integers(1, 10_000), st.integers())
def test_a_wait_lies_between_nothing_and_the_doubling_bound(attempt: int, seed: int) -> None:
    bound = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(attempt - 1, 60))
    assert 0.0 <= Backoff(random.Random(seed)).seconds(attempt) <= bound


def test_waits_use_the_whole_range_so_that_workers_spread() -> None:
    backoff = Backoff(random.Random(3))
    waits = [backoff.seconds(40) for _ in range(1000)]
    assert min(waits) < CAP_SECONDS / 16
    assert max(waits) > CAP_SECONDS * 15 / 16


@given(st.floats(0, 1e9), st.integers(1, 40), st.integers())
def test_a_retry_after_is_waited_out_in_full_up_to_a_minute(
    asked: float, attempt: int, seed: int
) -> None:
    seconds = Backoff(random.Random(seed)).seconds(attempt, asked)
    least = min(asked, RETRY_AFTER_SECONDS_MAX)
    assert least <= seconds <= least + CAP_SECONDS


async def test_a_first_success_waits_for_nothing() -> None:
    attempts = Attempts()
    result, clock = await run(attempts)
    assert (result, attempts.made, clock.slept) == ("done", 1, [])


async def test_a_passing_failure_is_repeated_until_it_succeeds() -> None:
    attempts = Attempts(failure(), failure(), failure())
    result, clock = await run(attempts)
    assert (result, attempts.made, len(clock.slept)) == ("done", 4, 3)


async def test_attempts_run_out_and_the_last_failure_is_raised() -> None:
    attempts = Attempts(*(failure(message=f"number {n}") for n in range(1, 6)))
    with pytest.raises(CallFailed, match="number 4"):
        await run(attempts)
    assert attempts.made == 4


@pytest.mark.parametrize("blame", [Blame.CREDENTIALS, Blame.SERVICE, Blame.ITEM])
async def test_what_time_does_not_heal_is_never_repeated(blame: Blame) -> None:
    attempts = Attempts(failure(blame))
    with pytest.raises(CallFailed):
        await run(attempts)
    assert attempts.made == 1


async def test_a_later_failure_for_good_ends_the_attempts() -> None:
    attempts = Attempts(failure(), failure(Blame.ITEM), failure())
    with pytest.raises(CallFailed) as raised:
        await run(attempts)
    assert raised.value.failure.blame is Blame.ITEM
    assert attempts.made == 2


async def test_nothing_is_repeated_once_repeating_is_not_allowed() -> None:
    attempts = Attempts(failure(), failure(), failure())
    with pytest.raises(CallFailed):
        await run(attempts, may_retry=lambda: attempts.made < 2)
    assert attempts.made == 2


async def test_the_servers_retry_after_decides_the_wait() -> None:
    attempts = Attempts(failure(retry_after_seconds=30.0), failure(retry_after_seconds=7.0))
    _, clock = await run(attempts)
    assert 30.0 <= clock.slept[0] <= 30.0 + BASE_SECONDS
    assert 7.0 <= clock.slept[1] <= 7.0 + 2 * BASE_SECONDS


@pytest.mark.parametrize("when", [0, 1])
async def test_an_error_that_is_no_failed_call_goes_straight_up(when: int) -> None:
    script = [failure()] * when

    async def attempt() -> str:
        if script:
            raise CallFailed(script.pop())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(attempt)
