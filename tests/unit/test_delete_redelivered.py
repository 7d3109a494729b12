from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from doubles.build import Heard, service
from doubles.clock import HandClock, until
from doubles.vendors import ModelQueue
from worker.flow.delete import Deleter
from worker.flow.lease import Leases


class RedeliveringQueue(ModelQueue):
    """A queue that delivers a message once more while its delete is under way."""

    leases: Leases

    async def delete(self, handles: list[str]) -> dict[str, str]:
        if not self.called("delete"):
            for stored in self.stored.values():
                stored.visible_at = 0.0
            self.leases.hold(await self.receive(0))
        return await super().delete(handles)


@pytest.fixture
async def queue() -> AsyncIterator[tuple[RedeliveringQueue, Deleter, Heard]]:
    clock, heard = HandClock(), Heard()
    queue = RedeliveringQueue(clock)
    leases = queue.leases = Leases(queue, clock, heard.journal, visibility_seconds=30, limit=100)
    deleter = Deleter(queue, service(clock, heard.journal), leases, clock, heard.journal)
    running = asyncio.create_task(deleter.run())
    yield queue, deleter, heard
    running.cancel()
    await asyncio.wait((running,))


async def test_a_message_delivered_again_during_its_delete_is_deleted_under_its_new_handle(
    queue: tuple[RedeliveringQueue, Deleter, Heard],
) -> None:
    model, deleter, heard = queue
    model.send("body")
    (held,) = model.leases.hold(await model.receive(0))
    deleter.delete(held)
    await until(lambda: not model.leases.in_hand)
    assert model.called("delete") == [["handle-1"], ["handle-2"]]
    assert model.stored == {}
    assert heard.count("messages_deleted_total") == 1
