"""The connections of a process against the limits on its calls."""

from __future__ import annotations

import asyncio
import random

from doubles.build import Heard
from doubles.clock import until
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.clock import SystemClock
from worker.clouds.wiring import Keys
from worker.process import app, connections
from worker.process.assembly import (
    ACKNOWLEDGEMENTS_MAX,
    LEASES_MAX,
    LOOKS_MAX,
    POSTS_MAX,
    RECORDS_MAX,
)
from worker.settings import load_settings


def test_every_pool_has_a_connection_for_each_call_that_limits_let_through_and_for_probes() -> None:
    assert connections.ACKNOWLEDGEMENT_CONNECTIONS > ACKNOWLEDGEMENTS_MAX + LEASES_MAX
    assert connections.STORE_CONNECTIONS > RECORDS_MAX + LOOKS_MAX
    assert connections.SINK_CONNECTIONS > POSTS_MAX


async def test_deletes_that_hang_cost_no_renewal_its_connection(cloud: LocalCloud) -> None:
    cloud.prepare()
    hang = Fault("mns", "*Delete*", action=Action.HANG, seconds=60, times=ACKNOWLEDGEMENTS_MAX)
    cloud.faults.add(hang)
    settings = load_settings(cloud.settings(), dotenv=None)
    clock = SystemClock()
    keys = Keys(settings, clock, Heard().journal)
    await keys.fetch()
    opened = connections.open_ports(settings, app._plan(settings), keys, clock, random.Random(1))
    async with opened as ports:
        deletes = [
            asyncio.create_task(ports.queue.delete(["unknown"]))
            for _ in range(ACKNOWLEDGEMENTS_MAX)
        ]
        await until(lambda: hang not in cloud.faults)
        renewals = (ports.queue.change_visibility("unknown", 30) for _ in range(LEASES_MAX))
        assert await asyncio.gather(*renewals) == [None] * LEASES_MAX
        assert not any(delete.done() for delete in deletes)
        for delete in deletes:
            delete.cancel()
        await asyncio.wait(deletes)
