"""A kill at every named point of the flow: nothing is lost, at worst a key is posted again (G9)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import worker
from harness import account, deletes
from harness.processes import Worker, supervising
from harness.until import until
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.mns import Attributes

SCRIPT = Path(__file__).with_name("killable.py")
KILLED = 137
CHAINS = 4
SIX_VERBS = ("receive", "decode", "dedupe", "post", "record", "delete")
POINTS = tuple(
    f"{when}_{verb}" for verb in (*SIX_VERBS, "bury", "renew") for when in ("before", "after")
)


def test_every_verb_has_its_points() -> None:
    rooms = Path(worker.__file__).parent
    assert all(len(list(rooms.glob(f"*/{verb}.py"))) == 1 for verb in SIX_VERBS)
    told = subprocess.run(
        [sys.executable, "-c", "import killable; print(*killable.POINTS)"],
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(told.stdout.split()) == sorted(POINTS)


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_a_kill_at_any_point_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, layout: str, is_long: bool
) -> None:
    names = POINTS if is_long or layout == "object" else ("before_record", "after_record")
    points = [f"{name} {time}" for time in ((1, 2, 3) if is_long else (1,)) for name in names]
    async with asyncio.TaskGroup() as side_by_side:
        for first in range(min(CHAINS, len(points))):
            side_by_side.create_task(_chain(points[first::CHAINS], layout, monkeypatch))


async def _chain(points: Sequence[str], layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one relay after another be killed at the next point; the last one finishes the work."""
    async with LocalCloud(seed=1) as cloud:
        cloud.prepare(attributes=Attributes(visibility_timeout=2))
        early = deletes.watch(cloud, monkeypatch)
        sent: set[str] = set()
        async with supervising(cloud, RELAY_RECORD_LAYOUT=layout) as supervisor:
            killer = await supervisor.start(str(SCRIPT))
            for point in points:
                sent |= _send(cloud, point)
                assert await _run_to(point, killer) == KILLED, point
                cloud.faults.clear()
            await supervisor.finish()
        account.check(cloud, sent)
        assert not early
        bodies = {letter["body"] for letter in account.dead_letters(cloud, "undecodable")}
        assert bodies == {f"no event, {point}" for point in points}
        assert max(account.posted(cloud).values()) <= 1 + len(points)


async def _run_to(point: str, killer: Worker) -> int:
    """Run a relay that dies at a point; return its exit code."""
    assert killer.process.stdin is not None
    killer.process.stdin.write(f"{point}\n".encode())

    def told() -> list[int]:
        return [line["code"] for line in killer.lines if line.get("point") == point]

    await until(lambda: bool(told()), f"the end at {point}")
    return told()[0]


def _send(cloud: LocalCloud, point: str) -> set[str]:
    time = int(point.partition(" ")[2])
    keys = {f"{point}/键 {number}" for number in range(6 if time == 1 else 30 * time)}
    for key in keys:
        cloud.oss.put("source", key, point.encode())
    for _ in range(time):
        cloud.mns.publish("oss-events", f"no event, {point}")
    if "renew" in point:
        # Half of the visibility passes meanwhile, so that the leases are due for renewal.
        latency = Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=1.5, times=1)
        cloud.faults.add(latency)
    return keys
