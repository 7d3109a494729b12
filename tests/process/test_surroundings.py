"""What is around the process may fail: the place where log lines go costs lines, and never a message."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from harness import account
from harness.relay import free_port
from harness.until import until
from localcloud.cloud import LocalCloud


@contextmanager
def full_disk() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def reader_that_left() -> Iterator[int]:
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@contextmanager
def reader_that_sleeps() -> Iterator[int]:
    """A pipe that is full already, and nobody reads it."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 65_536)
    except BlockingIOError:
        os.set_blocking(write, True)
    yield write
    os.close(write)
    os.close(read)


@pytest.mark.parametrize("place", [full_disk, reader_that_left, reader_that_sleeps])
async def test_a_log_that_cannot_be_written_costs_no_message(
    cloud: LocalCloud, tmp_path: Path, place: Callable[[], AbstractContextManager[int]]
) -> None:
    cloud.prepare()
    keys = {f"key {number}" for number in range(40)}
    for key in keys:
        cloud.oss.put("source", key, b"x")
    own = {"RELAY_ADMIN_PORT": str(free_port()), "RELAY_SHUTDOWN_GRACE_SECONDS": "5"}
    environment = {**os.environ, **cloud.settings(), **own}
    command = (sys.executable, "-m", "worker", "run")
    with place() as out:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=tmp_path, stdout=out, stderr=out
        )
        try:
            await until(lambda: account.recorded(cloud) == keys, "every record", 60)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    await cloud.oms.drained()
    account.check(cloud, keys)
