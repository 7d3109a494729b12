"""`reconcile --with records`: which objects of the source have no record that is as new as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from worker.commands import frame, terminal
from worker.commands.bulk import FINISHING
from worker.commands.ending import Ending
from worker.commands.reconcile_account import time_of
from worker.commands.terminal import Rows, console, progress, shown, span, time_shown
from worker.errors import CallFailed
from worker.operate.announce import SENDS_AT_ONCE, Announced, Announcer
from worker.operate.bookmark import (
    Bookmark,
    BucketShelf,
    FileShelf,
    Keeper,
    NotResumable,
    alone_with,
    require_mark,
)
from worker.operate.connect import Clients
from worker.operate.parse_time import parse_time
from worker.operate.preconditions import Circumstances, circumstances, require_copied_from
from worker.operate.ranges import Range
from worker.operate.reconcile import Finding, Outside, Reconciliation, Scope, State
from worker.operate.records import Unread

SYMBOLS = {
    State.RECORDED: "=",
    State.MISSING: "+",
    State.CHANGED: "*",
    State.REFUSED: "!",
    State.GONE: "-",
    State.UNREADABLE: "!",
    State.EXPIRED: "?",
}
WORDS = {
    State.RECORDED: "recorded",
    State.MISSING: "without a record",
    State.CHANGED: "of another state than what was recorded",
    State.REFUSED: "refused by OMS: see `oms-relay records failed` and `dead redrive`",
    State.GONE: "recorded and no longer there: OMS deletes nothing, so OBS may still have them",
    State.UNREADABLE: "whose record could not be read",
    State.EXPIRED: "changed before the records that are kept, which prove nothing of them",
}
ALWAYS_TOLD = (State.RECORDED, State.MISSING, State.CHANGED, State.REFUSED)
UNREAD_SHOWN = 5
FINDINGS_AT_ONCE = 1000
SHOWN = (State.MISSING, State.CHANGED, State.REFUSED, State.UNREADABLE)


def compare_with_records(
    bucket: str,
    *,
    key: str,
    since: str,
    until: str,
    kept: str,
    show: Sequence[State],
    limit: int,
    send: bool,
    dry_run: bool,
    rate: float | None,
    yes: bool,
    as_json: bool,
    state: Path | None,
    resume: bool,
) -> None:
    """Compare, print what is found and the account; raises `typer.Exit` unless everything is across.

    The exit code is `EXIT_NOT_ALL` where nothing is wrong, and not all objects of the bucket were looked at.
    """
    if frame.time_option(until) - frame.time_option(since) < 1.0:
        raise typer.BadParameter(f"--since {since} leaves nothing before --until {until}")
    is_sending = send and not dry_run
    if is_sending and not yes:
        frame.require_somebody("reconcile --send")
        question = f"Send an event to the queue for every gap of {bucket}/{key}?"
        typer.confirm(question, abort=True, err=True)
    report = _Report(
        show or SHOWN,
        limit,
        is_sending=is_sending,
        is_dry_run=send and dry_run,
        as_json=as_json,
    )
    asked = {
        "--with": "records",
        "BUCKET": bucket,
        "--key": key,
        "--since": since,
        "--until": until,
        "--kept": kept,
        "--send": is_sending,
    }

    async def compare(clients: Clients) -> None:
        around = await circumstances(clients, bucket)
        if is_sending:
            require_copied_from(bucket, around.task, clients.settings.bucket)
        now = around.now
        scope = Scope(
            bucket,
            parse_time(since, now),
            parse_time(until, now),
            key,
            kept_seconds=now - parse_time(kept, now),
        )
        keeper = Keeper(FileShelf(state) if state else BucketShelf(clients, asked), clients.clock)
        mark = await keeper.take(asked) if state or resume else None
        if resume:
            require_mark(mark)
        scope = report.take_up(scope, mark, Progress(keeper, asked, now))
        comparison = Reconciliation(clients, scope)
        report.begin(scope, around, comparison)
        async with aclosing(comparison.findings()) as found:
            announcer = Announcer(clients, bucket, rate, is_dry_run=not is_sending)
            await report.read(clients, found, announcer)
        await report.close()

    try:
        with alone_with(state):
            report.ending.run(compare, report.tell, report.is_across)
    except NotResumable as error:
        frame.stop_because(str(error), frame.EXIT_TO_MEND)
    if not report.is_whole():
        raise typer.Exit(frame.EXIT_NOT_ALL)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the state of a comparison is kept, what it is about, and when it began (epoch seconds)."""

    keeper: Keeper
    asked: Mapping[str, Any]
    began_at: float


async def _each(handful: Sequence[tuple[Finding, Outside]]) -> AsyncGenerator[Finding]:
    for each, _ in handful:
        yield each


async def _handfuls(
    findings: AsyncGenerator[Finding], outside: Outside
) -> AsyncGenerator[list[tuple[Finding, Outside]]]:
    """Yield the findings a few at a time, as many as have a handful of gaps, with what was outside before."""
    handful: list[tuple[Finding, Outside]] = []
    gaps = 0
    async for each in findings:
        handful.append((each, outside + Outside()))
        gaps += each.calls_for_event
        if gaps >= SENDS_AT_ONCE or len(handful) >= FINDINGS_AT_ONCE:
            yield handful
            handful, gaps = [], 0
    if handful:
        yield handful


class _Report:
    """Prints what is found, and at the end the account."""

    def __init__(
        self,
        wanted: Iterable[State],
        limit: int,
        *,
        is_sending: bool,
        is_dry_run: bool,
        as_json: bool,
    ) -> None:
        self._is_shown = frozenset(wanted)
        self._limit = limit
        self._is_sending = is_sending
        self._is_dry_run = is_dry_run
        self._as_json = as_json
        self._about = ""
        self._notes: list[str] = []
        self._counts: Counter[State] = Counter()
        self._sent = 0
        self._by_time = 0
        self._last_key = ""
        self._comparison: Reconciliation | None = None
        self._scope: Scope | None = None
        self._outside, self._outside_told = Outside(), Outside()
        self._progress: Progress | None = None
        self._last_mark: Bookmark | None = None
        self._lines = 0
        self.ending = Ending(FINISHING)
        columns = {"": 1, "CHANGED (UTC)": 19, "RECORDED (UTC)": 19, "KEY": 0}
        self._rows = Rows(columns, console())

    def begin(self, scope: Scope, around: Circumstances, comparison: Reconciliation) -> None:
        """Take what is compared, and what has to be known about it."""
        self._scope, self._comparison = scope, comparison
        times = " to ".join(time_shown(time_of(at)) for at in (scope.since, scope.until))
        self._about = f"{scope.bucket}/{scope.key_prefix}, objects changed {times} UTC:"
        self._notes += notes_on(around)
        if self._is_sending:
            warn_of_queue(around)

    def take_up(self, scope: Scope, mark: Bookmark | None, progress: Progress) -> Scope:
        """Go on from where an earlier run stopped, if there is a state; return what is to be compared."""
        self._progress = progress
        if mark is None:
            return scope
        account, (since, until) = mark.account, mark.span
        self._counts = Counter({State(name): n for name, n in account["counts"].items()})
        self._sent, self._by_time = account["sent"], account["by_time"]
        self._outside = Outside(*account["outside"])
        self._last_key = mark.left[0].after
        began = time_shown(time_of(mark.began_at))
        console(is_error=self._as_json).print(
            f"This goes on with the comparison that began at {began} UTC, after {shown(self._last_key)}."
        )
        self._progress = replace(progress, began_at=mark.began_at)
        return replace(
            scope, since=since or scope.since, until=until or scope.until, after=self._last_key
        )

    def _mark(self, progress: Progress) -> Bookmark:
        scope, outside = self._scope, self._outside + self._outside_told
        account = {
            "counts": dict(self._counts),
            "sent": self._sent,
            "by_time": self._by_time,
            "outside": [outside.older, outside.younger, outside.named],
        }
        span = (scope.since, scope.until) if scope else (None, None)
        left = (Range(self._last_key),)
        return Bookmark(progress.asked, progress.began_at, left, account, span)

    async def _keep(self, progress: Progress) -> None:
        await progress.keeper.keep(self._last_mark or self._mark(progress))

    def _all_outside(self) -> Outside:
        """Return what was outside in this run and in those before it."""
        now = self._comparison.outside if self._comparison else Outside()
        return self._outside + now

    async def close(self) -> None:
        """Keep where it stopped; what came to its end leaves no state behind."""
        progress = self._progress
        if progress is None:
            return
        if not (self.ending.failed or self.ending.is_stopped):
            await progress.keeper.clear()
        elif self._last_key:
            await self._keep(progress)
        if progress.keeper.failed:
            self._notes.append(f"The state could not be kept: {frame.told(progress.keeper.failed)}")

    async def read(
        self, clients: Clients, findings: AsyncGenerator[Finding], announcer: Announcer
    ) -> None:
        """Take the findings until they end, a stop comes, or a call fails for good."""
        # Rows that are printed as they come would tear a moving bar.
        is_quiet = self._as_json or self._limit
        with progress("reconcile", None) if is_quiet else nullcontext() as bar:
            found = _handfuls(findings, self._comparison.outside if self._comparison else Outside())
            async with self.ending.heard(clients), aclosing(found) as handfuls:
                async for handful in handfuls:
                    await self._take_all(handful, announcer)
                    if self._progress is not None and self._progress.keeper.is_due():
                        await self._keep(self._progress)
                    if bar is not None:
                        bar.advance(bar.tasks[0].id, len(handful))

    async def _take_all(
        self, handful: Sequence[tuple[Finding, Outside]], announcer: Announcer
    ) -> None:
        """Announce what is to be announced, then count and show, in order."""
        done: dict[str, Announced[Finding]] = {}
        try:
            async for each in announcer.announced(_each(handful)):
                done[each.finding.key] = each
        finally:
            for finding, outside in handful:
                announced = done.get(finding.key)
                is_due = self._is_sending and finding.calls_for_event
                is_open = announced is None or (is_due and not announced.message_id)
                if is_open and self._last_mark is None and self._progress is not None:
                    # What is counted from here on was seen and not done: another run has to see it again.
                    self._last_mark = self._mark(self._progress)
                if announced is not None:
                    self._take(announced)
                    self._outside_told = outside

    def _take(self, announced: Announced[Finding]) -> None:
        finding = announced.finding
        self._counts[finding.state] += 1
        self._sent += bool(announced.message_id)
        self._by_time += finding.is_by_time
        self._last_key = finding.key
        if finding.state not in self._is_shown:
            return
        self._lines += 1
        if self._limit and self._lines > self._limit:
            return
        if self._as_json:
            terminal.line(_as_object(announced))
        else:
            times = (time_of(finding.changed_at), time_of(finding.recorded_at))
            self._rows.add(SYMBOLS[finding.state], *map(time_shown, times), finding.key)

    def tell(self) -> None:
        """Print the account."""
        self._rows.flush()
        for sentence in self._account():
            console(is_error=self._as_json).print(sentence)

    def is_across(self) -> bool:
        """Whether nothing is refused or unreadable, and an event was sent for each gap."""
        is_bad = self._counts[State.REFUSED] or self._counts[State.UNREADABLE] or self._unread
        return not is_bad and self._gaps <= self._sent

    def is_whole(self) -> bool:
        """Whether all objects were looked at, and something is known of each."""
        return not (self._all_outside().count or self._counts[State.EXPIRED])

    @property
    def _unread(self) -> Sequence[Unread]:
        return self._comparison.unread if self._comparison else ()

    @property
    def _gaps(self) -> int:
        return sum(count for state, count in self._counts.items() if state.is_gap)

    def _account(self) -> Iterator[str]:
        counts, gaps = self._counts, self._gaps
        if self._limit and self._lines > self._limit:
            yield f"There are {self._lines - self._limit} more: --limit 0 shows all."
        if self._lines and not self._as_json:
            yield ""
        yield self._about or "Nothing was compared."
        for state, words in WORDS.items():
            if counts[state] or state in ALWAYS_TOLD:
                yield f"{SYMBOLS[state]} {counts[state]:>9} {words}"
        if self.ending.is_stopped or self.ending.failed:
            yield from self._about_the_rest()
        if self._is_sending:
            yield f"{self._sent} of {gaps} gaps were sent to the queue. Look again when it is empty."
        elif self._is_dry_run:
            yield f"{gaps} events would be sent. Nothing was changed: this was a dry run."
        elif gaps:
            yield f"--send sends an event for each of the {gaps} gaps to the queue, for the relay to post."
        if counts[State.GONE] and State.GONE not in self._is_shown:
            yield "--show gone lists what is no longer there."
        yield from self._about_records()
        yield from self._notes

    def _about_the_rest(self) -> Iterator[str]:
        """Say where it ended, and how to go on."""
        at = f", after {shown(self._last_key)}" if self._last_key else ""
        yield f"It ended before the last name{at}: this is the account of what was read."
        keeper = self._progress.keeper if self._progress else None
        if keeper is not None and keeper.is_kept and not keeper.failed:
            yield "The same command with --resume (or with its --state) goes on from there."

    def _about_records(self) -> Iterator[str]:
        """Say what the records that are left can prove."""
        counts, scope, comparison = self._counts, self._scope, self._comparison
        if scope is None or comparison is None:
            return
        if self._by_time:
            yield (
                f"{self._by_time} of the recorded have a record without an ETag, so that only its time "
                "speaks for them: a change in the same moment would not be seen."
            )
        outside = self._all_outside()
        if outside.count:
            yield from self._about_outside(outside)
        if counts[State.EXPIRED]:
            oldest = comparison.oldest_record_at
            begin = f"The oldest record that was read is of {time_shown(time_of(oldest))} UTC. "
            yield (
                f"{begin if oldest else ''}Records expire after {span(scope.kept_seconds)} (--kept): of the "
                f"{counts[State.EXPIRED]} objects that changed before that and have none, nothing is known. "
                "Compare them --with destination. --show expired names them."
            )
        yield from self._about_unread()

    def _about_outside(self, outside: Outside) -> Iterator[str]:
        names = ", ".join(map(shown, outside.named))
        more = ", ..." if outside.count > len(outside.named) else ""
        yield (
            f"Not looked at: {outside.older} objects that changed before --since and {outside.younger} after "
            f"--until ({names}{more}). This says nothing of them: --since 3650d --until 0s looks at all."
        )

    def _about_unread(self) -> Iterator[str]:
        for each in self._unread[:UNREAD_SHOWN]:
            yield (
                f"Unreadable: {shown(each.name)}: {frame.told(CallFailed(each.failure))} What only it "
                "records shows as a gap."
            )
        if len(self._unread) > UNREAD_SHOWN:
            yield f"... and {len(self._unread) - UNREAD_SHOWN} more log objects that cannot be read."


def _as_object(announced: Announced[Finding]) -> dict[str, str]:
    finding = announced.finding
    return {
        "key": finding.key,
        "state": finding.state,
        "changed_at": time_of(finding.changed_at),
        "recorded_at": time_of(finding.recorded_at),
        "message_id": announced.message_id,
    }


def notes_on(around: Circumstances) -> Iterator[str]:
    """Yield what has to be known beside the counts."""
    yield from around.doubts
    if around.in_queue:
        yield f"{around.in_queue} messages were in the queue at the start: their objects may show as gaps."
    if around.copies_failed:
        yield f"OMS counts {around.copies_failed} failed copies this month: `oms-relay doctor` says more."


def warn_of_queue(around: Circumstances) -> None:
    """Say before anything is sent that some of it may be in the queue already."""
    if around.in_queue:
        typer.echo(
            f"{around.in_queue} messages are in the queue: gaps that are among them are announced "
            "twice, which costs a post each and does no harm. Ctrl-C stops.",
            err=True,
        )
