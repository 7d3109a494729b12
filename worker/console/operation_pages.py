"""Redrive, archive and undo as pages: a dry run, its result, the act, its progress, its account."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from aiohttp import web

from worker.console.context import context, form, words
from worker.console.filters import IDS_MAX, BadFilter, Filter
from worker.console.operations import Action, Busy, Operation, Order, State
from worker.console.page_frame import VISIT, Refused, see_other
from worker.console.words import Words
from worker.ledger.letter import Place, Ref
from worker.operate.redrive import Limits, Outcome
from worker.operate.sample import command_of

CANARY = 5
REASON_CHARS_MAX = 500
COUNT_MAX = 1_000_000_000
RATE_MAX = 10_000.0
# A short dry run is over before its page is asked for: no waiting before a screen of progress.
START_SECONDS = 1.0


async def show_operations(request: web.Request) -> web.Response:
    """Show the last operations, the newest first."""
    here, t = context(request), words(request)
    views = [view(each, t) for each in reversed(here.operations.recent)]
    return here.frame.page(request, "operations.html", running=here.running, views=views)


async def show_operation(request: web.Request) -> web.Response:
    """Show one operation: its progress while it runs, its account and the next step afterwards."""
    here, operation = context(request), _operation(request)
    values: dict[str, Any] = {
        "operation": operation,
        "view": view(operation, words(request)),
        "is_actionable": not here.options.is_read_only,
        "canary": CANARY,
    }
    running = None if operation.is_running else here.running
    return here.frame.page(request, "operation.html", running=running, **values)


async def operation_json(request: web.Request) -> web.Response:
    """Answer how far an operation has come."""
    return web.json_response(view(_operation(request), words(request)))


async def dry_run(request: web.Request) -> web.Response:
    """Begin a dry run for a filter, or for chosen letters of it."""
    here, given = context(request), await form(request)
    action = _action(given.get("action", ""))
    about = Filter.read(given | {"place": str(action.place)})
    ids = tuple(str(each) for each in (await request.post()).getall("id", []))
    # Nothing chosen is nothing: only who asks for a filter, even an empty one, gets all that meet it.
    letters = given.get("letters", "filter" if not about.is_empty else "chosen")
    if letters not in ("filter", "chosen"):
        raise Refused(400, "request")
    if letters == "chosen" and not ids:
        raise Refused(400, "none_chosen")
    try:
        wanted = about.wanted(here.now, _ids(ids, action.place))
    except BadFilter as error:
        raise Refused(400, "filter", field=f"filter.{error.field}") from error
    reason = given.get("reason", "").strip()[:REASON_CHARS_MAX]
    limits, is_all = Limits(is_dry_run=True), "redriven" in given
    order = Order(action, wanted, about, limits, reason, by=request[VISIT].by, redriven=is_all)
    return await _begin(request, order, None)


async def act(request: web.Request) -> web.Response:
    """Do what a dry run looked at: to exactly those letters, so many and so fast as the form says."""
    given, tried = await form(request), _operation(request)
    if not tried.order.limits.is_dry_run or tried.is_running:
        raise Refused(409, "not_tried")
    is_canary = given.get("scope") == "canary"
    count = _number(given.get("count", ""), "count", COUNT_MAX) if is_canary else None
    rate = _number(given.get("rate", ""), "rate", RATE_MAX)
    if is_canary and count is None:
        raise Refused(400, "number", field="go.count")
    order = Order(
        tried.order.action,
        # What was counted, and nothing that came since.
        replace(tried.order.wanted, chosen=tried.sample.chosen),
        tried.order.about,
        Limits(int(count) if count else None, rate),
        given.get("reason", tried.order.reason).strip()[:REASON_CHARS_MAX],
        by=request[VISIT].by,
        redriven=tried.order.redriven,
    )
    return await _begin(request, order, _movable(tried))


async def stop(request: web.Request) -> web.Response:
    """Ask an operation to end."""
    here, operation = context(request), _operation(request)
    here.operations.stop(operation)
    await here.operations.ended(operation, START_SECONDS)
    return see_other(f"/operations/{operation.number}")


def view(operation: Operation, t: Words) -> dict[str, Any]:
    """Return an operation as values and words."""
    order, state = operation.order, operation.state
    kind = "dry" if order.limits.is_dry_run else "real"
    total = operation.total
    return {
        "number": operation.number,
        "path": f"/operations/{operation.number}",
        "title": t(f"operation.{kind}.{order.action}"),
        "state": str(state),
        "state_text": t(f"operation.state.{state}"),
        "is_running": operation.is_running,
        "is_dry_run": order.limits.is_dry_run,
        "action": str(order.action),
        "about": _about(order, t),
        "limits": _limits(order, t),
        "reason": order.reason,
        "by": order.by,
        "started": t.time(operation.started_at),
        "handled": operation.handled,
        "total": total,
        "progress": _progress(operation, t),
        "counts": [
            {"name": str(each), "text": t(f"outcome.{kind}.{each}"), "count": t.number(count)}
            for each in Outcome
            if (count := operation.counts[each])
        ],
        "troubles": [
            {"id": name, "outcome": t(f"outcome.short.{outcome}"), "detail": detail}
            for name, outcome, detail in operation.troubles
        ],
        "movable": _movable(operation),
        "waits": operation.waits,
        "sample": _sample(operation, t),
        "redriven": order.redriven,
        "account": _account(operation, t),
        "failure": str(operation.failed or ""),
        "step": t.next_step(operation.failed.failure) if operation.failed else "",
        "audit_failure": str(operation.audit_failed or ""),
    }  # fmt: skip


async def _begin(request: web.Request, order: Order, expected: int | None) -> web.Response:
    here = context(request)
    try:
        operation = await here.operations.start(order, expected)
    except Busy as error:
        raise Refused(409, "busy") from error
    await here.operations.ended(operation, START_SECONDS)
    return see_other(f"/operations/{operation.number}")


def _operation(request: web.Request) -> Operation:
    operation = context(request).operations.find(int(request.match_info["number"]))
    if operation is None:
        raise Refused(404, "operation")
    return operation


def _movable(operation: Operation) -> int:
    return operation.counts[Outcome.WOULD] + operation.counts[Outcome.ALREADY]


def _progress(operation: Operation, t: Words) -> str:
    total = operation.total
    if total is None or operation.handled > total:
        key = "operation.progress" if operation.is_running else "operation.handled"
        return t.count(key, operation.handled)
    return t("operation.progress_of", handled=t.number(operation.handled), total=t.number(total))


def _account(operation: Operation, t: Words) -> str:
    """Say what is left, once it has ended."""
    if operation.is_running:
        return ""
    if operation.order.limits.is_dry_run:
        key = "dry_stopped" if operation.state is not State.DONE else "dry"
        return t.count(f"account.{key}", _movable(operation))
    if operation.left is None:
        return t("account.unknown")
    return t.count("account.left", operation.left) if operation.left else t("account.none_left")


def _sample(operation: Operation, t: Words) -> list[dict[str, str]]:
    """Show what a dry run has counted: causes, ages, keys, and the command that does the same."""
    sample, order = operation.sample, operation.order
    if not sample.causes:
        return []
    causes = (f"{t.number(count)} {cause}" for cause, count in sample.causes.most_common())
    ages = dict.fromkeys((t.time(sample.oldest), t.time(sample.newest)))
    command = command_of(order.action, order.wanted, reason=order.reason, redriven=order.redriven)
    rows = {
        "causes": t("list.and").join(causes),
        "ages": t("list.to").join(ages),
        "keys": "\n".join(sample.keys),
        "command": command,
    }
    return [{"name": t(f"sample.{name}"), "value": value} for name, value in rows.items()]


def _about(order: Order, t: Words) -> list[dict[str, str]]:
    conditions = [
        {"name": t(f"filter.{name}"), "value": text} for name, text in order.about.conditions()
    ]
    if order.wanted.ids:
        chosen = t.count("letters", len(order.wanted.ids))
        conditions.append({"name": t("filter.chosen"), "value": chosen})
    return conditions or [{"name": t("filter.all"), "value": t(f"place.{order.about.place}")}]


def _limits(order: Order, t: Words) -> str:
    parts = []
    if order.limits.count is not None:
        parts.append(t.count("limit.canary", order.limits.count))
    if order.limits.per_second is not None:
        parts.append(t("limit.rate", rate=f"{order.limits.per_second:g}"))
    return t("list.and").join(parts)


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError as error:
        raise Refused(400, "request") from error


def _ids(ids: tuple[str, ...], place: Place) -> tuple[str, ...]:
    if len(ids) > IDS_MAX or any(Ref.parse(f"{place}/{each}.json") is None for each in ids):
        raise Refused(400, "request")
    return ids


def _number(text: str, name: str, most: float) -> float | None:
    """Read a number above 0 from a form; nothing is no limit."""
    if not text.strip():
        return None
    if not re.fullmatch(r"\d{1,10}(\.\d{1,6})?", text.strip(), re.ASCII):
        raise Refused(400, "number", field=f"go.{name}")
    number = float(text)
    if not 0 < number <= most or (name == "count" and number != int(number)):
        raise Refused(400, "number", field=f"go.{name}")
    return number
