"""The fleet on the overview: all workers by their pulses, those that need a look first."""

from __future__ import annotations

from typing import Any

from harness.ops import put_object
from harness.site import Site, site
from harness.until import until
from localcloud.cloud import LocalCloud
from worker.ledger.names import BRAKE
from worker.ledger.pulse import Pulse, PulseState, Rates

READY = {"status": "ready", "reasons": [], "causes": [], "services": {}, "in_flight": 3}
REFUSED = READY | {
    "status": "not ready",
    "causes": [{"what": "the task is STOPPED", "advice": None, "next": "start it"}],
}


def put(cloud: LocalCloud, number: int, state: PulseState, ago: float = 0.0, **more: Any) -> None:
    told = Pulse(
        f"host-{number}-1-abc",
        f"host-{number}",
        more.pop("version", "1.0.0"),
        state,
        120.0,
        more.pop("ready", READY),
        {},
        Rates(60.0, 2.5, 2.0, 2.0, 0.0, 0.5),
    )
    cloud.oss.clock.offset_seconds = -ago
    put_object(cloud, f"fleet/{told.worker}.json", told.as_bytes())
    cloud.oss.clock.offset_seconds = 0


async def view(console: Site) -> Any:
    await until(console.here.watch.has_looked.is_set, "a look at the services")
    return await console.json("/api/overview")


async def test_all_are_told_by_their_pulses_although_no_address_answers(cloud: LocalCloud) -> None:
    cloud.prepare()
    put(cloud, 1, PulseState.READY)
    put(cloud, 2, PulseState.STOPPED)
    async with site(cloud, watches=True) as console:
        found = await view(console)
        assert found["headline"]["state"] == "ok"
        assert found["fleet"]["note"] == "1 ready, 1 stopped. Versions: 1.0.0"
        (one,) = found["fleet"]["members"]
        assert (one["worker"], one["state"]) == ("host-1-1-abc", "ok")
        assert one["facts"].startswith("version 1.0.0, up 2 min")
        assert "in 2.5/s, out 2.0/s, lag 0.5 s, 3 in flight" in one["facts"]
        assert "host-1-1-abc" in (await console.get("/")).text


async def test_a_brake_of_deletions_that_is_on_needs_somebody(cloud: LocalCloud) -> None:
    cloud.prepare()
    put(cloud, 1, PulseState.READY)
    put_object(cloud, BRAKE, b"")
    async with site(cloud, watches=True) as console:
        headline = (await view(console))["headline"]
        assert headline["state"] == "bad"
        assert "RELAY_DELETIONS_PER_HOUR" in headline["text"]


async def test_vanished_workers_and_mixed_versions_stand_out(cloud: LocalCloud) -> None:
    cloud.prepare()
    put(cloud, 1, PulseState.READY)
    put(cloud, 2, PulseState.READY, version="0.9.0")
    async with site(cloud, watches=True) as console:
        found = await view(console)
        assert found["headline"]["text"] == "Workers of more than one version run: 0.9.0, 1.0.0."
    put(cloud, 3, PulseState.READY, ago=600)
    async with site(cloud, watches=True) as console:
        found = await view(console)
        assert found["headline"]["text"].startswith(
            "Vanished without a word in the last hour: 1 worker"
        )
        assert found["fleet"]["members"][0]["state_text"] == "gone"
    put(cloud, 4, PulseState.NOT_READY, ready=REFUSED)
    async with site(cloud, watches=True) as console:
        found = await view(console)
        assert found["headline"]["text"] == (
            "The worker host-4-1-abc takes no messages: the task is STOPPED"
        )
        assert found["fleet"]["members"][1]["reasons"][0]["next"] == "start it"


async def test_a_fleet_that_tells_nothing_is_said(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with site(cloud, watches=True) as console:
        found = await view(console)
        assert found["fleet"] == {
            "note": "No worker has told of itself in the last day.", "members": [],
        }  # fmt: skip
