"""Every action of a fault, seen from a client."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest

from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults
from localcloud.service import Call, Reply, Service


class Counting(Service):
    """Counts its calls and answers ten bytes; HEAD is told their number."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__(Clock(lambda: 1_790_000_000.0), Faults(random.Random(1)))
        self.effects = 0

    def operation(self, call: Call) -> str:
        return call.method.title()

    async def serve(self, call: Call) -> Reply:
        self.effects += 1
        headers = {"Content-Type": "text/plain"}
        if call.method == "HEAD":
            headers["Content-Length"] = "10"
        return Reply(200, "0123456789", headers)


@pytest.fixture
async def service() -> AsyncIterator[Counting]:
    service = Counting()
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def client(service: Counting) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service.url) as session:
        yield session


async def test_a_status_has_no_effect_and_ends_after_its_times(
    service: Counting, client: aiohttp.ClientSession
) -> None:
    headers = {"Retry-After": "7"}
    service.faults.add(Fault(status=503, body="busy", headers=headers, times=2))
    for _ in range(2):
        async with client.get("/") as response:
            assert (response.status, await response.text()) == (503, "busy")
            assert response.headers["Retry-After"] == "7"
            assert response.headers["Date"] == "Mon, 21 Sep 2026 14:13:20 GMT"
    assert service.effects == 0
    async with client.get("/") as response:
        assert response.status == 200
    assert service.effects == 1
    assert service.counts == {("Get", 503): 2, ("Get", 200): 1}


@pytest.mark.parametrize(
    ("action", "effects"),
    [
        (Action.CUT_BEFORE, 0),
        (Action.CUT_AFTER, 1),
        (Action.HANG, 0),
        (Action.HANG_AFTER, 1),
    ],
)
async def test_a_cut_connection_may_or_may_not_have_had_its_effect(
    service: Counting, client: aiohttp.ClientSession, action: Action, effects: int
) -> None:
    # Only POST: aiohttp repeats an idempotent request by itself when a kept connection is cut.
    service.faults.add(Fault(action=action, times=1))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post("/")
    assert service.effects == effects
    assert [served.status for served in service.served] == [0]


async def test_a_hang_lasts(service: Counting, client: aiohttp.ClientSession) -> None:
    service.faults.add(Fault(action=Action.HANG, seconds=60))
    with pytest.raises(TimeoutError):
        await client.post("/", timeout=aiohttp.ClientTimeout(total=0.01))
    assert service.effects == 0


async def test_latency_serves_as_usual(service: Counting, client: aiohttp.ClientSession) -> None:
    service.faults.add(Fault(action=Action.LATENCY, seconds=0.001))
    async with client.get("/") as response:
        assert await response.text() == "0123456789"


async def test_a_truncated_answer_has_its_effect(
    service: Counting, client: aiohttp.ClientSession
) -> None:
    service.faults.add(Fault(action=Action.TRUNCATE))
    async with client.get("/") as response:
        assert (response.status, await response.text()) == (200, "01234")
    assert service.effects == 1


async def test_a_custom_fault_leaves_the_call_alone(
    service: Counting, client: aiohttp.ClientSession
) -> None:
    service.faults.add(Fault(action=Action.CUSTOM, name="odd"))
    async with client.get("/") as response:
        assert response.status == 200
    assert service.faults.pick("counting", "Get", custom="odd") is not None
    assert service.faults.pick("counting", "Get", custom="even") is None


async def test_head_states_a_length_and_sends_nothing(
    service: Counting, client: aiohttp.ClientSession
) -> None:
    for _ in range(2):
        async with client.head("/") as response:
            assert response.headers["Content-Length"] == "10"
            assert await response.read() == b""
    assert service.effects == 2


def test_a_fault_strikes_where_its_patterns_match() -> None:
    faults = Faults(random.Random(1))
    faults.add(Fault("m*", "*Receive*", status=429))
    faults.add(Fault("*", "*", probability=0.0))
    assert faults.pick("oss", "BatchReceiveMessage") is None
    assert faults.pick("mns", "DeleteMessage") is None
    struck = faults.pick("mns", "BatchReceiveMessage")
    assert struck is not None
    assert struck.status == 429
    faults.clear()
    assert list(faults) == []


def test_probability_is_that_of_the_seed() -> None:
    def struck(seed: int) -> list[bool]:
        faults = Faults(random.Random(seed))
        faults.add(Fault(probability=0.5))
        return [faults.pick("mns", "X") is not None for _ in range(50)]

    assert struck(1) == struck(1)
    assert 10 < sum(struck(1)) < 40


async def test_a_call_knows_whether_its_caller_is_there(
    service: Counting, client: aiohttp.ClientSession
) -> None:
    seen: list[Call] = []
    reached = asyncio.Event()

    async def serve(call: Call) -> Reply:
        seen.append(call)
        assert call.is_connected()
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    service.serve = serve  # type: ignore[method-assign]
    poll = asyncio.create_task(client.post("/"))
    await reached.wait()
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll
    while seen[0].is_connected():  # noqa: ASYNC110  a closing connection has no event
        await asyncio.sleep(0)
