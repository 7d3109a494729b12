"""A relay that is killed while it follows copies that OMS loses: in the end a comparison closes every gap."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import pytest

from harness import account
from harness.processes import supervising, unmeasured
from harness.until import until
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.mns import Attributes

FOLLOW_ALL: dict[str, Any] = {"RELAY_ARRIVAL_RATIO": "1", "RELAY_ARRIVAL_SECONDS": "2"}


def reconcile(cloud: LocalCloud, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator would."""
    return subprocess.run(
        [sys.executable, "-m", "worker", "reconcile", "source", *options],
        env=unmeasured() | cloud.settings(with_destination=True) | FOLLOW_ALL,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_what_a_killed_relay_has_followed_arrives_in_the_end(cloud: LocalCloud) -> None:
    cloud.prepare(attributes=Attributes(visibility_timeout=2))
    cloud.faults.add(Fault("oms", "CopyObject", Action.CUSTOM, name="copy_lost", probability=0.2))
    keys = [f"照片 {number}+%41" for number in range(150)]
    async with supervising(cloud, OBS_ENDPOINT=cloud.obs.url, **FOLLOW_ALL) as supervisor:
        first = await supervisor.start()
        for key in keys:
            cloud.oss.put("source", key, key.encode())
        await supervisor.until(lambda: account.waiting(cloud) == 0, "all to be accepted")
        # Its lost copies are not late yet: what it has followed dies with it.
        first.send(signal.SIGKILL)
        await first.ended()
        cloud.faults.clear()
        await cloud.oms.drained()
        assert account.unlike(cloud)
        second = await supervisor.start()
        await second.ready()
        # The grace of the comparison is over, by OSS's clock.
        cloud.oss.clock.offset_seconds += 60.0
        sent = await asyncio.to_thread(reconcile, cloud, "--send", "--yes")
        assert "gaps were sent to the queue" in sent.stdout, sent.stderr
        await until(lambda: not account.unlike(cloud), "all to arrive", 60.0)
        proved = await asyncio.to_thread(reconcile, cloud)
        assert proved.returncode == 0, proved.stdout
        assert f"Proved: {len(keys)} of {len(keys)} objects" in proved.stdout
        assert await second.stop() == 0


@pytest.mark.parametrize("service", ["obs", "oms"])
async def test_sigterm_waits_for_nothing_that_is_only_followed(
    cloud: LocalCloud, service: str
) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oms", "CopyObject", Action.CUSTOM, name="copy_lost"))
    async with supervising(cloud, OBS_ENDPOINT=cloud.obs.url, **FOLLOW_ALL) as supervisor:
        worker = await supervisor.start()
        for number in range(30):
            cloud.oss.put("source", f"a/{number}", b"content")
        await supervisor.until(lambda: account.waiting(cloud) == 0, "all to be accepted")
        hang = Fault(service, "*", Action.HANG, seconds=60.0, times=1000)
        cloud.faults.add(hang)
        await supervisor.until(lambda: hang.times != 1000, "a look or a post to hang")
        async with asyncio.timeout(15):
            assert await worker.stop() == 0
