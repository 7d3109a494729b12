"""Every metric, in one place. Children of labelled metrics are looked up once, not per event.

A labelled counter has all of its series from the start: one that is born with its first count raises no
`increase()`. Those of calls are too many, and come with the first call.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from worker import __version__
from worker.errors import Outcome
from worker.events.event import Kind
from worker.ledger.day import LAG_BOUNDS_SECONDS
from worker.ledger.names import FAILED, SUCCESS

CALL_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ARRIVAL_BUCKETS_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 21_600, 86_400)
DELETIONS = ("deleted", "absent", "kept", "there_again", "held")
ARRIVALS = ("arrived", "late", "resent", "given_up", "unknown")
ENDS = ("deleted", "postponed", "released", "lapsed", "dead_letter")
RENEWALS = ("renewed", "failed", "lost")
ORIGINS = ("live", "resent")
ROUTE = "route"
_BY = ("end", "origin", "kind", "folder", "outcome")


class OfRoute:
    """The metrics of what works for one route. Where routes are told apart each series has its name."""

    def __init__(self, families: _Families, route: str | None) -> None:
        own = () if route is None else (route,)
        self._families = families
        self.put_off: Gauge | None = families.put_off.labels(*own) if route else None
        self.limit = _Bound(families.limit, own)
        self._breaker = _Bound(families.breaker, own)
        self._call = lru_cache(maxsize=256)(_Bound(families.calls, own).labels)
        if families.tells_routes and not route:
            return
        self.merged: Counter = _Bound(families.merged, own).child()
        self.repeated: Counter = _Bound(families.repeated, own).child()
        self.waiting: Gauge = _Bound(families.waiting, own).child()
        self.arrival_seconds: Histogram = _Bound(families.arrival_seconds, own).child()
        self.arrivals_proved: Counter = _Bound(families.arrivals_proved, own).child()
        self.silent_skips: Counter = _Bound(families.silent_skips, own).child()
        self.suspects_unfollowed: Counter = _Bound(families.suspects_unfollowed, own).child()
        self.arrivals_pending: Gauge = _Bound(families.arrivals_pending, own).child()
        self.copy_backlog: Gauge = _Bound(families.copy_backlog, own).child()
        self.copy_backlog.set(float("nan"))
        arrivals, deletions = _Bound(families.arrivals, own), _Bound(families.deletions, own)
        self.arrivals = {outcome: arrivals.labels(outcome) for outcome in ARRIVALS}
        self.deletions = {outcome: deletions.labels(outcome) for outcome in DELETIONS}
        self.lag = _born(_Bound(families.lags, own), ORIGINS)
        self._posted_as = _born(_Bound(families.posted, own), Outcome)
        self._recorded_in = _born(_Bound(families.recorded, own), (SUCCESS, FAILED))

    def posted(self, outcome: str, keys: int) -> None:
        """Count keys by the outcome of their post."""
        self._posted_as(outcome).inc(keys)

    def recorded(self, folder: str, keys: int) -> None:
        """Count keys whose record is confirmed."""
        self._recorded_in(folder).inc(keys)

    def called(self, service: str, operation: str, result: str, seconds: float) -> None:
        """Observe one call."""
        self._call(service, operation, result).observe(seconds)

    def breaker(self, service: str, state: str) -> None:
        """Show the state of a breaker."""
        self._breaker.labels(service).set({"closed": 0, "trial": 0.5, "open": 1}[state])


class Metrics(OfRoute):
    """The relay's counters, gauges and histograms on one registry, shown with the name of its queue.

    Without `tells_routes` there is one route, and no series says which. With it, what belongs to a route is
    reached by `of_route` only.
    """

    def __init__(
        self, registry: CollectorRegistry, queue: str = "", *, tells_routes: bool = False
    ) -> None:
        self.registry = registry
        self._queue = queue
        self._of_route: dict[str, OfRoute] = {}
        super().__init__(
            _Families(registry, tells_routes=tells_routes), "" if tells_routes else None
        )
        build = _gauge(
            registry, "build_info", "Always 1: the versions of this relay.", "version", "python"
        )
        build.labels(__version__, platform.python_version()).set(1)
        self.received = _counter(registry, "messages_received", "Messages received from MNS.")
        events = _counter(registry, "events_decoded", "Object events decoded, by kind.", "kind")
        self.decoded = {kind: events.labels(kind) for kind in Kind}
        self.own_records = _counter(
            registry, "own_records_ignored", "Events of our own records, ignored."
        )
        self.log_lines_dropped = _counter(
            registry, "log_lines_dropped", "Log lines that could not be written, or not in time."
        )
        self.foreign = _counter(
            registry,
            "foreign_events",
            "Events of buckets that the sync task does not copy; with RELAY_ROUTES, that no route takes.",
        )
        ended = _counter(
            registry,
            "messages_ended",
            "Messages that left the relay: deleted, postponed, released, lapsed, dead_letter.",
            "end",
        )
        self._ended_as = _born(ended, ENDS)
        self.deleted = _counter(registry, "messages_deleted", "Messages deleted from MNS.")
        renewed = _counter(registry, "leases_renewed", "Lease renewals, by result.", "result")
        self._renewed_as = _born(renewed, RENEWALS)
        self.in_flight = _gauge(registry, "messages_in_flight", "Messages in hand.")
        self.in_flight_max = _gauge(
            registry, "messages_in_flight_max", "Messages that may be in hand or put off now."
        )
        self.oldest = _gauge(
            registry, "oldest_in_hand_seconds", "Age of the oldest message in hand, in seconds."
        )
        self.queue_messages = _gauge(
            registry, "queue_messages", "Messages in the queue as MNS counts them.", "state"
        )
        self.queue_oldest = _gauge(
            registry, "queue_oldest_seconds", "Age of the oldest message seen waiting, in seconds."
        )
        self.queue_retention = _gauge(
            registry, "queue_retention_seconds", "How long the queue keeps a message, in seconds."
        )
        self.paused = _gauge(
            registry, "paused", "1 while the fleet is paused and nothing is taken, else 0."
        )

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with the label `queue`: one Prometheus job may hold relays of several.

        Without the times at which counters were made, which Prometheus would keep as so many more series.
        """
        for family in self.registry.collect():
            labels = {"queue": self._queue}
            family.samples = [
                each._replace(labels=labels | each.labels)
                for each in family.samples
                if not each.name.endswith("_created")
            ]
            yield family

    def shown(self, accept: str) -> tuple[bytes, str]:
        """Return what `/metrics` answers to an Accept header, with its type: OpenMetrics where asked for."""
        encode, content_type = choose_encoder(accept)
        return encode(self), content_type

    def of_route(self, route: str) -> OfRoute:
        """Return the metrics of one route; without `tells_routes` there is only one, of any name."""
        if not self._families.tells_routes:
            return self
        if route not in self._of_route:
            self._of_route[route] = OfRoute(self._families, route)
        return self._of_route[route]

    def totals(self) -> dict[str, float]:
        """Return what stands in the registry, as `sums` names it."""
        return sums(self.registry.collect())

    def lag_counts(self) -> dict[str, list[float]]:
        """Return by origin how many lags are within each bound, and at the end how many there are."""
        found: dict[str, dict[str, float]] = {}
        for family in self._families.lags.collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    within = found.setdefault(sample.labels["origin"], {})
                    bound = sample.labels["le"]
                    within[bound] = within.get(bound, 0.0) + sample.value
        return {origin: list(within.values()) for origin, within in found.items()}

    def ended(self, end: str, messages: int = 1) -> None:
        """Count messages that left."""
        self._ended_as(end).inc(messages)

    def renewed(self, result: str) -> None:
        """Count one lease renewal."""
        self._renewed_as(result).inc()


class _Bound:
    """A metric, and the route that each of its series is to tell; an empty tuple tells none."""

    def __init__(self, family: Any, own: tuple[str, ...]) -> None:
        self._family = family
        self._own = own

    def labels(self, *values: str) -> Any:
        return self._family.labels(*values, *self._own)

    def child(self) -> Any:
        return self._family.labels(*self._own) if self._own else self._family


class _Families:
    """The metrics of which each route has its own series. Where routes are told, it is the last label."""

    def __init__(self, registry: CollectorRegistry, *, tells_routes: bool) -> None:
        self.tells_routes = tells_routes

        def labels(*names: str) -> tuple[str, ...]:
            return (*names, ROUTE) if tells_routes else names

        def counter(name: str, text: str, *names: str) -> Counter:
            return _counter(registry, name, text, *labels(*names))

        def gauge(name: str, text: str, *names: str) -> Gauge:
            return _gauge(registry, name, text, *labels(*names))

        def histogram(name: str, text: str, buckets: Sequence[float], *names: str) -> Histogram:
            return Histogram(
                f"oms_relay_{name}", text, labels(*names), buckets=buckets, registry=registry
            )

        self.merged = counter("keys_merged", "Keys that joined one already waiting to be posted.")
        self.repeated = counter(
            "events_repeated",
            "Events that MNS delivered again although their record stood: not posted a second time.",
        )
        self.posted = counter("keys_posted", "Keys posted to OMS, by outcome.", "outcome")
        self.recorded = counter("records_written", "Confirmed records, by folder.", "folder")
        self.waiting = gauge("keys_waiting", "Keys waiting to be posted.")
        self.limit = gauge(
            "concurrency_limit", "Calls that may run at once, by service.", "service"
        )
        self.breaker = gauge(
            "breaker_open",
            "1 while a service cannot be used, 0.5 on trial, 0 while it works.",
            "service",
        )
        self.lags = histogram(
            "lag_seconds",
            "Seconds from the OSS event to its confirmed record; resent: again 10 minutes later.",
            LAG_BOUNDS_SECONDS,
            "origin",
        )
        self.calls = histogram(
            "call_seconds",
            "Seconds per call, by service, operation and result.",
            CALL_BUCKETS_SECONDS,
            *("service", "operation", "result"),
        )
        self.arrival_seconds = histogram(
            "arrival_seconds",
            "Seconds from the OSS event to the copy at the destination, of the keys that are followed.",
            ARRIVAL_BUCKETS_SECONDS,
        )
        self.arrivals = counter(
            "arrivals", "Followed keys by outcome, and what was done about them.", "outcome"
        )
        self.arrivals_proved = counter(
            "arrivals_proved", "Arrived keys whose checksums are equal on both sides."
        )
        self.deletions = counter(
            "deletions",
            "Deletions in the source, by what became of them at the destination.",
            "outcome",
        )
        self.silent_skips = counter(
            "silent_skips", "Changes that OMS's default rule skips, however often announced."
        )
        self.suspects_unfollowed = counter(
            "suspects_unfollowed",
            "Rows of OMS's lists that could not be read, and listed keys that nobody could look at.",
        )
        self.arrivals_pending = gauge("arrivals_pending", "Keys being followed.")
        self.copy_backlog = gauge(
            "copy_backlog_objects",
            "Accepted keys that OMS has not copied, skipped or failed: an upper bound, read every 5 minutes.",
        )
        if tells_routes:
            self.put_off = gauge(
                "messages_put_off",
                "Messages that this worker has hidden in the queue because their route is down.",
            )


def sums(families: Iterable[Metric]) -> dict[str, float]:
    """Sum the relay's samples over their labels; also, as `name:label`, by each of the labels in `_BY`."""
    found: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            name = sample.name.removeprefix("oms_relay_")
            labels = {sample.labels[each] for each in _BY if each in sample.labels}
            for each in (name, *(f"{name}:{label}" for label in labels)):
                found[each] = found.get(each, 0.0) + sample.value
    return found


def metrics_table() -> str:
    """Render every metric of the relay as a Markdown table, for docs/metrics.md."""
    metrics = Metrics(CollectorRegistry(), tells_routes=True)
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in metrics.registry.collect():
        # Only the collector itself knows the labels of a metric that was never touched.
        collector = metrics.registry._names_to_collectors[family.name]  # noqa: SLF001  no public way
        names = collector._labelnames  # type: ignore[attr-defined]  # noqa: SLF001
        labels = ", ".join("(`route`)" if each == ROUTE else f"`{each}`" for each in names) or "-"
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows) + "\n"


def _born(family: _Bound | Counter, values: Iterable[str]) -> Callable[[str], Any]:
    """Make a series for each value of the one label; return what looks one up."""
    look_up = lru_cache(maxsize=16)(family.labels)
    for each in values:
        look_up(each)
    return look_up


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"oms_relay_{name}", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"oms_relay_{name}", text, labels, registry=registry)
