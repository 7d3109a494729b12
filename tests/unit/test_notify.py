"""The datagrams that systemd gets, over a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.process.notify import STATUS_CHARS_MAX, STATUS_SECONDS, Notifier

WATCHDOG_SECONDS = 0.03


def nothing() -> list[str]:
    return []


class Systemd:
    """The other end of the line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)

    async def heard(self) -> list[str]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            return (await loop.sock_recv(self.socket, 4096)).decode().splitlines()

    async def until(self, state: str) -> list[str]:
        while state not in (lines := await self.heard()):
            pass
        return lines


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    name = f"@oms-relay-test-{os.getpid()}"
    end = Systemd(str(tmp_path / "notify") if request.param == "path" else name)
    yield end
    end.socket.close()


async def test_ready_alive_stopping_and_alive_to_the_end(systemd: Systemd) -> None:
    stopping = asyncio.Event()
    notifier = Notifier(systemd.address, WATCHDOG_SECONDS)
    task = asyncio.create_task(notifier.run(stopping, nothing, nothing))
    assert await systemd.heard() == ["READY=1", "STATUS=ready"]
    for _ in range(3):
        assert await systemd.heard() == ["WATCHDOG=1", "STATUS=ready"]
    stopping.set()
    assert "STATUS=ready" in await systemd.until("STOPPING=1")
    await systemd.until("WATCHDOG=1")
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


async def test_the_status_says_why_the_relay_is_not_ready(systemd: Systemd) -> None:
    notifier = Notifier(systemd.address, WATCHDOG_SECONDS)
    reasons = ["mns is down\nsince noon", "x" * 1000]
    task = asyncio.create_task(notifier.run(asyncio.Event(), lambda: reasons, nothing))
    _, status = await systemd.heard()
    assert status.startswith("STATUS=mns is down since noon; xxx")
    assert len(status) == len("STATUS=") + STATUS_CHARS_MAX
    task.cancel()
    await asyncio.wait((task,))


async def test_a_relay_that_is_stuck_lets_the_watchdog_bite(systemd: Systemd) -> None:
    notifier = Notifier(systemd.address, WATCHDOG_SECONDS)
    task = asyncio.create_task(notifier.run(asyncio.Event(), nothing, lambda: ["it hangs"]))
    assert "READY=1" in await systemd.heard()
    for _ in range(3):
        assert await systemd.heard() == ["STATUS=it hangs"]
    task.cancel()
    await asyncio.wait((task,))


async def test_without_a_socket_nothing_is_said() -> None:
    async with asyncio.timeout(10):
        await Notifier.from_environment({}, 1).run(asyncio.Event(), nothing, nothing)


def test_a_socket_that_is_gone_or_full_stops_nothing(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "gone")).say("READY=1")
    end = Systemd(str(tmp_path / "notify"))
    for _ in range(5000):
        Notifier(end.address).say("WATCHDOG=1")
    end.socket.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "7"}, 5.0),
        ({"WATCHDOG_USEC": "15000000"}, 5.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, STATUS_SECONDS),
        ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "8"}, STATUS_SECONDS),
        ({"WATCHDOG_USEC": "soon"}, STATUS_SECONDS),
        ({}, STATUS_SECONDS),
    ],
)
def test_the_watchdog_of_this_process_sets_the_pace(
    environ: dict[str, str], seconds: float
) -> None:
    notifier = Notifier.from_environment(environ, 7)
    assert notifier._seconds == pytest.approx(seconds)
