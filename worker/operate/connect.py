"""The clients that operators' commands use: the relay's own, opened for one command or a console's life."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from prometheus_client import CollectorRegistry

from worker.clock import Clock, SystemClock
from worker.clouds.mns import MnsClient
from worker.clouds.obs import ObsClient
from worker.clouds.oms import OmsClient
from worker.clouds.oss import OssClient
from worker.clouds.wiring import (
    MNS_CALL_SECONDS,
    Keys,
    Pool,
    Pools,
    RouteClients,
    open_clients,
)
from worker.observe.journal import Journal
from worker.observe.metrics import Metrics
from worker.outages.retry import Backoff, Retry
from worker.outages.service import Pace
from worker.settings import Settings

T = TypeVar("T")

CONNECTIONS = 128


@dataclass(frozen=True, slots=True)
class Clients:
    """MNS, OSS, OMS and, where `OBS_ENDPOINT` is set, OBS as one relay's settings name them.

    Where there are several routes, `of_route` chooses one: before, there is neither `sink` nor `destination`.
    `whole` are the settings that it was chosen from.
    Once `stop` is set no call is repeated and no further item begun: a bulk action ends soon and cleanly.
    """

    settings: Settings
    queue: MnsClient
    dead_letter_queue: MnsClient | None
    store: OssClient
    routes: Mapping[str, RouteClients]
    clock: Clock
    retry: Retry
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    whole: Settings | None = None

    @property
    def all_routes(self) -> tuple[Settings, ...]:
        """The settings of all routes, also where one was chosen; empty where no file names any."""
        return (self.whole or self.settings).routes

    @property
    def sink(self) -> OmsClient:
        """The sync task. Raises `Fatal` where a route has to be chosen first."""
        return self._route.sink

    @property
    def destination(self) -> ObsClient | None:
        """Where copies arrive; None: nobody looks. Raises `Fatal` where a route has to be chosen first."""
        return self._route.destination

    @property
    def _route(self) -> RouteClients:
        _ = self.settings.sync_task  # raises if no route is chosen
        return self.routes[self.settings.route]

    def of_route(self, name: str) -> Clients:
        """Return the clients as one route sees them. Raises `Fatal` if there is none of that name."""
        whole = self.whole or self.settings
        return replace(self, settings=self.settings.of_route(name), whole=whole)

    @property
    def each_route(self) -> tuple[Clients, ...]:
        """The clients as each route sees them; where there is only one, or one was chosen, these."""
        found = [each.route for each in self.settings.routes]
        return tuple(self.of_route(each) for each in found) or (self,)

    async def patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, repeated while it fails in passing. Raises its last `CallFailed`."""
        return await self.retry.call(attempt, may_retry=lambda: not self.stop.is_set())

    async def may_go(self, pace: Pace) -> bool:
        """Wait for an item's turn; a stop ends the wait at once, however slow the pace, and says no."""
        turn = asyncio.ensure_future(pace.wait())
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait((turn, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            turn.cancel()
            stopped.cancel()
            await asyncio.wait((turn, stopped))
        return not self.stop.is_set()


@asynccontextmanager
async def connect(
    settings: Settings,
    *,
    reload: Callable[[], Settings] | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Clients]:
    """Open the clients; their credentials stay fresh while the context lasts. Nothing is sent yet.

    `reload` reads the settings again where secrets come from files. Raises `Fatal` if there are no
    credentials.
    """
    clock = clock or SystemClock()
    keys = Keys(settings, clock, Journal(Metrics(CollectorRegistry())), reload)
    await keys.fetch()
    all_calls = Pool(CONNECTIONS, max(settings.request_timeout_seconds, MNS_CALL_SECONDS))
    pools = Pools(*(all_calls,) * 4, sink=lambda: all_calls, destination=lambda: all_calls)
    async with _kept_fresh(keys), open_clients(settings, keys, pools, clock) as opened:
        yield Clients(
            settings,
            queue=opened.queue,
            dead_letter_queue=opened.dead_letter_queue,
            store=opened.store,
            routes=opened.routes,
            clock=clock,
            retry=Retry(clock, Backoff(rng or random.Random())),  # noqa: S311  jitter, not secrecy
        )


def brief(clients: Clients, attempts_max: int) -> Clients:
    """Return the clients with less patience: a person waits for the answer."""
    return replace(clients, retry=clients.retry.at_most(attempts_max))


@asynccontextmanager
async def _kept_fresh(keys: Keys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.keep_fresh(), name="refresh credentials")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
