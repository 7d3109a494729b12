"""The clients of one relay, made from its settings: the same for the daemon, the commands and the tests.

Whoever wants another service adds it here: its credentials to `Keys`, its client to `CloudClients`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from worker.clock import Clock
from worker.clouds.credentials import Chain, Credentials, alibaba_from, huawei_from, obs_from
from worker.clouds.http import open_session
from worker.clouds.mns import MnsClient
from worker.clouds.obs import ObsClient
from worker.clouds.oms import OmsClient
from worker.clouds.oss import OssClient
from worker.observe.journal import Journal
from worker.settings import Settings

# How long a call to MNS may take beyond the time for which it is told to wait.
MNS_CALL_SECONDS = 20.0


def _ignore() -> None:
    pass


class Keys:
    """The credentials of both clouds. `reload` reads the settings again, where secrets come from files."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        journal: Journal,
        reload: Callable[[], Settings] | None = None,
    ) -> None:
        chain = Chain(proxies=settings.proxies, now=clock.wall)

        def fresh() -> Settings:
            return reload() if reload and settings.secret_files else settings

        self.alibaba = Credentials(lambda: alibaba_from(fresh()) or chain.fetch(), clock, journal)
        self.huawei = Credentials(lambda: huawei_from(fresh()), clock, journal)
        self.destination = Credentials(lambda: obs_from(fresh()), clock, journal)

    async def fetch(self) -> None:
        """Fetch all for the first time; nothing can be signed before. Raises `Fatal` if there are none."""
        await self.alibaba.refresh()
        await self.huawei.refresh()
        await self.destination.refresh()

    async def keep_fresh(
        self,
        on_alibaba: Callable[[], None] = _ignore,
        on_huawei: Callable[[], None] = _ignore,
        on_destination: Callable[[], None] = _ignore,
    ) -> None:
        """Refresh all, for ever; the functions are called when the credentials in question are other ones."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self.alibaba.keep_fresh(on_alibaba), name="refresh Alibaba credentials"
            )
            group.create_task(self.huawei.keep_fresh(on_huawei), name="refresh Huawei keys")
            group.create_task(
                self.destination.keep_fresh(on_destination), name="refresh the key of OBS"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """So many connections, and the longest time that one call over them may take."""

    connections: int
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Pools:
    """The connections for each kind of call. One pool that stands for several kinds is shared by them."""

    polls: Pool
    dead_letter_polls: Pool
    acknowledgements: Pool
    store: Pool
    sink: Pool
    destination: Pool


@dataclass(frozen=True, slots=True)
class CloudClients:
    """MNS, OSS, OMS and, where `OBS_ENDPOINT` is set, OBS as one relay's settings name them."""

    queue: MnsClient
    dead_letter_queue: MnsClient | None
    store: OssClient
    sink: OmsClient
    destination: ObsClient | None


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

        async def destination() -> ObsClient | None:
            if settings.obs_endpoint is None:
                return None
            looks = await session(pools.destination)
            return ObsClient(settings.obs_endpoint, keys.destination.current, looks, clock)

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
            sink=OmsClient(
                settings.sync_task, keys.huawei.current, await session(pools.sink), clock
            ),
            destination=await destination(),
        )
