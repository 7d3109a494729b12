"""Traces: when each of the six verbs was done with a message, noted for the few messages that are sampled.

OpenTelemetry is not known here: `spans.py` turns a trace that has ended into spans. Which messages
are sampled follows OpenTelemetry's own names in the environment (its "Environment Variable Specification").
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.clock import Clock

RATIO_DEFAULT = 0.001
_LOW_BITS = (1 << 64) - 1


class Verb(StrEnum):
    """The six verbs, in their order."""

    RECEIVE = "receive"
    DECODE = "decode"
    DEDUPE = "dedupe"
    POST = "post"
    RECORD = "record"
    DELETE = "delete"


Emit = Callable[["Trace", Mapping[str, str | int], str], None]


@dataclass(slots=True, eq=False)
class Trace:
    """One sampled message. Its times are monotonic seconds, so that no span ends before it began.

    `epoch` added to them gives seconds since the epoch: the difference of the clocks at the receipt.
    """

    trace_id: int
    began_at: float
    epoch: float
    clock: Clock
    emit: Emit
    request_id: str = ""
    ended_at: float = 0.0
    is_over: bool = False
    passes: dict[Verb, tuple[float, float]] = field(default_factory=dict)

    def passed(self, verb: Verb) -> None:
        """Note that a verb is done with the message, or with one more of its keys."""
        now = self.clock.monotonic()
        self.passes[verb] = (self.passes.get(verb, (now, now))[0], now)

    def spans(self) -> Iterator[tuple[Verb, float, float]]:
        """Yield each verb that was reached, with its begin and its end.

        It lasts from where the verb before was done with the first key until it is done itself with the last
        one. What a verb had to wait for is part of it.
        """
        began = self.began_at
        for verb, (first, last) in self.passes.items():
            yield verb, began, last
            began = first

    def end(self, facts: Mapping[str, str | int], why: str) -> None:
        """Hand the trace over, once, with what is known of the message; `why` is empty if it is done."""
        if self.is_over:
            return
        self.is_over = True
        self.ended_at = self.clock.monotonic()
        asked = {"oms_request_id": self.request_id} if self.request_id else {}
        self.emit(self, {**facts, **asked}, why)


class Traces:
    """Samples messages as they are received: by their trace id, so that collectors who sample agree."""

    def __init__(self, ratio: float, clock: Clock, rng: random.Random, emit: Emit) -> None:
        self._bound = round(ratio * (_LOW_BITS + 1))
        self._clock = clock
        self._rng = rng
        self._emit = emit

    def begin(self, enqueue_time_ms: int, polled_at: float) -> Trace | None:
        """Begin the trace of a message, if it is one of those that are traced.

        It begins where the poll left, or where the message came to the queue if that was later.
        """
        trace_id = self._rng.getrandbits(128)
        if trace_id & _LOW_BITS >= self._bound:
            return None
        now = self._clock.monotonic()
        epoch = self._clock.wall() - now
        queued_at = min(enqueue_time_ms / 1000 - epoch, now)
        trace = Trace(trace_id, max(polled_at, queued_at), epoch, self._clock, self._emit)
        trace.passed(Verb.RECEIVE)
        return trace


@dataclass(frozen=True, slots=True)
class Wish:
    """What the environment asks for. `warnings` say what it asks for and does not get, a sentence each."""

    ratio: float
    warnings: tuple[str, ...] = ()


def wished(environ: Mapping[str, str]) -> Wish | None:
    """Return which traces the environment asks for; None if it asks for none.

    As the specification wants it, a value that cannot be used is ignored with a warning: such names are often
    set for a whole cluster, and must not keep a relay from starting.
    """

    def get(name: str) -> str:
        return environ.get(name, "").strip()

    endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or get("OTEL_EXPORTER_OTLP_ENDPOINT")
    is_disabled = get("OTEL_SDK_DISABLED").lower() == "true"
    exporters = {each.strip().lower() for each in get("OTEL_TRACES_EXPORTER").split(",")}
    if not endpoint or is_disabled or not exporters & {"", "otlp"}:
        return None
    warnings = []
    protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol.lower() not in {"", "http/protobuf"}:
        warnings.append(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol[:80]!r}: the relay sends traces as http/protobuf, "
            "usually to port 4318"
        )
    ratio = _ratio(get("OTEL_TRACES_SAMPLER").lower(), get("OTEL_TRACES_SAMPLER_ARG"))
    if ratio is None:
        ratio = RATIO_DEFAULT
        warnings.append(
            f"OTEL_TRACES_SAMPLER with OTEL_TRACES_SAMPLER_ARG cannot be used: one message in "
            f"{1 / ratio:.0f} is traced. Accepted: always_on, always_off, traceidratio with a number 0..1"
        )
    return Wish(ratio, tuple(warnings)) if ratio else None


def _ratio(sampler: str, argument: str) -> float | None:
    """Return the share of messages to trace; None if that cannot be told. A message has no parent span."""
    match sampler.removeprefix("parentbased_"):
        case "always_on":
            return 1.0
        case "always_off":
            return 0.0
        case "traceidratio":
            return _share(argument or "1")
        case "":
            return _share(argument or str(RATIO_DEFAULT))
    return None


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None
