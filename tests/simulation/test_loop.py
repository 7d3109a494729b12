from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from simulation.loop import EPOCH, OWNER, LoopClock, Stuck, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(random.Random(1))
    yield loop
    loop.close()


def test_time_jumps_to_the_next_timer(loop: VirtualLoop) -> None:
    clock = LoopClock(loop)

    async def sleep() -> None:
        await clock.sleep(3600)

    loop.run(loop.create_task(sleep()))
    assert loop.time() == 3600
    assert clock.wall() == EPOCH + 3600


def test_cancelled_timers_do_not_move_time(loop: VirtualLoop) -> None:
    async def wait() -> None:
        async with asyncio.timeout(1000):
            await asyncio.sleep(1)

    loop.run(loop.create_task(wait()))
    loop.run(loop.create_task(asyncio.sleep(1)))
    assert loop.time() == 2


def test_the_order_is_drawn_by_the_seed() -> None:
    def order(seed: int) -> list[int]:
        loop, seen = VirtualLoop(random.Random(seed)), list[int]()

        async def note(number: int) -> None:
            seen.append(number)

        async def spawn() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(note(number))

        loop.run(loop.create_task(spawn()))
        loop.close()
        return seen

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == list(range(20))


def test_a_deadlock_names_who_waits(loop: VirtualLoop) -> None:
    stuck = loop.create_task(asyncio.Event().wait(), name="waits for nobody")
    with pytest.raises(Stuck, match=r"deadlock at 0\.000 s: 1 tasks pending: waits for nobody"):
        loop.run(stuck)
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run(stuck)


def test_spinning_without_time_is_stuck(loop: VirtualLoop) -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110  spinning is the point
            await asyncio.sleep(0)

    task = loop.create_task(spin(), name="spins")
    with pytest.raises(Stuck, match=r"steps at 0\.000 s; 1 tasks pending: spins"):
        loop.run(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run(task)


def test_a_frozen_owner_does_nothing_until_it_thaws(loop: VirtualLoop) -> None:
    times: list[float] = []

    async def tick() -> None:
        OWNER.set("one")
        for _ in range(3):
            await asyncio.sleep(1)
            times.append(loop.time())

    task = loop.create_task(tick())
    loop.call_at(1.5, loop.freeze, "one")
    loop.call_at(60.0, loop.thaw, "one")
    loop.run(task)
    assert times == [1.0, 60.0, 61.0]


def test_a_blow_can_fall_between_two_steps(loop: VirtualLoop) -> None:
    seen: list[str] = []

    async def steps() -> None:
        for _ in range(4):
            await asyncio.sleep(0)
            seen.append("step")

    task = loop.create_task(steps())
    loop.after_steps(3, lambda: seen.append("blow"))
    loop.run(task)
    assert seen == ["step", "step", "blow", "step", "step"]


def test_an_error_in_a_callback_is_kept(loop: VirtualLoop) -> None:
    loop.call_soon(lambda: 1 / 0)
    loop.run(loop.create_task(asyncio.sleep(1)))
    assert [type(fault["exception"]) for fault in loop.faults] == [ZeroDivisionError]
