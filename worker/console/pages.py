"""The pages that are read: overview, sign-in, language, search, static files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from worker.console.browse import Leaf, leaf
from worker.console.context import Context, context, form, words
from worker.console.day import last_day
from worker.console.filters import TEXT_CHARS_MAX
from worker.console.overview import overview
from worker.console.page_frame import LANGUAGE_COOKIE, VISIT, Refused, see_other
from worker.console.words import LANGUAGES
from worker.ledger.letter import Place
from worker.ledger.line import Record
from worker.operate.letters import LetterFilter
from worker.operate.records import BadKey, RecordsOf, Searched, Unread

NAME_CHARS_MAX = 60
RECORDS_MAX = 100
LOG_HOURS = (0, 1, 6, 24, 72)
LOG_SECONDS_MAX = 10.0
LETTERS_SHOWN_MAX = 20

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


async def show_overview(request: web.Request) -> web.Response:
    """Show how things stand."""
    here = context(request)
    here.watch.asked()
    view = overview(here.watch, words(request), here.now)
    day = last_day(here.watch, here.watch.day, words(request), here.now)
    return here.frame.page(request, "overview.html", view=view, day=day, running=here.running)


async def day_json(request: web.Request) -> web.Response:
    """Answer what the overview shows of the last day."""
    here = context(request)
    here.watch.asked()
    view = last_day(here.watch, here.watch.day, words(request), here.now)
    return web.Response(body=orjson.dumps(view), content_type="application/json")


async def overview_json(request: web.Request) -> web.Response:
    """Answer what the overview shows, for the script that keeps it alive."""
    here = context(request)
    here.watch.asked()
    view = overview(here.watch, words(request), here.now)
    return web.Response(body=orjson.dumps(view), content_type="application/json")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and how far it looked: records, and letters of both places."""

    records: tuple[Record, ...]
    searched: Searched
    dead: Leaf
    archived: Leaf


async def show_search(request: web.Request) -> web.Response:
    """Find what became of a key."""
    here = context(request)
    key = request.query.get("key", "")
    default = 24 if here.clients.settings.record_layout == "log" else 0
    hours = _hours(request.query.get("hours", ""), default)
    if len(key) > TEXT_CHARS_MAX:
        raise Refused(400, "key")
    try:
        found = await _search(here, key, hours) if key else None
    except BadKey as error:
        raise Refused(400, "key") from error
    values: dict[str, Any] = {
        "key": key,
        "hours": hours,
        "hours_offered": LOG_HOURS,
        "found": found,
    }
    return here.frame.page(request, "search.html", running=here.running, **values)


async def _search(here: Context, key: str, hours: int) -> Found:
    records = RecordsOf(here.clients)
    unread: list[Unread] = []
    found = await records.of_key(key, unread)
    searched = Searched()
    if hours:
        since = here.now - hours * 3600.0
        searched = await records.search_logs(
            key, found.append, since=since, seconds=LOG_SECONDS_MAX, records_max=RECORDS_MAX
        )
    searched.unread += unread
    wanted = LetterFilter(key_prefix=key)
    clock = here.clients.clock
    dead = await leaf(here.letters, wanted, Place.DEAD, None, clock)
    archived = await leaf(here.letters, wanted, Place.ARCHIVED, None, clock)
    newest_first = sorted(found, key=lambda each: each.posted_at_seconds, reverse=True)
    return Found(tuple(newest_first), searched, dead, archived)


def _hours(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and int(text) in LOG_HOURS else default


async def show_login(request: web.Request) -> web.Response:
    """Ask for the token."""
    here = context(request)
    then = _own_path(request.query.get("next", "/"))
    if request[VISIT].is_signed_in:
        return see_other(then)
    return here.frame.page(request, "login.html", running=None, wrong="", then=then)


async def login(request: web.Request) -> web.Response:
    """Take the token: a session begins, or the page says why not."""
    given = await form(request)
    name = " ".join(given.get("name", "").split())[:NAME_CHARS_MAX]
    return await _sign_in(request, given.get("token", ""), name, _own_path(given.get("next", "/")))


async def follow_link(request: web.Request) -> web.Response:
    """Take the token of the link that the console gave at its start."""
    return await _sign_in(request, request.query.get("token", ""), "")


async def _sign_in(request: web.Request, token: str, name: str, then: str = "/") -> web.Response:
    here, t, address = context(request), words(request), request.remote or "?"
    attempts, browser = here.sessions.attempts, f"{address} {request[VISIT].cookie}"
    wait = attempts.wait_seconds(browser)
    if wait:
        raise Refused(429, "attempts", wait=t.span(wait))
    async with attempts.turn():
        cookie = here.sessions.sign_in(token, name)
        if cookie is None:
            attempts.failed(browser)
    if cookie is None:
        here.audit.noted("wrong_token", address)
        values = {"wrong": t("login.wrong"), "then": then}
        return here.frame.page(request, "login.html", 403, running=None, **values)
    here.audit.noted("sign_in", f"{name} ({address})" if name else address)
    response = see_other(then)
    here.frame.remember(request, response, here.frame.cookie_name, cookie)
    return response


async def logout(request: web.Request) -> web.Response:
    """End the session."""
    here = context(request)
    here.sessions.sign_out(request[VISIT].cookie)
    here.audit.noted("sign_out", request[VISIT].by)
    return see_other("/login")


async def choose_language(request: web.Request) -> web.Response:
    """Remember the language, and go back to the page."""
    given = await form(request)
    language = given.get("language", "")
    if language not in LANGUAGES:
        raise Refused(400, "request")
    response = see_other(_own_path(given.get("back", "/")))
    context(request).frame.remember(request, response, LANGUAGE_COOKIE, language)
    return response


async def show_static(request: web.Request) -> web.Response:
    """Serve a stylesheet or a script; its address changes with its content, so it may be kept."""
    name, mark = request.match_info["name"], request.match_info["mark"]
    data, current = context(request).frame.static.get(name, (b"", ""))
    if mark != current:
        raise Refused(404, "not_found")
    return web.Response(
        body=data,
        content_type=_TYPES[name.rpartition(".")[2]],
        charset="utf-8",
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )


def _own_path(text: str) -> str:
    """Return a path of ours; anything that a browser might take for another site becomes the start page."""
    return text if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) else "/"
