from __future__ import annotations

import asyncio
import random

import pytest

from doubles.build import Heard, failure, service
from doubles.clock import QuickClock, settle, until
from doubles.hurry import hurried
from doubles.vendors import ModelQueue
from worker.errors import Blame
from worker.events.event import Message
from worker.flow.lease import Leases
from worker.flow.receive import CUT_SECONDS, Receiver
from worker.outages.breaker import Breaker, State


class Bench:
    """A receiver of 20-second polls over a queue in memory, and the breaker of another service."""

    def __init__(self, limit: int = 1000, poll_seconds: float = 20.0) -> None:
        self.clock = QuickClock()
        self.heard = Heard()
        journal = self.heard.journal
        self.poll_seconds = poll_seconds
        self.throttled: list[float] = []
        self.queue = ModelQueue(self.clock)
        self._receive = self.queue.receive
        self.queue.receive = self.receive_slowly  # type: ignore[method-assign]
        self.leases = Leases(self.queue, self.clock, journal, visibility_seconds=30, limit=limit)
        self.service = service(self.clock, journal, attempts_max=2)
        self.other = Breaker("oms", self.clock, journal)
        self.other.state = State.CLOSED
        self.receiver = Receiver(
            self.queue,
            self.service,
            self.leases,
            (self.service.breaker, self.other),
            random.Random(1),
            wait_seconds=20,
            throttled=lambda: self.throttled.append(self.clock.now),
        )

    async def receive_slowly(self, wait_seconds: int) -> list[Message]:
        found = await self._receive(wait_seconds)
        self.clock.now += 0 if found else self.poll_seconds
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_poll_takes_messages_in_hand(bench: Bench) -> None:
    bench.queue.send("one", "two")
    held = await bench.receiver.receive()
    assert [each.message.body for each in held] == ["one", "two"]
    assert list(bench.leases.in_hand.values()) == held
    assert bench.queue.called("receive") == [20]
    assert bench.heard.count("messages_received_total") == 2
    assert bench.leases._reserved == 0


async def test_without_room_it_waits_until_a_message_leaves() -> None:
    bench = Bench(limit=20)
    bench.queue.send(*["body"] * 32)
    await bench.receiver.receive()
    waiting = asyncio.create_task(bench.receiver.receive())
    await settle()
    assert len(bench.queue.called("receive")) == 1
    for held in list(bench.leases.in_hand.values())[:12]:
        bench.leases.forget(held)
    assert len(await waiting) == 16
    assert len(bench.leases.in_hand) == 20


async def test_room_is_promised_to_a_poll_under_way() -> None:
    bench = Bench(limit=20)
    may_end = asyncio.Event()

    async def hang(wait_seconds: int) -> list[Message]:  # noqa: ARG001  the port's name
        await may_end.wait()
        return []

    bench.queue.receive = hang  # type: ignore[method-assign]
    first = asyncio.create_task(bench.receiver.receive())
    await settle()
    assert not bench.leases.has_room(16)
    may_end.set()
    with hurried():
        await first
    assert bench.leases.has_room(16)


@pytest.mark.parametrize("which", ["own", "other"])
async def test_while_a_service_cannot_be_used_nothing_is_received(bench: Bench, which: str) -> None:
    breaker = bench.other if which == "other" else bench.service.breaker
    breaker.open(failure(Blame.SERVICE))
    assert not bench.receiver.is_open
    with hurried():
        waiting = asyncio.create_task(bench.receiver.receive())
        await settle()
        assert bench.queue.called("receive") == []
        breaker.state = State.CLOSED
        await waiting
    assert len(bench.queue.called("receive")) == 1


async def test_on_trial_one_batch_passes_and_the_next_waits_for_it(bench: Bench) -> None:
    bench.other.state = State.TRIAL
    bench.queue.send(*["body"] * 40)
    with hurried():
        batch = await bench.receiver.receive()
        waiting = asyncio.create_task(bench.receiver.receive())
        await settle()
        assert len(bench.queue.called("receive")) == 1
        for held in batch:
            bench.leases.forget(held)
        assert len(await waiting) == 16


async def test_on_trial_one_poll_runs_at_a_time(bench: Bench) -> None:
    bench.other.state = State.TRIAL
    may_end = asyncio.Event()
    polls = []

    async def hang(wait_seconds: int) -> list[Message]:  # noqa: ARG001  the port's name
        polls.append(1)
        await may_end.wait()
        return []

    bench.queue.receive = hang  # type: ignore[method-assign]
    with hurried():
        tasks = [asyncio.create_task(bench.receiver.receive()) for _ in range(4)]
        await settle()
        assert len(polls) == 1
        bench.receiver.stop()
        may_end.set()
        await asyncio.gather(*tasks)


async def test_a_full_wait_for_nothing_is_repeated_at_once(bench: Bench) -> None:
    with hurried() as asked:
        assert await bench.receiver.receive() == []
    assert asked == []


async def test_answers_that_nothing_is_there_come_early_when_there_are_too_many_polls() -> None:
    """MNS answers a superfluous poll at once, and bills it: each one in a row waits longer."""
    bench = Bench(poll_seconds=0.01)
    with hurried() as asked:
        for _ in range(200):
            assert await bench.receiver.receive() == []
        assert max(asked[:3]) <= 0.8
        assert max(asked) > 10
        bench.queue.send("one")
        await bench.receiver.receive()
        pauses = len(asked)
        await bench.receiver.receive()
    assert len(asked) == pauses + 1
    assert asked[-1] <= 0.2


async def test_a_failed_poll_gives_nothing_and_takes_its_promise_back(bench: Bench) -> None:
    bench.queue.fail("receive", failure(), failure())
    with hurried():
        assert await bench.receiver.receive() == []
    assert bench.leases._reserved == 0
    assert bench.receiver._gate._polls == 0


async def test_only_an_answer_that_too_much_is_taken_is_told_to_the_share(bench: Bench) -> None:
    bench.queue.fail("receive", failure(status=429), failure(status=503))
    for told in (1, 1):
        assert await bench.receiver.receive(is_short=True) == []
        assert len(bench.throttled) == told


async def test_a_message_already_in_hand_is_not_handed_out_twice(bench: Bench) -> None:
    bench.queue.send("one")
    await bench.receiver.receive()
    bench.clock.now = 31.0
    assert await bench.receiver.receive() == []
    (held,) = bench.leases.in_hand.values()
    assert held.receipt_handle == bench.queue.stored["M000"].handle


async def test_a_stopped_receiver_polls_no_more(bench: Bench) -> None:
    bench.receiver.stop()
    assert bench.receiver.is_stopping
    assert await bench.receiver.receive() == []
    assert bench.queue.called("receive") == []


async def test_a_stop_cuts_a_poll_that_has_waited_for_nothing(bench: Bench) -> None:
    hangs = asyncio.get_running_loop().create_future()
    bench.queue.receive = lambda _: hangs  # type: ignore[assignment,method-assign,return-value]
    poll = asyncio.create_task(bench.receiver.receive())
    await settle()
    (limit,) = bench.receiver._open_polls
    bench.receiver._open_polls[limit] -= CUT_SECONDS
    bench.receiver.stop()
    assert await poll == []
    assert hangs.cancelled()
    assert not bench.service.breaker.is_open
    assert bench.leases._reserved == 0


async def test_what_a_poll_brings_that_began_just_before_a_stop_is_taken(bench: Bench) -> None:
    may_end = asyncio.Event()
    receive = bench.queue.receive

    async def late(wait_seconds: int) -> list[Message]:
        await may_end.wait()
        return await receive(wait_seconds)

    bench.queue.receive = late  # type: ignore[method-assign]
    bench.queue.send("one")
    poll = asyncio.create_task(bench.receiver.receive())
    await settle()
    (limit,) = bench.receiver._open_polls
    bench.receiver.stop()
    assert limit.when() == bench.receiver._open_polls[limit] + CUT_SECONDS
    may_end.set()
    assert [each.message.body for each in await poll] == ["one"]
    assert len(bench.leases.in_hand) == 1


async def test_a_stop_ends_the_pause_after_an_early_answer() -> None:
    bench = Bench(poll_seconds=0.01)
    bench.receiver._early = 10_000
    bench.receiver._backoff.seconds = lambda *_: 3600.0  # type: ignore[method-assign]
    waiting = asyncio.create_task(bench.receiver.receive())
    await until(lambda: bench.receiver._early == 10_001)
    await settle()
    assert not waiting.done()
    bench.receiver.stop()
    assert await waiting == []


async def test_a_stop_ends_the_wait_for_a_service(bench: Bench) -> None:
    bench.other.open(failure(Blame.SERVICE))
    waiting = asyncio.create_task(bench.receiver.receive())
    await settle()
    bench.receiver.stop()
    assert await waiting == []


async def test_a_short_poll_takes_what_is_there_and_waits_for_nothing(bench: Bench) -> None:
    with hurried() as asked:
        assert await bench.receiver.receive(is_short=True) == []
        bench.queue.send("one")
        assert len(await bench.receiver.receive(is_short=True)) == 1
    assert bench.queue.called("receive") == [0, 0]
    assert asked == []


async def test_a_short_poll_does_not_wait_for_room() -> None:
    bench = Bench(limit=16)
    bench.queue.send(*["body"] * 32)
    await bench.receiver.receive()
    assert await bench.receiver.receive(is_short=True) == []
    assert bench.queue.called("receive") == [20]


async def test_each_poll_that_brings_much_lets_one_more_poll_through(bench: Bench) -> None:
    waiting = [asyncio.create_task(bench.receiver.backlog_permit()) for _ in range(3)]
    for brought, through in ((7, 0), (8, 1), (16, 2)):
        bench.queue.send(*["body"] * brought)
        await bench.receiver.receive()
        await settle()
        assert sum(task.done() for task in waiting) == through
    bench.receiver.stop()
    await asyncio.gather(*waiting)


async def test_while_nobody_waits_only_one_poll_is_remembered_to_have_brought_much(
    bench: Bench,
) -> None:
    bench.queue.send(*["body"] * 64)
    for _ in range(4):
        await bench.receiver.receive()
    await bench.receiver.backlog_permit()
    waiting = asyncio.create_task(bench.receiver.backlog_permit())
    await settle()
    assert not waiting.done()
    bench.receiver.stop()
    await waiting
    await bench.receiver.backlog_permit()


async def test_beside_what_a_trial_left_in_hand_one_poll_leaves_in_each_trial(
    bench: Bench,
) -> None:
    bench.queue.send(*["body"] * 40)
    bench.other._become(State.TRIAL, None)
    assert len(await bench.receiver.receive()) == 16
    waiting = asyncio.create_task(bench.receiver.receive())
    await settle()
    assert len(bench.queue.called("receive")) == 1
    bench.other.open(failure())
    bench.other._become(State.TRIAL, None)
    assert len(await waiting) == 16
    assert bench.queue.called("receive") == [20, 0]


async def test_trials_take_only_so_many_in_hand(bench: Bench) -> None:
    bench.queue.send(*["body"] * 200)
    for _ in range(5):
        bench.other._become(State.TRIAL, None)
        assert len(await bench.receiver.receive()) == 16
    bench.other._become(State.TRIAL, None)
    waiting = asyncio.create_task(bench.receiver.receive())
    await settle()
    assert len(bench.leases.in_hand) == 80
    bench.receiver.stop()
    assert await waiting == []


async def test_a_poll_that_failed_is_not_repeated_after_a_stop(bench: Bench) -> None:
    bench.queue.fail("receive", failure(retry_after_seconds=60.0))
    waiting = asyncio.create_task(bench.receiver.receive())
    await settle()
    bench.receiver.stop()
    assert await waiting == []
    assert len(bench.queue.called("receive")) == 1


async def test_a_short_poll_that_failed_is_not_repeated(bench: Bench) -> None:
    bench.queue.fail("receive", failure(retry_after_seconds=60.0))
    assert await bench.receiver.receive(is_short=True) == []
    assert len(bench.queue.called("receive")) == 1
