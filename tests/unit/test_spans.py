"""Spans on their way to a collector: what the SDK makes of them, and what happens when it cannot."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import cast

import pytest
import structlog
from structlog.testing import LogCapture

from doubles.clock import HandClock
from harness.collector import Collector, collecting
from harness.proxy import proxying
from harness.relay import free_port
from worker.config.proxies import DIRECT, Proxies, find_proxies
from worker.errors import Fatal
from worker.observe.spans import COMPLAINT_SECONDS, Spans
from worker.observe.trace import Trace, Verb

SECRET = "a-secret-nobody-may-see"


@pytest.fixture(autouse=True)
def capture(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    for name in ("HEADERS", "TIMEOUT", "COMPRESSION"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    return LogCapture()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def spans(capture: LogCapture, clock: HandClock, proxies: Proxies = DIRECT) -> Spans:
    log = structlog.wrap_logger(None, processors=[capture])
    logger = cast("structlog.stdlib.BoundLogger", log)
    return Spans("worker-1", clock, random.Random(1), logger, proxies)


def send(to: Spans, clock: HandClock, key: str = "a.txt", why: str = "") -> None:
    """End one trace."""
    trace = Trace(random.getrandbits(128), clock.now, 0.0, clock, to.emit)
    for verb in Verb:
        clock.advance(0.001)
        trace.passed(verb)
    trace.end({"key": key, "keys": 1}, why)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


async def flushed(to: Spans) -> None:
    await to.flush(20.0)


async def test_a_key_that_is_no_text_costs_no_other_its_span(
    collector: Collector, capture: LogCapture, clock: HandClock
) -> None:
    sent = spans(capture, clock)
    send(sent, clock, "half \ud83d of a pair", why="half \ud83d")
    send(sent, clock, "neighbour")
    await flushed(sent)
    assert {each.facts["key"] for each in collector.messages} == {"half ? of a pair", "neighbour"}
    assert not capture.entries


async def test_proxies_of_the_environment_are_not_used(
    collector: Collector, capture: LogCapture, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    sent = spans(capture, clock)
    send(sent, clock)
    await flushed(sent)
    assert len(collector.messages) == 1


async def test_a_refusal_is_told_once_a_minute_without_what_may_be_secret(
    collector: Collector, capture: LogCapture, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRET}")
    collector.status = 401
    sent = spans(capture, clock)
    for _ in range(3):
        send(sent, clock)
        await asyncio.to_thread(sent._processor.force_flush)
    [line] = capture.entries
    assert line["action"] == "trace"
    assert "401" in line["why"]
    assert "Messages are not touched" in line["event"]
    clock.advance(COMPLAINT_SECONDS)
    send(sent, clock)
    await flushed(sent)
    assert len(capture.entries) == 2
    assert collector.headers[0]["api-key"] == SECRET
    assert SECRET not in str(capture.entries)


async def test_headers_that_cannot_be_read_are_told_without_them(
    collector: Collector, capture: LogCapture, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"{SECRET}: {SECRET}")
    sent = spans(capture, clock)
    assert capture.entries
    assert SECRET not in str(capture.entries)
    send(sent, clock)
    await flushed(sent)
    assert len(collector.messages) == 1


async def test_more_spans_than_the_queue_holds_are_dropped_and_told(
    collector: Collector, capture: LogCapture, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "14")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "14")
    collector.is_hanging = True
    sent = spans(capture, clock)
    for number in range(20):
        send(sent, clock, f"key {number}")
    assert "Queue full" in capture.entries[0]["why"]
    await collector.hung.wait()
    await sent.flush(0.01)


async def test_a_collector_that_hangs_holds_up_no_stop(
    collector: Collector, capture: LogCapture, clock: HandClock
) -> None:
    collector.is_hanging = True
    sent = spans(capture, clock)
    send(sent, clock)
    before = asyncio.get_running_loop().time()
    await sent.flush(0.2)
    assert 0.19 < asyncio.get_running_loop().time() - before < 5.0
    assert collector.hung.is_set()


async def test_what_ends_after_the_flush_harms_nothing(
    collector: Collector, capture: LogCapture, clock: HandClock
) -> None:
    sent = spans(capture, clock)
    await flushed(sent)
    send(sent, clock)
    assert not collector.bodies


async def test_a_fault_of_the_sdk_costs_a_span_and_not_the_relay(
    capture: LogCapture, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    sent = spans(capture, clock)
    monkeypatch.setattr(sent._tracer, "start_span", broken)
    send(sent, clock)
    [line] = capture.entries
    assert line["why"] == "a trace cannot be made: RuntimeError"
    await flushed(sent)


def test_numbers_that_the_sdk_refuses_are_told_before_anything_starts(
    capture: LogCapture, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with pytest.raises(Fatal, match=r"max_queue_size must be a positive.*Nothing was rec"):
        spans(capture, clock)


@pytest.mark.parametrize(("no_proxy", "count"), [("", 1), ("0.0.0.0", 0)])
async def test_spans_go_by_the_proxy_unless_no_proxy_names_the_collector(
    capture: LogCapture,
    clock: HandClock,
    monkeypatch: pytest.MonkeyPatch,
    collector: Collector,
    no_proxy: str,
    count: int,
) -> None:
    # This machine, by an address that is not loopback's.
    port = collector.url.rpartition(":")[2]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://0.0.0.0:{port}")
    async with proxying({f"0.0.0.0:{port}": int(port)}, needs_user=True) as proxy:
        environ = {"HTTP_PROXY": proxy.url_with_user, "NO_PROXY": no_proxy}
        to = spans(capture, clock, find_proxies(environ)[0])
        send(to, clock)
        await flushed(to)
    assert len(proxy.asked) == count
    assert len(collector.messages) == 1
