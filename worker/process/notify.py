"""Tells systemd that the relay is up, alive and stopping: datagrams to `NOTIFY_SOCKET`, nothing without it.

Facts: sd_notify(3), sd_watchdog_enabled(3) and systemd.service(5): `Type=notify`, `WatchdogSec=`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping

from worker.clock import is_set_within

STATUS_SECONDS = 10.0
# systemd advises half of the time; a third survives one late turn of the loop.
WATCHDOG_SHARE = 1 / 3
STATUS_CHARS_MAX = 200


class Notifier:
    """One service's line to systemd. `watchdog_seconds` None means that no watchdog waits."""

    def __init__(self, address: str, watchdog_seconds: float | None = None) -> None:
        # A leading @ stands for the zero byte of the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        limit = STATUS_SECONDS if watchdog_seconds is None else watchdog_seconds * WATCHDOG_SHARE
        self._seconds = min(STATUS_SECONDS, limit)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], process_id: int) -> Notifier:
        """Read what systemd has set; a watchdog that waits for another process is not ours."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(process_id)) == str(process_id)
        seconds = int(microseconds) / 1e6 if microseconds.isdecimal() and is_ours else None
        return cls(environ.get("NOTIFY_SOCKET", ""), seconds)

    async def run(
        self,
        stopping: asyncio.Event,
        reasons: Callable[[], list[str]],
        stuck: Callable[[], list[str]],
    ) -> None:
        """Say ready at once and stopping once; be alive in between and after, unless `stuck` says why not."""
        if not self._address:
            return
        self.say("READY=1", _status(reasons()))
        while not await is_set_within(stopping, self._seconds):
            self._be_alive(reasons, stuck)
        self.say("STOPPING=1", _status(reasons()))
        while True:
            await asyncio.sleep(self._seconds)
            self._be_alive(reasons, stuck)

    def say(self, *states: str) -> None:
        """Send one datagram. A socket that is gone or full stops nothing."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            try:
                line.sendto("\n".join(states).encode(), self._address)
            except OSError:
                # systemd is not there to be told; its watchdog, if it waits, draws its own conclusion.
                return

    def _be_alive(self, reasons: Callable[[], list[str]], stuck: Callable[[], list[str]]) -> None:
        why = stuck()
        if why:
            self.say(_status(why))
        else:
            self.say("WATCHDOG=1", _status(reasons()))


def _status(reasons: list[str]) -> str:
    text = "; ".join(reasons) or "ready"
    return "STATUS=" + text.replace("\n", " ")[:STATUS_CHARS_MAX]
