"""A bulk action on dead letters: asks before it acts, shows progress, stops cleanly, says what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeAlias, cast

import typer

from worker.commands import frame, terminal
from worker.commands.ending import Ending
from worker.commands.terminal import Rows, console, progress
from worker.errors import CallFailed
from worker.operate.audit import Act, AuditFolder
from worker.operate.connect import Clients
from worker.operate.letters import Group, Grouping, LetterFilter
from worker.operate.pause import whoever_types
from worker.operate.redrive import Limits, Move, Moves, Outcome
from worker.operate.sample import Sample, command_of

TROUBLES_SHOWN = 10
FINISHING = "Finishing what is in hand; Ctrl-C again leaves at once."
MOVABLE = (Outcome.WOULD, Outcome.ALREADY)

Start: TypeAlias = Callable[[Moves, LetterFilter, Limits], AsyncIterator[Move]]


class Job:
    """One bulk action from the question to the account."""

    def __init__(
        self, verb: str, done: str, start: Start, *, reason: str = "", redriven: bool = False
    ) -> None:
        self._verb, self._done, self._start = verb, done, start
        self._reason, self._redriven = reason, redriven
        self._counts: Counter[Outcome] = Counter()
        self._troubles: list[Move] = []
        self._ending = Ending(FINISHING)
        self._sample = Sample()
        self._unknown_ids: tuple[str, ...] = ()
        self._in_hand = 0

    def run(self, wanted: LetterFilter, limits: Limits, *, is_sure: bool, as_json: bool) -> None:
        """Ask, move and tell; raises `typer.Exit` unless all went well."""
        total = None
        if not is_sure and not limits.is_dry_run:
            # What was counted is moved, and nothing that came while somebody thought about it.
            total, wanted = self._ask(wanted, limits)
        self._ending.run(
            lambda clients: self._move(clients, wanted, limits, total, as_json=as_json),
            lambda: self._tell(wanted, limits, as_json=as_json),
            lambda: not (self._counts[Outcome.KEPT] or self._counts[Outcome.SENT]),
        )
        if self._unknown_ids:
            raise typer.Exit(frame.EXIT_NOTHING_FOUND)

    def _ask(self, wanted: LetterFilter, limits: Limits) -> tuple[int, LetterFilter]:
        frame.require_somebody(f"dead {self._verb}")
        grouping, sample = Grouping(), Sample()

        async def count(clients: Clients) -> tuple[str, ...]:
            moves = Moves(clients)
            async for move in self._start(moves, wanted, Limits(is_dry_run=True)):
                if move.outcome in MOVABLE:
                    grouping.add(move.letter)
                    sample.add(move.letter)
            return moves.unknown_ids

        self._unknown_ids = frame.run(count)
        _tell_unknown(self._unknown_ids)
        if not grouping.count:
            console().print("No letters match. Nothing to do.")
            raise typer.Exit(frame.EXIT_NOTHING_FOUND if self._unknown_ids else 0)
        _print_groups(grouping.groups())
        total = min(grouping.count, limits.count or grouping.count)
        question = f"{self._verb} {total} of these {grouping.count} letters?"
        typer.confirm(question, abort=True, err=True)
        return total, replace(wanted, chosen=sample.chosen)

    async def _move(
        self,
        clients: Clients,
        wanted: LetterFilter,
        limits: Limits,
        total: int | None,
        *,
        as_json: bool,
    ) -> None:
        by = whoever_types()
        act = Act(self._verb, by, wanted, limits, self._reason, _typed(wanted))
        folder = AuditFolder(clients)
        async with self._ending.heard(clients):
            if not limits.is_dry_run:
                await folder.write(self._verb, "-begun", act.as_object("begun"))
            moves = Moves(clients, by=by, say=lambda text: typer.echo(text, err=True))
            try:
                await self._count_all(moves, wanted, limits, total, as_json=as_json)
            finally:
                for move in moves.untold():
                    self._count(move, as_json=as_json)
                self._in_hand = moves.in_hand
                self._unknown_ids = self._unknown_ids or moves.unknown_ids
        if not limits.is_dry_run:
            await self._write_end(folder, act, clients)

    async def _count_all(
        self,
        moves: Moves,
        wanted: LetterFilter,
        limits: Limits,
        total: int | None,
        *,
        as_json: bool,
    ) -> None:
        begun = cast("AsyncGenerator[Move, None]", self._start(moves, wanted, limits))
        with progress(self._verb, total) as bar:
            async with aclosing(begun):
                async for move in begun:
                    self._count(move, as_json=as_json)
                    if bar is not None:
                        bar.advance(bar.tasks[0].id)

    async def _write_end(self, folder: AuditFolder, act: Act, clients: Clients) -> None:
        state = "stopped" if clients.stop.is_set() else "failed" if self._ending.failed else "done"
        counts = {str(each): number for each, number in self._counts.items()}
        told = {"state": state, "counts": counts, "error": self._ending.failed}
        try:
            await folder.write(self._verb, "-ended", act.as_object("ended") | told)
        except CallFailed as failed:
            typer.echo(f"The end could not be written to the audit folder: {failed}", err=True)

    def _count(self, move: Move, *, as_json: bool) -> None:
        self._counts[move.outcome] += 1
        if move.outcome in MOVABLE:
            self._sample.add(move.letter)
        if move.detail and len(self._troubles) < TROUBLES_SHOWN:
            self._troubles.append(move)
        if as_json:
            terminal.line(_as_object(move))

    def _tell(self, wanted: LetterFilter, limits: Limits, *, as_json: bool) -> None:
        out = console(is_error=as_json)
        told = {
            Outcome.WOULD: f"would be {self._done}",
            Outcome.DONE: self._done,
            Outcome.ALREADY: "had been sent before and would only be put away"
            if limits.is_dry_run
            else "had been sent before and were only put away",
            Outcome.REDRIVEN: "left in the archive, as they were redriven: --redriven brings them back too",
            Outcome.GONE: "moved by another run meanwhile",
            Outcome.KEPT: "kept as they are",
            Outcome.SENT: "sent, but not put away: another run may send them once more, which is harmless",
            Outcome.LEFT: "left for another run",
        }
        parts = [
            f"{self._counts[each]} {text}" for each, text in told.items() if self._counts[each]
        ]
        none = (
            "Nothing was done."
            if self._ending.is_stopped
            else "No letters match. Nothing was done."
        )
        out.print("; ".join(parts) + "." if parts else none)
        for move in self._troubles:
            out.print(
                f"  {move.letter.ref.message_id[:12]} {move.outcome}: {terminal.shown(move.detail)}"
            )
        if self._ending.is_stopped:
            out.print("Stopped before the end: the letters not named here stand where they stood.")
        if self._in_hand:
            out.print(f"{self._in_hand} more were in hand and stand whole: run it again.")
        _tell_unknown(self._unknown_ids)
        if limits.is_dry_run and parts:
            self._tell_sample(wanted, limits, as_json=as_json)
        elif limits.count and self._counts[Outcome.DONE]:
            out.print(
                "Next: see what becomes of them (oms-relay dead list --since 5m), then run it again."
            )

    def _tell_sample(self, wanted: LetterFilter, limits: Limits, *, as_json: bool) -> None:
        """Show what a dry run looked at, and how to do it."""
        out, sample = console(is_error=as_json), self._sample
        out.print("Nothing was changed: this was a dry run.")
        if not sample.causes:
            return
        causes = ", ".join(f"{count} {cause}" for cause, count in sample.causes.most_common())
        span = sorted({terminal.time_shown(sample.oldest), terminal.time_shown(sample.newest)})
        out.print(f"  causes   {causes}")
        out.print(f"  died     {' to '.join(span)} UTC")
        out.print(f"  such as  {', '.join(terminal.shown(key) for key in sample.keys)}")
        command = command_of(
            self._verb,
            wanted,
            count=limits.count,
            per_second=limits.per_second,
            reason=self._reason,
            redriven=self._redriven,
        )
        out.print(f"Next: {terminal.shown(command)}", soft_wrap=True)


def _tell_unknown(ids: tuple[str, ...]) -> None:
    for text in ids[:TROUBLES_SHOWN]:
        typer.echo(f"oms-relay: no letter here has the id {text!r}.", err=True)
    if len(ids) > TROUBLES_SHOWN:
        typer.echo(f"oms-relay: nor have {len(ids) - TROUBLES_SHOWN} more.", err=True)


def _typed(wanted: LetterFilter) -> dict[str, str]:
    typed = {"cause": wanted.cause, "group": wanted.group, "key": wanted.key_prefix}
    return {name: text for name, text in typed.items() if text}


def _print_groups(groups: list[Group]) -> None:
    out = console(is_error=True)
    rows = Rows({"GROUP": 6, "COUNT": 7, "CAUSE": 14, "ERROR": 0}, out)
    for each in groups[:TROUBLES_SHOWN]:
        rows.add(each.group, str(each.count), each.cause, each.error)
    rows.flush()
    if len(groups) > TROUBLES_SHOWN:
        out.print(f"… and {len(groups) - TROUBLES_SHOWN} more groups")


def _as_object(move: Move) -> dict[str, str]:
    ref = move.letter.ref
    return {
        "id": ref.message_id,
        "cause": ref.cause,
        "day": ref.day,
        "outcome": move.outcome,
        "message_id": move.message_id,
        "detail": move.detail,
    }
