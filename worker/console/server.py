"""The console's life: routes, and what starts and stops with the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from worker import __version__
from worker.console import fleet_pages, letter_pages, operation_pages, pages
from worker.console.audit import Audit
from worker.console.context import CONTEXT, PAGE_SECONDS_MAX, Context
from worker.console.grouping_job import GroupingJobs
from worker.console.guard import Guard
from worker.console.operations import Operations
from worker.console.options import Options
from worker.console.page_frame import Frame
from worker.console.sessions import Sessions
from worker.console.watch import Watch
from worker.listen import listening
from worker.operate.connect import Clients, brief
from worker.operate.letters import Letters

FORM_BYTES_MAX = 128 * 1024
CLOSING_SECONDS_MAX = 5.0


async def run(
    clients: Clients,
    options: Options,
    telling: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Serve until `Clients.stop` is set; `telling` gets the address, and lasts as long.

    Raises `Fatal` for what the user has to mend.
    """
    options.check()
    log = structlog.get_logger("console")
    here = make(clients, options)
    async with serving(here) as url:
        with telling(url):
            await _serve(here, url, log)
    log.info("the console has stopped", action="stop")


async def _serve(here: Context, url: str, log: Any) -> None:
    log.info(
        "the console has started", action="start", url=url, read_only=here.options.is_read_only
    )
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(here.watch.run(), name="watch")
        await here.clients.stop.wait()
        watching.cancel()


def make(clients: Clients, options: Options) -> Context:
    """Put everything together; nothing is sent and nothing runs yet."""
    patient, hurried = clients, brief(clients, 2)
    options = replace(options, route=clients.settings.route)
    sessions = Sessions(options.token, clients.clock)
    audit, groupings = Audit(patient), GroupingJobs(patient)
    return Context(
        options=options,
        clients=hurried,
        # Cookies know no ports: consoles of two relays on one machine must not share one.
        frame=Frame(options, sessions, f"relay_console_{options.port}", _about(clients)),
        sessions=sessions,
        audit=audit,
        watch=Watch(clients, options.workers),
        groupings=groupings,
        operations=Operations(patient, audit, groupings.forget),
        letters=Letters(hurried),
    )


def _about(clients: Clients) -> dict[str, str]:
    """Say which relay this is: an operator has several, and their consoles look alike."""
    settings = clients.settings
    regions = (settings.oss_region, settings.sync_task.region)
    return {
        "queue": settings.mns_queue,
        "bucket": settings.log_bucket,
        "task": settings.sync_task.task_id,
        "region": " → ".join(each for each in regions if each),
        "version": __version__,
    }


@asynccontextmanager
async def serving(here: Context) -> AsyncIterator[str]:
    """Serve while the context lasts; yields the address. Ends what runs before the port closes."""
    listens = listening(
        application(here),
        here.options.host,
        here.options.port,
        what="the console",
        otherwise="choose another place with --host and --port",
        closing_seconds_max=CLOSING_SECONDS_MAX,
    )
    async with listens as (host, port):
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        finally:
            await here.operations.close()
            await here.groupings.close()


def application(here: Context) -> web.Application:
    """Return the application with its routes."""
    guard = Guard(here.options, here.sessions)
    app = web.Application(
        middlewares=[here.frame.middleware(), guard.middleware(), _in_time()],
        client_max_size=FORM_BYTES_MAX,
    )
    app[CONTEXT] = here
    number = r"/operations/{number:\d{1,9}}"
    app.add_routes(
        [
            web.get("/", pages.show_overview),
            web.get("/api/overview", pages.overview_json),
            web.get("/api/day", pages.day_json),
            web.get("/search", pages.show_search),
            web.get("/open", pages.follow_link),
            web.get("/login", pages.show_login),
            web.post("/login", pages.login),
            web.post("/logout", pages.logout),
            web.post("/language", pages.choose_language),
            web.get("/static/{mark}/{name}", pages.show_static),
            web.get("/letters", letter_pages.show_groups),
            web.get("/api/letters", letter_pages.groups_json),
            web.get("/letters/list", letter_pages.show_items),
            web.get("/letters/{place}/{cause}/{day}/{id}", letter_pages.show_item),
            web.post("/fleet/pause", fleet_pages.pause),
            web.post("/fleet/resume", fleet_pages.resume),
            web.get("/operations", operation_pages.show_operations),
            web.post("/operations", operation_pages.dry_run),
            web.get(number, operation_pages.show_operation),
            web.get(f"/api{number}", operation_pages.operation_json),
            web.post(f"{number}/act", operation_pages.act),
            web.post(f"{number}/stop", operation_pages.stop),
        ]
    )
    return app


def _in_time() -> Any:
    @web.middleware
    async def in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
        async with asyncio.timeout(PAGE_SECONDS_MAX):
            return await handler(request)

    return in_time
