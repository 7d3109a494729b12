"""The clients of one relay, made from its settings: the same for the daemon, the commands and the tests.

Whoever wants another service adds it here: its credentials to `Keys`, its client to `CloudClients`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import aiohttp

from worker.clock import Clock
from worker.clouds.credentials import Chain, Credentials, alibaba_from, huawei_from, obs_from
from worker.clouds.http import open_session
from worker.clouds.mns import MnsClient
from worker.clouds.obs import ObsClient
from worker.clouds.oms import OmsClient
from worker.clouds.oms_signature import HuaweiCredentials
from worker.clouds.oss import OssClient
from worker.observe.journal import Journal
from worker.settings import Settings

T = TypeVar("T")

# How long a call to MNS may take beyond the time for which it is told to wait.
MNS_CALL_SECONDS = 20.0


def _ignore() -> None:
    pass


def _ignore_routes(_: Collection[str]) -> None:
    pass


@dataclass(slots=True)
class _Shared(Generic[T]):
    """One key, and the names of the routes that sign with it."""

    credentials: Credentials[T]
    routes: list[str] = field(default_factory=list)


class Keys:
    """The credentials of both clouds. `reload` reads the settings again, where secrets come from files.

    Routes with the same Huawei key share it: it is fetched once, and its changes are told for all of them.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        journal: Journal,
        reload: Callable[[], Settings] | None = None,
    ) -> None:
        chain = Chain(proxies=settings.proxies, now=clock.wall)

        def fresh(each: Settings) -> Settings:
            if reload is None or not each.secret_files:
                return each
            return reload().of_route(each.route) if each.route else reload()

        self.alibaba = Credentials(
            lambda: alibaba_from(fresh(settings)) or chain.fetch(), clock, journal
        )
        self._huawei: dict[object, _Shared[HuaweiCredentials]] = {}
        self._destination: dict[object, _Shared[HuaweiCredentials]] = {}
        for found, read, prefixes in (
            (self._huawei, huawei_from, ("HW_",)),
            (self._destination, obs_from, ("HW_", "OBS_")),
        ):
            for each in settings.each_route:
                files = {k: v for k, v in each.secret_files.items() if k.startswith(prefixes)}
                same = (read(each), tuple(sorted(files.items())))
                if same not in found:
                    fetch = partial(_read_fresh, read, fresh, each)
                    found[same] = _Shared(Credentials(fetch, clock, journal))
                found[same].routes.append(each.route)

    def huawei(self, route: str) -> HuaweiCredentials:
        """Return the key that posts of a route are signed with."""
        return _of(self._huawei, route).current()

    def destination(self, route: str) -> HuaweiCredentials:
        """Return the key that looks at the destination of a route."""
        return _of(self._destination, route).current()

    async def fetch(self) -> None:
        """Fetch all for the first time; nothing can be signed before. Raises `Fatal` if there are none."""
        await self.alibaba.refresh()
        for each in (*self._huawei.values(), *self._destination.values()):
            await each.credentials.refresh()

    async def keep_fresh(
        self,
        on_alibaba: Callable[[], None] = _ignore,
        on_huawei: Callable[[Collection[str]], None] = _ignore_routes,
        on_destination: Callable[[Collection[str]], None] = _ignore_routes,
    ) -> None:
        """Refresh all, for ever; the functions are called when the credentials in question are other ones.

        Those of Huawei are told for which routes.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self.alibaba.keep_fresh(on_alibaba), name="refresh Alibaba credentials"
            )
            for found, hear, name in (
                (self._huawei, on_huawei, "refresh Huawei keys"),
                (self._destination, on_destination, "refresh the key of OBS"),
            ):
                for each in found.values():
                    heard = partial(hear, tuple(each.routes))
                    group.create_task(each.credentials.keep_fresh(heard), name=name)


def _read_fresh(
    read: Callable[[Settings], HuaweiCredentials],
    fresh: Callable[[Settings], Settings],
    settings: Settings,
) -> HuaweiCredentials:
    return read(fresh(settings))


def _of(found: Mapping[object, _Shared[T]], route: str) -> Credentials[T]:
    return next(each.credentials for each in found.values() if route in each.routes)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """So many connections, and the longest time that one call over them may take."""

    connections: int
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Pools:
    """The connections for each kind of call. One pool that stands for several kinds is shared by them.

    `sink` and `destination` make a pool for each route, so that one that hangs takes no other's connections.
    """

    polls: Pool
    dead_letter_polls: Pool
    acknowledgements: Pool
    store: Pool
    sink: Callable[[], Pool]
    destination: Callable[[], Pool]


@dataclass(frozen=True, slots=True)
class RouteClients:
    """OMS and, where `OBS_ENDPOINT` is set, OBS as the settings of one route name them."""

    sink: OmsClient
    destination: ObsClient | None


@dataclass(frozen=True, slots=True)
class CloudClients:
    """MNS, OSS, and the clients of each route by its name, as one relay's settings name them."""

    queue: MnsClient
    dead_letter_queue: MnsClient | None
    store: OssClient
    routes: Mapping[str, RouteClients]


@asynccontextmanager
async def open_clients(
    settings: Settings, keys: Keys, pools: Pools, clock: Clock
) -> AsyncIterator[CloudClients]:
    """Open the clients; their connections last as long as the context. Nothing is sent yet."""
    async with AsyncExitStack() as stack:
        opened: dict[Pool, aiohttp.ClientSession] = {}

        async def session(pool: Pool) -> aiohttp.ClientSession:
            if pool not in opened:
                fresh = open_session(
                    connections=pool.connections,
                    total_seconds=pool.total_seconds,
                    proxies=settings.proxies,
                )
                opened[pool] = await stack.enter_async_context(fresh)
            return opened[pool]

        async def queue(name: str, polls: Pool) -> MnsClient:
            sessions = (await session(polls), await session(pools.acknowledgements))
            return MnsClient(settings.mns_endpoint, name, keys.alibaba.current, sessions, clock)

        async def route(each: Settings) -> RouteClients:
            sink = OmsClient(
                each.sync_task,
                partial(keys.huawei, each.route),
                await session(pools.sink()),
                clock,
            )
            if each.obs_endpoint is None:
                return RouteClients(sink, None)
            looks = await session(pools.destination())
            key = partial(keys.destination, each.route)
            return RouteClients(sink, ObsClient(each.obs_endpoint, key, looks, clock))

        dead = settings.mns_dead_letter_queue
        yield CloudClients(
            queue=await queue(settings.mns_queue, pools.polls),
            dead_letter_queue=await queue(dead, pools.dead_letter_polls) if dead else None,
            store=OssClient(
                settings.oss_endpoint,
                settings.oss_region,
                keys.alibaba.current,
                await session(pools.store),
                clock,
            ),
            routes={each.route: await route(each) for each in settings.each_route},
        )
