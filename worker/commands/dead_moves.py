"""`dead redrive`, `dead archive`, `dead unarchive`."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.bulk import Job
from worker.commands.options import (
    CanaryOption,
    DryRunOption,
    JsonOption,
    RateOption,
    YesOption,
    choosing_letters,
)
from worker.operate.letters import LetterFilter
from worker.operate.redrive import Limits


@choosing_letters(by_id=True)
def redrive(
    wanted: LetterFilter,
    *,
    canary: CanaryOption = None,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send letters back to the queue, byte for byte, and put them into the archive.

    Each is sent and confirmed first and moved then; what was sent is not sent again by another run.
    Ctrl-C finishes what is in hand, and says what is done and what is left.

    Examples:
        oms-relay dead redrive --group a1f3c2 --dry-run

        oms-relay dead redrive --group a1f3c2 --canary 5

        oms-relay dead redrive --since 24h --rate 50/s --yes

    """
    job = Job("redrive", "redriven", lambda moves, *rest: moves.redrive(*rest))
    job.run(wanted, Limits(canary, rate, dry_run), is_sure=yes, as_json=as_json)


@choosing_letters(by_id=True)
def archive(
    wanted: LetterFilter,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stays with each letter.")] = "",
    canary: CanaryOption = None,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put letters away without sending them; `dead unarchive` brings them back.

    Examples:
        oms-relay dead archive --cause undecodable --reason "test events"

        oms-relay dead archive 1F6E2A --yes

    """
    job = Job(
        "archive",
        "archived",
        lambda moves, *rest: moves.archive(*rest, reason=reason),
        reason=reason,
    )
    job.run(wanted, Limits(canary, rate, dry_run), is_sure=yes, as_json=as_json)


@choosing_letters(by_id=True)
def unarchive(
    wanted: LetterFilter,
    *,
    redriven: Annotated[
        bool, typer.Option("--redriven", help="Also those that were redriven, to send them again.")
    ] = False,
    canary: CanaryOption = None,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring letters back from the archive; a redriven one only with --redriven, or if named by its id.

    A redriven one can then be sent again, and the relay posts its keys again.

    Examples:
        oms-relay dead unarchive 1F6E2A

        oms-relay dead unarchive --cause undecodable --since 7d --dry-run

    """
    job = Job(
        "unarchive",
        "brought back",
        lambda moves, *rest: moves.unarchive(*rest, redriven=redriven),
        redriven=redriven,
    )
    job.run(wanted, Limits(canary, rate, dry_run), is_sure=yes, as_json=as_json)
