"""`reconcile --with records`: which objects of the source have no record that is as new as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime

import typer

from worker.commands import frame, terminal
from worker.commands.bulk import FINISHING
from worker.commands.ending import Ending
from worker.commands.terminal import Rows, console, progress, shown, span, time_shown
from worker.errors import CallFailed
from worker.operate.announce import Announced, Announcer
from worker.operate.connect import Clients
from worker.operate.parse_time import parse_time
from worker.operate.preconditions import Circumstances, circumstances
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

    async def compare(clients: Clients) -> None:
        around = await circumstances(clients, bucket)
        now = around.now
        scope = Scope(
            bucket,
            parse_time(since, now),
            parse_time(until, now),
            key,
            kept_seconds=now - parse_time(kept, now),
        )
        comparison = Reconciliation(clients, scope)
        report.begin(scope, around, comparison)
        async with aclosing(comparison.findings()) as found:
            announcer = Announcer(clients, bucket, rate, is_dry_run=not is_sending)
            await report.read(clients, announcer.announced(found))

    report.ending.run(compare, report.tell, report.is_across)
    if not report.is_whole():
        raise typer.Exit(frame.EXIT_NOT_ALL)


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
        self._lines = 0
        self.ending = Ending(FINISHING)
        columns = {"": 1, "CHANGED (UTC)": 19, "RECORDED (UTC)": 19, "KEY": 0}
        self._rows = Rows(columns, console())

    def begin(self, scope: Scope, around: Circumstances, comparison: Reconciliation) -> None:
        """Take what is compared, and what has to be known about it."""
        self._scope, self._comparison = scope, comparison
        times = " to ".join(time_shown(_time(at)) for at in (scope.since, scope.until))
        self._about = f"{scope.bucket}/{scope.key_prefix}, objects changed {times} UTC:"
        self._notes += notes_on(around)
        if self._is_sending:
            warn_of_queue(around)

    async def read(self, clients: Clients, findings: AsyncIterator[Announced[Finding]]) -> None:
        """Take the findings until they end, a stop comes, or a call fails for good."""
        # Rows that are printed as they come would tear a moving bar.
        is_quiet = self._as_json or self._limit
        with progress("reconcile", None) if is_quiet else nullcontext() as bar:
            async with self.ending.heard(clients):
                async for each in findings:
                    self._take(each)
                    if bar is not None:
                        bar.advance(bar.tasks[0].id)

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
            times = (_time(finding.changed_at), _time(finding.recorded_at))
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
        is_all = self._comparison is None or not self._comparison.outside.count
        return is_all and not self._counts[State.EXPIRED]

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
            at = f", after {shown(self._last_key)}" if self._last_key else ""
            yield f"It ended before the last name{at}: this is the account of what was read."
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
        if comparison.outside.count:
            yield from self._about_outside(comparison.outside)
        if counts[State.EXPIRED]:
            oldest = comparison.oldest_record_at
            begin = f"The oldest record that was read is of {time_shown(_time(oldest))} UTC. "
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
        "why": finding.why,
        "changed_at": _time(finding.changed_at),
        "recorded_at": _time(finding.recorded_at),
        "message_id": announced.message_id,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""


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
