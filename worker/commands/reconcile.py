"""`reconcile`: is everything across? The source against the destination, or against the records."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker.commands import frame
from worker.commands.options import (
    LIMIT,
    DryRunOption,
    JsonOption,
    KeyOption,
    LimitOption,
    RateOption,
    YesOption,
    check_text,
)
from worker.commands.reconcile_destination import Wishes, compare_with_destination
from worker.commands.reconcile_records import compare_with_records
from worker.events.decode import is_bucket
from worker.operate.delete_extra import DELETIONS_MAX
from worker.operate.destination_reconcile import Standing
from worker.operate.lanes import LANES_MAX
from worker.operate.reconcile import State

PROCESSES_MAX = 64
SAMPLE_MAX = 100_000
DELETE_MAX = 1_000_000
SINCE, UNTIL, KEPT = "24h", "5m", "90d"


class Against(StrEnum):
    """What the source is compared with."""

    DESTINATION = "destination"
    RECORDS = "records"


class Shown(StrEnum):
    """The states that can be shown: those of a comparison with the destination, then those with records."""

    MISSING = "missing"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"
    PENDING = "pending"
    UNPROVED = "unproved"
    PROVED = "proved"
    EXTRA = "extra"
    CHANGED = "changed"
    REFUSED = "refused"
    RECORDED = "recorded"
    GONE = "gone"
    EXPIRED = "expired"


def reconcile(
    bucket: Annotated[str, typer.Argument(help="The source bucket.")],
    *,
    against: Annotated[
        Against | None,
        typer.Option(
            "--with", help="What to compare with. Else the destination, if OBS_ENDPOINT is set."
        ),
    ] = None,
    key: KeyOption = "",
    since: Annotated[
        str | None,
        typer.Option(
            metavar="AGE|TIME", help="Only changes from then on. With records: 24h, if not said."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="AGE|TIME", help="Only changes up to then. With records: 5m, if not said."
        ),
    ] = None,
    kept: Annotated[
        str,
        typer.Option(metavar="AGE", help="With records: how long the log bucket keeps them."),
    ] = KEPT,
    show: Annotated[
        list[Shown] | None,
        typer.Option(help="Show these; may be repeated. Else the signs + * and !."),
    ] = None,
    limit: LimitOption = LIMIT,
    deep: Annotated[
        bool, typer.Option("--deep", help="Look for the CRC64 of both sides of every ?.")
    ] = False,
    sample: Annotated[
        int, typer.Option(min=0, max=SAMPLE_MAX, metavar="N", help="The same for N ? at random.")
    ] = 0,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a line of JSON for each name but = to a new file."
        ),
    ] = None,
    expect: Annotated[
        int, typer.Option(min=0, metavar="N", help="About so many objects: shows the time left.")
    ] = 0,
    lanes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LANES_MAX,
            metavar="N",
            help="So many ranges of names side by side. Else as many as the services bear.",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=PROCESSES_MAX, metavar="N", help="So many processes, for so many cores."
        ),
    ] = 1,
    unordered: Annotated[
        bool, typer.Option("--unordered", help="Tell what is found as it is found.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep where it stands in this file, and go on from there. Implies --unordered.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from where the last run with these options stopped."),
    ] = False,
    send: Annotated[
        bool, typer.Option("--send", help="Send an event for each gap, for the relay to post.")
    ] = False,
    delete_extra: Annotated[
        bool,
        typer.Option("--delete-extra", help="Delete from the destination what is in it only."),
    ] = False,
    delete_max: Annotated[
        int, typer.Option(min=1, max=DELETE_MAX, metavar="N", help="Delete none if there are more.")
    ] = DELETIONS_MAX,
    dry_run: DryRunOption = False,
    rate: RateOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a source bucket with its destination, or with the records. Exit code 0: all is there. 1: gaps.

    It is 4 where nothing is wrong and not all is proved: with --since, --until, or expired records; with the
    destination also with any `?` or `~`, or where there is nothing to compare.

    With the destination all objects are compared, by two listings. `=` is the same, proved by checksums; `?`
    has equal size and is not older, and nothing proves it; `~` changed too lately to judge; `+` is missing;
    `*` differs or is older; `-` is in the destination only; `!` could not be looked at.

    With records it looks at changes from --since to --until, by OSS's clock. `=` is recorded; `+` has no
    record; `*` is another state than what was recorded; `!` was refused by OMS, or its record cannot be
    read; `-` is gone: recorded, but no longer in the bucket. OMS deletes nothing, so OBS may still have it.
    `?` changed before the oldest record that is kept.

    Examples:
        oms-relay reconcile my-photos

        oms-relay reconcile my-photos --with destination --sample 1000 --report gaps.jsonl

        oms-relay reconcile my-photos --with destination --delete-extra --dry-run

        oms-relay reconcile my-photos --key 2026/ --since 7d --show gone --limit 0 --json

        oms-relay reconcile my-photos --send --rate 100/s --yes

    """
    check_text(key)
    if not is_bucket(bucket):
        raise typer.BadParameter(f"{bucket!a} is no bucket name", param_hint="BUCKET")
    if state and resume:
        raise typer.BadParameter("--state FILE goes on by itself: --resume is without a file")
    frame.require_own_part(bucket, key)
    if (against or _usual()) is Against.RECORDS:
        others = {
            "--deep": deep,
            "--sample": sample,
            "--report": report,
            "--expect": expect,
            "--delete-extra": delete_extra,
            "--lanes": lanes,
            "--processes": processes - 1,
            "--unordered": unordered,
        }
        for name in (name for name, value in others.items() if value):
            raise typer.BadParameter(f"{name} needs --with destination, and OBS_ENDPOINT set")
        compare_with_records(
            bucket,
            key=key,
            since=since or SINCE,
            until=until or UNTIL,
            kept=kept,
            show=[State(each) for each in _of(State, show)],
            limit=limit,
            send=send,
            dry_run=dry_run,
            rate=rate,
            yes=yes,
            as_json=as_json,
            state=state,
            resume=resume,
        )
        return
    wishes = Wishes(
        bucket,
        key,
        since,
        until,
        frozenset(Standing(each) for each in _of(Standing, show)),
        limit,
        is_deep=deep,
        sample=sample,
        report=report,
        expected=expect,
        is_sending=send,
        is_deleting=delete_extra,
        deletions_max=delete_max,
        is_dry_run=dry_run,
        rate=rate,
        is_sure=yes,
        as_json=as_json,
        lanes=lanes,
        processes=processes,
        is_unordered=unordered,
        state=state,
        is_resuming=resume,
    )
    compare_with_destination(wishes)


def _usual() -> Against:
    has_destination = frame.chosen_settings().obs_endpoint is not None
    return Against.DESTINATION if has_destination else Against.RECORDS


def _of(kind: type[StrEnum], show: list[Shown] | None) -> list[Shown]:
    """Return what is to be shown; raises `typer.BadParameter` for a state of the other comparison."""
    known = {str(each) for each in kind}
    for each in show or ():
        if each not in known:
            raise typer.BadParameter(
                f"{each} is a state of the other comparison; here there are {', '.join(sorted(known))}"
            )
    return show or []
