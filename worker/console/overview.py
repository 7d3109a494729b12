"""The overview as values and words: the page is made of them, and so is the JSON that keeps it alive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from worker.advice import Cause, cause_of
from worker.clouds.http import one_line
from worker.console.arrived import Verdict, arrived, verdicts
from worker.console.charts import Point, chart, nice, nice_span, window
from worker.console.figures import BAD, OK, UNKNOWN, WARN, Write, figure, shown, tile
from worker.console.filters import Filter
from worker.console.fleet import fleet_troubles, fleet_view, fleet_warnings, live
from worker.console.watch import Moment, Watch, oms_rates
from worker.console.words import Words
from worker.errors import Failure
from worker.observe.journal import bounded
from worker.operate.arrival import ArrivalStatus, Promise, Sight, promise_of
from worker.operate.status import (
    DEAD_COUNT_MAX,
    RETENTION_SHARE_WARNING,
    QueueStatus,
    Status,
)
from worker.operate.workers import WorkerStatus
from worker.ports import SYNCHRONIZING

WORKERS_SHOWN_MAX = 100
EMPTYING_SECONDS = 60.0
# What takes longer than this is told as no end at all: rates do not stay for a month.
EMPTY_SECONDS_MAX = 30 * 86_400.0


def overview(watch: Watch, t: Words, now: float) -> dict[str, Any]:
    """Return all that the overview shows."""
    status = watch.status
    return {
        "headline": _headline(watch, t),
        "looked": t("overview.looked", time=t.time(status.at)) if status else t("overview.looking"),
        "tiles": list(_tiles(watch, t)),
        "arrival": arrived(watch, t, now),
        "charts": list(_charts(watch, t, now)),
        "workers": [_worker(each, t) for each in islice(watch.workers, WORKERS_SHOWN_MAX)],
        "fleet": fleet_view(watch.fleet, t),
        "causes": _causes(watch, t),
        "no_causes": _no_causes(watch.status, t),
        "problems": [_problem(name, failure, t) for name, failure in _errors(watch).items()],
    }


def _headline(watch: Watch, t: Words) -> dict[str, str]:
    """Say in one sentence how things stand, worst first, and what to do."""
    state, key, values = next(_verdicts(watch, t))
    return {
        "state": state,
        "text": t(f"headline.{key}.text", **values),
        "next": t(f"headline.{key}.next", **values),
    }


def _verdicts(watch: Watch, t: Words) -> Iterator[Verdict]:
    if not watch.workers or watch.status is None:
        yield UNKNOWN, "looking", {}
        return
    silent = [each.sample.url for each in watch.workers if each.sample.error]
    # Without an address of a worker the pulses still tell of all.
    silent = silent if len(silent) < len(watch.workers) or not live(watch.fleet) else []
    if len(silent) == len(watch.workers):
        yield BAD, "silent", {"urls": ", ".join(silent[:5])}
    yield from fleet_troubles(watch.fleet, t)
    yield from _stuck(watch.workers, watch.status, t)
    yield from verdicts(watch, t)
    yield from fleet_warnings(watch.fleet, t)
    if silent:
        yield WARN, "some_silent", {"url": silent[0]}
    if watch.status.errors:
        yield (
            UNKNOWN,
            "parts",
            {"parts": ", ".join(t(f"part.{each}") for each in watch.status.errors)},
        )
    elif watch.status.dead_letters is None:
        # Still being counted: not known is not none.
        yield UNKNOWN, "looking", {}
    dead = sum((watch.status.dead_letters or {}).values())
    if dead:
        yield WARN, "dead", {"count": t.count("letters", dead)}
    if watch.status.task is not None and not watch.status.task.status:
        yield UNKNOWN, "task_untold", {}
    yield _rest(watch.arrival)


def _rest(arrival: ArrivalStatus) -> Verdict:
    """Say how things stand where nothing is known to be wrong: what is not known is not well."""
    if arrival.sight is Sight.UNKNOWN:
        return UNKNOWN, "blind", {}
    if arrival.day is None:
        return OK, "relayed", {}
    if arrival.day.share is None:
        return UNKNOWN, "untold", {}
    if promise_of(arrival.day) is Promise.UNKNOWN:
        return UNKNOWN, "unsure_day", {}
    return OK, "well", {}


def _stuck(workers: Iterable[WorkerStatus], status: Status, t: Words) -> Iterator[Verdict]:
    """Say what keeps messages from being done."""
    for each in workers:
        if not each.sample.error and not each.sample.is_ready:
            cause = next(iter(each.sample.causes), Cause(""))
            yield BAD, "not_ready", {"url": each.sample.url, **_cause(cause, t)}
    if status.queue is not None and status.queue.retention_share >= RETENTION_SHARE_WARNING:
        oldest = t.span(status.queue.oldest_seconds or 0.0)
        yield BAD, "old", {"oldest": oldest, "keeps": t.span(status.queue.retention_seconds)}
    if status.brake:
        yield BAD, "brake", {}
    if status.task is not None and status.task.status not in (SYNCHRONIZING, ""):
        yield BAD, "task", {"status": status.task.status}


def _tiles(watch: Watch, t: Words) -> Iterator[dict[str, str]]:
    status = watch.status
    moment = watch.moments[-1] if watch.moments else Moment(0.0)
    yield _tile(t, "in", moment.rate_in, t.rate)
    yield _tile(t, "out", moment.rate_out, t.rate)
    lag = next((each.lag_seconds for each in reversed(watch.moments) if each.lag_seconds), None)
    yield tile(t, "lag", shown(lag, t.span))
    yield _tile(t, "in_flight", moment.in_flight, t.number)
    yield from _queue_tiles(status.queue if status else None, watch.moments, t)
    task = status.task if status else None
    note, state = "", ""
    if task is not None:
        failed = t("unknown") if task.failed is None else t.number(task.failed)
        note = t("tile.oms.note", failed=failed)
        state = BAD if task.failed or task.status == "STOPPED" else ""
        state = state or (UNKNOWN if task.failed is None else "")
    yield _tile(t, "oms", task.accepted if task else None, t.number, note, state)
    dead = status.dead_letters if status else None
    count = sum(dead.values()) if dead is not None else None
    more = t("tile.dead.more") if status and status.are_more_dead else ""
    yield _tile(t, "dead", count, t.number, more, WARN if count else "")


def _tile(
    t: Words, name: str, value: float | None, write: Write, note: str = "", state: str = ""
) -> dict[str, str]:
    """Return a tile; what is not known is marked so."""
    return tile(t, name, shown(value, write), note, UNKNOWN if value is None else state)


def _queue_tiles(
    queue: QueueStatus | None, moments: Iterable[Moment], t: Words
) -> Iterator[dict[str, str]]:
    if queue is None:
        yield tile(t, "depth", t("none"), "", UNKNOWN)
        yield tile(t, "oldest", t("none"), "", UNKNOWN)
        return
    if queue.active is None or queue.inactive is None or queue.delayed is None:
        note = t("tile.depth.uncounted", visible=queue.visible)
        yield tile(t, "depth", t("unknown"), note, UNKNOWN)
    else:
        in_hand, delayed = t.number(queue.inactive), t.number(queue.delayed)
        note = t("tile.depth.note", in_hand=in_hand, delayed=delayed)
        note = f"{note}; {empty_in(queue.active, moments, t)}" if queue.active else note
        yield tile(t, "depth", t.number(queue.active), note)
    keeps = t("tile.oldest.note", keeps=t.span(queue.retention_seconds))
    if queue.oldest_seconds is not None:
        left = t.span(max(0.0, queue.retention_seconds - queue.oldest_seconds))
        keeps = t("tile.oldest.left", left=left, keeps=t.span(queue.retention_seconds))
    state = BAD if queue.retention_share >= RETENTION_SHARE_WARNING else ""
    yield tile(t, "oldest", shown(queue.oldest_seconds, t.span), keeps, state)


def empty_in(waiting: int, moments: Iterable[Moment], t: Words) -> str:
    """Say when the queue will be empty, by what came in and went out in the last minute."""
    seen = tuple(moments)
    known = [
        each.rate_out - each.rate_in
        for each in seen
        if each.at >= seen[-1].at - EMPTYING_SECONDS
        and each.rate_in is not None
        and each.rate_out is not None
    ]
    if not known:
        return t("tile.depth.empty_unknown")
    gain = sum(known) / len(known)
    if gain * EMPTY_SECONDS_MAX < waiting:
        return t("tile.depth.not_emptying")
    return t("tile.depth.empty_in", span=t.span(waiting / gain))


def _charts(watch: Watch, t: Words, now: float) -> Iterator[dict[str, Any]]:
    moments, depths = tuple(watch.moments), tuple(watch.depths)
    seconds = window(moments[0].at if moments else now, now)

    def drawn(name: str, write: Any, **lines: Iterable[Point]) -> dict[str, Any]:
        names = [t(f"line.{each}") for each in lines]
        return figure(
            t,
            name,
            names,
            chart(
                tuple(lines.values()), now, seconds, round_up=nice_span if write == t.span else nice
            ),
            write,
        )

    flow = {
        "in": [(each.at, each.rate_in) for each in moments],
        "out": [(each.at, each.rate_out) for each in moments],
    }
    yield drawn("flow", t.rate, **flow)
    lags = [(each.at, each.lag_seconds) for each in moments if each.lag_seconds is not None]
    yield drawn("lag", t.span, lag=lags)
    yield drawn("depth", t.number, depth=[(each.at, each.waiting) for each in depths])
    yield drawn("in_flight", t.number, in_flight=[(each.at, each.in_flight) for each in moments])
    accepted, failed = oms_rates(depths, "accepted"), oms_rates(depths, "failed")
    yield drawn("oms", t.rate, accepted=accepted, failed=failed)
    yield drawn("dead", t.number, dead=[(each.at, each.dead) for each in depths])


def _worker(worker: WorkerStatus, t: Words) -> dict[str, Any]:
    sample, rates = worker.sample, worker.rates
    if sample.error:
        state, facts = BAD, one_line(sample.error)
        reasons = [{"what": t("worker.silent.what"), "next": t("worker.silent.next")}]
    else:
        state = OK if sample.is_ready else BAD
        facts = t(
            "worker.facts",
            rate_in=shown(rates.received if rates else None, t.rate),
            rate_out=shown(rates.done if rates else None, t.rate),
            in_flight=t.number(sample.in_flight),
            waiting=t.number(sample.keys_waiting),
            oldest=t.span(sample.oldest_in_hand_seconds),
        )
        reasons = [_cause(each, t) for each in sample.causes[:10]]
    key = "silent" if sample.error else "ready" if sample.is_ready else "not_ready"
    return {
        "url": sample.url,
        "state": state,
        "state_text": t(f"worker.{key}"),
        "facts": facts,
        "services": [_service(name, value, t) for name, value in list(sample.services.items())[:8]],
        "reasons": reasons,
    }


def _service(name: str, value: str, t: Words) -> dict[str, str]:
    states = {"closed": OK, "trial": WARN, "open": BAD}
    key = f"breaker.{value}" if value in states else "breaker.unknown"
    label = t(f"service.{name}") if t.has(f"service.{name}") else name.upper()
    return {"name": label, "state": states.get(value, UNKNOWN), "text": t(key)}


def _causes(watch: Watch, t: Words) -> list[dict[str, str]]:
    counts = (watch.status.dead_letters or {}) if watch.status else {}
    is_more = watch.status is not None and watch.status.are_more_dead
    return [
        {
            "cause": cause,
            "text": t(f"cause.{cause}") if t.has(f"cause.{cause}") else "",
            "count": t.number(count) + ("+" if is_more or count >= DEAD_COUNT_MAX else ""),
            "href": f"/letters?{Filter(cause=cause).query()}",
        }
        for cause, count in sorted(counts.items(), key=lambda each: -each[1])
        if count
    ]


def _no_causes(status: Status | None, t: Words) -> dict[str, str]:
    """Say what it means that no cause is shown: none is there only where all were listed."""
    if status is None:
        return {"state": UNKNOWN, "text": t("overview.dead_looking")}
    if status.dead_letters is None:
        return {"state": UNKNOWN, "text": t("overview.dead_unknown")}
    return {"state": OK, "text": t("overview.no_dead")}


def _errors(watch: Watch) -> Mapping[str, Failure]:
    return watch.status.errors if watch.status else {}


def _problem(name: str, failure: Failure, t: Words) -> dict[str, str]:
    return {"part": t(f"part.{name}"), **_cause(cause_of(failure), t)}


def _cause(cause: Cause, t: Words) -> dict[str, str]:
    what, step = t.told(cause)
    return {"what": bounded(what), "next": bounded(step)}
