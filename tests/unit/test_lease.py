from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from doubles.build import Heard, failure, message
from doubles.clock import HandClock, settle, until
from doubles.hurry import hurried
from doubles.vendors import ModelQueue
from worker.flow.lease import RELEASE_SECONDS_MAX, RENEWALS_AT_ONCE, Leases, release_seconds


class Bench:
    """Leases over a queue in memory, with hand-driven time."""

    def __init__(self, limit: int = 1000) -> None:
        self.clock = HandClock()
        self.heard = Heard()
        self.queue = ModelQueue(self.clock, 30)
        self.leases = Leases(
            self.queue, self.clock, self.heard.journal, visibility_seconds=30, limit=limit
        )

    async def take(self, count: int = 1) -> None:
        self.queue.send(*["body"] * count)
        self.leases.hold(await self.queue.receive(0))

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.leases.keep())
        try:
            await settle()
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def pass_time(self, seconds: float, step: float = 0.25) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await settle()

    def renewals(self) -> list[str]:
        return [handle for handle, _ in self.queue.called("change_visibility")]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("deliveries", "seconds"),
    [(-1, 2), (0, 2), (1, 2), (2, 4), (3, 8), (8, 256), (9, RELEASE_SECONDS_MAX), (10**9, 300)],
)
def test_the_more_deliveries_the_longer_a_message_stays_away(deliveries: int, seconds: int) -> None:
    assert release_seconds(deliveries) == seconds


async def test_a_message_is_renewed_at_half_its_visibility_and_never_comes_back(
    bench: Bench,
) -> None:
    await bench.take(3)
    async with bench.keeping():
        await bench.pass_time(14)
        assert bench.renewals() == []
        await bench.pass_time(286)
    assert len(bench.renewals()) == 3 * 20
    assert await bench.queue.receive(0) == []
    assert bench.heard.count("leases_renewed_total", result="renewed") == 60
    for message_id, held in bench.leases.in_hand.items():
        assert held.receipt_handle == bench.queue.stored[message_id].handle


async def test_a_failed_renewal_is_tried_again_soon_though_others_are_not_due(bench: Bench) -> None:
    """The others were taken later; the one that failed must not wait behind them."""
    await bench.take()
    bench.clock.advance(14)
    await bench.take(20)
    bench.queue.fail("change_visibility", failure())
    async with bench.keeping():
        await bench.pass_time(4)
        assert len(bench.renewals()) == 2
        held = bench.leases.in_hand["M000"]
        assert held.lease_ends_at > 44
    assert bench.heard.count("leases_renewed_total", result="failed") == 1


async def test_a_shorter_visibility_of_the_queue_counts_at_once_for_new_messages(
    bench: Bench,
) -> None:
    bench.leases.visibility_seconds = 3600
    await bench.take()
    bench.leases.visibility_seconds = bench.queue.visibility_seconds = 4
    await bench.take()
    async with bench.keeping():
        await bench.pass_time(2.5)
    assert len(bench.renewals()) == 1


async def test_a_renewal_that_hangs_costs_the_others_nothing(bench: Bench) -> None:
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    change = bench.queue.change_visibility

    async def change_visibility(handle: str, seconds: int) -> str | None:
        if handle == "handle-1":
            await answered
        return await change(handle, seconds)

    bench.queue.change_visibility = change_visibility  # type: ignore[method-assign]
    await bench.take(2)
    with hurried() as asked:
        async with bench.keeping():
            bench.clock.advance(15)
            await until(lambda: bench.heard.count("leases_renewed_total", result="failed") == 1)
    assert set(asked) == {7.5}
    assert bench.heard.count("leases_renewed_total", result="renewed") == 1
    assert bench.leases.in_hand["M000"].renew_at == 15 + 30 / 16


async def test_at_most_so_many_renewals_run_at_once_those_that_end_first_before_others(
    bench: Bench,
) -> None:
    for _ in range(4):
        await bench.take(16)
        bench.clock.advance(0.001)
    bench.clock.advance(20)
    async with bench.keeping():
        first = bench.renewals()[:RENEWALS_AT_ONCE]
        assert set(first) == {f"handle-{n}" for n in range(1, RENEWALS_AT_ONCE + 1)}
        assert len(bench.renewals()) == 64


async def test_a_lost_lease_is_counted_and_its_work_goes_on(bench: Bench) -> None:
    await bench.take()
    bench.queue.stored["M000"].handle = "someone else's"
    async with bench.keeping():
        await bench.pass_time(16)
    assert bench.heard.count("leases_renewed_total", result="lost") == 1
    assert bench.leases.in_hand["M000"].receipt_handle == "handle-1"


async def test_a_redelivery_is_not_new_and_brings_the_handle_that_counts(bench: Bench) -> None:
    (first,) = bench.leases.hold([message(handle="old")])
    bench.clock.advance(31)
    assert bench.leases.hold([message(handle="new", deliveries=2)]) == []
    assert first.receipt_handle == "new"
    assert (first.lease_ends_at, first.renew_at) == (61, 46)


async def test_a_released_message_comes_back_when_asked_and_is_logged(bench: Bench) -> None:
    await bench.take()
    (held,) = bench.leases.in_hand.values()
    await bench.leases.release(held, 1, "the relay stopped")
    assert bench.leases.in_hand == {}
    assert bench.queue.stored["M000"].visible_at == 1
    (line,) = bench.heard.lines
    assert (line["outcome"], line["why"]) == ("released", "the relay stopped")


async def test_a_message_that_could_not_be_finished_is_given_back_by_its_deliveries(
    bench: Bench,
) -> None:
    bench.leases.hold([message(handle="H3", deliveries=3)])
    (held,) = bench.leases.in_hand.values()
    await bench.leases.give_back(held, "OMS is down")
    assert bench.queue.called("change_visibility") == [("H3", 8)]


async def test_a_release_that_fails_leaves_it_to_the_time_out(bench: Bench) -> None:
    await bench.take()
    (held,) = bench.leases.in_hand.values()
    bench.queue.fail("change_visibility", failure())
    await bench.leases.release(held, 1, "why")
    assert bench.leases.in_hand == {}
    assert bench.queue.stored["M000"].visible_at == 30
    assert bench.heard.count("messages_ended_total", end="released") == 0
    assert bench.heard.count("messages_ended_total", end="lapsed") == 1


async def test_a_lease_that_was_lost_cannot_be_released(bench: Bench) -> None:
    await bench.take()
    (held,) = bench.leases.in_hand.values()
    bench.queue.stored["M000"].handle = "somebody else's"
    await bench.leases.release(held, 1, "why")
    assert bench.heard.count("messages_ended_total", end="lapsed") == 1


async def test_a_message_that_is_gone_already_is_not_counted_again(bench: Bench) -> None:
    await bench.take()
    (held,) = bench.leases.in_hand.values()
    assert bench.leases.forget(held)
    await bench.leases.release(held, 1, "why")
    assert not bench.leases.forget(held)
    assert bench.heard.lines == []


async def test_a_slow_renewal_counts_from_the_call_as_mns_counts_it(bench: Bench) -> None:
    """MNS changemessagevisibility: the new timeout counts from the call, not from its answer."""
    await bench.take()
    (held,) = bench.leases.in_hand.values()
    change = bench.queue.change_visibility

    async def slow(handle: str, seconds: int) -> str | None:
        found = await change(handle, seconds)
        await bench.clock.sleep(5)
        return found

    bench.leases._queue.change_visibility = slow  # type: ignore[method-assign]
    async with bench.keeping():
        await bench.pass_time(20.5)
    assert (held.renew_at, held.lease_ends_at) == (30, 45)


async def test_a_message_that_leaves_is_renewed_no_more(bench: Bench) -> None:
    await bench.take(2)
    held, other = bench.leases.in_hand.values()
    await bench.leases.freeze_handles([held])
    async with bench.keeping():
        await bench.pass_time(16)
    assert bench.renewals() == [other.message.receipt_handle]


async def test_letting_go_of_an_older_holding_keeps_the_newer_one(bench: Bench) -> None:
    (older,) = bench.leases.hold([message(handle="1")])
    bench.leases.forget(older)
    (newer,) = bench.leases.hold([message(handle="2")])
    bench.leases.forget(older)
    assert list(bench.leases.in_hand.values()) == [newer]


async def test_room_counts_what_is_in_hand_and_what_was_promised() -> None:
    bench = Bench(limit=20)
    assert bench.leases.has_room(16)
    bench.leases.reserve(16)
    assert not bench.leases.has_room(16)
    bench.leases.unreserve(16)
    await bench.take(5)
    assert not bench.leases.has_room(16)
    assert bench.leases.has_room(15)


async def test_slow_renewals_leave_less_room_but_always_for_one_poll(bench: Bench) -> None:
    """What cannot be renewed in time must not be taken: 32 at once, in half the visibility."""
    bench.leases.visibility_seconds = 2
    bench.leases._renewal_seconds = 1.0
    assert bench.leases.has_room(32)
    assert not bench.leases.has_room(16) or bench.leases.hold([message(str(n)) for n in range(20)])
    assert not bench.leases.has_room(16)
    bench.leases._renewal_seconds = 60.0
    bench.leases.in_hand.clear()
    assert bench.leases.has_room(16)


async def test_a_slow_spell_costs_room_until_renewals_are_long_past(bench: Bench) -> None:
    change = bench.queue.change_visibility

    async def change_visibility(handle: str, seconds: int) -> str | None:
        await bench.clock.sleep(6.0)
        return await change(handle, seconds)

    bench.queue.change_visibility = change_visibility  # type: ignore[method-assign]
    # With nothing at all in hand there is always room.
    bench.leases.reserve(1)
    for _ in range(4):
        await bench.take(16)
    async with bench.keeping():
        await bench.pass_time(90)
        for held in tuple(bench.leases.in_hand.values()):
            bench.leases.forget(held)
        assert not bench.leases.has_room(100)
        await bench.pass_time(24)
        assert not bench.leases.has_room(100), "what was taken just now is not due for so long"
        await bench.pass_time(36)
        assert bench.leases.has_room(100), "room comes back by and by"
        assert not bench.leases.has_room(999)
        await bench.pass_time(120)
    assert bench.leases.has_room(999)


async def test_those_who_wait_for_room_hear_of_every_departure(bench: Bench) -> None:
    await bench.take(2)
    emptied = asyncio.create_task(bench.leases.wait_empty())
    for held in tuple(bench.leases.in_hand.values()):
        changed = asyncio.create_task(bench.leases.changed())
        await settle()
        assert not changed.done()
        assert not emptied.done()
        bench.leases.forget(held)
        await changed
    await emptied
    promise = asyncio.create_task(bench.leases.changed())
    await settle()
    bench.leases.reserve(1)
    bench.leases.unreserve(1)
    await promise
