"""Times are taken at the right end of a call: each test lets time pass while a call is under way."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence

import pytest

from doubles.build import Heard, change, failure, looking, service
from doubles.clock import EPOCH, HandClock, QuickClock, settle, until
from doubles.hurry import hurried
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from worker.errors import Blame, CallFailed, Outcome
from worker.events.event import Message
from worker.flow.delete import Deleter
from worker.flow.lease import Leases
from worker.flow.post import Poster
from worker.flow.receive import Receiver
from worker.flow.relay import Stops
from worker.flow.source_lookup import BLIND_SECONDS, Looks
from worker.outages.breaker import Breaker, State
from worker.outages.limit import AdaptiveLimit
from worker.ports import TaskState
from worker.process.signals import Signals

CALL_SECONDS = 5.0


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


class SlowSink(ModelSink):
    """A sync task whose posts take time, and wait for the keys that a test holds back."""

    def __init__(self, clock: QuickClock) -> None:
        super().__init__()
        self.clock = clock
        self.held_back: dict[str, asyncio.Event] = {}
        self.let_go_when_asked = ""

    async def post(self, keys: Sequence[str]) -> str:
        is_wave = bool(self.bad)
        for key in keys:
            if key in self.held_back:
                await self.held_back.pop(key).wait()
                # Taken when it came, whatever is refused since.
                is_wave = False
        self.clock.now += CALL_SECONDS
        if is_wave:
            self.bad |= set(keys)
        return await super().post(keys)

    async def show(self) -> TaskState:
        if self.let_go_when_asked:
            self.gate.set()
            await settle()
        return await super().show()

    def hold_back(self, key: str) -> None:
        self.gate = self.held_back[key] = asyncio.Event()


async def test_a_record_says_when_its_post_left(clock: QuickClock, heard: Heard) -> None:
    """A change made while the post was under way is not in it: `reconcile` compares with this time."""
    sink = SlowSink(clock)
    poster = Poster(sink, service(clock, heard.journal), clock, heard.journal, 10)
    (verdict,) = await poster.post([change("a")])
    assert (clock.now, verdict.posted_at) == (CALL_SECONDS, EPOCH)


async def test_a_post_that_left_before_the_refusal_vouches_for_nothing(
    clock: QuickClock, heard: Heard
) -> None:
    sink = SlowSink(clock)
    called = service(clock, heard.journal)
    poster = Poster(sink, called, clock, heard.journal, 10)
    await poster.post([change("control")])
    sink.hold_back("slow")
    slow = asyncio.create_task(poster.post([change("slow")]))
    await settle()
    sink.bad = {"x"}
    sink.let_go_when_asked = "slow"
    (verdict,) = await poster.post([change("x")])
    assert (await slow)[0].outcome is Outcome.ACCEPTED
    assert verdict.rejection is None, "a wave: the control key is refused as well"
    assert "a key that OMS has accepted before" in str(verdict.failure)


async def test_a_control_post_that_left_before_the_refusal_vouches_for_nothing(
    clock: QuickClock, heard: Heard
) -> None:
    sink = SlowSink(clock)
    poster = Poster(sink, service(clock, heard.journal), clock, heard.journal, 10)
    await poster.post([change("control")])
    sink.bad = {"x"}
    sink.hold_back("control")
    first = asyncio.create_task(poster.post([change("x")]))
    await until(lambda: not sink.held_back)
    later = asyncio.create_task(poster.post([change("y")]))
    await settle()
    sink.gate.set()
    await first
    (verdict,) = await later
    assert verdict.rejection is None


async def test_a_success_during_a_failed_call_shows_that_the_service_works(
    clock: QuickClock, heard: Heard
) -> None:
    called = service(clock, heard.journal, state=State.TRIAL)

    async def attempt() -> None:
        clock.now += CALL_SECONDS
        called.breaker.succeeded()
        clock.now += CALL_SECONDS
        called.breaker.open(failure(Blame.SERVICE))
        raise CallFailed(failure(Blame.SERVICE))

    task = asyncio.create_task(called.persist("Post", attempt))
    await settle()
    assert task.done(), "it is held on trial although another call has worked"
    assert isinstance(task.exception(), CallFailed)


async def test_a_wait_for_a_place_is_no_part_of_a_call(clock: QuickClock, heard: Heard) -> None:
    """Else the limit would take its own queue for a slow service, and shrink."""
    called = service(clock, heard.journal)
    called.limit = AdaptiveLimit(1, 1)

    async def attempt() -> None:
        await asyncio.sleep(0)
        clock.now += CALL_SECONDS

    await asyncio.gather(*(called.call("Post", attempt) for _ in range(4)))
    assert clock.now == 4 * CALL_SECONDS
    names = {"service": "oms", "operation": "Post", "result": "ok"}
    assert heard.count("call_seconds_sum", **names) == 4 * CALL_SECONDS


class SlowStore(ModelStore):
    """A bucket where each look takes time."""

    def __init__(self, clock: QuickClock) -> None:
        super().__init__()
        self.clock = clock

    async def exists(self, bucket: str, key: str) -> bool | None:
        await asyncio.sleep(0)
        self.clock.now += CALL_SECONDS
        return await super().exists(bucket, key)


async def test_a_look_lasts_from_its_place_to_its_answer(clock: QuickClock, heard: Heard) -> None:
    service = looking(clock, heard.journal, limit=AdaptiveLimit(1, 1))
    looks = Looks(SlowStore(clock), service)
    await asyncio.gather(*(looks.exists("films", key) for key in "abcd"))
    names = {"service": "oss", "operation": "HeadObject", "result": "ok"}
    assert heard.count("call_seconds_sum", **names) == clock.now == 4 * CALL_SECONDS


async def test_looks_rest_from_the_answer_that_failed(clock: QuickClock, heard: Heard) -> None:
    store = SlowStore(clock)
    store.fail("exists", failure(service="oss", operation="HeadObject"))
    looks = Looks(store, looking(clock, heard.journal))
    assert await looks.exists("films", "a") is None
    clock.now += BLIND_SECONDS - 1
    assert await looks.exists("films", "a") is None
    assert len(store.called("exists")) == 1
    clock.now += 1
    assert await looks.exists("films", "a") is False


class SlowQueue(ModelQueue):
    """A queue whose polls and deletes take time."""

    poll_seconds = 0.0
    change: asyncio.Future[str] | None = None

    async def receive(self, wait_seconds: int) -> list[Message]:
        self.clock.now += self.poll_seconds  # type: ignore[attr-defined]
        return await super().receive(wait_seconds)

    async def delete(self, handles: list[str]) -> dict[str, str]:
        self.clock.now += CALL_SECONDS  # type: ignore[attr-defined]
        return await super().delete(handles)

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        if self.change is not None:
            return await self.change
        return await super().change_visibility(handle, seconds)


class Polling:
    """A receiver of 20-second polls."""

    def __init__(self, clock: QuickClock, heard: Heard) -> None:
        self.queue = SlowQueue(clock)
        journal = heard.journal
        self.leases = Leases(self.queue, clock, journal, visibility_seconds=30, limit=100)
        called = service(clock, journal)
        self.other = Breaker("oms", clock, journal)
        self.other.state = State.CLOSED
        breakers = (called.breaker, self.other)
        rng = random.Random(1)
        self.receiver = Receiver(
            self.queue, called, self.leases, breakers, rng, wait_seconds=20, throttled=lambda: None
        )


async def test_a_wait_before_the_poll_does_not_hide_that_its_answer_came_early(
    clock: QuickClock, heard: Heard
) -> None:
    polling = Polling(clock, heard)
    polling.other.state = State.OPEN
    with hurried() as asked:
        poll = asyncio.create_task(polling.receiver.receive())
        await until(lambda: bool(asked))
        clock.now += 100
        polling.other._become(State.CLOSED, None)
        await poll
    assert polling.receiver._early == 1


async def test_a_lease_that_a_long_poll_brought_counts_from_its_answer(
    clock: QuickClock, heard: Heard
) -> None:
    """MNS receivemessage: the visibility begins when the message is handed out, not when the poll left."""
    polling = Polling(clock, heard)
    polling.queue.send("late")
    polling.queue.poll_seconds = 19.0
    (held,) = await polling.receiver.receive()
    assert (held.taken_at, held.renew_at, held.lease_ends_at) == (19, 34, 49)


async def test_a_message_has_taken_until_its_delete_was_confirmed(
    clock: QuickClock, heard: Heard
) -> None:
    queue = SlowQueue(clock)
    leases = Leases(queue, clock, heard.journal, visibility_seconds=30, limit=100)
    queue.send("one")
    (held,) = leases.hold(await queue.receive(0))
    deleter = Deleter(queue, service(clock, heard.journal), leases, clock, heard.journal)
    with hurried():
        task = asyncio.create_task(deleter.run())
        deleter.delete(held)
        await until(lambda: not leases.in_hand)
    task.cancel()
    await asyncio.wait((task,))
    (line,) = heard.lines
    assert line["took_ms"] == CALL_SECONDS * 1000


async def test_a_renewal_that_failed_is_tried_again_after_a_pause(heard: Heard) -> None:
    """The pause counts from the failure: a renewal that hangs would else be followed by one at once."""
    clock = HandClock()
    queue = SlowQueue(clock)
    leases = Leases(queue, clock, heard.journal, visibility_seconds=30, limit=100)
    queue.send("one")
    (held,) = leases.hold(await queue.receive(0))
    queue.change = asyncio.get_running_loop().create_future()
    clock.now = 15.0
    keeping = asyncio.create_task(leases.keep())
    await settle()
    clock.now = 21.0
    queue.change.set_exception(CallFailed(failure(service="mns")))
    await settle()
    keeping.cancel()
    await asyncio.wait((keeping,))
    assert held.renew_at == 21.0 + 30 / 16
    assert heard.count("leases_renewed_total", result="failed") == 1


def test_the_grace_time_runs_from_the_first_signal(clock: QuickClock) -> None:
    signals, stops = Signals(clock, 45.0), Stops()
    clock.now = 100.0
    assert signals.seconds_left() == 45.0
    signals._hear(stops, signal.SIGTERM)
    clock.now += 20.0
    assert signals.seconds_left() == 25.0
    clock.now += 30.0
    assert signals.seconds_left() == 0.0
    signals._hear(stops, signal.SIGTERM)
    assert (signals.seconds_left(), signals.exit_code) == (0.0, 128 + signal.SIGTERM)
