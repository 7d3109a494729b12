"""How far changes have come: five levels, what was in time, how long copies take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.arrival.history import ArrivalSpan
from worker.console.charts import chart, nice_span, window
from worker.console.figures import BAD, OK, UNKNOWN, WARN, figure, tile
from worker.console.watch import Watch
from worker.console.words import Words
from worker.operate.arrival import ArrivalStatus, Promise, Sight, percent, promise_of
from worker.operate.destination_reconcile import Standing

Verdict = tuple[str, str, dict[str, object]]

_FAILED = {
    Sight.SEEN: "failed_followed",
    Sight.OFF: "failed_alone",
    Sight.UNKNOWN: "failed_untold",
}


_STATES = {Promise.KEPT: OK, Promise.BROKEN: BAD, Promise.UNKNOWN: UNKNOWN}
# What is over no longer needs anybody: the last hour says how it is now.
_PAST_STATES = _STATES | {Promise.BROKEN: WARN}


def arrived(watch: Watch, t: Words, now: float) -> dict[str, Any]:
    """Return the levels, and what the workers saw at the destination."""
    arrival = watch.arrival
    promised = t.span(arrival.promised_seconds or 0.0)
    return {
        "note": t(f"arrival.{arrival.sight}", promised=promised),
        "levels": list(_levels(watch, arrival, t)),
        "tiles": [*_tiles(arrival, t), _account(watch, t, now)],
        "charts": list(_charts(watch, t, now)),
    }


def verdicts(watch: Watch, t: Words) -> Iterator[Verdict]:
    """Say what keeps copies from arriving, worst first; nothing if nothing does, or nobody looks."""
    arrival, task = watch.arrival, watch.status.task if watch.status else None
    hour, day = arrival.hour, arrival.day
    if day is not None and day.given_up:
        yield BAD, "given_up", {"count": t.count("changes", day.given_up)}
    failed = task.failed if task else None
    if failed:
        yield BAD, _FAILED[arrival.sight], {"count": t.count("objects", failed)}
    promise = Promise.KEPT if hour is None else promise_of(hour)
    if hour is not None and hour.share is not None and promise is Promise.BROKEN:
        promised = t.span(arrival.promised_seconds or 0.0)
        yield BAD, "late", {"share": percent(hour.share), "promised": promised}
    for cause in arrival.causes[:1]:
        what, step = t.told(cause)
        yield WARN, "unseen", {"what": what, "next": step}
    if hour is not None and hour.share is not None and promise is Promise.UNKNOWN:
        unknown, followed = t.number(hour.unknown), t.number(hour.followed)
        yield UNKNOWN, "unsure", {"unknown": unknown, "followed": followed}


def _levels(watch: Watch, arrival: ArrivalStatus, t: Words) -> Iterator[dict[str, str]]:
    levels = watch.levels
    task = watch.status.task if watch.status else None
    failed = task.failed if task else None
    done = t("level.done.failed", failed=t.number(failed)) if failed else t("level.done.note")
    unseen = t("level.unseen")
    way = unseen if arrival.pending is None else t("level.arrived.note", pending=arrival.pending)
    for name, value, note, state in (
        ("announced", levels.announced, t("level.announced.note"), ""),
        ("recorded", levels.recorded, t("level.recorded.note"), ""),
        ("done", levels.done, done, BAD if failed else ""),
        ("arrived", levels.arrived, way, ""),
        ("proved", levels.proved, unseen if levels.proved is None else t("level.proved.note"), ""),
    ):
        yield {
            "label": t(f"level.{name}"),
            "value": t("unknown") if value is None else t.number(value),
            "note": note,
            "state": UNKNOWN if value is None else state,
        }


def _tiles(arrival: ArrivalStatus, t: Words) -> Iterator[dict[str, str]]:
    yield _share(t, "share_hour", arrival.hour, _STATES)
    yield _share(t, "share_day", arrival.day, _PAST_STATES)
    day = arrival.day
    if day is None:
        yield tile(t, "late", t("unknown"), "", UNKNOWN)
    else:
        note = t("tile.late.note", resent=t.number(day.resent), given_up=t.number(day.given_up))
        is_broken = promise_of(day) is Promise.BROKEN
        state = BAD if day.given_up else WARN if is_broken else ""
        yield tile(t, "late", t.number(day.late), note, state)
    backlog = arrival.copy_backlog
    value = t("unknown") if backlog is None else t.number(backlog)
    age = arrival.copy_backlog_seconds
    note = t("tile.backlog.note")
    if arrival.is_backlog_of_task:
        note = t("tile.backlog.task")
    elif age is not None:
        note = t("tile.backlog.read", ago=t.span(age))
    yield tile(t, "backlog", value, note, UNKNOWN if backlog is None else "")


def _account(watch: Watch, t: Words, now: float) -> dict[str, str]:
    """Tell what the last comparison of both buckets proved; one of a part proves nothing of the rest."""
    account = watch.status.last_account if watch.status else None
    if account is None:
        return tile(t, "compared", t("unknown"), t("tile.compared.never"), UNKNOWN)
    objects = account.objects
    note = t(
        "tile.compared.note" if account.is_whole else "tile.compared.part",
        ago=t.span(max(0.0, now - account.at)),
        objects=t.number(account.source_objects),
        missing=t.number(objects[Standing.MISSING]),
        different=t.number(objects[Standing.DIFFERENT]),
        pending=t.number(objects[Standing.PENDING]),
        unproved=t.number(objects[Standing.UNPROVED]),
    )
    state = BAD if account.gaps else OK if account.is_proof else UNKNOWN
    proved = objects[Standing.PROVED] / account.source_objects if account.source_objects else None
    return tile(t, "compared", t("unknown") if proved is None else percent(proved), note, state)


def _share(
    t: Words, name: str, span: ArrivalSpan | None, states: Mapping[Promise, str]
) -> dict[str, str]:
    """Nothing followed is not known, and never green."""
    if span is None or span.share is None:
        return tile(t, name, t("unknown"), t("tile.share.none") if span else "", UNKNOWN)
    counts = {"in_time": t.number(span.in_time), "followed": t.number(span.followed)}
    note = t("tile.share.note", **counts)
    if span.unknown:
        note = t("tile.share.unsure", **counts, unknown=t.number(span.unknown))
    return tile(t, name, percent(span.share), note, states[promise_of(span)])


def _charts(watch: Watch, t: Words, now: float) -> Iterator[dict[str, Any]]:
    moments = tuple(watch.moments)
    seconds = window(moments[0].at if moments else now, now)
    middle = [(each.at, each.arrival_p50) for each in moments]
    slowest = [(each.at, each.arrival_p99) for each in moments]
    yield figure(
        t,
        "arrival",
        [t("line.p50"), t("line.p99")],
        chart((middle, slowest), now, seconds, round_up=nice_span),
        t.span,
    )
    backlog = [(each.at, each.copy_backlog) for each in moments]
    yield figure(t, "backlog", [t("line.backlog")], chart((backlog,), now, seconds), t.number)
