"""The operators' commands: each parses, calls `worker.operate` and prints; none decides anything."""

from __future__ import annotations

import typer

from worker.commands.console import console
from worker.commands.dead import groups, list_letters
from worker.commands.dead_moves import archive, redrive, unarchive
from worker.commands.dead_show import show
from worker.commands.doctor import doctor
from worker.commands.options import routed
from worker.commands.pause import pause, resume
from worker.commands.reconcile import reconcile
from worker.commands.records import compact, failed, find
from worker.commands.status import status

DEAD = "Dead letters: messages that could not be finished, kept whole in the log bucket."
RECORDS = "Records: what became of each key, as the relay wrote it to the log bucket."


def register(commands: typer.Typer) -> None:
    """Add the operators' commands to the program's."""
    commands.command("doctor")(routed(doctor))
    commands.command("status")(status)
    commands.command("pause")(pause)
    commands.command("resume")(resume)
    commands.command("reconcile")(routed(reconcile))
    commands.command("console")(routed(console))
    dead = typer.Typer(help=DEAD, no_args_is_help=True)
    dead.command("groups")(routed(groups))
    dead.command("list")(routed(list_letters))
    dead.command("show")(routed(show))
    dead.command("redrive")(routed(redrive))
    dead.command("archive")(routed(archive))
    dead.command("unarchive")(routed(unarchive))
    commands.add_typer(dead, name="dead")
    records = typer.Typer(help=RECORDS, no_args_is_help=True)
    records.command("find")(routed(find))
    records.command("failed")(routed(failed))
    records.command("compact")(routed(compact))
    commands.add_typer(records, name="records")
