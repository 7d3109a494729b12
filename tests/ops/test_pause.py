"""`pause` and `resume`: the whole fleet stops taking within seconds, says why, and goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.ops import CommandLine, connected, objects, put_object
from harness.relay import relaying
from harness.site import site
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.errors import CallFailed
from worker.ledger.pause import PAUSE_SECONDS_MAX
from worker.operate.fleet import FleetBoard
from worker.operate.parse_time import parse_span
from worker.operate.pause import Pauses


def audits(cloud: LocalCloud) -> list[dict[str, Any]]:
    found = objects(cloud).items()
    return [json.loads(body) for name, body in sorted(found) if name.startswith("audit/")]


async def test_two_relays_stop_taking_and_take_again(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with relaying(cloud) as one, relaying(cloud) as two, connected(cloud) as clients:
        relays = (one, two)
        receivers = [each.assembled.flow.receiver for each in relays]
        await one.until(lambda: not any(each.is_paused for each in receivers), "work")
        await Pauses(clients).begin("ann", "a move", None)
        await one.until(lambda: all(each.is_paused for each in receivers), "the pause is heard")
        for each in relays:
            status, body = await each.ready()
            assert (status, body["status"], body["paused"]["by"]) == (200, "paused", "ann")
        # A poll that was open may bring something for two seconds more.
        await one.until(
            lambda: not any(each._open_polls for each in receivers),
            "the end of the open polls",
        )
        taken = one.count("mns", "BatchReceiveMessage")
        cloud.oss.put("source", "a", b"x")
        for _ in range(20):
            await one.tick()
        queue = cloud.mns.queue("oss-events")
        assert queue.counts(cloud.mns.store.now_ms()).active == 1
        assert one.count("mns", "BatchReceiveMessage") == taken
        async with relaying(cloud) as late:
            await late.until(lambda: not late.breaker("oss").is_open, "a late starter")
            for _ in range(5):
                await late.tick()
            assert late.assembled.flow.receiver.is_paused
        assert await Pauses(clients).end("bob")
        await one.settle()
    assert [(each["action"], each["by"], each["reason"]) for each in audits(cloud)] == [
        ("pause", "ann", "a move"), ("resume", "bob", ""),
    ]  # fmt: skip


async def test_what_cannot_be_audited_is_not_done(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with connected(cloud) as clients:
        await Pauses(clients).begin("ann", "", None)
        cloud.faults.add(Fault("oss", "PutObject", action=Action.STATUS, status=403))
        with pytest.raises(CallFailed):
            await Pauses(clients).end("bob")
        found = await FleetBoard(clients).look()
    assert found.pause is not None
    assert found.pause.by == "ann"


async def test_a_pause_that_is_over_by_the_clock_of_oss_is_none(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with connected(cloud) as clients:
        await Pauses(clients).begin("ann", "", 600.0)
        cloud.oss.clock.offset_seconds = 601
        assert (await FleetBoard(clients).look()).pause is None
        assert not await Pauses(clients).end("bob")
        put_object(cloud, "fleet/pause.json", b"{")
        assert (await FleetBoard(clients).look()).pause is None
        assert not await Pauses(clients).end("bob")
        assert not await Pauses(clients).end("bob")
    assert "fleet/pause.json" not in objects(cloud)


def test_the_commands_say_what_they_did_and_status_says_who_paused(relayctl: CommandLine) -> None:
    text = " ".join(relayctl("pause", "--for", "2h", "--reason", "a move").stdout.split())
    assert text.startswith("The fleet is paused until 20")
    shown = " ".join(relayctl("status").stdout.split())
    assert "PAUSED paused by" in shown
    assert "a move" in shown
    found = json.loads(relayctl("status", "--json").stdout)
    assert found["fleet"]["paused"]["reason"] == "a move"
    assert "The pause is over" in relayctl("resume").stdout
    assert "was not paused" in relayctl("resume").stdout
    assert "until `oms-relay resume`" in " ".join(relayctl("pause").stdout.split())


@pytest.mark.parametrize("text", ["", "0s", "2", "2w", "-1h", "31d", "1.5h"])
def test_a_time_that_cannot_be_read_is_refused(relayctl: CommandLine, text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        parse_span(text, PAUSE_SECONDS_MAX)
    assert relayctl("pause", "--for", text or "x").exit_code == 2
    assert not relayctl.within(objects)


async def test_the_console_pauses_and_resumes_with_a_trace(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with site(cloud, watches=True) as console:
        page = await console.post("/fleet/pause", {"for": "2h", "reason": "a  move"})
        assert page.status == 200
        view = await console.json("/api/overview")
        assert view["headline"]["state"] in ("warn", "bad")
        found = json.loads(objects(cloud)["fleet/pause.json"])
        assert (found["for_seconds"], found["reason"]) == (7200.0, "a move")
        assert (await console.post("/fleet/pause", {"for": "soon"})).status == 400
        assert (await console.post("/fleet/resume")).status == 200
    assert "fleet/pause.json" not in objects(cloud)
    assert [each["action"] for each in audits(cloud)] == ["pause", "resume"]
