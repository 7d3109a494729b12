"""A relay in this process: the real clients over loopback, against a local cloud that checks signatures."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count, cycle
from typing import Any, cast

import aiohttp
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture
from structlog.typing import EventDict

from harness.account import prepared
from harness.until import TICK_SECONDS, until
from localcloud.cloud import LocalCloud
from worker.clock import SystemClock
from worker.clouds.wiring import Keys
from worker.errors import Blame
from worker.flow import receive
from worker.flow.relay import Capacity, Stops
from worker.observe.journal import Journal
from worker.observe.metrics import Metrics
from worker.outages.breaker import Breaker
from worker.process.app import route_plans
from worker.process.assembly import Assembled, Plan, assemble
from worker.process.connections import open_ports
from worker.process.health import Health, serving
from worker.settings import Settings, load_settings

HURRY = 20
QUIET_TICKS = 5
JUMP_SECONDS_MAX = 850
# A call that hangs is given up soon.
SHORT = {"RELAY_REQUEST_TIMEOUT_SECONDS": "20"}
_numbers = count(1)
# Each test process begins elsewhere, so that two of them do not race for one port.
_ports_to_try = cycle(range(20_000 + os.getpid() * 37 % 10_000, 31_000))


class HurriedClock:
    """The machine's clock, but waits are a twentieth of what is asked for."""

    wall = staticmethod(SystemClock.wall)
    monotonic = staticmethod(SystemClock.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / HURRY)


@dataclass(slots=True)
class Running:
    """A relay at work, the cloud it works against, and what it logged."""

    cloud: LocalCloud
    assembled: Assembled
    metrics: Metrics
    logs: list[EventDict]
    stops: Stops
    task: asyncio.Task[None]
    admin_url: str
    journal: Journal
    quiet_ticks: int = 0

    async def until(self, condition: Any, what: str, seconds: float = 30.0) -> None:
        """Wait for a condition while the relay lives; waits that only time would end are cut short."""

        def is_met() -> bool:
            if self.task.done():
                self.task.result()
                raise AssertionError(f"the relay has ended while the test waited for: {what}")
            self._hasten()
            return bool(condition())

        await until(is_met, what, seconds)

    async def tick(self) -> None:
        """Let the relay work for a moment."""
        await self.until(lambda: True, "a moment")
        await asyncio.sleep(TICK_SECONDS)

    async def settle(self) -> None:
        """Wait until the queue is empty, nothing is in hand, and all that OMS accepted is copied."""
        await self.until(lambda: not self._waiting() and not self.in_hand, "an empty queue")
        await self.cloud.oms.drained()

    @property
    def in_hand(self) -> int:
        return len(self.assembled.flow.leases.in_hand)

    def breaker(self, service: str) -> Breaker:
        assembled = self.assembled
        breakers: list[Breaker] = [*assembled.breakers, *assembled.beside]
        return next(each for each in breakers if each.service == service)

    def count(self, service: str, operation: str) -> int:
        """How many calls of an operation reached a service, answered or not."""
        found = {"mns": self.cloud.mns, "oss": self.cloud.oss, "oms": self.cloud.oms}[service]
        return sum(number for (name, _), number in found.counts.items() if name == operation)

    def arrivals(self, outcome: str) -> float:
        """How many followed keys came to an outcome."""
        labels = {"outcome": outcome}
        found = self.metrics.registry.get_sample_value("oms_relay_arrivals_total", labels)
        return found or 0.0

    def metric(self, name: str) -> float:
        """A counter without labels."""
        return self.metrics.registry.get_sample_value(f"oms_relay_{name}_total") or 0.0

    def logged(self, action: str) -> list[EventDict]:
        return [line for line in self.logs if line.get("action") == action]

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """Ask /readyz."""
        async with aiohttp.request("GET", f"{self.admin_url}/readyz") as response:
            return response.status, await response.json()

    async def not_ready(self, service: str) -> str:
        """Wait until /readyz answers 503 because of a service; return the reason it gives."""
        # `mns-acks` is MNS as well, as deletes find it.
        spoken_of = service.partition("-")[0]
        async with asyncio.timeout(30):
            while True:
                await self.tick()
                status, body = await self.ready()
                told = zip(body["reasons"], body["causes"], strict=True)
                reasons = [str(why) for why, cause in told if cause["what"].startswith(spoken_of)]
                if status == 503 and reasons and "not probed" not in reasons[0]:
                    assert body["status"] == "not ready"
                    assert body["services"][service] == "open"
                    return reasons[0]

    def _waiting(self) -> int:
        return len(self.cloud.mns.queue(prepared(self.cloud).queue))

    def _hasten(self) -> None:
        for breaker in (*self.assembled.breakers, *self.assembled.beside):
            failure = breaker.failure
            if breaker.is_open and failure is not None and failure.blame is not Blame.CREDENTIALS:
                breaker.probe_now()
        queue = self.cloud.mns.store.queues.get(prepared(self.cloud).queue)
        now_ms = self.cloud.mns.store.now_ms()
        is_quiet = (
            queue is not None
            and len(queue) > 0
            and not self.in_hand
            and queue.counts(now_ms).active == 0
        )
        self.quiet_ticks = self.quiet_ticks + 1 if is_quiet else 0
        if queue is None or self.quiet_ticks < QUIET_TICKS:
            return
        self.quiet_ticks = 0
        due_ms = queue.next_due_ms()
        if due_ms is not None:
            clock = self.cloud.mns.clock
            clock.offset_seconds += max(0, due_ms - now_ms) / 1000 + 0.001
            assert clock.offset_seconds < JUMP_SECONDS_MAX, "signatures would be refused as too old"


@asynccontextmanager
async def relaying(
    cloud: LocalCloud, *, settings: dict[str, str] | None = None, **plan: Any
) -> AsyncIterator[Running]:
    """Run a relay for what was prepared in the cloud; leave at once when the block ends.

    `settings` are names of the environment over those of the cloud; `plan` are fields of Plan.
    """
    found = load_settings(cloud.settings() | SHORT | (settings or {}), dotenv=None)
    capture = LogCapture()
    metrics = Metrics(CollectorRegistry(), tells_routes=bool(found.routes))
    journal = Journal(metrics, _logger(capture))
    clock, planned = HurriedClock(), replace(_plan(found), **plan)
    keys = Keys(found, clock, journal)
    await keys.fetch()
    opened = open_ports(found, planned, keys, clock, random.Random(1))
    async with opened as ports, _hurried():
        assembled = assemble(ports, planned, journal)
        stops, port = Stops(), free_port()
        health = Health(assembled, metrics, ports.clock.monotonic)
        async with serving(health, "127.0.0.1", port):
            task = asyncio.create_task(assembled.relay.run(stops), name="relay")
            try:
                url = f"http://127.0.0.1:{port}"
                yield Running(cloud, assembled, metrics, capture.entries, stops, task, url, journal)
            finally:
                stops.taking.set()
                stops.working.set()
                await task


_gate_seconds = receive.GATE_SECONDS
_running = 0


@asynccontextmanager
async def _hurried() -> AsyncIterator[None]:
    """Let pollers look more often whether they may poll; this wait is no parameter of the relay.

    Relays run side by side here: the first one sets the wait, the last one sets it back.
    """
    global _running  # noqa: PLW0603  one constant of one module, for all relays of the process
    _running += 1
    receive.GATE_SECONDS = _gate_seconds / HURRY
    try:
        yield
    finally:
        _running -= 1
        if not _running:
            receive.GATE_SECONDS = _gate_seconds


def free_port() -> int:
    """Return a port below those that the system gives to outgoing connections."""
    for port in _ports_to_try:
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def _logger(capture: LogCapture) -> structlog.stdlib.BoundLogger:
    wrapper = structlog.make_filtering_bound_logger(logging.DEBUG)
    logger = structlog.wrap_logger(None, processors=[capture], wrapper_class=wrapper)
    return cast("structlog.stdlib.BoundLogger", logger)


def _plan(settings: Settings) -> Plan:
    return Plan(
        worker=f"test-worker-{next(_numbers)}",
        home=settings.home,
        log_bucket=settings.log_bucket,
        capacity=Capacity(settings.pollers, settings.batch_keys, 0.002, grace_seconds=10.0),
        key_encoding=settings.key_encoding,
        max_deliveries=settings.max_deliveries,
        wait_seconds=1,
        region=settings.oss_region,
        destination_bucket=settings.obs_bucket or "",
        arrival_ratio=settings.arrival_ratio,
        arrival_seconds=settings.arrival_seconds,
        deletions_per_hour=settings.deletions_allowed_per_hour,
        routes=route_plans(settings),
    )
