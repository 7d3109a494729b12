from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.clock import settle
from worker.outages.limit import AdaptiveLimit

CAPACITY = 20


def play(limit: AdaptiveLimit, rounds: int, *, seconds: float = 0.1, knee: int = 1000) -> list[int]:
    """Fill the limit and let all calls end, again and again; beyond the knee the service refuses."""
    seen = []
    for _ in range(rounds):
        calls = int(limit.limit)
        limit.in_flight = calls
        for number in range(calls):
            limit.in_flight = calls
            if number < knee:
                limit.succeeded(seconds)
            else:
                limit.congested()
        limit.in_flight = 0
        seen.append(int(limit.limit))
    return seen


def test_it_starts_with_one_call_and_doubles_until_the_ceiling() -> None:
    assert play(AdaptiveLimit(50), 8) == [2, 4, 8, 16, 32, 50, 50, 50]


def test_refusals_beyond_a_knee_hold_the_limit_near_the_knee() -> None:
    limit = AdaptiveLimit(1000)
    play(limit, 30, knee=CAPACITY)
    settled = play(limit, 200, knee=CAPACITY)
    assert all(0.85 * CAPACITY <= each <= CAPACITY + 2 for each in settled)


def test_growing_latency_shrinks_it_without_any_refusal() -> None:
    limit = AdaptiveLimit(64)
    play(limit, 30, seconds=0.1)
    before = limit.limit
    play(limit, 1, seconds=0.5)
    assert limit.limit < before


def test_latency_noise_below_the_slack_is_no_congestion() -> None:
    limit = AdaptiveLimit(64)
    for number in range(30):
        play(limit, 1, seconds=0.004 if number % 2 else 0.040)
    assert limit.limit == 64


def test_after_a_refusal_it_grows_again_by_one_a_round() -> None:
    limit = AdaptiveLimit(64)
    play(limit, 4)
    play(limit, 1, knee=15)
    fallen = int(limit.limit)
    assert play(limit, 3) == [fallen + 1, fallen + 2, fallen + 3]


def test_one_burst_of_refusals_counts_once() -> None:
    limit = AdaptiveLimit(64)
    play(limit, 4)
    play(limit, 1, knee=0)
    assert limit.limit == pytest.approx(16 * 0.9)


def test_it_never_falls_below_its_minimum() -> None:
    limit = AdaptiveLimit(64, 3)
    play(limit, 50, knee=0)
    assert limit.limit == 3


def test_an_idle_limit_does_not_grow() -> None:
    limit = AdaptiveLimit(64)
    play(limit, 3)
    for _ in range(100):
        limit.in_flight = 1
        limit.succeeded(0.1)
    assert limit.limit == 8


def test_an_outage_makes_it_begin_again_with_one_call() -> None:
    limit = AdaptiveLimit(64)
    play(limit, 5)
    limit.restart()
    assert play(limit, 3) == [2, 4, 8]


def test_a_fixed_limit_stays_fixed() -> None:
    limit = AdaptiveLimit(4, 4)
    play(limit, 5, knee=1)
    play(limit, 5, seconds=30.0)
    assert limit.limit == 4


async def test_places_are_given_first_come_first_served() -> None:
    limit = AdaptiveLimit(1, 1)
    order: list[int] = []

    async def hold(number: int) -> None:
        await limit.acquire()
        order.append(number)
        await asyncio.sleep(0)
        limit.release()

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(hold(number))
    assert order == list(range(10))
    assert limit.in_flight == 0


async def test_nobody_overtakes_those_who_wait() -> None:
    limit = AdaptiveLimit(2, 1)
    await limit.acquire()
    waiting = asyncio.create_task(limit.acquire())
    await settle()
    limit.limit = 2.0
    late = asyncio.create_task(limit.acquire())
    await settle()
    assert not late.done()
    limit.release()
    await asyncio.gather(waiting, late)


async def test_a_wait_that_is_cancelled_as_its_place_comes_free_ends_as_cancelled() -> None:
    limit = AdaptiveLimit(1, 1)
    await limit.acquire()
    waiting = asyncio.create_task(limit.acquire())
    await settle()
    waiting.cancel()
    limit.release()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert limit.in_flight == 0


async def test_a_place_that_was_handed_to_a_cancelled_wait_goes_to_the_next() -> None:
    limit = AdaptiveLimit(1, 1)
    await limit.acquire()
    first, second = asyncio.create_task(limit.acquire()), asyncio.create_task(limit.acquire())
    await settle()
    limit.release()
    first.cancel()
    await second
    assert first.cancelled()
    assert limit.in_flight == 1


@given(st.integers(1, 4), st.integers(2, 30), st.integers(0, 2**32))
def test_whatever_is_cancelled_no_place_is_lost_or_given_twice(
    places: int, callers: int, seed: int
) -> None:
    rng = random.Random(seed)
    limit = AdaptiveLimit(places, places)
    inside = most = 0

    async def call() -> None:
        nonlocal inside, most
        await limit.acquire()
        inside += 1
        most = max(most, inside)
        try:
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
        finally:
            inside -= 1
            limit.release()

    async def scenario() -> list[BaseException | None]:
        calls = [asyncio.create_task(call()) for _ in range(callers)]
        for _ in range(rng.randrange(3 * callers)):
            if rng.random() < 0.5:
                rng.choice(calls).cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(0)
        return await asyncio.gather(*calls, return_exceptions=True)

    ends = asyncio.run(scenario())
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
    assert most <= places
    assert limit.in_flight == 0
    assert not limit._waiters
