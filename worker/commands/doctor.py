"""`doctor`: one line for each thing that has to be right, with what would mend it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker.commands import frame, terminal
from worker.commands.terminal import STYLES, console, row_printed, shown
from worker.errors import Fatal
from worker.operate.check import Check, CheckStatus
from worker.operate.connect import Clients
from worker.operate.doctor import DoctorOptions, examine
from worker.operate.network import Network

# The longest name is mns.dead_letter_queue.receive: whoever searches for a name finds it whole.
COLUMN_WIDTHS = (7, 29)


def doctor(
    *,
    post: Annotated[
        str, typer.Option("--post", metavar="KEY", help="Post this key to OMS, which copies it.")
    ] = "",
    receive: Annotated[
        bool, typer.Option("--receive", help="Receive a waiting message, and give it back.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with all checks.")
    ] = False,
) -> None:
    """Check settings, network, clock, queue, log bucket and task; post nothing.

    One small object is written to the log bucket and deleted again; everything else only looks.

    Exit code 0: all well, or warnings only. 1: a failure. 2: the settings cannot be read. A key that a
    service refuses is not used again: the checks that need it are skipped.

    Examples:
        oms-relay doctor

        oms-relay doctor --post photos/2026/cat.jpg

        oms-relay doctor --json | jq '.checks[] | select(.verdict == "failure")'

    """
    found: list[Check] = []
    if as_json:
        _require_settings()

    async def print_checks(clients: Clients) -> None:
        out = console()
        async for check in examine(
            clients,
            Network(clients.clock, proxies=clients.settings.proxies),
            DoctorOptions(post, receive),
        ):
            found.append(check)
            if not as_json:
                _print(check, out)

    frame.run(print_checks)
    _print_object(found) if as_json else _print_counts(found)
    if any(check.verdict is CheckStatus.FAILURE for check in found):
        raise typer.Exit(frame.EXIT_FAILED)


def _print_counts(found: list[Check]) -> None:
    counts = Counter(check.verdict for check in found)
    told = ", ".join(_counted(each, counts[each]) for each in CheckStatus if counts[each])
    console().print(f"\n{told}.")
    # Last, where it is seen first.
    for verdict in (CheckStatus.WARNING, CheckStatus.FAILURE):
        if names := [check.name for check in found if check.verdict is verdict]:
            console().print(f"{verdict.capitalize()}: {', '.join(dict.fromkeys(names))}.")


def _counted(verdict: CheckStatus, count: int) -> str:
    is_noun = verdict in (CheckStatus.WARNING, CheckStatus.FAILURE)
    return f"{count} {verdict}{'s' if is_noun and count > 1 else ''}"


def _require_settings() -> None:
    try:
        frame.reading()()
    except Fatal as error:
        problems = getattr(error, "problems", (str(error),))
        _print_object(
            [Check("settings", CheckStatus.FAILURE, each, "docs/settings.md") for each in problems]
        )
        raise typer.Exit(frame.EXIT_TO_MEND) from None


def _print(check: Check, out: Console) -> None:
    if check.route:
        check = replace(check, name=f"{check.route} {check.name}")
    verdict = Text(check.verdict, style=STYLES[check.verdict])
    name, detail = Text(check.name, style="bold"), Text(shown(check.detail))
    row_printed(out, COLUMN_WIDTHS, (verdict, name, detail))
    if check.fix:
        fix = Text(f"{'fix':>{COLUMN_WIDTHS[1]}}", style="bold")
        row_printed(out, COLUMN_WIDTHS, ("", fix, Text(shown(check.fix))))


def _print_object(checks: list[Check]) -> None:
    counts = {str(each): sum(check.verdict is each for check in checks) for each in CheckStatus}
    told = [
        {name: value for name, value in asdict(check).items() if value or name != "route"}
        for check in checks
    ]
    terminal.line({"checks": told, "counts": counts})
