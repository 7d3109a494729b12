"""What is around the process may fail: the place where log lines go costs lines, and never a message."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from harness import account
from harness.processes import unmeasured
from harness.relay import free_port
from harness.until import until
from localcloud.cloud import LocalCloud

ROOT = Path(__file__).parents[2]


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


@contextmanager
def anywhere() -> Iterator[int]:
    """Where it does not matter: the shell of the command has its own."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


PLAIN = 'exec "$0" -m worker run'


@pytest.mark.parametrize(
    ("place", "shell"),
    [
        (full_disk, PLAIN),
        (reader_that_left, PLAIN),
        (reader_that_sleeps, PLAIN),
        (anywhere, 'exec "$0" -m worker run 0<&- 1>&- 2>&-'),
        (anywhere, 'ulimit -f 1; exec "$0" -m worker run 2> log'),
    ],
)
async def test_a_log_that_cannot_be_written_costs_no_message(
    cloud: LocalCloud,
    tmp_path: Path,
    place: Callable[[], AbstractContextManager[int]],
    shell: str,
) -> None:
    cloud.prepare()
    keys = {f"key {number}" for number in range(40)}
    for key in keys:
        cloud.oss.put("source", key, b"x")
    own = {"RELAY_ADMIN_PORT": str(free_port()), "RELAY_SHUTDOWN_GRACE_SECONDS": "5"}
    environment = {**unmeasured(), **cloud.settings(), **own}
    command = ("bash", "-c", shell, sys.executable)
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


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "--help"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("run 2> /dev/full", 2, ""),
        ("run 2>&-", 2, ""),
        ("run 0<&- 1>&- 2>&-", 2, ""),
        ("--help > /dev/full", 1, "cannot be written: [Errno 28] No space left on device"),
        ("--help 1>&-", 0, ""),
    ],
)
def test_what_cannot_be_said_changes_no_exit_code(
    tmp_path: Path, arguments: str, code: int, said: str
) -> None:
    ended = subprocess.run(
        ["bash", "-c", f'"$0" -m worker {arguments}', sys.executable],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert said in ended.stderr
