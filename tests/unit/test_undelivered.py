from __future__ import annotations

import json

import pytest

from doubles.build import Heard, failure, service
from doubles.clock import EndingClock, EndOfTestError, QuickClock
from doubles.vendors import ModelQueue, ModelStore
from worker.errors import Blame
from worker.events.event import Message
from worker.flow.bury import DeadLetters
from worker.flow.dead_letter_queue import PAUSE_SECONDS, PAUSE_SECONDS_AFTER_FAILURE, Undelivered
from worker.flow.record import Records


class WaitingQueue(ModelQueue):
    """An empty poll takes its full time, unless there are too many polls."""

    poll_seconds = 30.0

    async def receive(self, wait_seconds: int) -> list[Message]:
        found = await super().receive(wait_seconds)
        assert isinstance(self.clock, EndingClock)
        self.clock.now += 0.0 if found else self.poll_seconds
        return found


class Bench:
    def __init__(self) -> None:
        self.clock = EndingClock(3)
        self.heard = Heard()
        self.queue = WaitingQueue(self.clock, visibility_seconds=3600)
        self.store = ModelStore()
        calls = service(QuickClock(), self.heard.journal, attempts_max=1)
        records = Records(self.store, calls, "logs", "task", self.clock, self.heard.journal)
        letters = DeadLetters(records, "w-1", self.clock)
        self.drain = Undelivered(self.queue, letters, self.clock, self.heard.journal)

    async def run(self) -> None:
        with pytest.raises(EndOfTestError):
            await self.drain.run()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_each_message_is_kept_as_a_dead_letter_and_then_deleted(bench: Bench) -> None:
    bench.queue.send("one", "two")
    assert await bench.drain.drain_once() == 2
    letters = [
        json.loads(body)["body"]
        for name, body in bench.store.objects.items()
        if "/dead_letter/receive-limit/" in name
    ]
    assert letters == ["one", "two"]
    assert bench.queue.stored == {}
    assert bench.heard.count("messages_ended_total", end="dead_letter") == 2


async def test_a_message_that_could_not_be_kept_is_not_deleted(bench: Bench) -> None:
    bench.queue.send("one", "two")
    bench.store.fail("put", failure(Blame.ITEM))
    assert await bench.drain.drain_once() == 1
    assert [each.body for each in bench.queue.stored.values()] == ["one"]


async def test_an_empty_queue_deletes_nothing(bench: Bench) -> None:
    assert await bench.drain.drain_once() == 0
    assert bench.queue.called("delete") == []


async def test_the_drain_goes_on_slowly_while_there_is_something(bench: Bench) -> None:
    bench.queue.send("one")
    await bench.run()
    assert bench.clock.slept == [PAUSE_SECONDS, 0, 0]


async def test_polls_that_are_too_many_become_fewer(bench: Bench) -> None:
    """MNS answers a superfluous poll at once, and bills it."""
    bench.queue.poll_seconds = 0.01
    await bench.run()
    assert bench.clock.slept == [PAUSE_SECONDS_AFTER_FAILURE] * 3


async def test_a_failed_call_is_logged_and_repeated_after_a_minute(bench: Bench) -> None:
    bench.queue.send("one")
    bench.queue.fail("receive", failure(Blame.SERVICE, service="mns", status=404))
    await bench.run()
    assert bench.clock.slept == [PAUSE_SECONDS_AFTER_FAILURE, PAUSE_SECONDS, 0]
    (line,) = [
        line for line in bench.heard.lines if line.get("hint", "").startswith("check that MNS")
    ]
    assert line["log_level"] == "warning"
    assert bench.queue.stored == {}


async def test_nothing_is_lost_when_the_store_fails_for_good(bench: Bench) -> None:
    bench.queue.send("one")
    bench.store.fail("put", failure(Blame.SERVICE))
    await bench.run()
    assert bench.clock.slept == [PAUSE_SECONDS_AFTER_FAILURE, 0, 0]
    assert list(bench.queue.stored) == ["M000"]
