"""The fleet as operators see it: from the pulses in the log bucket, by OSS's clock."""

from __future__ import annotations

import json
import re

import pytest

from harness.ops import READY, CommandLine, calls, connected, objects, pulse, put_object, put_pulse
from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.commands.status import as_object
from worker.errors import CallFailed
from worker.ledger.pulse import PulseState
from worker.operate.fleet import GONE_SECONDS, SHOWN_SECONDS, FleetBoard, Presence
from worker.operate.status import StatusBoard
from worker.process.health import Health
from worker.process.pulse import Heart

REFUSED = READY | {
    "status": "not ready",
    "reasons": ["the task is STOPPED"],
    "causes": [{"what": "the task is STOPPED", "advice": None, "next": "start it"}],
}


async def test_a_relay_at_work_is_seen_without_its_address(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with relaying(cloud) as relay:
        await relay.until(lambda: not any(b.is_open for b in relay.assembled.breakers), "work")
        health = Health(relay.assembled, relay.metrics, lambda: 0.0)
        clock = relay.assembled.flow.receiver._service.clock
        heart = Heart(
            relay.assembled.fleet, health, relay.metrics, clock, worker="host-9-a", host="host-9"
        )
        cloud.oss.put("source", "a", b"x")
        await relay.settle()
        await heart.beat(heart.state())
        async with connected(cloud) as clients:
            found = await StatusBoard(clients).look()
    assert not found.errors
    assert found.fleet is not None
    (one,) = found.fleet.members
    assert (one.worker, one.host, one.presence) == ("host-9-a", "host-9", Presence.READY)
    assert one.status.sample.services["oms"] in ("closed", "trial")
    assert found.levels.recorded == 1
    told = objects(cloud)["fleet/host-9-a.json"]
    for url in (cloud.mns.url, cloud.oss.url, cloud.oms.url):
        assert url.encode() not in told


async def test_presence_goes_by_the_clock_of_oss(cloud: LocalCloud) -> None:
    cloud.prepare()
    # This machine's clock is two minutes off: only OSS's counts.
    cloud.oss.clock.offset_seconds = 120
    put_pulse(cloud, pulse(1), GONE_SECONDS - 30)
    put_pulse(cloud, pulse(2), GONE_SECONDS + 30)
    put_pulse(cloud, pulse(3, PulseState.STOPPED), GONE_SECONDS + 30)
    put_pulse(cloud, pulse(4, PulseState.NOT_READY, ready=REFUSED, version="0.9.0"))
    put_pulse(cloud, pulse(5, PulseState.STOPPING))
    put_pulse(cloud, pulse(6), SHOWN_SECONDS + 30)
    put_object(cloud, "fleet/pause.json", b"{}")
    put_object(cloud, "fleet/probe/1-abc-1.json", b"{}")
    async with connected(cloud) as clients:
        found = await FleetBoard(clients).look()
    assert [(each.host, each.presence) for each in found.members] == [
        ("host-2", Presence.GONE),
        ("host-4", Presence.NOT_READY),
        ("host-5", Presence.STOPPING),
        ("host-1", Presence.READY),
        ("host-3", Presence.STOPPED),
    ]
    assert found.versions == {"1.0.0": 2, "0.9.0": 1}


async def test_only_what_has_changed_is_read_again(cloud: LocalCloud) -> None:
    cloud.prepare()
    for number in range(5):
        put_pulse(cloud, pulse(number), 30)
    async with connected(cloud) as clients:
        board = FleetBoard(clients)
        await board.look()
        assert calls(cloud, "oss", "GetObject") == 5
        put_pulse(cloud, pulse(2, PulseState.STOPPED))
        found = await board.look()
        assert calls(cloud, "oss", "GetObject") == 6
    assert found.counts == {Presence.READY: 4, Presence.STOPPED: 1}


async def test_what_cannot_be_read_hides_nothing_else(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_pulse(cloud, pulse(1))
    put_object(cloud, "fleet/broken.json", b"{")
    put_object(cloud, "fleet/strange.json", pulse(3, ready={}).as_bytes())
    cloud.faults.add(Fault("oss", "GetObject", action=Action.STATUS, status=503, times=1))
    async with connected(cloud) as clients:
        board = FleetBoard(clients)
        found = await board.look()
        assert [each.host for each in found.members] == ["host-1"]
        assert found.unread == 2
        cloud.faults.add(Fault("oss", "GetObject", action=Action.STATUS, status=403))
        put_pulse(cloud, pulse(4))
        with pytest.raises(CallFailed):
            await board.look()


async def test_named_workers_are_asked_and_no_pulse_is_read(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_pulse(cloud, pulse(1))
    async with relaying(cloud) as relay, connected(cloud) as clients:
        found = await StatusBoard(clients, [relay.admin_url]).look()
    assert found.fleet is None
    assert as_object(found)["fleet"] is None
    assert not [each for each in cloud.oss.served if "host-1" in each.target]


def test_status_tells_the_fleet_worst_first_and_mixed_versions(relayctl: CommandLine) -> None:
    def prepare(cloud: LocalCloud) -> None:
        put_pulse(cloud, pulse(1))
        put_pulse(cloud, pulse(2), 600)
        put_pulse(cloud, pulse(3, PulseState.NOT_READY, ready=REFUSED, version="0.9.0"))
        put_pulse(cloud, pulse(4, PulseState.STOPPED))

    relayctl.within(prepare)
    text = " ".join(relayctl("status").stdout.split())
    assert "fleet 1 GONE, 1 NOT READY, 1 ready, 1 stopped" in text
    assert "mixed versions: 0.9.0 (1), 1.0.0 (1)" in text
    assert "host-2-1-abc GONE, version 1.0.0, last seen 10 min" in text
    assert "host-3-1-abc NOT READY, version 0.9.0, up 2 min" in text
    assert "the task is STOPPED" in text
    assert "host-1-1-abc ready" in text
    assert "in 2.5/s, out 2.0/s, lag 0.5 s, in flight 3" in text
    assert "host-4" not in text
    assert "announced 10 events" in text
    found = json.loads(relayctl("status", "--json").stdout)
    assert found["needs_you"] == ["worker"]
    states = [(each["host"], each["state"]) for each in found["fleet"]["workers"]]
    assert states[0] == ("host-2", "gone")
    assert found["fleet"]["workers"][1]["reasons"] == ["the task is STOPPED"]
    assert found["fleet"]["versions"] == {"1.0.0": 1, "0.9.0": 1}
    assert not {"url", "error"} & set(found["fleet"]["workers"][0])


def test_what_a_pulse_told_is_not_carried_on_and_its_age_is_said(relayctl: CommandLine) -> None:
    def age(cloud: LocalCloud) -> None:
        put_pulse(cloud, pulse(1))
        cloud.oss.clock.offset_seconds += 125.0

    relayctl.within(age)
    text = relayctl("status").stdout
    told = r"told 2 min \d+ s ago"
    assert re.search(rf", up 2 min, {told}", " ".join(text.split()))
    [levels] = [line for line in text.splitlines() if line.startswith("levels")]
    assert re.search(rf", {told}$", levels)


def test_status_says_that_no_worker_tells_of_itself_and_counts_many(relayctl: CommandLine) -> None:
    assert "no worker has told of itself in the last day" in relayctl("status").stdout

    def prepare(cloud: LocalCloud) -> None:
        for number in range(25):
            put_pulse(cloud, pulse(number))
        put_object(cloud, "fleet/broken.json", json.dumps({}).encode())

    relayctl.within(prepare)
    text = " ".join(relayctl("status").stdout.split())
    assert "25 ready" in text
    assert "version 1.0.0" in text
    assert "and 5 more: --json has all" in text
    assert "1 pulses cannot be read now" in text


def test_pulses_that_may_not_be_read_are_said_and_the_exit_code_is_1(relayctl: CommandLine) -> None:
    def prepare(cloud: LocalCloud) -> None:
        put_pulse(cloud, pulse(1))
        cloud.faults.add(Fault("oss", "GetObject", action=Action.STATUS, status=403))

    relayctl.within(prepare)
    result = relayctl("status")
    assert result.exit_code == 1
    assert "fleet" in result.stdout
    assert "oss GetObject answered 403" in " ".join(result.stdout.split())
