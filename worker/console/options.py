"""What the console is told at start, and how an operator of this machine gets in without further ado."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from worker.config import addresses
from worker.errors import Fatal

HOST = "127.0.0.1"
PORT = 8081
WORKER_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Options:
    """Where the console listens and what it may do. `names` are further host names it answers to.

    `route` is the one of several routes that it is about, empty where there is only one.

    Nobody sees or does anything without the token: on loopback, too, for a machine has other users.
    """

    token: str = field(repr=False)
    host: str = HOST
    port: int = PORT
    workers: tuple[str, ...] = (WORKER_URL,)
    names: frozenset[str] = frozenset()
    is_read_only: bool = False
    route: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the console."""
        return addresses.is_loopback(self.host)

    def check(self) -> None:
        """Raise `Fatal` for what must not be served."""
        for url in self.workers:
            if not url.startswith(("http://", "https://")) or "@" in url:
                raise Fatal(
                    f"--worker {url.rpartition('@')[2]!r} is no address of an admin server. Nothing was "
                    f"served. Give one such as {WORKER_URL}, without user information."
                )


def fresh_token(host: str) -> str:
    """Return a token for a console that only this machine can reach; raises `Fatal` for any other."""
    if not addresses.is_loopback(host):
        raise Fatal(
            f"the console would be reachable on {host}, and no token is set. Nothing was served. "
            "Set RELAY_CONSOLE_TOKEN_FILE (or RELAY_CONSOLE_TOKEN) to a secret of at least 16 "
            "characters, or leave --host at 127.0.0.1 and reach it through an SSH tunnel."
        )
    return secrets.token_urlsafe(24)


def link(url: str, token: str) -> str:
    """Return the address that signs a browser in."""
    return f"{url}open?token={token}"


@contextmanager
def kept_link(text: str) -> Iterator[Path]:
    """Keep the link in a file that only this user can read, while the context lasts.

    For consoles whose output others read, or keep: a journal, a log. Raises `Fatal` if no file can be made.
    """
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    try:
        # With 0600 and a name that nobody can have made before.
        number, name = tempfile.mkstemp(prefix="oms-relay-console-", suffix=".url", dir=folder)
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise Fatal(
            f"the link to sign in cannot be kept in {folder} ({error.strerror}). Nothing was served. Set "
            "RELAY_CONSOLE_TOKEN_FILE to a secret of at least 16 characters, and sign in with it."
        ) from error
    try:
        yield Path(name)
    finally:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108  as it was made
