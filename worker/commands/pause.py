"""`pause` and `resume`: let the whole fleet take nothing for a while."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from worker.commands import frame
from worker.commands.terminal import console, shown
from worker.ledger.pause import PAUSE_SECONDS_MAX, TEXT_CHARS_MAX, Pause
from worker.operate.connect import Clients
from worker.operate.parse_time import parse_span
from worker.operate.pause import Pauses, whoever_types


def _span(text: str) -> float:
    try:
        return parse_span(text, PAUSE_SECONDS_MAX)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def pause(
    *,
    for_seconds: Annotated[
        float | None,
        typer.Option(
            "--for",
            parser=_span,
            metavar="TIME",
            help="So long: 90s, 15m, 2h, 1d; else until resume.",
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; every worker shows it.")
    ] = "",
) -> None:
    """Let all workers of the task take no more messages: they finish what is in hand, and stay alive.

    They stop within 10 seconds, also those that start later. Messages wait in the queue meanwhile. A
    second pause replaces the first.

    Examples:
        oms-relay pause --for 2h --reason "the destination is being moved"

        oms-relay pause

    """

    async def begin(clients: Clients) -> Pause:
        return await Pauses(clients).begin(whoever_types(), reason[:TEXT_CHARS_MAX], for_seconds)

    begun = frame.run(begin)
    end = "until `oms-relay resume`" if begun.until is None else f"until {_time(begun.until)} UTC"
    console().print(
        shown(
            f"The fleet is paused {end}: workers take nothing from within 10 seconds on, and finish what "
            "is in hand. Next: oms-relay status shows them."
        )
    )


def resume() -> None:
    """End a pause: all workers take messages again within 10 seconds.

    Examples:
        oms-relay resume

    """

    async def end(clients: Clients) -> bool:
        return await Pauses(clients).end(whoever_types())

    if frame.run(end):
        console().print("The pause is over: workers take messages again within 10 seconds.")
    else:
        console().print("The fleet was not paused. Nothing was done.")


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
