from __future__ import annotations

import asyncio
import json
import random

from doubles.build import Heard, one_route
from doubles.clock import QuickClock, until
from doubles.hurry import hurried
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from worker.events.event import Message
from worker.flow.relay import Capacity, Stops
from worker.process.assembly import Plan, Ports, assemble


class DelayedQueue(ModelQueue):
    """Its long polls bring one batch and are then held up until the end."""

    def __init__(self, clock: QuickClock) -> None:
        super().__init__(clock)
        self.may_end = asyncio.Event()

    async def receive(self, wait_seconds: int) -> list[Message]:
        if wait_seconds and self.called("receive"):
            self.play("receive", wait_seconds)
            await self.may_end.wait()
            return []
        return await super().receive(wait_seconds)


def body(key: str) -> str:
    oss = {"bucket": {"name": "films"}, "object": {"key": key}}
    return json.dumps({"events": [{"eventName": "ObjectCreated:PutObject", "oss": oss}]})


async def test_a_backlog_does_not_wait_for_a_long_poll_that_is_held_up() -> None:
    clock, heard = QuickClock(), Heard()
    queue, sink = DelayedQueue(clock), ModelSink()
    queue.send(*(body(f"key {number}") for number in range(100)))
    ports = Ports(queue, one_route(sink), ModelStore(), clock, random.Random(1))
    plan = Plan("w-1", "task", "logs", Capacity(1, 10, 0.02, 45.0))
    relay, stops = assemble(ports, plan, heard.journal).relay, Stops()
    with hurried():
        running = asyncio.create_task(relay.run(stops))
        await until(lambda: not queue.stored)
        queue.may_end.set()
        stops.taking.set()
        await running
    assert len(sink.accepted) == 100
    polls = queue.called("receive")
    assert polls.count(0) in range(6, 10)
