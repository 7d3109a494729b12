"""The clients that operators' commands use: the relay's own, opened for one command or a console's life."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from prometheus_client import CollectorRegistry

from worker.clock import Clock, SystemClock
from worker.clouds.credentials import (
    AlibabaCredentials,
    Chain,
    Credentials,
    alibaba_from,
    huawei_from,
)
from worker.clouds.http import open_session
from worker.clouds.mns import MnsClient
from worker.clouds.oms import OmsClient
from worker.clouds.oms_signature import HuaweiCredentials
from worker.clouds.oss import OssClient
from worker.observe.journal import Journal
from worker.observe.metrics import Metrics
from worker.outages.retry import Backoff, Retry
from worker.outages.service import Pace
from worker.settings import Settings

T = TypeVar("T")

CONNECTIONS = 64
MNS_CALL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Clients:
    """MNS, OSS and OMS as one relay's settings name them.

    Once `stop` is set no call is repeated and no further item begun: a bulk action ends soon and cleanly.
    """

    settings: Settings
    queue: MnsClient
    dead_letter_queue: MnsClient | None
    store: OssClient
    sink: OmsClient
    clock: Clock
    retry: Retry
    stop: asyncio.Event = field(default_factory=asyncio.Event)

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
    alibaba, huawei = await _fetched(settings, reload, clock)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_kept_fresh(alibaba))
        await stack.enter_async_context(_kept_fresh(huawei))
        seconds = max(settings.request_timeout_seconds, MNS_CALL_SECONDS)
        opened = open_session(
            connections=CONNECTIONS, total_seconds=seconds, proxies=settings.proxies
        )
        session = await stack.enter_async_context(opened)

        def queue(name: str) -> MnsClient:
            return MnsClient(
                settings.mns_endpoint, name, alibaba.current, (session, session), clock
            )

        dead = settings.mns_dead_letter_queue
        yield Clients(
            settings,
            queue=queue(settings.mns_queue),
            dead_letter_queue=queue(dead) if dead else None,
            store=OssClient(
                settings.oss_endpoint, settings.oss_region, alibaba.current, session, clock
            ),
            sink=OmsClient(settings.sync_task, huawei.current, session, clock),
            clock=clock,
            retry=Retry(clock, Backoff(rng or random.Random())),  # noqa: S311  jitter, not secrecy
        )


def brief(clients: Clients, attempts_max: int) -> Clients:
    """Return the clients with less patience: a person waits for the answer."""
    return replace(clients, retry=clients.retry.at_most(attempts_max))


async def _fetched(
    settings: Settings, reload: Callable[[], Settings] | None, clock: Clock
) -> tuple[Credentials[AlibabaCredentials], Credentials[HuaweiCredentials]]:
    chain, journal = Chain(proxies=settings.proxies), Journal(Metrics(CollectorRegistry()))

    def fresh() -> Settings:
        return reload() if reload and settings.secret_files else settings

    alibaba = Credentials(lambda: alibaba_from(fresh()) or chain.fetch(), clock, journal)
    huawei = Credentials(lambda: huawei_from(fresh()), clock, journal)
    await alibaba.refresh()
    await huawei.refresh()
    return alibaba, huawei


@asynccontextmanager
async def _kept_fresh(credentials: Credentials[T]) -> AsyncIterator[None]:
    task = asyncio.create_task(credentials.keep_fresh(lambda: None), name="refresh credentials")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
