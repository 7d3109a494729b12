"""The end of a command that acts on many things: a clean stop, the account, and how it went."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import typer

from worker.commands import frame
from worker.errors import CallFailed
from worker.operate.connect import Clients


class Ending:
    """How it came to the end: `failed` says which call failed for good, `is_stopped` that Ctrl-C came first.

    `saying` is said at the first Ctrl-C.
    """

    def __init__(self, saying: str) -> None:
        self._saying = saying
        self.failed = ""
        self.is_stopped = False

    @asynccontextmanager
    async def heard(self, clients: Clients) -> AsyncIterator[None]:
        """Note a call that fails for good within the context, or a stop; neither goes further."""
        try:
            yield
        except CallFailed as failed:
            self.failed = frame.told(failed)
        self.is_stopped = clients.stop.is_set()

    def run(
        self,
        main: Callable[[Clients], Awaitable[None]],
        tell: Callable[[], None],
        is_done: Callable[[], bool],
    ) -> None:
        """Run `main` and tell the account, also after a stop. Raises `typer.Exit` unless all went well.

        The first Ctrl-C lets `main` finish what is in hand, the second one cancels it. `is_done` says at the
        end whether nothing is left to do.
        """
        try:
            frame.run(main, ends_gently=True, saying=self._saying)
        except typer.Exit as early:
            if early.exit_code == frame.EXIT_STOPPED:
                self.is_stopped = True
                tell()
            raise
        tell()
        if self.failed:
            frame.stop_because(self.failed, frame.EXIT_FAILED)
        if self.is_stopped:
            raise typer.Exit(frame.EXIT_STOPPED)
        if not is_done():
            raise typer.Exit(frame.EXIT_FAILED)
