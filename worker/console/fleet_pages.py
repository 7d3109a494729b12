"""Pause and resume the fleet from the console: two forms of the overview."""

from __future__ import annotations

from aiohttp import web

from worker.console.context import context, form
from worker.console.page_frame import VISIT, Refused, see_other
from worker.ledger.pause import PAUSE_SECONDS_MAX, TEXT_CHARS_MAX
from worker.operate.parse_time import parse_span
from worker.operate.pause import Pauses


async def pause(request: web.Request) -> web.Response:
    """Pause all workers, for the time of the form or until somebody ends it."""
    here, given = context(request), await form(request)
    text = given.get("for", "").strip()
    try:
        seconds = parse_span(text, PAUSE_SECONDS_MAX) if text else None
    except ValueError as error:
        raise Refused(400, "span", field="fleet.for") from error
    reason = " ".join(given.get("reason", "").split())[:TEXT_CHARS_MAX]
    by = request[VISIT].by
    await Pauses(here.clients).begin(by, reason, seconds)
    here.audit.noted("pause", by)
    await here.watch.look_at_services()
    return see_other("/")


async def resume(request: web.Request) -> web.Response:
    """Let all workers take messages again."""
    here, by = context(request), request[VISIT].by
    await Pauses(here.clients).end(by)
    here.audit.noted("resume", by)
    await here.watch.look_at_services()
    return see_other("/")
