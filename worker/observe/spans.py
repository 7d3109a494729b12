"""Spans for an OpenTelemetry collector, by OTLP over http/protobuf: the only module that knows the SDK.

It is imported only when traces are asked for; its packages are the extra `oms-relay[otel]`. The exporter
reads its own standard names from the environment: endpoint, headers, certificate, time-out, compression.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import NoneType
from typing import Any

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from worker import __version__
from worker.clock import Clock, is_set_within
from worker.config.proxies import DIRECT, Proxies
from worker.errors import Fatal
from worker.observe.journal import bounded
from worker.observe.trace import Trace

NAME = "oms-relay"
COMPLAINT_SECONDS = 60.0
_SDK = logging.getLogger("opentelemetry")


class Spans:
    """Makes spans of traces that have ended; a thread of the SDK sends them from a bounded queue.

    A collector that is slow or gone costs spans, never a message. Raises `Fatal` for numbers that the SDK
    refuses.
    """

    def __init__(
        self,
        worker: str,
        clock: Clock,
        rng: random.Random,
        log: structlog.stdlib.BoundLogger,
        proxies: Proxies = DIRECT,
    ) -> None:
        _hear_the_sdk(clock, log)
        self._ids = _Ids(rng)
        session = _Session(proxies)
        try:
            self._processor = BatchSpanProcessor(OTLPSpanExporter(session=session))
        except ValueError as error:
            raise Fatal(
                f"traces cannot be sent as the environment asks: {error} Nothing was received. "
                "Mend the OTEL_BSP_ variables, or set OTEL_SDK_DISABLED=true."
            ) from error
        # Sampling is done by then. An atexit handler would wait for a collector that is gone.
        provider = TracerProvider(ALWAYS_ON, _resource(worker), False, id_generator=self._ids)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(NAME, __version__)

    def emit(self, trace: Trace, facts: Mapping[str, str | int], why: str) -> None:
        """Turn a trace into a span for the message and one for each verb that it went through."""
        try:
            self._emit(trace, facts, why)
        except Exception as error:  # noqa: BLE001  a fault of the SDK must cost a span, not the relay
            _SDK.warning("a trace cannot be made: %s", error)

    def _emit(self, trace: Trace, facts: Mapping[str, str | int], why: str) -> None:
        def nanoseconds(seconds: float) -> int:
            return round((trace.epoch + seconds) * 1e9)

        self._ids.trace_id = trace.trace_id
        root = self._tracer.start_span(
            "message",
            kind=SpanKind.CONSUMER,
            attributes={name: _encodable(value) for name, value in facts.items()},
            start_time=nanoseconds(trace.began_at),
        )
        if why:
            root.set_status(Status(StatusCode.ERROR, str(_encodable(why))))
        context = set_span_in_context(root)
        for verb, began, ended in trace.spans():
            child = self._tracer.start_span(verb.value, context, start_time=nanoseconds(began))
            child.end(nanoseconds(ended))
        root.end(nanoseconds(trace.ended_at))

    async def flush(self, seconds: float) -> None:
        """Send what waits, for at most so long, and drop the rest. Nothing can be emitted afterwards."""
        loop, is_done = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # Nobody waits any more, and the loop is closed.
                loop.call_soon_threadsafe(is_done.set)

        # A daemon, because a thread of an executor would be waited for at the end of the process.
        threading.Thread(target=send, name="flush traces", daemon=True).start()
        await is_set_within(is_done, seconds)


class _Session(requests.Session):
    """Goes by the relay's proxies, and takes no cookie or .netrc of the environment, as all its calls."""

    def __init__(self, proxies: Proxies) -> None:
        super().__init__()
        self.trust_env = False
        self._proxies = proxies

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        proxy = self._proxies.of(request.url or "")
        scheme = (request.url or "").partition(":")[0]
        return super().send(
            request, **options | {"proxies": {scheme: proxy.secret_url} if proxy else {}}
        )


class _Ids(IdGenerator):
    """The trace id that the sampling was decided by, and span ids from the relay's own randomness."""

    def __init__(self, rng: random.Random) -> None:
        self.trace_id = 0
        self._rng = rng

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self._rng.getrandbits(64) or 1

    def is_trace_id_random(self) -> bool:
        return True


def _encodable(value: str | int) -> str | int:
    """Replace what UTF-8 cannot hold: half a surrogate pair would cost the whole batch of spans."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _resource(worker: str) -> Resource:
    """Say who sends; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word."""
    ours = {"service.name": NAME, "service.version": __version__, "service.instance.id": worker}
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _hear_the_sdk(clock: Clock, log: structlog.stdlib.BoundLogger) -> None:
    """Let the SDK's own log lines go through ours and nowhere else."""
    _SDK.propagate = False
    _SDK.handlers = [_Complaints(clock, log)]


class _Complaints(logging.Handler):
    """Passes on a line of the SDK a minute, without the texts in it: headers and addresses hold secrets."""

    def __init__(self, clock: Clock, log: structlog.stdlib.BoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._log = log
        self._silent_until = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock.monotonic()
        if now < self._silent_until:
            return
        self._silent_until = now + COMPLAINT_SECONDS
        text, arguments = str(record.msg), record.args
        if isinstance(arguments, tuple) and arguments:
            text %= tuple(_shown(each) for each in arguments)
        self._log.warning(
            "traces are incomplete: some were not sent to the collector. Messages are not touched by it. "
            "Check the collector and the OTEL_ variables",
            action="trace",
            why=bounded(text),
        )


def _shown(argument: object) -> object:
    if isinstance(argument, BaseException):
        return type(argument).__name__
    return argument if isinstance(argument, (int, float, NoneType)) else "..."
