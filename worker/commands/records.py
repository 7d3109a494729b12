"""`records`: what became of a key, and which keys OMS refused."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from worker.commands import frame, terminal
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
from worker.ledger.line import Record
from worker.operate.connect import Clients
from worker.operate.records import RecordsOf


def find(
    key: Annotated[str, typer.Argument(help="The object key, as it stands in the bucket.")],
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the records of one key: exit code 0 if there is one, 3 if there is none.

    Record objects are always looked up. The lines of layout `log` are searched if the relay writes them
    (RELAY_RECORD_LAYOUT=log), or if --since or --until is given: the last 24 hours unless they say otherwise.

    Examples:
        oms-relay records find photos/2026/cat.jpg

        oms-relay records find photos/2026/cat.jpg --since 7d --json

    """

    async def search(clients: Clients) -> int:
        found, count = RecordsOf(clients), 0
        for record in await found.of_key(key):
            _print(record, as_json=as_json)
            count += 1
        is_timed = since is not None or until is not None
        if is_timed or clients.settings.record_layout == "log":
            async for record in found.in_logs(key, since, until):
                _print(record, as_json=as_json)
                count += 1
        return count

    if not frame.run(search):
        frame.stop_because(
            f"no record of {shown(key)!r}: it was not posted yet, under another spelling, or before --since. "
            "`oms-relay dead list --key PREFIX` looks among the dead letters.",
            frame.EXIT_NOTHING_FOUND,
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
