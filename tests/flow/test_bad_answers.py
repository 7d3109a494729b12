"""Answers that are not what was asked for: HTML, empty, cut or huge; nothing is taken at its word."""

from __future__ import annotations

import asyncio

import pytest

from harness import account, deletes
from harness.relay import Running, relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault

# Measured elsewhere, line for line, and far slower under the tracer.
pytestmark = pytest.mark.no_cover

PAGE = "<!DOCTYPE html>\n<html><body><h1>Sign in to Hotel Wi-Fi</h1></body></html>"
HTML = "text/html"
JSON = "application/json"
THROTTLE = '{"error_code":"APIGW.0308","error_msg":"The throttling threshold has been reached"}'
XML = '<?xml version="1.0" encoding="{}"?><Error><Code>Busy</Code></Error>'
ANSWERS = {
    "a page with 200": Fault(status=200, body=PAGE, content_type=HTML),
    "a page with 502": Fault(status=502, body=PAGE, content_type=HTML),
    "a page with 403": Fault(status=403, body=PAGE, content_type=HTML),
    "nothing with 200": Fault(status=200),
    "nothing with 500": Fault(status=500),
    "5 MB with 200": Fault(status=200, body="<" + "x" * 5_000_000, content_type="text/xml"),
    "5 MB with 503": Fault(status=503, body="x" * 5_000_000),
    "JSON with 200": Fault(status=200, body='{"a": [1', content_type=JSON),
    "a firewall's word with 200": Fault(status=200, body='{"blocked":true}', content_type=JSON),
    "a throttle with 200": Fault(status=200, body=THROTTLE, content_type=JSON),
    "a firewall's word with 400": Fault(status=400, body='{"blocked":true}', content_type=JSON),
    "an empty page with 200": Fault(status=200, content_type=HTML),
    "a page behind a mark": Fault(status=200, body=f"\ufeff{PAGE}", content_type="text/plain"),
    "nothing with 204": Fault(status=204),
    "an unknown encoding with 503": Fault(
        status=503, body=XML.format("x-none"), content_type="text/xml"
    ),
    "many bytes with 409": Fault(status=409, body=XML.format("gb18030"), content_type="text/xml"),
    "a cut answer": Fault(action=Action.TRUNCATE),
}
CALLS = (
    ("mns", "GetQueueAttributes"),
    ("mns", "BatchReceiveMessage"),
    ("mns", "BatchDeleteMessage"),
    ("oss", "PutObject"),
    ("oms", "ShowSyncTask"),
    ("oms", "CreateSyncEvents"),
)
# An empty 200 is how OMS accepts keys: nobody can tell it from a stranger's.
ACCEPTED = {("CreateSyncEvents", "nothing with 200"), ("CreateSyncEvents", "nothing with 204")}
KEYS = {"照片/a", "b", "c"}
STRIKES = 3


@pytest.mark.parametrize(("service", "operation"), CALLS)
async def test_no_bad_answer_is_taken_for_a_good_one(
    monkeypatch: pytest.MonkeyPatch, service: str, operation: str
) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for name, fault in ANSWERS.items():
            if (operation, name) not in ACCEPTED:
                struck = Fault(**(fault.as_json() | {"service": service, "operation": operation}))
                side_by_side.create_task(_outlive(struck, monkeypatch), name=name)


async def _outlive(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalCloud(seed=1) as cloud:
        cloud.prepare()
        cloud.faults.add(fault)
        early = deletes.watch(cloud, monkeypatch)
        for key in KEYS:
            cloud.oss.put("source", key, key.encode())
        async with relaying(cloud, max_deliveries=1000) as relay:
            await _struck(relay, fault)
            cloud.faults.clear()
            # A 403 that MNS or OSS did not word may be about the key: the next probe is far off.
            for breaker in relay.assembled.breakers:
                breaker.probe_now()
            await relay.settle()
        account.check(cloud, KEYS)
        assert not early
        assert not account.log_objects(cloud, "dead_letter")


async def _struck(relay: Running, fault: Fault) -> None:
    """Wait until the fault has struck a few times, closed the service for long, or done no harm."""
    breakers = relay.assembled.breakers
    await relay.until(
        lambda: (
            relay.count(fault.service, fault.operation) >= STRIKES
            or any(each.failure and each.failure.blame == "credentials" for each in breakers)
            or account.waiting(relay.cloud) == 0
        ),
        f"{fault.operation} struck",
    )


@pytest.mark.parametrize(
    ("service", "operation"), [call for call in CALLS if call[1] != "BatchDeleteMessage"]
)
async def test_a_page_instead_of_an_answer_is_told_at_readyz(
    cloud: LocalCloud, service: str, operation: str
) -> None:
    cloud.prepare()
    cloud.oss.put("source", "a", b"x")
    cloud.faults.add(Fault(service, operation, status=200, body=PAGE, content_type=HTML))
    async with relaying(cloud, max_deliveries=1000) as relay:
        told = await relay.not_ready(service)
        assert operation in told
        assert "\n" not in told
        lines = [each for each in relay.logged("breaker") if each.get("why")]
        assert any(operation in str(each["why"]) for each in lines)
        assert all(each["hint"] for each in lines)
        cloud.faults.clear()
        await relay.settle()
    account.check(cloud, {"a"})
