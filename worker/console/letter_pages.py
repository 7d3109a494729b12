"""Dead letters as pages: groups, the items of a filter, one item with its whole story."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from worker.clock import seconds_of
from worker.console.browse import cursor, leaf, place_of
from worker.console.charts import bars
from worker.console.context import Context, context, words
from worker.console.day import DAYS_SHOWN, last_days
from worker.console.filters import BadFilter, Filter
from worker.console.grouping_job import GroupingJob
from worker.console.operations import Action
from worker.console.page_frame import Refused
from worker.console.words import Words
from worker.ledger.letter import Cause, Letter, Place, Ref
from worker.ledger.line import Record
from worker.operate.letters import Group
from worker.operate.log_bucket import side_by_side
from worker.operate.records import BadKey, RecordsOf

GROUPS_SHOWN_MAX = 50
# How groups may be sorted: each function gives what to sort by.
ORDERS: Mapping[str, Callable[[Group], Any]] = {
    "count": lambda group: (-group.count, group.group),
    "newest": lambda group: (-(seconds_of(group.last_seen) or 0.0), group.group),
    "cause": lambda group: (group.cause, -group.count, group.group),
}
KEYS_SHOWN_MAX = 200
KEYS_LOOKED_UP_MAX = 5
DECODED_CHARS_MAX = 200_000


async def show_groups(request: web.Request) -> web.Response:
    """Show the letters by cause and kind of error."""
    here, about = context(request), Filter.read(request.query)
    job = await _grouping(here, about, is_new="new" in request.query)
    if job.failed is not None:
        raise job.failed
    order = request.query.get("sort", "count")
    order = order if order in ORDERS else "count"
    groups = sorted(job.groups(), key=ORDERS[order])
    pages = max(1, -(-len(groups) // GROUPS_SHOWN_MAX))
    number = min(max(1, _page_number(request.query.get("page", ""))), pages)
    shown = groups[(number - 1) * GROUPS_SHOWN_MAX : number * GROUPS_SHOWN_MAX]
    values: dict[str, Any] = {
        "about": about,
        "job": job,
        "groups": shown,
        "sparks": {
            each.group: _spark(job.grouping.days.get(each.group, {}), here.now, words(request))
            for each in shown
        },
        "groups_count": len(groups),
        "progress": _progress(job, words(request)),
        "orders": list(ORDERS),
        "order": order,
        "page_number": number,
        "pages": pages,
    }
    return here.frame.page(request, "groups.html", **_common(here, about), **values)


async def groups_json(request: web.Request) -> web.Response:
    """Answer how far the reading has come."""
    here, about = context(request), Filter.read(request.query)
    job = await _grouping(here, about)
    view = {
        "is_running": job.is_running,
        "progress": _progress(job, words(request)),
    }
    return web.json_response(view)


async def show_items(request: web.Request) -> web.Response:
    """Show the letters of a filter, a page at a time."""
    here, about = context(request), Filter.read(request.query)
    wanted = _wanted(here, about)
    after = place_of(about.place, request.query.get("after", ""))
    found = await leaf(here.letters, wanted, about.place, after, here.clients.clock)
    values: dict[str, Any] = {
        "about": about,
        "leaf": found,
        "is_first": after is None,
        "next_query": about.query(after=cursor(found.last)) if found.last else "",
    }
    return here.frame.page(request, "items.html", **_common(here, about), **values)


async def show_item(request: web.Request) -> web.Response:
    """Show one letter: its story, its keys, its body decoded and raw, and what may be done with it."""
    here, ref = context(request), _ref(request)
    letter = await here.letters.get(ref)
    if letter is None:
        other = ref.at(Place.DEAD if ref.place is Place.ARCHIVED else Place.ARCHIVED)
        if await here.letters.get(other) is None:
            raise Refused(404, "letter")
        raise Refused(404, "moved", path=f"/letters/{other.place}/{cursor(other)}")
    about = Filter(place=ref.place)
    values: dict[str, Any] = {
        "letter": letter,
        "keys": letter.keys[:KEYS_SHOWN_MAX],
        "decoded": _decoded(letter),
        "name": here.letters.bucket.root + ref.name,
        "bucket": here.clients.settings.log_bucket,
        "records": await _records(here, letter),
        "ids": [cursor(ref)],
    }
    return here.frame.page(request, "item.html", **_common(here, about), **values)


def _common(here: Context, about: Filter) -> dict[str, Any]:
    actions = [each for each in Action if each.place is about.place]
    return {
        "running": here.running,
        "is_archive": about.place is Place.ARCHIVED,
        "actions": [] if here.options.is_read_only else actions,
        "causes": list(Cause),
        "cursor": cursor,
    }


async def _grouping(here: Context, about: Filter, *, is_new: bool = False) -> GroupingJob:
    try:
        return await here.groupings.of(about, is_new=is_new)
    except BadFilter as error:
        raise Refused(400, "filter", field=f"filter.{error.field}") from error


def _page_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1


def _wanted(here: Context, about: Filter) -> Any:
    try:
        return about.wanted(here.now)
    except BadFilter as error:
        raise Refused(400, "filter", field=f"filter.{error.field}") from error


def _progress(job: GroupingJob, t: Words) -> str:
    key = "groups.reading" if job.is_running else "groups.read"
    return t.count(key, job.grouping.count)


def _spark(days: Mapping[str, int], now: float, t: Words) -> dict[str, str]:
    """Return how many letters of a group died on each of the last days, as bars and in words."""
    counts = [days.get(day, 0) for day in last_days(now)]
    told = ", ".join(map(t.number, counts))
    return {"path": bars(counts), "text": t("groups.spark", days=DAYS_SHOWN, counts=told)}


def _ref(request: web.Request) -> Ref:
    parts = request.match_info
    ref = Ref.parse(f"{parts['place']}/{parts['cause']}/{parts['day']}/{parts['id']}.json")
    if ref is None:
        raise Refused(404, "not_found")
    return ref


async def _records(here: Context, letter: Letter) -> list[tuple[str, list[Record]]]:
    """Look up what became of the first keys since: nothing need be done for one that was accepted later."""
    records = RecordsOf(here.clients)

    async def of(key: str) -> tuple[str, list[Record]]:
        try:
            return key, await records.of_key(key)
        except BadKey:
            return key, []

    return [each async for each in side_by_side(letter.keys[:KEYS_LOOKED_UP_MAX], of)]


def _decoded(letter: Letter) -> str:
    """Return the body as a person reads it: indented JSON, or the text that Base64 wrapped."""
    if letter.body is None:
        return ""
    content = letter.content()
    if isinstance(content, str):
        return content[:DECODED_CHARS_MAX]
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)[:DECODED_CHARS_MAX]
