"""`records`: what became of a key, and which keys OMS refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from worker.commands import frame, terminal
from worker.commands.ending import Ending
from worker.commands.listing import print_listing
from worker.commands.options import (
    LIMIT,
    JsonOption,
    KeyOption,
    LimitOption,
    SinceOption,
    UntilOption,
    check_text,
)
from worker.commands.terminal import console, shown, time_shown
from worker.errors import CallFailed
from worker.ledger.line import Record
from worker.operate.compact import Compacted, Compaction
from worker.operate.connect import Clients
from worker.operate.parse_time import parse_span
from worker.operate.records import RecordsOf, Searched, Unread

UNREAD_SHOWN = 10
WITHIN_SECONDS = 60.0
WITHIN_SECONDS_MAX = 86_400.0


def _span(text: str) -> float:
    try:
        return parse_span(text, WITHIN_SECONDS_MAX)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def find(
    key: Annotated[str, typer.Argument(help="The object key, as it stands in the bucket.")],
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    within: Annotated[
        float | None,
        typer.Option(
            "--within",
            parser=_span,
            metavar="TIME",
            help="Search the logs no longer than this: 30s, 5m, 1h; one minute unless told.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the records of one key: exit code 0 if there is one, 3 if there is none, 4 if not all was read.

    Record objects are always looked up. The lines of layout `log` are searched if the relay writes them
    (RELAY_RECORD_LAYOUT=log), or if --since or --until is given: the last 24 hours unless they say otherwise.

    Examples:
        oms-relay records find photos/2026/cat.jpg

        oms-relay records find photos/2026/cat.jpg --since 7d --json

    """
    search = _Search(key, since, until, within or WITHIN_SECONDS, as_json=as_json)
    frame.run(search.run)
    search.end()


class _Search:
    """One search: prints what it finds, and says at the end what was not looked at."""

    def __init__(
        self, key: str, since: float | None, until: float | None, within: float, *, as_json: bool
    ) -> None:
        self._key, self._since, self._until, self._within = key, since, until, within
        self._as_json = as_json
        self._count = 0
        self._unread: list[Unread] = []
        self._searched = Searched()

    async def run(self, clients: Clients) -> None:
        """Look among the record objects, then in the logs if they are asked for."""
        records = RecordsOf(clients)
        for record in await records.of_key(self._key, self._unread):
            self._take(record)
        is_timed = self._since is not None or self._until is not None
        if is_timed or clients.settings.record_layout == "log":
            self._searched = await records.search_logs(
                self._key,
                self._take,
                since=self._since,
                until=self._until,
                seconds=self._within,
            )

    def _take(self, record: Record) -> None:
        self._count += 1
        _print(record, as_json=self._as_json)

    def end(self) -> None:
        """Exit by what was found, and say what is not known."""
        unread = self._unread + self._searched.unread
        _tell_unread(unread)
        if self._searched.is_cut:
            typer.echo(f"oms-relay: {self._cut()}", err=True)
        if unread:
            frame.stop_because(
                f"{len(unread)} objects cannot be read. {self._doubt()}", frame.EXIT_FAILED
            )
        if self._searched.is_cut:
            frame.stop_because(self._doubt(), frame.EXIT_NOT_ALL)
        if not self._count:
            frame.stop_because(
                f"no record of {shown(self._key)!r}: it was not posted yet, under another spelling, or "
                "before --since. `oms-relay dead list --key PREFIX` looks among the dead letters.",
                frame.EXIT_NOTHING_FOUND,
            )

    def _cut(self) -> str:
        searched = self._searched
        reached = f", up to those of {searched.reached} UTC" if searched.reached else ""
        return (
            f"the time of --within ({self._within:.0f} s) is over. {searched.objects} log objects "
            f"were read{reached}; what was not read may hold more. Go on from there with --since, choose a "
            "shorter time, or give it longer: --within 30m."
        )

    def _doubt(self) -> str:
        what = f"{self._count} records" if self._count else "no record"
        return (
            f"{what} of {shown(self._key)!r} in what was read; whether there are more is not known."
        )


def failed(
    *,
    key: KeyOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = LIMIT,
    as_json: JsonOption = False,
) -> None:
    """List the keys that OMS refused, with the reason of each, as they are read.

    A key that was accepted later keeps its failed record until its dead letter is redriven.

    Examples:
        oms-relay records failed --since 24h

        oms-relay records failed --key photos/ --limit 0 --json

    """
    check_text(key)

    async def list_them(clients: Clients) -> None:
        await print_listing(
            RecordsOf(clients).failed(key_prefix=key, since=since, until=until),
            {"POSTED (UTC)": 19, "KEY": 0, "REASON": 40},
            lambda record: (time_shown(record.posted_at), record.key, record.reason),
            asdict,
            limit=limit,
            as_json=as_json,
            nothing="No failed records match.",
        )

    frame.run(list_them)


def compact(*, as_json: JsonOption = False) -> None:
    """Lay the lines of layout `log` by their keys, so that `records find` needs a few reads for a day.

    Run it every hour or more often (cron, a CronJob). It may be stopped or killed at any moment, and run
    twice at once: a log object is deleted only when its lines stand in a confirmed run. Lines stay byte
    for byte, also damaged ones. The first Ctrl-C finishes the step in hand.

    Examples:
        oms-relay records compact

    """
    ending = Ending("Finishing the step in hand; Ctrl-C again leaves at once, and loses nothing.")
    done = Compacted()

    async def run(clients: Clients) -> None:
        nonlocal done
        compaction = Compaction(clients)
        done = compaction.done
        async with ending.heard(clients):
            await compaction.run()

    def tell() -> None:
        if as_json:
            terminal.line({**asdict(done), "unread": [each.name for each in done.unread]})
        else:
            console().print(
                f"{done.objects} log objects with {done.lines} lines became {done.runs} runs; "
                f"{done.merged} runs were merged."
            )
        _tell_unread(done.unread)
        if done.unread:
            typer.echo(
                f"oms-relay: {len(done.unread)} objects cannot be read, and stay as they are.",
                err=True,
            )

    ending.run(run, tell, lambda: not done.unread)


def _tell_unread(unread: Sequence[Unread]) -> None:
    for each in unread[:UNREAD_SHOWN]:
        why = frame.told(CallFailed(each.failure))
        typer.echo(f"oms-relay: unreadable, {shown(each.name)}: {why}", err=True)


def _print(record: Record, *, as_json: bool) -> None:
    if as_json:
        terminal.line(asdict(record))
        return
    out = console()
    style = "green" if record.outcome == "accepted" else "bold red"
    out.print(Text(record.outcome, style=style).append(f"  {shown(record.key)}", style="bold"))
    story = {
        "posted": f"{time_shown(record.posted_at)} UTC",
        "reason": record.reason,
        "event": record.event_time,
        "ETag": record.etag,
        "message": record.message_id,
        "OMS request": record.oms_request_id,
        "attempts": str(record.attempts or ""),
        "stands at": record.name,
    }
    for name, value in story.items():
        if value:
            out.print(Text(f"  {name:<12} {shown(value)}"))
