"""deploy/migrate: what the function lost is announced again, and what the relay refused is not."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from harness import account
from harness.ops import put_object
from harness.relay import relaying
from localcloud.cloud import LocalCloud

SCRIPT = Path(__file__).parents[2] / "deploy" / "migrate" / "replay.py"
LOST = {"photos/1.jpg", "a+b %41.txt", "照片/2.jpg"}


async def python(cloud: LocalCloud, folder: Path, *words: str, told: bytes = b"") -> str:
    """What a command prints, with the relay's settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=folder,
        env={**cloud.settings(), "PATH": os.defpath},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate(told)
    assert process.returncode == 0
    return printed.decode()


def lose(cloud: LocalCloud) -> None:
    """Leave the source objects without events, and the records as the function and the relay wrote them."""
    cloud.prepare()
    rules, cloud.oss.rules[:] = list(cloud.oss.rules), []
    for key in LOST:
        cloud.oss.put("source", key, key.encode())
        put_object(cloud, f"failed_object/{key}", b"")
    refused = {"key": "refused", "outcome": "rejected", "reason": "OMS.0064"}
    put_object(cloud, "failed_object/refused", json.dumps(refused).encode())
    cloud.oss.rules[:] = rules


@pytest.mark.parametrize("encoding", ["auto", "raw"])
async def test_what_the_function_lost_is_copied(
    cloud: LocalCloud, tmp_path: Path, encoding: str
) -> None:
    lose(cloud)
    records = await python(
        cloud, tmp_path, "-m", "worker", "records", "failed", "--limit", "0", "--json"
    )
    replay = (str(SCRIPT), "--bucket", "source")
    assert (
        set(
            (
                await python(cloud, tmp_path, *replay, "--dry-run", told=records.encode())
            ).splitlines()
        )
        == LOST
    )
    assert account.waiting(cloud) == 0
    printed = await python(cloud, tmp_path, *replay, told=records.encode())
    assert printed == "3 keys announced again\n"
    async with relaying(cloud, settings={"RELAY_KEY_ENCODING": encoding}) as relay:
        await relay.settle()
    account.check(cloud, LOST)
    assert set(account.posted(cloud)) == LOST
