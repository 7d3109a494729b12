"""Short ways to build what the verbs pass around."""

from __future__ import annotations

import random
from typing import Any, cast

import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from worker.clock import Clock
from worker.errors import Blame, Failure, Outcome
from worker.events.event import Kind, Message, ObjectEvent
from worker.flow.dedupe import Change, Waiter
from worker.flow.lease import Held
from worker.flow.route import Route
from worker.flow.source import Source
from worker.observe.journal import Journal
from worker.observe.metrics import Metrics
from worker.outages.breaker import Breaker, State
from worker.outages.limit import AdaptiveLimit
from worker.outages.retry import Backoff, Retry
from worker.outages.service import Pace, Service
from worker.ports import Sink
from worker.process.assembly import Assembled, RoutePorts


class Heard:
    """A journal of its own, and what was counted and logged in it."""

    def __init__(self) -> None:
        self._capture = LogCapture()
        log = structlog.wrap_logger(None, processors=[self._capture])
        self.journal = Journal(Metrics(CollectorRegistry()), log)

    @property
    def lines(self) -> list[Any]:
        return self._capture.entries

    def count(self, name: str, **labels: str) -> float:
        """Return a metric; one that was never touched is 0."""
        registry = self.journal.metrics.registry
        return registry.get_sample_value(f"oms_relay_{name}", labels) or 0.0


def service(
    clock: Clock, journal: Journal, *, state: State = State.CLOSED, attempts_max: int = 6
) -> Service:
    breaker = Breaker("oms", clock, journal)
    breaker.state = state
    retry = Retry(clock, Backoff(random.Random(0)), attempts_max)
    return Service(breaker, AdaptiveLimit(8, 8), retry, Pace(clock, None), clock, journal)


def looking(
    clock: Clock,
    journal: Journal,
    *,
    state: State = State.CLOSED,
    limit: AdaptiveLimit | None = None,
) -> Service:
    """The service of looks: it obeys the breaker of OSS and tells it nothing."""
    breaker = Breaker("oss", clock, journal)
    breaker.state = state
    limit, retry = limit or AdaptiveLimit(64), Retry(clock, Backoff(random.Random(0)))
    pace = Pace(clock, None)
    return Service(breaker, limit, retry, pace, clock, journal, tells_breaker=False)


def failure(blame: Blame = Blame.PASSING, outcome: Outcome | None = None, **more: Any) -> Failure:
    default = Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER
    return Failure(
        more.pop("service", "oms"), more.pop("operation", "Call"), outcome or default, blame, **more
    )


def message(
    message_id: str = "M1", body: str = "", *, handle: str = "H", deliveries: int = 1
) -> Message:
    return Message(message_id, body, handle, deliveries, 1_790_000_000_000)


def held(message_id: str = "M1", body: str = "", **more: Any) -> Held:
    found = message(message_id, body, **more)
    return Held(found, found.receipt_handle, 0.0, 15.0, 30.0)


def event(key: str = "a.txt", **more: Any) -> ObjectEvent:
    facts = {
        "name": "ObjectCreated:PutObject",
        "kind": Kind.CREATED,
        "bucket": "films",
        "time": "2026-09-25T00:00:00.000Z",
        "etag": "E1",
        "request_id": "R1",
    } | more
    return ObjectEvent(key=key, **facts)


def change(key: str = "a.txt", *, of: Held | None = None, **more: Any) -> Change:
    return Change(key, [Waiter(of or held(), event(key, **more), b"")])


def route(source: Source, name: str = "", prefix: str = "") -> Route:
    """A route that can be asked what it takes, and does nothing else."""
    nothing = cast("Any", None)
    return Route(name, prefix, source, nothing, None, nothing, nothing, nothing, nothing)


def one_route(sink: Sink) -> dict[str, RoutePorts]:
    """The outside world of the only route."""
    return {"": RoutePorts(sink)}


def breaker_of(assembled: Assembled, service: str) -> Breaker:
    """Return the breaker that is shown under this name."""
    return next(each for each in assembled.breakers if each.service == service)
