"""Workers killed at random moments under faults, until the account adds up (Jepsen's total queue)."""

from __future__ import annotations

import asyncio
import logging
import random
import signal

import pytest

from harness import account, deletes
from harness.processes import Supervisor, supervising
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.mns import Attributes

log = logging.getLogger("account")

WORKERS = 2
STORM = (
    Fault("mns", "Batch*", Action.CUT_AFTER, probability=0.05),
    Fault("mns", "*", Action.STATUS, probability=0.05),
    Fault("mns", "BatchReceiveMessage", Action.CUSTOM, name="duplicate", probability=0.1),
    Fault("mns", "BatchReceiveMessage", Action.CUSTOM, name="reorder"),
    Fault("oss", "PutObject", Action.CUT_AFTER, probability=0.03),
    Fault("oss", "PutObject", Action.STATUS, probability=0.03),
    Fault("oms", "CreateSyncEvents", Action.CUT_AFTER, probability=0.05),
    Fault("oms", "CreateSyncEvents", Action.STATUS, probability=0.05),
    Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=0.1, probability=0.5),
)


@pytest.mark.parametrize("layout", ["object", "log"])
async def test_random_kills_lose_nothing(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    is_long: bool,
) -> None:
    cloud.prepare(attributes=Attributes(visibility_timeout=2))
    early = deletes.watch(cloud, monkeypatch)
    rounds = 60 if is_long else 3
    # A failure names its seed by the parameters; the moments also depend on the machine.
    rng = random.Random(f"{layout} {rounds}")
    for fault in STORM:
        cloud.faults.add(fault)
    sent: set[str] = set()
    async with supervising(cloud, RELAY_RECORD_LAYOUT=layout) as supervisor:
        for _ in range(WORKERS):
            await supervisor.start()
        for number in range(rounds):
            sent |= _send(cloud, rng, number)
            await _work_for_a_while(supervisor, rng)
            await _kill_one(supervisor, rng)
        cloud.faults.clear()
        await supervisor.drained()
        left = [worker for worker in supervisor.workers if worker.is_alive]
        assert await asyncio.gather(*(worker.stop() for worker in left)) == [0] * len(left)
    account.check(cloud, sent)
    assert not early
    assert not account.log_objects(cloud, "dead_letter")
    posts = account.posted(cloud)
    again = sum(posts.values()) - len(sent)
    log.info("%d kills, %d keys, lost 0, posted again %d", rounds, len(sent), again)


def _send(cloud: LocalCloud, rng: random.Random, number: int) -> set[str]:
    keys = {f"照片 {number}/{rng.randrange(1000)}+%41" for _ in range(60)}
    for key in sorted(keys):
        cloud.oss.put("source", key, key.encode())
    return keys


async def _work_for_a_while(supervisor: Supervisor, rng: random.Random) -> None:
    """Let the workers finish a random number of messages, at least one."""
    left = rng.randrange(account.waiting(supervisor.cloud))
    await supervisor.until(lambda: account.waiting(supervisor.cloud) <= left, "some work")


async def _kill_one(supervisor: Supervisor, rng: random.Random) -> None:
    victim = rng.choice([worker for worker in supervisor.workers if worker.is_alive])
    victim.process.kill()
    assert await victim.ended() == -signal.SIGKILL
    await supervisor.start()
