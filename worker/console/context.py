"""What the pages stand on."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from worker.console.audit import Audit
from worker.console.grouping_job import GroupingJobs
from worker.console.operations import Operation, Operations
from worker.console.options import Options
from worker.console.page_frame import VISIT, Frame
from worker.console.sessions import Sessions
from worker.console.watch import Watch
from worker.console.words import Words
from worker.operate.connect import Clients
from worker.operate.letters import Letters

# Longer than this nobody waits for a page: a service that hangs is told as one.
PAGE_SECONDS_MAX = 25.0


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a handler may use; made once at start. `clients` have a page's patience."""

    options: Options
    clients: Clients
    frame: Frame
    sessions: Sessions
    audit: Audit
    watch: Watch
    groupings: GroupingJobs
    operations: Operations
    letters: Letters

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clients.clock.wall()

    @property
    def running(self) -> Operation | None:
        """The operation that runs, for the banner of every page."""
        return self.operations.running


CONTEXT = web.AppKey("context", Context)


def context(request: web.Request) -> Context:
    """Return the console's context."""
    return request.app[CONTEXT]


def words(request: web.Request) -> Words:
    """Return the visitor's language."""
    return request[VISIT].words


async def form(request: web.Request) -> dict[str, str]:
    """Return the texts of a form, the last of each name."""
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
