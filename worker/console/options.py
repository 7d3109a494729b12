"""What the console is told at start."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.config import addresses
from worker.errors import Fatal

HOST = "127.0.0.1"
PORT = 8081
WORKER_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Options:
    """Where the console listens and what it may do. `names` are further host names it answers to.

    `route` is the one of several routes that it is about, empty where there is only one.
    """

    host: str = HOST
    port: int = PORT
    workers: tuple[str, ...] = (WORKER_URL,)
    names: frozenset[str] = frozenset()
    is_read_only: bool = False
    token: str | None = field(default=None, repr=False)
    route: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the console."""
        return addresses.is_loopback(self.host)

    def check(self) -> None:
        """Raise `Fatal` for what must not be served."""
        if self.token is None and not self.is_loopback:
            raise Fatal(
                f"the console would be reachable on {self.host} without a password. Nothing was served. "
                "Set RELAY_CONSOLE_TOKEN_FILE (or RELAY_CONSOLE_TOKEN) to a secret of at least 16 "
                "characters, or leave --host at 127.0.0.1 and reach it through an SSH tunnel."
            )
        for url in self.workers:
            if not url.startswith(("http://", "https://")) or "@" in url:
                raise Fatal(
                    f"--worker {url.rpartition('@')[2]!r} is no address of an admin server. Nothing was "
                    f"served. Give one such as {WORKER_URL}, without user information."
                )
