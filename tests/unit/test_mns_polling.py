from __future__ import annotations

import asyncio

import pytest

from localcloud.mns.polling import Pollers


async def parked(pollers: Pollers, number: int) -> list[asyncio.Task[None]]:
    """Start waits and let each of them get to its place in the line."""

    async def poll() -> None:
        with pollers:
            await pollers.wait(60)

    tasks = [asyncio.create_task(poll(), name=f"poll-{n}") for n in range(number)]
    await asyncio.sleep(0)
    return tasks


async def settled(*tasks: asyncio.Task[None]) -> None:
    await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def test_a_wait_ends_by_itself_and_leaves_nobody_in_the_line() -> None:
    pollers = Pollers()
    with pollers:
        await pollers.wait(0)
        assert len(pollers) == 1
    assert len(pollers) == 0
    [task] = await parked(pollers, 1)
    pollers.nudge()
    await settled(task)


async def test_the_poll_that_has_waited_longest_is_woken_first() -> None:
    pollers = Pollers()
    woken: list[int] = []

    async def poll(number: int) -> None:
        await pollers.wait(60)
        woken.append(number)

    tasks = [asyncio.create_task(poll(number), name=f"poll-{number}") for number in range(3)]
    await asyncio.sleep(0)
    for _ in tasks:
        pollers.nudge()
    await settled(*tasks)
    assert woken == [0, 1, 2]


async def test_whoever_leaves_wakes_the_next() -> None:
    pollers = Pollers()
    tasks = await parked(pollers, 5)
    assert len(pollers) == 5
    pollers.nudge()
    await settled(*tasks)
    assert len(pollers) == 0


async def test_a_cancelled_poll_passes_the_news_on() -> None:
    pollers = Pollers()
    first, second = await parked(pollers, 2)
    pollers.nudge()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await settled(second)


async def test_all_can_be_woken_at_once() -> None:
    pollers = Pollers()
    tasks = await parked(pollers, 3)
    pollers.nudge_all()
    pollers.nudge_all()
    await settled(*tasks)
