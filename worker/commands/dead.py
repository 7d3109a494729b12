"""`dead`: the dead letters, by group or one by one, and back to the queue or away."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import typer
from rich.text import Text

from worker.commands import frame, terminal
from worker.commands.listing import print_listing
from worker.commands.options import (
    LIMIT,
    ArchivedOption,
    JsonOption,
    LimitOption,
    choosing_letters,
)
from worker.commands.terminal import Rows, console, shown, time_shown
from worker.ledger.letter import Cause, Letter, Place
from worker.operate.connect import Clients
from worker.operate.letters import Group, Grouping, LetterFilter, Letters

UNREADABLE_SHOWN = 10


@choosing_letters(by_id=False)
def groups(
    wanted: LetterFilter,
    *,
    archived: ArchivedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the letters by cause and kind of error: how many, since when, and one of each to look at.

    Examples:
        oms-relay dead groups

        oms-relay dead groups --since 24h --key photos/

    """
    grouping = Grouping()
    frame.run(lambda clients: Letters(clients).group(grouping, wanted, _place(archived)))
    found = grouping.groups()
    if as_json:
        for each in found:
            terminal.line(asdict(each))
    else:
        _print_groups(found, archived=archived)
    _tell_unreadable(grouping.unreadable, grouping.unreadable_count)


@choosing_letters(by_id=False)
def list_letters(
    wanted: LetterFilter,
    *,
    archived: ArchivedOption = False,
    limit: LimitOption = LIMIT,
    as_json: JsonOption = False,
) -> None:
    """List letters by cause and day, as they are read: any number of them fits in memory.

    Examples:
        oms-relay dead list --cause rejected --since 24h

        oms-relay dead list --limit 0 --json | jq -r .id

    """
    unreadable: list[Letter] = []

    async def read(clients: Clients) -> AsyncGenerator[Letter]:
        async with aclosing(Letters(clients).read(wanted, _place(archived))) as letters:
            async for letter in letters:
                if letter.body is None:
                    unreadable.append(letter)
                yield letter

    async def list_them(clients: Clients) -> None:
        await print_listing(
            read(clients),
            {"ID": 12, "GROUP": 6, "CAUSE": 14, "DIED (UTC)": 19, "KEYS": 0},
            _row,
            as_object,
            limit=limit,
            as_json=as_json,
            nothing=f"No {_named(archived)} match.",
        )

    frame.run(list_them)
    _tell_unreadable(unreadable[:UNREADABLE_SHOWN], len(unreadable))


def _tell_unreadable(letters: Sequence[Letter], count: int) -> None:
    """Say which letters could not be read, and why; raises `typer.Exit` if there are any."""
    if not count:
        return
    for letter in letters:
        typer.echo(f"oms-relay: {letter.ref.name}: {shown(letter.error)}", err=True)
    frame.stop_because(
        f"{_counted(count, 'letter')} of these cannot be read; all others are told. What is damaged can be "
        "archived; the rights and the state of the objects say why the others cannot.",
        frame.EXIT_FAILED,
    )


def _print_groups(found: list[Group], *, archived: bool) -> None:
    out = console()
    if not found:
        out.print(f"No {_named(archived)} match. Nothing to do.")
        return
    rows = Rows({"GROUP": 6, "COUNT": 7, "CAUSE": 14, "FIRST - LAST (UTC)": 19, "ERROR": 0}, out)
    for each in found:
        times = f"{time_shown(each.first_seen)}\n{time_shown(each.last_seen)}"
        sample = f"{each.sample_id[:12]} {shown(each.sample_key)}"
        error = Text(f"{shown(each.error)}\n").append(f"e.g. {sample}", style="dim")
        rows.add(each.group, str(each.count), each.cause, Text(times), error)
    rows.flush()
    first = found[0]
    count = sum(each.count for each in found)
    out.print(f"\n{_counted(count, 'letter')} in {_counted(len(found), 'group')}.")
    if not archived:
        verb = next_verb(first.cause)
        out.print(
            f"Next: oms-relay dead show {first.sample_id[:12]}, or "
            f"oms-relay dead {verb} --group {first.group} --dry-run"
        )


def next_verb(cause: str) -> str:
    """Return what letters of this cause are for: what cannot be read once cannot be read the next time."""
    return "archive" if cause == Cause.UNDECODABLE else "redrive"


def as_object(letter: Letter) -> dict[str, Any]:
    """Return the letter as the JSON that docs/cli.md describes; without the body."""
    return {
        "id": letter.ref.message_id,
        "cause": letter.ref.cause,
        "day": letter.ref.day,
        "is_archived": letter.ref.place is Place.ARCHIVED,
        "group": letter.group,
        "error": letter.error,
        "keys": list(letter.keys),
        "key_errors": dict(letter.key_errors),
        "attempts": letter.attempts,
        "worker": letter.worker,
        "enqueued_at": letter.enqueued_at,
        "died_at": letter.died_at,
        "moved_at": letter.moved_at,
        "redriven_as": letter.redriven_as,
        "reason": letter.reason,
    }


def _row(letter: Letter) -> tuple[str | Text, ...]:
    keys = "\n".join(shown(key) for key in letter.keys[:3])
    more = f"\n… and {len(letter.keys) - 3} more" if len(letter.keys) > 3 else ""
    what = Text(keys + more) if letter.keys else Text(shown(letter.error), style="dim")
    ref = letter.ref
    return (ref.message_id[:12], letter.group, ref.cause, time_shown(letter.died_at), what)


def _place(archived: bool) -> Place:
    return Place.ARCHIVED if archived else Place.DEAD


def _named(archived: bool) -> str:
    return "archived letters" if archived else "dead letters"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
