"""Traces of a real process: they arrive before it ends, and a collector that is down costs no message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import account
from harness.collector import VERBS, collecting
from harness.processes import supervising
from harness.relay import free_port
from localcloud.cloud import LocalCloud

KEYS = {f"照片/{number}" for number in range(40)}
UNUSED = "import sys, worker.process.app; print([name for name in sys.modules if 'opentelemetry' in name])"


@pytest.fixture
def filled(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    for key in KEYS:
        cloud.oss.put("source", key, key.encode())
    return cloud


async def test_traces_of_a_process_have_arrived_when_it_has_ended(filled: LocalCloud) -> None:
    async with collecting() as collector, supervising(filled) as supervisor:
        worker = await supervisor.start(**collector.environ)
        await supervisor.drained()
        assert await worker.stop() == 0
    assert {each.facts["key"] for each in collector.messages} == KEYS
    assert all(each.verbs == VERBS for each in collector.messages)
    account.check(filled, KEYS)


async def test_a_collector_that_is_down_costs_a_warning_and_no_message(
    filled: LocalCloud,
) -> None:
    # The parser of the supervisor checks that every line is JSON.
    down = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "10",
        "RELAY_LOG_LEVEL": "debug",
    }
    async with supervising(filled) as supervisor:
        worker = await supervisor.start(**down)
        await supervisor.drained()
        assert await worker.stop() == 0
        told = [line for line in worker.lines if line.get("action") == "trace"]
    assert [line["level"] for line in told] == ["info", "warning"]
    assert "ConnectionError" in told[1]["why"]
    ends = [line for line in worker.lines if line.get("outcome") == "deleted"]
    assert len({line["trace_id"] for line in ends}) == len(ends) == len(KEYS)
    account.check(filled, KEYS)


def test_without_a_wish_no_package_of_it_is_loaded(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", UNUSED], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
