"""A bulk action on dead letters: asks before it acts, shows progress, stops cleanly, says what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import typer

from worker.commands import frame, terminal
from worker.commands.ending import Ending
from worker.commands.terminal import Rows, console, progress
from worker.ledger.letter import Place
from worker.operate.connect import Clients
from worker.operate.letters import Group, LetterFilter, Letters
from worker.operate.redrive import Limits, Move, Moves, Outcome

TROUBLES_SHOWN = 10
FINISHING = "Finishing what is in hand; Ctrl-C again leaves at once."

Start: TypeAlias = Callable[[Moves, LetterFilter, Limits], AsyncIterator[Move]]


class Job:
    """One bulk action from the question to the account."""

    def __init__(self, verb: str, done: str, place: Place, start: Start) -> None:
        self._verb, self._done, self._place, self._start = verb, done, place, start
        self._counts: Counter[Outcome] = Counter()
        self._troubles: list[Move] = []
        self._ending = Ending(FINISHING)

    def run(self, wanted: LetterFilter, limits: Limits, *, is_sure: bool, as_json: bool) -> None:
        """Ask, move and tell; raises `typer.Exit` unless all went well."""
        total = None
        if not is_sure and not limits.is_dry_run:
            total = self._ask(wanted, limits)
        self._ending.run(
            lambda clients: self._move(clients, wanted, limits, total, as_json=as_json),
            lambda: self._tell(limits, as_json=as_json),
            lambda: not (self._counts[Outcome.KEPT] or self._counts[Outcome.SENT]),
        )

    def _ask(self, wanted: LetterFilter, limits: Limits) -> int:
        frame.require_somebody(f"dead {self._verb}")
        groups = frame.run(lambda clients: Letters(clients).groups(wanted, self._place))
        count = sum(each.count for each in groups)
        if not count:
            console().print("No letters match. Nothing to do.")
            raise typer.Exit
        _print_groups(groups)
        total = min(count, limits.count or count)
        typer.confirm(f"{self._verb} {total} of these {count} letters?", abort=True, err=True)
        return total

    async def _move(
        self,
        clients: Clients,
        wanted: LetterFilter,
        limits: Limits,
        total: int | None,
        *,
        as_json: bool,
    ) -> None:
        with progress(self._verb, total) as bar:
            async with self._ending.heard(clients):
                async for move in self._start(Moves(clients), wanted, limits):
                    self._count(move)
                    if as_json:
                        terminal.line(_as_object(move))
                    if bar is not None:
                        bar.advance(bar.tasks[0].id)

    def _count(self, move: Move) -> None:
        self._counts[move.outcome] += 1
        if move.detail and len(self._troubles) < TROUBLES_SHOWN:
            self._troubles.append(move)

    def _tell(self, limits: Limits, *, as_json: bool) -> None:
        out = console(is_error=as_json)
        told = {
            Outcome.WOULD: f"would be {self._done}",
            Outcome.DONE: self._done,
            Outcome.ALREADY: "had been sent before and would only be put away"
            if limits.is_dry_run
            else "had been sent before and were only put away",
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
        if limits.is_dry_run and parts:
            out.print("Nothing was changed: this was a dry run.")
        elif limits.count and self._counts[Outcome.DONE]:
            out.print(
                "Next: see what becomes of them (oms-relay dead list --since 5m), then run it again."
            )


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
