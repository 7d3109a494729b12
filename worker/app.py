"""The relay as a process: settings in, real clients wired, signals heard, an exit code out."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from settings import Settings
from worker import __version__
from worker.assembly import Assembled, Plan, Ports, assemble
from worker.clients.http import open_session
from worker.clients.mns import MnsClient
from worker.clients.oms import OmsClient
from worker.clients.oss import OssClient
from worker.clock import SystemClock
from worker.credentials import AlibabaCredentials, Credentials, fetch_from_chain
from worker.health import Health, serving
from worker.journal import Journal
from worker.metrics import Metrics
from worker.relay import Capacity, Stops
from worker.signer import HuaweiCredentials

WAIT_SECONDS_MAX = 30
ACKNOWLEDGEMENT_CONNECTIONS = 64
STORE_CONNECTIONS = 128
SINK_CONNECTIONS = 64
MNS_CALL_SECONDS = 20.0


async def run(settings: Settings) -> int:
    """Run the relay until a signal; return the exit code. Raises `Fatal` for what the user has to mend.

    0 after a finished stop, 128 + the signal's number after a second one (as a shell reports it).
    """
    stops, signals = Stops(), _Signals()
    clock = SystemClock()
    journal = Journal(Metrics(_registry()))
    for warning in settings.warnings:
        journal.log.warning(warning, action="settings")
    async with _ports(settings, clock) as (ports, credentials), signals.heard(stops):
        assembled = assemble(ports, _plan(settings), journal)
        health = Health(assembled, journal.metrics, clock.monotonic)
        async with serving(health, settings.admin_host, settings.admin_port):
            journal.log.info(
                "the relay has started", action="start", version=__version__, worker=worker_name()
            )
            await _run_beside(credentials, assembled, stops)
    journal.log.info(
        "the relay has stopped", action="stop", in_hand=len(assembled.flow.leases.in_hand)
    )
    return signals.exit_code


async def _run_beside(credentials: Credentials, assembled: Assembled, stops: Stops) -> None:
    async with asyncio.TaskGroup() as group:
        fresh = group.create_task(credentials.keep_fresh(), name="refresh credentials")
        await assembled.relay.run(stops)
        fresh.cancel()


class _Signals:
    """SIGTERM or SIGINT once: finish and leave with 0. Again: release and leave with 128 + its number."""

    def __init__(self) -> None:
        self.exit_code = 0

    @asynccontextmanager
    async def heard(self, stops: Stops) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear, stops, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _hear(self, stops: Stops, number: int) -> None:
        if stops.taking.is_set():
            self.exit_code = 128 + number
            stops.working.set()
        stops.taking.set()


@asynccontextmanager
async def _ports(
    settings: Settings, clock: SystemClock
) -> AsyncIterator[tuple[Ports, Credentials]]:
    credentials = await _alibaba(settings, clock)
    huawei = HuaweiCredentials(
        settings.hw_ak.get_secret_value(),
        settings.hw_sk.get_secret_value(),
        settings.hw_security_token.get_secret_value() if settings.hw_security_token else "",
    )
    total = settings.request_timeout_seconds
    wait = wait_seconds(settings)
    async with AsyncExitStack() as stack:

        async def session(connections: int, total_seconds: float) -> aiohttp.ClientSession:
            return await stack.enter_async_context(
                open_session(
                    connections=connections, total_seconds=total_seconds, read_seconds=total_seconds
                )
            )

        polls = await session(settings.pollers, wait + MNS_CALL_SECONDS)
        acknowledgements = await session(ACKNOWLEDGEMENT_CONNECTIONS, MNS_CALL_SECONDS)
        sessions = (polls, acknowledgements)
        store = await session(STORE_CONNECTIONS, total)
        sink = await session(SINK_CONNECTIONS, total)
        yield (
            Ports(
                MnsClient(
                    settings.mns_endpoint, settings.mns_queue, credentials.current, sessions, clock
                ),
                OmsClient(settings.sync_task, lambda: huawei, sink, clock),
                OssClient(
                    settings.oss_endpoint, settings.oss_region, credentials.current, store, clock
                ),
                clock,
                random.Random(),  # noqa: S311  jitter, not secrecy
            ),
            credentials,
        )


async def _alibaba(settings: Settings, clock: SystemClock) -> Credentials:
    if settings.access_key_id is None or settings.access_key_secret is None:
        credentials = Credentials(None, fetch_from_chain, clock)
        await credentials.refresh()
        return credentials
    static = AlibabaCredentials(
        settings.access_key_id.get_secret_value(),
        settings.access_key_secret.get_secret_value(),
        settings.security_token.get_secret_value() if settings.security_token else "",
    )
    return Credentials(static, lambda: static, clock)


def _plan(settings: Settings) -> Plan:
    return Plan(
        worker=worker_name(),
        task_id=settings.sync_task.task_id,
        log_bucket=settings.log_bucket,
        capacity=Capacity(
            settings.pollers,
            settings.batch_keys,
            settings.linger_ms / 1000,
            settings.shutdown_grace_seconds,
        ),
        key_encoding=settings.key_encoding,
        max_in_flight=settings.max_in_flight,
        max_deliveries=settings.max_deliveries,
        oms_max_rps=settings.oms_max_rps,
        wait_seconds=wait_seconds(settings),
    )


def wait_seconds(settings: Settings) -> int:
    """Return how long one poll waits: a stop lets open polls return, so at most a third of the grace time."""
    return max(1, min(WAIT_SECONDS_MAX, int(settings.shutdown_grace_seconds / 3)))


def worker_name() -> str:
    """Return what tells this process from every other one."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
