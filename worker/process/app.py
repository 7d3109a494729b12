"""The relay as a process: settings in, real clients wired, signals heard, an exit code out."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from worker import __version__
from worker.clock import Clock, SystemClock
from worker.clouds.wiring import Keys
from worker.config.proxies import DIRECT, Proxies
from worker.errors import Fatal
from worker.flow.relay import Capacity, Stops
from worker.observe.journal import Journal
from worker.observe.lossy import Lossy
from worker.observe.metrics import Metrics
from worker.observe.trace import Traces, wished
from worker.outages.breakers import Cloud
from worker.process.assembly import Assembled, Plan, RoutePlan, assemble
from worker.process.connections import WAIT_SECONDS_MAX, open_ports
from worker.process.health import Health, serving
from worker.process.notify import Notifier
from worker.process.pulse import Heart
from worker.process.signals import Signals
from worker.settings import Settings

# Tells this process from every other: host names and process ids repeat (containers), start times too.
WORKER = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}"

# "Internal software error" of sysexits.h: supervisors restart on it.
EXIT_DIED = 70
FLUSH_SECONDS_MAX = 2.0


async def run(settings: Settings, reload: Callable[[], Settings], lines: Lossy) -> int:
    """Run the relay until a signal; return the exit code. Raises `Fatal` for what the user has to mend.

    `reload` reads the settings again, for credentials in files that have changed; `lines` takes the log.
    0 after a finished stop, 128 + the signal's number after a second one (as a shell reports it), 70 if
    a task of the relay died of a fault of its own.
    """
    _spare_the_collector()
    stops, clock = Stops(), SystemClock()
    signals = Signals(clock, settings.shutdown_grace_seconds)
    journal = Journal(Metrics(_registry(), settings.mns_queue, tells_routes=bool(settings.routes)))
    lines.on_drop = journal.metrics.log_lines_dropped.inc
    flush = begin_tracing(os.environ, WORKER, clock, _rng(), journal, settings.proxies)
    for warning in settings.warnings:
        journal.log.warning(warning, action="settings")
    keys = Keys(settings, clock, journal, reload)
    await keys.fetch()
    plan = _plan(settings)
    async with open_ports(settings, plan, keys, clock, _rng()) as ports, signals.heard(stops):
        assembled = assemble(ports, plan, journal)
        health = Health(assembled, journal.metrics, clock.monotonic)
        async with serving(health, settings.admin_host, settings.admin_port):
            journal.log.info(
                "the relay has started",
                action="start",
                version=__version__,
                queue=settings.mns_queue,
                **_task_fields(settings),
                log_bucket=settings.log_bucket,
                region=settings.oss_region,
                admin=f"{settings.admin_host}:{settings.admin_port}",
                **_proxy_fields(settings),
            )
            notifier = Notifier.from_environment(os.environ, os.getpid())
            heart = Heart(
                assembled.fleet,
                health,
                journal.metrics,
                clock,
                worker=WORKER,
                host=socket.gethostname(),
            )
            beside = {
                "tell the fleet": heart.run(),
                "refresh credentials": _keep_fresh(keys, assembled),
                "sum up": journal.keep_summing(clock),
                "notify systemd": notifier.run(stops.taking, health.reasons, health.stuck),
            }
            is_sound = await _run(assembled, beside, stops, journal)
            await heart.stop(signals.seconds_left())
    await flush(min(FLUSH_SECONDS_MAX, signals.seconds_left()))
    in_hand = len(assembled.flow.leases.in_hand)
    journal.log.info("the relay has stopped", action="stop", in_hand=in_hand)
    return signals.exit_code if is_sound else EXIT_DIED


def begin_tracing(
    environ: Mapping[str, str],
    worker: str,
    clock: Clock,
    rng: random.Random,
    journal: Journal,
    proxies: Proxies = DIRECT,
) -> Callable[[float], Awaitable[None]]:
    """Let the journal trace what the environment asks for; return what sends the last spans at the end.

    Without such a wish nothing is imported and nothing done. Raises `Fatal` if a package for it is missing.
    """
    wish = wished(environ)
    if wish is None:
        return _flush_nothing
    try:
        from worker.observe.spans import Spans  # noqa: PLC0415  an extra, loaded only on demand
    except ImportError as error:
        raise Fatal(
            f"OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, but a package for them is missing ({error}). "
            "Nothing was received. Install oms-relay[otel], or set OTEL_SDK_DISABLED=true."
        ) from error
    for warning in wish.warnings:
        journal.log.warning(warning, action="trace")
    spans = Spans(worker, clock, rng, journal.log, proxies)
    journal.traces = Traces(wish.ratio, clock, rng, spans.emit)
    journal.log.info("messages are traced", action="trace", ratio=wish.ratio)
    return spans.flush


async def _flush_nothing(_: float) -> None:
    pass


async def _run(
    assembled: Assembled,
    beside: dict[str, Coroutine[Any, Any, None]],
    stops: Stops,
    journal: Journal,
) -> bool:
    """Run until a stop; return False if a task died, which only a restart can mend."""
    is_sound = True
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each, name=name) for name, each in beside.items()]
            await assembled.relay.run(stops)
            for task in tasks:
                task.cancel()
    except* Fatal:
        raise
    except* Exception as errors:
        journal.log.critical(
            "a part of the relay has died of a fault of its own: the relay leaves, what was in hand is "
            "released and comes back. Restart it, and report this with the trace",
            action="stop",
            exc_info=errors,
        )
        is_sound = False
    return is_sound


async def _keep_fresh(keys: Keys, assembled: Assembled) -> None:
    """Other credentials are worth a probe at once, at each route that signs with them (G5)."""

    def post(routes: Collection[str]) -> None:
        for each in assembled.flow.routes:
            if each.name in routes:
                each.breaker.probe_now()

    def look(routes: Collection[str]) -> None:
        for name, account in assembled.arrivals.items():
            if name in routes:
                account.view.breaker.probe_now()

    await keys.keep_fresh(partial(assembled.breakers.probe_now, Cloud.ALIBABA), post, look)


def _plan(settings: Settings) -> Plan:
    return Plan(
        worker=WORKER,
        home=settings.home,
        log_bucket=settings.log_bucket,
        capacity=Capacity(
            settings.pollers,
            settings.batch_keys,
            settings.linger_ms / 1000,
            settings.shutdown_grace_seconds,
        ),
        record_layout=settings.record_layout,
        key_encoding=settings.key_encoding,
        max_in_flight=settings.max_in_flight,
        max_deliveries=settings.max_deliveries,
        oms_max_rps=settings.oms_max_rps,
        wait_seconds=wait_seconds(settings),
        region=settings.oss_region,
        destination_bucket=settings.obs_bucket or "",
        arrival_ratio=settings.arrival_ratio,
        arrival_seconds=settings.arrival_seconds,
        deletions_per_hour=settings.deletions_allowed_per_hour,
        routes=route_plans(settings),
    )


def route_plans(settings: Settings) -> tuple[RoutePlan, ...]:
    """Return what the settings decide about each route; nothing where no file names any."""
    return tuple(
        RoutePlan(
            each.route, each.sync_task.task_id, each.bucket, each.prefix, each.obs_bucket or ""
        )
        for each in settings.routes
    )


def _task_fields(settings: Settings) -> dict[str, str]:
    tasks = [each.sync_task.task_id for each in settings.each_route]
    if not settings.routes:
        return {"task": tasks[0]}
    told = zip(settings.routes, tasks, strict=True)
    return {"routes": ", ".join(f"{each.route} (task {task})" for each, task in told)}


def _proxy_fields(settings: Settings) -> dict[str, str]:
    return {"proxy": ", ".join(settings.proxies_used)} if settings.proxies_used else {}


def wait_seconds(settings: Settings) -> int:
    """Return how long one poll waits: so long MNS may go on serving one that a stop has cut."""
    return max(1, min(WAIT_SECONDS_MAX, int(settings.shutdown_grace_seconds / 3)))


def _spare_the_collector() -> None:
    """Let the garbage collector run less often: messages in hand are many, live briefly, and form no cycles.

    Measured: a fifth less CPU per event in layout `log` (docs/performance.md).
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _rng() -> random.Random:
    return random.Random()  # noqa: S311  jitter and sampling, not secrecy


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
