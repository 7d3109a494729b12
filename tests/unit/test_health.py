from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families

from doubles.build import Heard, breaker_of, event, failure, held, message, one_route
from doubles.clock import QuickClock, until
from doubles.vendors import ModelQueue, ModelSink, ModelStore
from worker.errors import Blame, Fatal
from worker.flow.relay import Capacity
from worker.outages.breaker import Breaker, State
from worker.process.assembly import Assembled, Plan, Ports, assemble
from worker.process.health import STUCK_SECONDS, Health, serving


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Bench:
    """The admin server of a relay that is wired, but does not run."""

    def __init__(self) -> None:
        self.clock = QuickClock()
        self.heard = Heard()
        ports = Ports(
            ModelQueue(self.clock),
            one_route(ModelSink()),
            ModelStore(),
            self.clock,
            random.Random(1),
        )
        plan = Plan("w-1", "task", "logs", Capacity(4, 10, 0.02, 45.0))
        self.assembled: Assembled = assemble(ports, plan, self.heard.journal)
        self.health = Health(self.assembled, self.heard.journal.metrics, self.clock.monotonic)
        self.port = free_port()

    def close_breakers(self) -> None:
        for breaker in self.assembled.breakers:
            breaker.state = State.TRIAL
            breaker.succeeded()

    async def put_on_trial(self, breaker: Breaker) -> None:
        async def probe() -> None:
            pass

        probing = asyncio.create_task(breaker.keep_probing(probe))
        breaker.probe_now()
        await until(lambda: breaker.state is State.TRIAL)
        probing.cancel()
        await asyncio.wait((probing,))

    async def get(
        self, path: str, method: str = "GET", accept: str = "*/*"
    ) -> tuple[int, str, str]:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{self.port}{path}"
            async with session.request(method, url, headers={"Accept": accept}) as answer:
                return answer.status, await answer.text(), answer.headers["Content-Type"]

    async def readyz(self) -> tuple[int, dict[str, Any]]:
        status, body, _ = await self.get("/readyz")
        return status, json.loads(body)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    async with serving(bench.health, "127.0.0.1", bench.port):
        yield bench


async def test_it_is_healthy_while_messages_can_move(bench: Bench) -> None:
    status, body, _ = await bench.get("/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok", "reasons": []})


async def test_it_is_not_healthy_when_no_poll_has_begun_for_half_an_hour(bench: Bench) -> None:
    bench.close_breakers()
    bench.clock.now = STUCK_SECONDS
    assert (await bench.get("/healthz"))[0] == 200
    bench.clock.now += 1
    status, body, _ = await bench.get("/healthz")
    assert status == 503
    assert "no poll has begun for 1801 s: restart the relay" in body


async def test_it_is_not_healthy_with_a_message_that_hangs(bench: Bench) -> None:
    bench.close_breakers()
    (kept,) = bench.assembled.flow.leases.hold([message()])
    bench.clock.now = STUCK_SECONDS + 1
    assert "a message has been in hand for 1801 s" in (await bench.get("/healthz"))[1]
    bench.assembled.flow.leases.forget(kept)
    bench.assembled.flow.receiver.alive_at = bench.clock.now
    assert (await bench.get("/healthz"))[0] == 200


async def test_what_an_outage_kept_in_hand_does_not_hang(bench: Bench) -> None:
    """A trial that fails, again and again, is part of the outage: half an hour counts from its end."""
    bench.close_breakers()
    bench.assembled.flow.leases.hold([message()])
    oms = breaker_of(bench.assembled, "oms")
    for _ in range(3):
        bench.clock.now += STUCK_SECONDS
        oms.open(failure(Blame.PASSING))
        assert bench.health.stuck() == []
        bench.clock.now += STUCK_SECONDS
        await bench.put_on_trial(oms)
        assert bench.health.stuck() == []
    bench.clock.now += STUCK_SECONDS / 2
    oms.succeeded()
    bench.clock.now += STUCK_SECONDS / 2
    assert bench.health.stuck() == []
    bench.clock.now += 1
    (why,) = bench.health.stuck()
    assert why.startswith("a message has been in hand for 1801 s in which all services worked")


async def test_before_the_first_probes_it_is_not_ready_and_says_so(bench: Bench) -> None:
    status, body = await bench.readyz()
    assert status == 503
    assert body == {
        "status": "not ready",
        "reasons": [
            "mns: not probed yet",
            "oss: not probed yet",
            "oms: not probed yet",
            "mns-acks: not probed yet",
        ],
        "causes": [
            {"what": f"{service}: not probed yet", "advice": None, "next": ""}
            for service in ("mns", "oss", "oms", "mns-acks")
        ],
        "services": {"mns": "open", "oss": "open", "oms": "open", "mns-acks": "open"},
        "in_flight": 0,
        "in_flight_max": 128,
        "paused": None,
        "notices": [],
    }


async def test_it_is_ready_when_every_service_works_or_is_on_trial(bench: Bench) -> None:
    bench.close_breakers()
    breaker_of(bench.assembled, "oss").state = State.TRIAL
    bench.assembled.flow.leases.hold([message()])
    status, body = await bench.readyz()
    assert (status, body["status"], body["reasons"]) == (200, "ready", [])
    assert body["services"]["oss"] == "trial"
    assert body["in_flight"] == 1


async def test_the_reason_comes_with_the_next_step(bench: Bench) -> None:
    bench.close_breakers()
    why = failure(Blame.CREDENTIALS, status=401, code="APIGW.0301")
    breaker_of(bench.assembled, "oms").open(why)
    status, body = await bench.readyz()
    assert status == 503
    (reason,) = body["reasons"]
    assert reason.startswith(
        "HW_AK and HW_SK are not a pair, or the key is disabled (oms Call answered 401 APIGW.0301); "
        "correct HW_AK and HW_SK. More than"
    )
    (cause,) = body["causes"]
    assert cause["what"] == "oms Call answered 401 APIGW.0301"
    assert cause["advice"] == {"name": "oms.pair", "values": {}}
    assert cause["next"].startswith(
        "HW_AK and HW_SK are not a pair, or the key is disabled: correct"
    )


async def test_a_stopping_relay_is_not_ready(bench: Bench) -> None:
    bench.close_breakers()
    bench.assembled.flow.receiver.stop()
    status, body = await bench.readyz()
    assert status == 503
    assert body["reasons"] == ["stopping: what is in hand is being finished"]


async def test_metrics_are_in_the_form_that_prometheus_reads(bench: Bench) -> None:
    flow = bench.assembled.flow
    bench.clock.now = 100.0
    flow.leases.hold([message("M1"), message("M2")])
    bench.clock.now = 107.5
    flow.routes[0].dedupe.admit(held(), [(event(), "a"), (event("b"), "b")])
    status, body, content_type = await bench.get("/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert families["oms_relay_messages_in_flight"].samples[0].value == 2
    assert families["oms_relay_messages_in_flight_max"].samples[0].value == 128
    assert families["oms_relay_oldest_in_hand_seconds"].samples[0].value == 7.5
    assert families["oms_relay_keys_waiting"].samples[0].value == 2
    limits = families["oms_relay_concurrency_limit"].samples
    found = {sample.labels["service"]: sample.value for sample in limits}
    started = {"polls": 16, "acknowledgements": 1, "records": 1, "posts": 1}
    assert started.items() <= found.items()
    assert all(family.documentation.endswith(".") for family in families.values())


async def test_metrics_are_open_metrics_where_that_is_asked_for(bench: Bench) -> None:
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    status, body, content_type = await bench.get("/metrics", accept=asked)
    assert status == 200
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith("# EOF\n")
    families = {family.name: family for family in open_metrics(body)}  # type: ignore[no-untyped-call]
    assert families["oms_relay_messages_ended"].type == "counter"


async def test_with_nothing_in_hand_the_oldest_is_of_no_age(bench: Bench) -> None:
    _, body, _ = await bench.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert families["oms_relay_oldest_in_hand_seconds"].samples[0].value == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_it_can_only_be_read(bench: Bench, method: str, path: str) -> None:
    assert (await bench.get(path, method))[0] == 405


async def test_port_0_serves_nothing() -> None:
    async with serving(Bench().health, "127.0.0.1", 0):
        pass


async def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Fatal, match="RELAY_ADMIN_PORT") as raised:
            async with serving(Bench().health, "127.0.0.1", port):
                raise AssertionError
    assert f"127.0.0.1:{port}" in str(raised.value)
