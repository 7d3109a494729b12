"""How the daemon is connected: a pool for each kind of call, as large as the limits on its calls."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.arrival.follow import LOOKS_AT_ONCE
from worker.clock import Clock
from worker.clouds.oms_signature import mark_of
from worker.clouds.wiring import (
    MNS_CALL_SECONDS,
    CloudClients,
    Keys,
    Pool,
    Pools,
    open_clients,
)
from worker.fleet.folder import FLEET_CALLS_MAX
from worker.process.assembly import (
    ACKNOWLEDGEMENTS_MAX,
    LEASES_MAX,
    LOOKS_MAX,
    POSTS_MAX,
    RECORDS_MAX,
    ArrivalPorts,
    Plan,
    Ports,
    RoutePorts,
)
from worker.settings import Settings

WAIT_SECONDS_MAX = 30
# For what no limit counts: probes, looks at the depth, the dead-letter queue.
SPARE_CONNECTIONS = 8
# Enough for all limits that share a pool: deletes that hang must cost no renewal its connection (G6).
ACKNOWLEDGEMENT_CONNECTIONS = ACKNOWLEDGEMENTS_MAX + LEASES_MAX + SPARE_CONNECTIONS
STORE_CONNECTIONS = RECORDS_MAX + LOOKS_MAX + FLEET_CALLS_MAX + SPARE_CONNECTIONS
SINK_CONNECTIONS = POSTS_MAX + SPARE_CONNECTIONS
LOOK_CONNECTIONS = LOOKS_AT_ONCE + SPARE_CONNECTIONS


@asynccontextmanager
async def open_ports(
    settings: Settings, plan: Plan, keys: Keys, clock: Clock, rng: random.Random
) -> AsyncIterator[Ports]:
    """Open the outside world of one relay, for as long as the context lasts. Nothing is sent yet."""
    async with open_clients(settings, keys, _pools(settings, plan), clock) as clients:
        yield Ports(
            queue=clients.queue,
            observed=clients.queue,
            routes={name: _route_ports(name, clients, keys) for name in clients.routes},
            store=clients.store,
            clock=clock,
            rng=rng,
            dead_letter_queue=clients.dead_letter_queue,
            reads=clients.store,
        )


def _route_ports(name: str, clients: CloudClients, keys: Keys) -> RoutePorts:
    route, arrival = clients.routes[name], None
    if route.destination is not None:
        arrival = ArrivalPorts(route.destination, clients.store, route.sink)
    return RoutePorts(route.sink, arrival, lambda: mark_of(keys.huawei(name)))


def _pools(settings: Settings, plan: Plan) -> Pools:
    total = settings.request_timeout_seconds
    return Pools(
        polls=Pool(plan.capacity.polls, plan.wait_seconds + MNS_CALL_SECONDS),
        dead_letter_polls=Pool(1, WAIT_SECONDS_MAX + MNS_CALL_SECONDS),
        acknowledgements=Pool(ACKNOWLEDGEMENT_CONNECTIONS, MNS_CALL_SECONDS),
        store=Pool(STORE_CONNECTIONS, total),
        sink=lambda: Pool(SINK_CONNECTIONS, total),
        destination=lambda: Pool(LOOK_CONNECTIONS, total),
    )
