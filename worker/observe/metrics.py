"""Every metric, in one place. Children of labelled metrics are looked up once, not per event.

A labelled counter has all of its series from the start: one that is born with its first count raises no
`increase()`. Those of calls are too many, and come with the first call.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

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
_BY = ("end", "origin", "kind", "folder", "outcome")
_Labelled = TypeVar("_Labelled", Counter, Histogram)


class Metrics:
    """The relay's counters, gauges and histograms on one registry, shown with the name of its queue."""

    def __init__(self, registry: CollectorRegistry, queue: str = "") -> None:
        self.registry = registry
        self._queue = queue
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
            registry, "foreign_events", "Events of buckets that the sync task does not copy."
        )
        self.merged = _counter(
            registry, "keys_merged", "Keys that joined one already waiting to be posted."
        )
        self.repeated = _counter(
            registry,
            "events_repeated",
            "Events that MNS delivered again although their record stood: not posted a second time.",
        )
        posted = _counter(registry, "keys_posted", "Keys posted to OMS, by outcome.", "outcome")
        self._posted_as = _born(posted, Outcome)
        recorded = _counter(registry, "records_written", "Confirmed records, by folder.", "folder")
        self._recorded_in = _born(recorded, (SUCCESS, FAILED))
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
            registry, "messages_in_flight_max", "Messages that may be in hand now."
        )
        self.oldest = _gauge(
            registry, "oldest_in_hand_seconds", "Age of the oldest message in hand, in seconds."
        )
        self.waiting = _gauge(registry, "keys_waiting", "Keys waiting to be posted.")
        self.queue_messages = _gauge(
            registry, "queue_messages", "Messages in the queue as MNS counts them.", "state"
        )
        self.queue_oldest = _gauge(
            registry, "queue_oldest_seconds", "Age of the oldest message seen waiting, in seconds."
        )
        self.queue_retention = _gauge(
            registry, "queue_retention_seconds", "How long the queue keeps a message, in seconds."
        )
        self.limit = _gauge(
            registry, "concurrency_limit", "Calls that may run at once, by service.", "service"
        )
        self.paused = _gauge(
            registry, "paused", "1 while the fleet is paused and nothing is taken, else 0."
        )
        self._breaker = _gauge(
            registry,
            "breaker_open",
            "1 while a service cannot be used, 0.5 on trial, 0 while it works.",
            "service",
        )
        lags = Histogram(
            "oms_relay_lag_seconds",
            "Seconds from the OSS event to its confirmed record; resent: again 10 minutes later.",
            ("origin",),
            buckets=LAG_BOUNDS_SECONDS,
            registry=registry,
        )
        self._lags = lags
        self.lag = _born(lags, ORIGINS)
        self._calls = Histogram(
            "oms_relay_call_seconds",
            "Seconds per call, by service, operation and result.",
            ("service", "operation", "result"),
            buckets=CALL_BUCKETS_SECONDS,
            registry=registry,
        )
        self._call = lru_cache(maxsize=256)(self._calls.labels)
        self._follow(registry)

    def _follow(self, registry: CollectorRegistry) -> None:
        """What is known of the destination."""
        self.arrival_seconds = Histogram(
            "oms_relay_arrival_seconds",
            "Seconds from the OSS event to the copy at the destination, of the keys that are followed.",
            buckets=ARRIVAL_BUCKETS_SECONDS,
            registry=registry,
        )
        arrivals = _counter(
            registry,
            "arrivals",
            "Followed keys by outcome, and what was done about them.",
            "outcome",
        )
        self.arrivals = {outcome: arrivals.labels(outcome) for outcome in ARRIVALS}
        self.arrivals_proved = _counter(
            registry, "arrivals_proved", "Arrived keys whose checksums are equal on both sides."
        )
        deletions = _counter(
            registry,
            "deletions",
            "Deletions in the source, by what became of them at the destination.",
            "outcome",
        )
        self.deletions = {outcome: deletions.labels(outcome) for outcome in DELETIONS}
        self.silent_skips = _counter(
            registry,
            "silent_skips",
            "Changes that OMS's default rule skips, however often announced.",
        )
        self.suspects_unfollowed = _counter(
            registry,
            "suspects_unfollowed",
            "Rows of OMS's lists that could not be read, and listed keys that nobody could look at.",
        )
        self.arrivals_pending = _gauge(registry, "arrivals_pending", "Keys being followed.")
        self.copy_backlog = _gauge(
            registry,
            "copy_backlog_objects",
            "Accepted keys that OMS has not copied, skipped or failed: an upper bound, by its statistics.",
        )
        self.copy_backlog.set(float("nan"))

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

    def totals(self) -> dict[str, float]:
        """Return what stands in the registry, as `sums` names it."""
        return sums(self.registry.collect())

    def lag_counts(self) -> dict[str, list[float]]:
        """Return by origin how many lags are within each bound, and at the end how many there are."""
        found: dict[str, list[float]] = {}
        for family in self._lags.collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    found.setdefault(sample.labels["origin"], []).append(sample.value)
        return found

    def posted(self, outcome: str, keys: int) -> None:
        """Count keys by the outcome of their post."""
        self._posted_as(outcome).inc(keys)

    def recorded(self, folder: str, keys: int) -> None:
        """Count keys whose record is confirmed."""
        self._recorded_in(folder).inc(keys)

    def ended(self, end: str, messages: int = 1) -> None:
        """Count messages that left."""
        self._ended_as(end).inc(messages)

    def renewed(self, result: str) -> None:
        """Count one lease renewal."""
        self._renewed_as(result).inc()

    def called(self, service: str, operation: str, result: str, seconds: float) -> None:
        """Observe one call."""
        self._call(service, operation, result).observe(seconds)

    def breaker(self, service: str, state: str) -> None:
        """Show the state of a breaker."""
        self._breaker.labels(service).set({"closed": 0, "trial": 0.5, "open": 1}[state])


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
    metrics = Metrics(CollectorRegistry())
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in metrics.registry.collect():
        # Only the collector itself knows the labels of a metric that was never touched.
        collector = metrics.registry._names_to_collectors[family.name]  # noqa: SLF001  no public way
        labels = ", ".join(f"`{label}`" for label in collector._labelnames) or "-"  # type: ignore[attr-defined]  # noqa: SLF001
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows) + "\n"


def _born(metric: _Labelled, values: Iterable[str]) -> Callable[[str], _Labelled]:
    """Make a series for each value of the one label; return what looks one up."""
    look_up = lru_cache(maxsize=16)(metric.labels)
    for each in values:
        look_up(each)
    return look_up


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"oms_relay_{name}", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"oms_relay_{name}", text, labels, registry=registry)
