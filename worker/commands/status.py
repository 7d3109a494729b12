"""`status`: queue, dead letters, task and workers at a glance, once or again and again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.advice import told_of
from worker.arrival.history import ArrivalSpan
from worker.clock import is_set_within, iso
from worker.commands import frame, terminal
from worker.commands.terminal import console, row_printed, shown, span
from worker.config.routes_file import UNROUTED
from worker.errors import Failure
from worker.ledger.pause import Pause
from worker.operate.arrival import ArrivalStatus, Promise, Sight, percent, promise_of
from worker.operate.connect import Clients, brief
from worker.operate.destination_reconcile import Standing
from worker.operate.fleet import Fleet, Member, Presence
from worker.operate.status import (
    DEAD_COUNT_MAX,
    RETENTION_SHARE_WARNING,
    QueueStatus,
    RouteStatus,
    Status,
    StatusBoard,
    TaskStatus,
    part_of,
)
from worker.operate.workers import WorkerStatus
from worker.ports import BATCH

NAME_WIDTH = 14
# A pulse comes once a minute: what is told by an older one is said to be old.
FRESH_SECONDS = 60.0
UNKNOWN_STYLE = "magenta"
# Whoever reads the exit code is told of lines in this style.
BAD = "bold red"
# A part keeps its name and its place, whether it can be read or not.
LABELS = {
    "queue": "queue",
    "dead_letter_queue": "dead queue",
    "dead_letters": "dead letters",
    "brake": "deletions",
    "task": "OMS task",
    "last_account": "compared",
    "fleet": "fleet",
    "workers": "worker",
}
_PROMISE_STYLES = {Promise.KEPT: "green", Promise.BROKEN: BAD, Promise.UNKNOWN: UNKNOWN_STYLE}
# What is over no longer needs anybody: the last hour says how it is now.
_PAST_STYLES = _PROMISE_STYLES | {Promise.BROKEN: "yellow"}
# Those that need a look come first; --json has all.
MEMBERS_SHOWN_MAX = 20
_PRESENCES = {
    Presence.GONE: "GONE",
    Presence.NOT_READY: "NOT READY",
    Presence.PAUSED: "paused",
    Presence.STOPPING: "stopping",
    Presence.READY: "ready",
    Presence.STOPPED: "stopped",
}
_PRESENCE_STYLES = {
    Presence.READY: "green",
    Presence.GONE: "yellow",
    Presence.NOT_READY: BAD,
}
# What the state of a breaker means for people.
_DOORS = {"closed": "works", "open": "cannot be used", "trial": "answers, not used yet"}
# What a pulse does not tell.
_UNTOLD = ("url", "error")
NO_ENDPOINT = "not looked at (set OBS_ENDPOINT)"
_MENDS = {
    Sight.SEEN: (
        "a relay announces again what OMS lists as failed. Next: `oms-relay doctor` names the folder with "
        "OMS's reasons; mend that"
    ),
    Sight.OFF: (
        "nothing announces them again. Next: `oms-relay doctor` names the folder with OMS's reasons; mend "
        "that, then write these objects again, or set OBS_ENDPOINT"
    ),
    Sight.UNKNOWN: (
        "whether a relay announces them again is not known. Next: `oms-relay doctor` names the folder with "
        "OMS's reasons; mend that"
    ),
}

Line: TypeAlias = tuple[str, str, str]


def status(
    *,
    worker: Annotated[
        list[str] | None,
        typer.Option("--worker", metavar="URL", help="A worker's admin server; may be repeated."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")
    ] = False,
    every: Annotated[
        float,
        typer.Option("--every", min=1.0, metavar="SECONDS", help="How often --watch looks."),
    ] = 2.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object for each look.")
    ] = False,
) -> None:
    """Show what waits, for how long, of which buckets, what died, what OMS did, and how the workers are.

    Without --worker all workers are found by the pulses that they write into the log bucket. A part that is
    not there within 5 seconds is told as one that could not be read; the others are shown all the same.

    Exit code 0: works. 1: somebody is needed (a line is red, and the last line says which), or a part could
    not be read. 2: the settings cannot be used.

    Examples:
        oms-relay status --worker http://127.0.0.1:8080

        oms-relay status --worker http://10.0.0.5:8080 --worker http://10.0.0.6:8080 --watch

    """
    for url in worker or ():
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter(
                f"{url!a} is no URL: write http://{url}", param_hint="--worker"
            )

    async def show(clients: Clients) -> bool:
        # Each part is asked once: six tries of a service that is down take minutes, and a look shows now.
        board = StatusBoard(brief(clients, 1), worker or ())
        if not watch:
            found = await _look_once(board, as_json=as_json)
            return not needs_you(found)
        await _keep_watching(clients, board, every, as_json=as_json)
        return True

    if not frame.run(show, ends_gently=watch):
        raise typer.Exit(frame.EXIT_FAILED)


async def _look_once(board: StatusBoard, *, as_json: bool) -> Status:
    """Show each part as soon as it is there, on a terminal; all of them at the end elsewhere."""
    out = console()
    if as_json or not out.is_terminal:
        found = await board.look()
        _print(found, as_json=as_json)
        return found
    with Live(console=out, auto_refresh=False, vertical_overflow="visible") as live:
        found = await board.look(lambda so_far: live.update(drawn(so_far), refresh=True))
        live.update(drawn(found), refresh=True)
    return found


async def _keep_watching(
    clients: Clients, board: StatusBoard, seconds: float, *, as_json: bool
) -> None:
    """Redraw on a terminal, print one look after the other elsewhere, until `Clients.stop` is set."""
    out = console()
    if as_json or not out.is_terminal:
        while not clients.stop.is_set():
            _print(await board.look(), as_json=as_json)
            sys.stdout.flush()
            await is_set_within(clients.stop, seconds)
        return
    with Live(console=out, auto_refresh=False) as live:
        while not clients.stop.is_set():
            live.update(drawn(await board.look()), refresh=True)
            await is_set_within(clients.stop, seconds)


def _print(found: Status, *, as_json: bool) -> None:
    if as_json:
        terminal.line(as_object(found))
        return
    out = console()
    for name, text, _ in _rows(found):
        row_printed(out, (NAME_WIDTH,), (name, shown(text)))


def _rows(found: Status) -> Iterator[Line]:
    yield "", f"{datetime.fromtimestamp(found.at, UTC):%Y-%m-%d %H:%M:%S} UTC", ""
    yield from _lines(found)
    yield _verdict(found)


def drawn(found: Status) -> Table:
    """Return the status as lines for people."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=NAME_WIDTH)
    grid.add_column(overflow="fold")
    for name, text, style in _rows(found):
        grid.add_row(Text(name, style="bold"), Text(shown(text), style=style))
    return grid


def needs_you(found: Status) -> list[str]:
    """Return the names of the lines for which somebody is needed, each once; none of them is unknown."""
    return _named(found, BAD)


def _named(found: Status, wanted: str) -> list[str]:
    names, name = [], ""
    for label, _, style in _lines(found):
        name = label or name
        if style == wanted:
            names.append(name)
    return list(dict.fromkeys(names))


def _verdict(found: Status) -> Line:
    """Say in one line how things stand; never well while something is not known."""
    if found.pending:
        return "verdict", "looking", "dim"
    if bad := needs_you(found):
        return "verdict", f"needs you: {', '.join(bad)}", BAD
    if found.fleet is not None and found.fleet.pause is not None:
        return "verdict", "paused", "bold yellow"
    if unknown := _named(found, UNKNOWN_STYLE):
        return "verdict", f"the relay works; not known: {', '.join(unknown)}", UNKNOWN_STYLE
    return "verdict", "works", "green"


def _lines(found: Status) -> Iterator[Line]:
    yield from _part(found, "queue", _queue_lines("queue", found.queue))
    yield from _part(
        found, "dead_letter_queue", _queue_lines("dead queue", found.dead_letter_queue)
    )
    yield from _event_lines(found)
    yield from _part(found, "dead_letters", _dead_lines(found))
    yield from _part(found, "brake", _brake_lines(found))
    yield from _part(found, "task", _task_lines(found))
    for route in found.routes:
        yield from _route_lines(found, route)
    yield from _failed_lines(found)
    yield from _level_lines(found)
    yield from _arrival_lines(found)
    yield from _part(found, "last_account", _account_lines(found))
    yield from _part(found, "fleet", _fleet_lines(found))
    if "workers" in found.pending and not found.workers:
        return
    for each in found.workers:
        yield from _worker_lines(each)


def _part(found: Status, name: str, lines: Iterator[Line]) -> Iterator[Line]:
    """Yield a part's lines, or at the same place that it is still being read, or why it cannot be."""
    if name in found.pending:
        yield LABELS[name], "looking", "dim"
        return
    if failure := found.errors.get(name):
        yield LABELS[name], failed(failure), BAD
    yield from lines


def _queue_lines(name: str, queue: QueueStatus | None) -> Iterator[Line]:
    if queue is None:
        return
    yield name, f"{_counted(queue)} ({queue.name})", ""
    if queue.oldest_seconds is None:
        yield "oldest", "no message is visible", ""
        return
    share = queue.retention_share
    text = (
        f"{span(queue.oldest_seconds)}, {share:.0%} of the {span(queue.retention_seconds)} "
        "after which MNS forgets a message"
    )
    yield "oldest", text, BAD if share >= RETENTION_SHARE_WARNING else ""


def _counted(queue: QueueStatus) -> str:
    if queue.total is None:
        more = " or more" if queue.visible >= BATCH else ""
        return f"how many wait is unknown: MNS's counters all read 0; {queue.visible}{more} visible"
    return f"{queue.active} waiting, {queue.inactive} in hand, {queue.delayed} delayed"


def _event_lines(found: Status) -> Iterator[Line]:
    """Say whose events come, and whether our own records would be among them."""
    if found.pending & {"queue", "task"}:
        yield "events", "looking", "dim"
    elif found.events is None:
        yield "events", "unknown: the queue or the task could not be read", UNKNOWN_STYLE
    else:
        yield "events", found.events.text, BAD if found.events.foreign else ""
    if found.is_log_source:
        yield (
            "log bucket",
            "is the bucket that the task copies: set LOG_BUCKET to another",
            BAD,
        )


def _dead_lines(found: Status) -> Iterator[Line]:
    if found.dead_letters is None:
        return
    told = _dead(found.dead_letters, are_more=found.are_more_dead)
    if not told:
        text = "none beside those of the routes" if found.routes else "none"
        yield "dead letters", text, "green"
        return
    command = "oms-relay dead groups" + (f" --route {UNROUTED}" if found.routes else "")
    yield "dead letters", f"{told}   ({command})", "yellow"


def _brake_lines(found: Status) -> Iterator[Line]:
    for route in found.brake or ():
        of = f" of route {route}" if route else ""
        option = f" --route {route}" if route else ""
        text = (
            f"the brake{of} is on: more were to be deleted in an hour than RELAY_DELETIONS_PER_HOUR allows, "
            "and nothing is deleted at the destination. Next: look whether they were meant "
            f"(oms-relay dead groups{option}); dead redrive of what it held, or dead archive, lifts it"
        )
        yield "deletions", text, BAD


def _dead(counted: Mapping[str, int], *, are_more: bool) -> str:
    counts = {cause: count for cause, count in counted.items() if count}
    parts = [
        f"{count}{'+' if count >= DEAD_COUNT_MAX or are_more else ''} {cause}"
        for cause, count in counts.items()
    ]
    more = "; there was no time to count all" if are_more else ""
    return f"{', '.join(parts)}{more}"


def _route_lines(found: Status, route: RouteStatus) -> Iterator[Line]:
    """Tell of one of several routes: its task, and its dead letters; what cannot be read, and why."""
    label = f"route {route.route}"
    task, dead = part_of("task", route.route), part_of("dead_letters", route.route)
    if task in found.pending:
        yield label, "looking", "dim"
    elif failure := found.errors.get(task):
        yield label, f"its task could not be read: {failed(failure)}", BAD
    elif route.task is not None:
        yield label, *_task(route.task)
    if failure := found.errors.get(dead):
        yield "", f"its dead letters could not be read: {failed(failure)}", BAD
    elif told := _dead(route.dead_letters or {}, are_more=route.are_more_dead):
        yield "", f"dead letters {told} (oms-relay dead groups --route {route.route})", "yellow"


def _task_lines(found: Status) -> Iterator[Line]:
    if found.task is not None:
        yield "OMS task", *_task(found.task)


def _task(task: TaskStatus) -> tuple[str, str]:
    """Return how a task stands, and in which style that is shown."""
    counts = ", ".join(
        f"{'?' if count is None else count} {what}"
        for count, what in (
            (task.accepted, "accepted"),
            (task.succeeded, "copied"),
            (task.failed, "failed"),
            (task.skipped, "skipped"),
        )
    )
    state = task.status or "in an unknown state"
    style = "" if task.is_synchronizing else BAD if task.status else UNKNOWN_STYLE
    return f"{state}; this month {counts}", style


def _failed_lines(found: Status) -> Iterator[Line]:
    """Say how many copies OMS could not make: they were accepted and recorded all the same."""
    counts = [each.failed for each in found.tasks]
    if failed_copies := sum(filter(None, counts)):
        mend = _MENDS[found.arrival.sight]
        text = f"{failed_copies} this month: OMS accepted them and could not copy them; {mend}"
        yield "failed copies", text, BAD
    if None in counts:
        which = "a task does not tell" if found.routes else "the task does not tell"
        yield "" if failed_copies else "failed copies", f"unknown: {which}", UNKNOWN_STYLE


def _level_lines(found: Status) -> Iterator[Line]:
    levels = found.levels
    if levels.announced is None:
        return
    done = "unknown" if levels.done is None else f"{levels.done} objects (OMS, this month)"
    text = (
        f"announced {levels.announced} events, recorded {levels.recorded} keys (workers, since their start); "
        f"done {done}{_pulses_ago(found)}"
    )
    yield "levels", text, ""
    if levels.arrived is not None:
        text = f"arrived {levels.arrived} of the followed keys, proved {levels.proved} of these"
        yield "", f"{text}; {found.arrival.pending} on the way", ""


def _arrival_lines(found: Status) -> Iterator[Line]:
    """Say whether copies arrive in time. What is not known is said so, and never green."""
    arrival = found.arrival
    if found.pending & {"fleet", "workers"}:
        return
    if arrival.hour is None or arrival.day is None:
        yield "arrival", _unseen(found), UNKNOWN_STYLE
        return
    promised = span(arrival.promised_seconds or 0.0)
    hour, day = arrival.hour, arrival.day
    ago = _pulses_ago(found)
    yield (
        "arrival",
        f"last hour: {_in_time(hour, promised)}{ago}",
        _PROMISE_STYLES[promise_of(hour)],
    )
    yield "", f"last day: {_in_time(day, promised)}", _PAST_STYLES[promise_of(day)]
    is_broken = promise_of(day) is Promise.BROKEN
    style = BAD if day.given_up else "yellow" if is_broken else ""
    yield "", f"last day: {day.late} late, {day.resent} resent, {day.given_up} given up", style
    for cause in arrival.causes:
        yield "", f"the destination cannot be looked at: {cause}", "red"
    yield from _backlog_lines(arrival)


def _account_lines(found: Status) -> Iterator[Line]:
    """Say what the last comparison of both buckets found, and how old that is."""
    account = found.last_account
    if account is None:
        if found.is_destination_set and not found.routes and "last_account" not in found.errors:
            text = "never: `oms-relay reconcile BUCKET` compares both buckets"
            yield "compared", text, UNKNOWN_STYLE
        return
    ago = span(max(0.0, found.at - account.at))
    what = "" if account.is_whole else ", not all of it"
    objects = account.objects
    text = (
        f"{ago} ago{what}: {objects[Standing.PROVED]} of {account.source_objects} objects proved, "
        f"{objects[Standing.MISSING]} missing, {objects[Standing.DIFFERENT]} different, "
        f"{objects[Standing.PENDING]} pending, {objects[Standing.UNPROVED]} unproved, "
        f"{objects[Standing.UNREADABLE]} not looked at ({account.place})"
    )
    style = BAD if account.gaps else "green" if account.is_proof else UNKNOWN_STYLE
    yield "compared", text, style


def _backlog_lines(arrival: ArrivalStatus) -> Iterator[Line]:
    if arrival.copy_backlog is None:
        yield "copy backlog", "unknown: OMS's statistics were not read", UNKNOWN_STYLE
    else:
        age = arrival.copy_backlog_seconds
        read = "" if age is None else f", read {span(age)} ago"
        by = f"OMS's statistics of the last day{read}"
        if arrival.is_backlog_of_task:
            by = "the task's counters of this month"
        yield "copy backlog", f"{arrival.copy_backlog} objects at most, by {by}", ""


def _unseen(found: Status) -> str:
    if found.arrival.sight is Sight.OFF:
        return NO_ENDPOINT
    if not found.told:
        return "unknown: no worker tells it"
    if all(each.sample.error for each in found.told):
        return "unknown: no worker answers"
    return "unknown: no worker looks (set OBS_ENDPOINT for the workers, too, and restart them)"


def _in_time(seen: ArrivalSpan, promised: str) -> str:
    if seen.share is None:
        return "unknown: no followed key was due"
    unknown = f", {seen.unknown} unknown" if seen.unknown else ""
    text = f"{percent(seen.share)} within {promised} ({seen.in_time} of {seen.followed}{unknown})"
    if seen.p50 is None or seen.p99 is None:
        return text
    return f"{text}, p50 {seen.p50:.1f} s, p99 {seen.p99:.1f} s"


def _worker_lines(worker: WorkerStatus) -> Iterator[Line]:
    sample = worker.sample
    if sample.error:
        yield "worker", f"{sample.url} does not answer: {sample.error}", BAD
        return
    working = "ready" if sample.pause is None else "paused"
    state = working if sample.is_ready else "NOT READY"
    services = ", ".join(
        f"{name} {_DOORS.get(value, value)}" for name, value in sample.services.items()
    )
    yield "worker", f"{sample.url} {state} ({services})", "green" if sample.is_ready else BAD
    yield from _flow_lines(worker)


def _flow_lines(worker: WorkerStatus) -> Iterator[Line]:
    sample, rates = worker.sample, worker.rates
    flow = f"in flight {sample.in_flight}, keys waiting {sample.keys_waiting:.0f}, "
    flow += f"oldest in hand {span(sample.oldest_in_hand_seconds)}"
    if rates is not None:
        lag = "" if rates.lag_seconds is None else f", lag {rates.lag_seconds:.1f} s"
        flow = f"in {rates.received:.1f}/s, out {rates.done:.1f}/s{lag}, {flow}"
    yield "", flow, ""
    if sample.pause is not None:
        yield "", _paused(sample.pause), "yellow"
    for reason in sample.reasons:
        yield "", reason, "red"
    for notice in sample.notices:
        yield "", notice, "yellow"


def _paused(pause: Pause) -> str:
    told = pause.as_object()
    end = told["until"] or "`oms-relay resume`"
    why = f": {pause.reason}" if pause.reason else ""
    return f"paused by {pause.by} since {told['since']} until {end}{why}"


def _fleet_lines(found: Status) -> Iterator[Line]:
    """Tell of all workers in one line, then of each: those that need a look first."""
    fleet = found.fleet
    if fleet is None:
        return
    if fleet.pause is not None:
        yield "PAUSED", _paused(fleet.pause), "bold yellow"
    if not fleet.members:
        text = "no worker has told of itself in the last day: start one (oms-relay run)"
        yield "fleet", text, BAD
    else:
        counts = fleet.counts
        parts = [f"{counts[each]} {text}" for each, text in _PRESENCES.items() if counts[each]]
        is_well = set(counts) <= {Presence.READY, Presence.STOPPED}
        style = "green" if is_well else ""
        if not fleet.live:
            parts.append("none works: start one (oms-relay run)")
            style = BAD
        yield "fleet", ", ".join(parts), style
        yield from _version_lines(fleet)
    if fleet.unread:
        yield "", f"{fleet.unread} pulses cannot be read now", "yellow"
    shown_members = [each for each in fleet.members if each.presence is not Presence.STOPPED]
    for each in shown_members[:MEMBERS_SHOWN_MAX]:
        yield from _member_lines(each)
    if len(shown_members) > MEMBERS_SHOWN_MAX:
        yield "", f"and {len(shown_members) - MEMBERS_SHOWN_MAX} more: --json has all", ""


def _version_lines(fleet: Fleet) -> Iterator[Line]:
    """Say which versions run; more than one stands out."""
    versions = sorted(fleet.versions.items(), key=lambda each: (-each[1], each[0]))
    if len(versions) == 1:
        yield "", f"version {versions[0][0]}", ""
    elif versions:
        told = ", ".join(f"{version} ({count})" for version, count in versions)
        yield "", f"mixed versions: {told}", "bold yellow"


def _member_lines(each: Member) -> Iterator[Line]:
    text = f"{each.worker} {_PRESENCES[each.presence]}, version {each.version}, "
    if each.presence is Presence.GONE:
        text += f"last seen {span(each.age_seconds)} ago, and did not say that it stops"
        yield "worker", text, BAD if each.is_trouble else _PRESENCE_STYLES[each.presence]
        return
    # Since its last pulse nobody knows of it.
    text += f"up {span(each.uptime_seconds)}{_told_ago(each.age_seconds)}"
    yield "worker", text, _PRESENCE_STYLES.get(each.presence, "")
    yield from _flow_lines(each.status)


def _told_ago(seconds: float) -> str:
    """Say how old a pulse is, where that is longer than from one pulse to the next."""
    return f", told {span(seconds)} ago" if seconds > FRESH_SECONDS else ""


def _pulses_ago(found: Status) -> str:
    """The same of all that is told by pulses together: the oldest counts."""
    if found.workers or found.fleet is None:
        return ""
    return _told_ago(max((each.age_seconds for each in found.fleet.live), default=0.0))


def failed(failure: Failure) -> str:
    """Say why a part could not be read, and what to do next."""
    what, step = told_of(failure)
    return f"{what}. Next: {step}"


def as_object(found: Status) -> dict[str, Any]:
    """Return the status as the JSON that docs/cli.md describes."""
    raw = asdict(found)
    for name in ("is_destination_set", "pending"):
        del raw[name]
    if not found.routes:
        del raw["routes"]
    if found.events is not None:
        del raw["events"]["are_routes"]
    for name in ("queue", "dead_letter_queue"):
        queue = getattr(found, name)
        if queue is not None:
            raw[name]["retention_share"] = round(queue.retention_share, 4)
    raw["fleet"] = None if found.fleet is None else fleet_as_object(found.fleet)
    raw["arrival"] = found.arrival.as_object()
    raw["levels"] = asdict(found.levels)
    raw["last_account"] = found.last_account and found.last_account.as_object()
    raw["errors"] = {name: failed(failure) for name, failure in found.errors.items()}
    raw["needs_you"] = needs_you(found)
    raw["at"] = iso(found.at)
    raw["workers"] = [_told(each) for each in found.workers]
    return raw


def fleet_as_object(fleet: Fleet) -> dict[str, Any]:
    """Return the fleet as JSON: every worker with a pulse of the last day."""
    members = [
        {
            "worker": each.worker,
            "host": each.host,
            "version": each.version,
            "state": str(each.presence),
            "age_seconds": round(each.age_seconds, 1),
            "uptime_seconds": each.uptime_seconds,
            **{name: value for name, value in _told(each.status).items() if name not in _UNTOLD},
        }
        for each in fleet.members
    ]
    return {
        "workers": members,
        "versions": dict(fleet.versions),
        "unread": fleet.unread,
        "paused": None if fleet.pause is None else fleet.pause.as_object(),
    }


def _told(worker: WorkerStatus) -> dict[str, Any]:
    sample = {name: value for name, value in asdict(worker.sample).items() if name != "at"}
    pause = worker.sample.pause
    sample["pause"] = None if pause is None else pause.as_object()
    return sample | {"rates": raw_rates(worker)}


def raw_rates(worker: WorkerStatus) -> dict[str, Any] | None:
    """Return the rates as JSON; None where they are not known."""
    return None if worker.rates is None else asdict(worker.rates)
