"""The options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from worker.commands import frame
from worker.ledger.letter import Cause
from worker.operate.letters import BadId, LetterFilter, require_ids

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
    typer.Argument(
        help="Message ids, or at least their first 6 characters; none for all that match."
    ),
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


def letter_filter(
    ids: IdsArgument = None,
    *,
    cause: CauseOption = None,
    group: GroupOption = "",
    key: KeyOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
) -> LetterFilter:
    """Return what the options ask for. Raises `typer.BadParameter` for text that no key can hold."""
    check_text(key)
    try:
        require_ids(ids or ())
    except BadId as error:
        raise typer.BadParameter(str(error)) from None
    return LetterFilter(str(cause or ""), group, key, since, until, tuple(ids or ()))


def choosing_letters(*, by_id: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take the options of `letter_filter`, before its own; it gets the filter as `wanted`."""
    chosen = dict(inspect.signature(letter_filter, eval_str=True).parameters)
    if not by_id:
        del chosen["ids"]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        taken = [*chosen.values(), *(each for name, each in own.items() if name != "wanted")]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            wanted = letter_filter(**{name: given.pop(name) for name in chosen})
            command(wanted, **given)

        # What the command line is made from.
        run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in taken}
        return run

    return decorate


RouteOption = Annotated[
    str,
    typer.Option(
        "--route",
        metavar="NAME",
        help="Of several routes (RELAY_ROUTES), this one; `unrouted` for what none takes.",
    ),
]


def routed(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take `--route` and see the clients of that route; where there are several, it has to."""
    own = inspect.signature(command, eval_str=True).parameters
    route = inspect.Parameter(
        "route", inspect.Parameter.KEYWORD_ONLY, default="", annotation=RouteOption
    )

    @functools.wraps(command)
    def run(**given: Any) -> None:
        with frame.on_route(given.pop("route")):
            command(**given)

    run.__signature__ = inspect.Signature([*own.values(), route])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own.values(), route)}
    return run


def check_text(key: str) -> None:
    """Refuse text that no key can hold: Python keeps bytes that are no UTF-8 as halves of surrogate pairs."""
    try:
        key.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("--key is not UTF-8 text") from None
