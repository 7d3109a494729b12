"""The options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands import frame
from worker.ledger.letter import Cause
from worker.operate.letters import LetterFilter

CauseOption = Annotated[Cause | None, typer.Option("--cause", help="Only letters of this cause.")]
GroupOption = Annotated[
    str, typer.Option("--group", help="Only letters of this group, as `dead groups` names it.")
]
KeyOption = Annotated[str, typer.Option("--key", help="Only keys that begin so.", metavar="PREFIX")]
SinceOption = Annotated[
    float | None,
    typer.Option(
        "--since",
        parser=frame.time_option,
        metavar="AGE|TIME",
        help="Only from then on: 15m, 24h, 7d, or an ISO 8601 time.",
    ),
]
UntilOption = Annotated[
    float | None,
    typer.Option(
        "--until",
        parser=frame.time_option,
        metavar="AGE|TIME",
        help="Only up to then.",
    ),
]
ArchivedOption = Annotated[
    bool, typer.Option("--archived", help="Look at the archived letters instead.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object on each line.")]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Message ids, or how they begin; none for all that match."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing, say what would be.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
CanaryOption = Annotated[
    int | None,
    typer.Option("--canary", min=1, metavar="N", help="Only the first N, to watch them."),
]
RateOption = Annotated[
    float | None,
    typer.Option("--rate", parser=frame.rate, metavar="N/s", help="At most so many a second."),
]
LIMIT = 50
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0 for all.")]


def wanted_from(
    cause: Cause | None,
    group: str,
    key: str,
    since: float | None,
    until: float | None,
    ids: tuple[str, ...] = (),
) -> LetterFilter:
    """Return what the options ask for. Raises `typer.BadParameter` for text that no key can hold."""
    check_text(key)
    return LetterFilter(str(cause or ""), group.lower(), key, since, until, ids)


def check_text(key: str) -> None:
    """Refuse text that no key can hold: Python keeps bytes that are no UTF-8 as halves of surrogate pairs."""
    try:
        key.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("--key is not UTF-8 text") from None
