"""`reconcile --with destination`: what of the source has arrived, and how sure that is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from worker.clouds.obs import ObsClient
from worker.commands import frame, terminal
from worker.commands.bulk import FINISHING, TROUBLES_SHOWN
from worker.commands.course import course
from worker.commands.ending import Ending
from worker.commands.reconcile_account import (
    ESTIMATED_AT,
    Account,
    as_object,
    estimate,
    time_of,
    title,
)
from worker.commands.reconcile_records import notes_on, warn_of_queue
from worker.commands.report_file import ReportFile, ReportUnwritable, report_file
from worker.commands.terminal import Rows, console, shown, time_shown
from worker.errors import CallFailed, RelayError
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
from worker.operate.delete_extra import (
    Deletion,
    Deletions,
    Extras,
    Fate,
    Refused,
    require_safe,
    require_source,
)
from worker.operate.destination_reconcile import (
    NOWHERE,
    DestinationReconciliation,
    Effort,
    Judged,
    Manner,
    Question,
    Standing,
    Stretch,
)
from worker.operate.helpers import Errand, helpers
from worker.operate.lanes import LANES_MAX, Width
from worker.operate.last_account import keep_account
from worker.operate.parse_time import parse_time
from worker.operate.preconditions import (
    Circumstances,
    circumstances,
    destination_bucket,
    require_copied_from,
    require_copied_there,
)
from worker.operate.ranges import Left
from worker.operate.two_listings import rare_collections

SHOWN = frozenset({Standing.MISSING, Standing.DIFFERENT, Standing.UNREADABLE})
NO_ENDPOINT = (
    "OBS_ENDPOINT is not set, so the destination cannot be looked at. Set it to the OBS endpoint of the "
    "destination's region, such as https://obs.cn-north-4.myhuaweicloud.com, or compare --with records"
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for."""

    bucket: str
    key: str
    since: str | None
    until: str | None
    show: frozenset[Standing]
    limit: int
    is_deep: bool
    sample: int
    report: Path | None
    expected: int
    is_sending: bool
    is_deleting: bool
    deletions_max: int
    is_dry_run: bool
    rate: float | None
    is_sure: bool
    as_json: bool
    lanes: int | None = None
    processes: int = 1
    is_unordered: bool = False
    state: Path | None = None
    is_resuming: bool = False

    @property
    def asked(self) -> dict[str, Any]:
        """What decides what the account is about: a state of anything else is not gone on with."""
        return {
            "--with": "destination",
            "BUCKET": self.bucket,
            "--key": self.key,
            "--since": self.since,
            "--until": self.until,
            "--deep": self.is_deep,
            "--send": self.is_sending and not self.is_dry_run,
            "--report": str(self.report) if self.report else None,
            "--show": sorted(self.show),
        }

    @property
    def may_be_resumed(self) -> bool:
        """Whether it may go on after a kill: not where the end needs all that was found."""
        return not (self.is_deleting or self.sample)

    @property
    def acts(self) -> bool:
        """Whether anything is changed."""
        return (self.is_sending or self.is_deleting) and not self.is_dry_run

    def check(self) -> None:
        """Raise `typer.BadParameter` for what does not go together."""
        times = [frame.time_option(each) for each in (self.since, self.until) if each]
        if len(times) == 2 and times[1] - times[0] < 1.0:
            raise typer.BadParameter(
                f"--since {self.since} leaves nothing before --until {self.until}"
            )
        if (self.state or self.is_resuming) and not self.may_be_resumed:
            raise typer.BadParameter(
                "--sample and --delete-extra need one run from the first name to the last: "
                "leave out --state and --resume"
            )
        if self.is_deep and self.sample:
            raise typer.BadParameter("--deep looks at every ?, so there is nothing to --sample")
        if not self.is_deleting:
            return
        if times:
            raise typer.BadParameter(
                "--delete-extra needs all objects: leave out --since and --until"
            )
        if self.is_sending:
            raise typer.BadParameter("--send and --delete-extra are two runs: send first")
        if self.report is None and not self.is_dry_run:
            raise typer.BadParameter(
                "--delete-extra needs --report FILE: every deletion stands in it. "
                "Look first with --dry-run"
            )


def compare_with_destination(wishes: Wishes) -> None:
    """Compare, act if asked to, and tell; raises `typer.Exit` unless each object is proved."""
    wishes.check()
    if frame.chosen_settings().obs_endpoint is None:
        frame.stop_because(NO_ENDPOINT, frame.EXIT_TO_MEND)
    if wishes.acts and not wishes.is_sure:
        frame.require_somebody(
            "reconcile --send" if wishes.is_sending else "reconcile --delete-extra"
        )
    if wishes.acts and wishes.is_sending and not wishes.is_sure:
        question = f"Send an event to the queue for every gap of {wishes.bucket}/{wishes.key}?"
        typer.confirm(question, abort=True, err=True)
    try:
        goes_on = bool(wishes.state) or wishes.is_resuming
        with (
            alone_with(wishes.state),
            report_file(wishes.report, may_go_on=goes_on) as report,
        ):
            run = _Run(wishes, report)
            run.compare()
            if wishes.is_deleting:
                run.delete()
            run.end()
    except (ReportUnwritable, NotResumable) as error:
        frame.stop_because(str(error), frame.EXIT_TO_MEND)


async def _each(found: Iterable[Judged]) -> AsyncGenerator[Judged]:
    for each in found:
        yield each


async def _handfuls(stretches: AsyncGenerator[Stretch]) -> AsyncGenerator[list[Stretch]]:
    """Yield stretches a few at a time: so many as have a handful of gaps, for events leave side by side."""
    handful: list[Stretch] = []
    async for stretch in stretches:
        handful.append(stretch)
        is_small = not stretch.others or stretch.others[-1].calls_for_event
        if is_small and len(handful) < SENDS_AT_ONCE and stretch.range.upto:
            continue
        yield handful
        handful = []
    if handful:
        yield handful


def _destination(clients: Clients) -> ObsClient:
    if clients.destination is None:
        raise RelayError(NO_ENDPOINT)
    return clients.destination


class _Run:
    """One comparison from the first page to the exit code, and what it deletes."""

    def __init__(self, wishes: Wishes, report: ReportFile | None) -> None:
        self._wishes = wishes
        self._report = report
        also = {Standing.EXTRA} if wishes.is_deleting else set[Standing]()
        self._is_shown = wishes.show or SHOWN | also
        self._is_reported = wishes.show or frozenset(Standing) - {Standing.PROVED}
        self._account = Account()
        self._extras = Extras(wishes.deletions_max)
        self._fates: Counter[Fate] = Counter()
        self._troubles: list[Deletion] = []
        self._effort = Effort()
        self._question: Question | None = None
        self._grace_seconds = 0.0
        self._notes: list[str] = []
        self._left = Left()
        self._span: tuple[float | None, float | None] = (None, None)
        self._began_at = 0.0
        self._keeper: Keeper | None = None
        self._last_mark: Bookmark | None = None
        self._ending = Ending(FINISHING)
        self._lines = 0
        columns = {"": 1, "CHANGED (UTC)": 19, "WHY": 26, "KEY": 0}
        self._rows = Rows(columns, console())

    def compare(self) -> None:
        """Compare and print the account; raises `typer.Exit` if it did not come to the end."""
        self._ending.run(self._compare, self._tell, lambda: True)

    async def _compare(self, clients: Clients) -> None:
        wishes = self._wishes
        around = await circumstances(clients, wishes.bucket)
        ahead_seconds = clients.clock.wall() - around.now
        await self._take_up(clients, around.now)
        question = self._asked(clients, around)
        if wishes.is_sending:
            if wishes.acts:
                require_copied_from(wishes.bucket, around.task, clients.settings.bucket)
            require_copied_there(question.destination_bucket, around.task)
        if wishes.is_deleting:
            require_safe(question, around.task)
        self._begin(clients, question, around)
        manner = self._manner()
        comparison = DestinationReconciliation(
            clients,
            _destination(clients),
            question,
            now=lambda: clients.clock.wall() - ahead_seconds,
            task=around.task,
            rng=random.Random(),  # noqa: S311  a sample, no secret
            manner=manner,
        )
        self._effort = comparison.effort
        is_idle = wishes.is_dry_run or not wishes.is_sending
        announcer = Announcer(clients, wishes.bucket, wishes.rate, is_dry_run=is_idle)
        errand = Errand(
            question,
            around.task,
            tells_proved=manner.tells_proved,
            ends_at_gaps=manner.ends_at_gaps,
            ahead_seconds=ahead_seconds,
        )
        others = helpers(wishes.processes - 1, errand, manner.width, comparison.effort)
        async with others as comparison.helpers:
            with rare_collections():
                async with aclosing(comparison.stretches(self._left.ranges)) as found:
                    await self._read(clients, found, announcer)
        await self._close()
        await self._keep(clients, question)

    def _manner(self) -> Manner:
        wishes = self._wishes
        proved = self._is_shown | self._is_reported if self._report else self._is_shown
        return Manner(
            Width(
                wishes.processes * (wishes.lanes or LANES_MAX), begins_full=wishes.lanes is not None
            ),
            tells_proved=Standing.PROVED in proved,
            ends_at_gaps=wishes.is_sending and not wishes.is_dry_run,
            in_order=not (wishes.is_unordered or wishes.state or wishes.is_resuming),
        )

    async def _take_up(self, clients: Clients, now: float) -> None:
        """Go on from where an earlier run stopped, if there is such a state; else begin."""
        wishes = self._wishes
        since, until = (
            parse_time(each, now) if each else None for each in (wishes.since, wishes.until)
        )
        self._span = (since, until)
        self._began_at = now
        if not wishes.may_be_resumed:
            return
        shelf = FileShelf(wishes.state) if wishes.state else BucketShelf(clients, wishes.asked)
        self._keeper = Keeper(shelf, clients.clock)
        is_wanted = wishes.state or wishes.is_resuming
        mark = await self._keeper.take(wishes.asked) if is_wanted else None
        if mark is None:
            self._require_fresh()
            if wishes.state:
                # Before anything is told: a report without its state would be nobody's.
                await self._bookmark(self._keeper)
            return
        self._span, self._began_at = mark.span, mark.began_at
        self._left = Left(mark.left)
        self._account = Account.again(mark.account)
        if self._report:
            self._report.cut(mark.report_bytes)
        began = time_shown(time_of(mark.began_at))
        self._say(f"This goes on with the comparison that began at {began} UTC.")

    def _require_fresh(self) -> None:
        """Raise `NotResumable` where something is to be gone on with, and there is no state."""
        if self._wishes.is_resuming:
            require_mark(None)
        if self._report and self._report.settle():
            raise NotResumable(
                f"the report {self._wishes.report} is there, and no state that it belongs to. Name a new file"
            )

    def _mark(self) -> Bookmark:
        """Say where it stands; what it says of the report is on the disk."""
        size = self._report.settle() if self._report else 0
        asked, account = self._wishes.asked, self._account.kept()
        left = self._left.ranges
        return Bookmark(asked, self._began_at, left, account, self._span, size)

    async def _bookmark(self, keeper: Keeper) -> None:
        await keeper.keep(self._last_mark or self._mark())

    async def _close(self) -> None:
        """Keep where it stopped; what came to its end leaves no state behind."""
        keeper = self._keeper
        if keeper is None:
            return
        if self._is_complete:
            await keeper.clear()
        else:
            await self._bookmark(keeper)
        if keeper.failed:
            self._notes.append(f"The state could not be kept: {frame.told(keeper.failed)}")

    async def _keep(self, clients: Clients, question: Question) -> None:
        """Keep the account for `status` and the console; a comparison is worth as much without."""
        told = self._account.as_object(question, is_complete=self._is_complete)
        try:
            await keep_account(clients, told)
        except CallFailed as failed:
            self._notes.append(f"`status` does not know this account: {frame.told(failed)}")

    def _asked(self, clients: Clients, around: Circumstances) -> Question:
        wishes = self._wishes
        since, until = self._span
        return Question(
            wishes.bucket,
            destination_bucket(clients, around),
            wishes.key,
            since,
            until,
            is_deep=wishes.is_deep,
            sample=wishes.sample,
        )

    def _begin(self, clients: Clients, question: Question, around: Circumstances) -> None:
        self._question = question
        self._grace_seconds = clients.settings.arrival_seconds
        self._notes += notes_on(around)
        known = around.task.destination_bucket if around.task else ""
        if known not in ("", question.destination_bucket):
            self._notes.append(f"The sync task copies to {known}, and not to the bucket compared.")
        if self._wishes.is_sending and self._wishes.acts:
            warn_of_queue(around)

    async def _read(
        self,
        clients: Clients,
        stretches: AsyncGenerator[Stretch],
        announcer: Announcer,
    ) -> None:
        """Take what is found until it ends, a stop comes, or a call fails for good."""
        wishes, is_estimated = self._wishes, False
        # Rows that are printed as they come would tear a moving line.
        may_move = bool(wishes.as_json or wishes.limit)
        with course(clients.clock, wishes.expected, may_move=may_move) as shown_course:
            async with self._heard(clients), aclosing(_handfuls(stretches)) as handfuls:
                async for handful in handfuls:
                    await self._take(handful, announcer)
                    if self._keeper is not None and self._keeper.is_due():
                        await self._bookmark(self._keeper)
                    shown_course.advance(self._account.counts.total(), handful[-1].range.upto)
                    if not is_estimated and self._effort.source_objects >= ESTIMATED_AT:
                        is_estimated = True
                        shown_course.say(estimate(self._effort, wishes.expected))

    async def _take(self, handful: Sequence[Stretch], announcer: Announcer) -> None:
        """Announce what is to be announced, then count, show and tell; up to the first that was not sent."""
        others = (judged for stretch in handful for judged in stretch.others)
        done: dict[str, Announced[Judged]] = {}
        try:
            async for each in announcer.announced(_each(others)):
                done[each.finding.key] = each
        finally:
            for stretch in handful:
                told = [done.get(each.key) for each in stretch.others]
                is_open = any(each is None or self._is_unsent(each) for each in told)
                if is_open and self._last_mark is None:
                    # What is counted from here on was seen and not done: another run has to see it again.
                    self._last_mark = self._mark()
                for announced in filter(None, told):
                    self._tell_one(announced)
                if self._last_mark is not None:
                    continue
                self._account.add_proved(stretch.proved, stretch.proved_bytes)
                if stretch.range != NOWHERE:
                    self._left.tell(stretch.range)

    def _is_unsent(self, announced: Announced[Judged]) -> bool:
        wishes = self._wishes
        is_meant = wishes.is_sending and not wishes.is_dry_run and announced.finding.calls_for_event
        return is_meant and not announced.message_id

    @asynccontextmanager
    async def _heard(self, clients: Clients) -> AsyncIterator[None]:
        """Note what ends it early: its account is told all the same."""
        async with self._ending.heard(clients):
            try:
                yield
            except CallFailed:
                raise
            except RelayError as error:
                self._ending.failed = str(error)

    def _tell_one(self, announced: Announced[Judged]) -> None:
        judged = announced.finding
        self._account.add(announced)
        self._extras.add(judged)
        if self._report and judged.standing in self._is_reported:
            self._report.line(as_object(announced))
        if judged.standing not in self._is_shown:
            return
        self._lines += 1
        if self._wishes.limit and self._lines > self._wishes.limit:
            return
        if self._wishes.as_json:
            terminal.line(as_object(announced))
        else:
            # The words of a failure are in the report; a row has room for which call it was.
            why = judged.why.partition(": ")[0] if judged.failure else judged.why
            changed = time_shown(time_of(judged.changed_at))
            self._rows.add(judged.standing.sign, changed, why, judged.key)

    @property
    def _is_complete(self) -> bool:
        return not (self._ending.failed or self._ending.is_stopped)

    def _tell(self) -> None:
        self._rows.flush()
        self._say(*self._sentences())
        if self._report and self._question:
            told = self._account.as_object(self._question, is_complete=self._is_complete)
            self._report.line(told, at_once=True)

    def _say(self, *sentences: str) -> None:
        for each in sentences:
            console(is_error=self._wishes.as_json).print(each)

    def _sentences(self) -> Iterator[str]:
        wishes, account = self._wishes, self._account
        if wishes.limit and self._lines > wishes.limit:
            yield f"There are {self._lines - wishes.limit} more: --limit 0 shows all."
        if self._lines and not wishes.as_json:
            yield ""
        if self._question is None:
            yield "Nothing was compared."
            return
        yield title(self._question)
        yield from account.lines(self._grace_seconds)
        yield account.share()
        if self._effort.not_looked_at:
            yield (
                f"{self._effort.not_looked_at} names were not looked at, because they changed at other "
                "times: this says nothing of them."
            )
        if not self._is_complete:
            yield from self._about_the_rest()
        yield from self._about_unproved()
        yield from self._about_gaps()
        if trouble := account.trouble():
            yield trouble
        if account.counts[Standing.EXTRA] and Standing.EXTRA not in self._is_shown:
            yield "--show extra lists what is in the destination only."
        yield from self._notes

    def _about_the_rest(self) -> Iterator[str]:
        """Say where it ended, and how to go on."""
        left = self._left.ranges
        after = shown(left[0].after) if left and left[0].after else ""
        parts = f" {len(left)} parts are left." if len(left) > 1 else ""
        yield (
            "It ended before the last name: this is the account of what was read."
            f"{parts}{f' The first name that is left comes after {after}.' if after else ''}"
        )
        if self._keeper is not None and self._keeper.is_kept and not self._keeper.failed:
            how = "The same command" if self._wishes.state else "--resume, with the same options,"
            yield f"{how} goes on from there."

    def _about_unproved(self) -> Iterator[str]:
        effort = self._effort
        if effort.sampled:
            yield (
                f"Sample: {effort.sampled} of {effort.may_be_sampled} that were not proved were looked at "
                "once more, and are counted by what was found."
            )
        elif self._account.counts[Standing.UNPROVED] and not self._wishes.is_deep:
            yield (
                "What is not proved may have another content: --deep looks for the CRC64 of all, "
                "--sample N of some."
            )

    def _about_gaps(self) -> Iterator[str]:
        wishes, account = self._wishes, self._account
        gaps = account.gaps
        for why, count in account.futile.most_common():
            yield f"Not announced: {count} of {gaps} gaps. {why[:1].upper()}{why[1:]}."
        useful = gaps - sum(account.futile.values())
        if wishes.is_sending and wishes.is_dry_run:
            yield f"{useful} events would be sent. Nothing was changed: this was a dry run."
        elif wishes.is_sending:
            yield (
                f"{account.sent} of {gaps} gaps were sent to the queue. Look again when it is empty: only "
                "then are they known to have arrived."
            )
        elif useful:
            yield f"--send sends an event for each of the {useful} gaps to the queue, for the relay to post."

    def delete(self) -> None:
        """Delete what was found to be extra, once somebody agrees; raises `typer.Exit` if it may not be."""
        question, extras = self._question, self._extras
        if question is None:
            return
        place = f"{question.destination_bucket}/{question.key_prefix}"
        try:
            require_source(self._effort.source_objects, f"{question.bucket}/{question.key_prefix}")
            extras.require_few()
        except Refused as refused:
            self._note({"action": "refused", "why": str(refused)})
            frame.stop_because(str(refused), frame.EXIT_FAILED)
        count = len(extras.found)
        if extras.folders:
            self._say(f"{extras.folders} that only stand for a folder stay where they are.")
        if not count:
            self._say("There is nothing to delete.")
        elif self._wishes.is_dry_run:
            self._say(
                f"{count} objects of {place} would be deleted. Nothing was changed: this was a dry run."
            )
        else:
            if not self._wishes.is_sure:
                typer.confirm(
                    f"Delete these {count} objects of {place} for good?", abort=True, err=True
                )
            self._ending.run(
                lambda clients: self._delete(clients, question),
                lambda: self._say(*self._deleted()),
                lambda: self._fates[Fate.DELETED] == count,
            )

    async def _delete(self, clients: Clients, question: Question) -> None:
        destination = _destination(clients)
        deletions = Deletions(clients, destination, question, self._said, self._wishes.rate)
        async with self._heard(clients):
            async for each in deletions.run(self._extras.found):
                self._fates[each.fate] += 1
                if each.why and len(self._troubles) < TROUBLES_SHOWN:
                    self._troubles.append(each)

    def _said(self, step: Deletion) -> None:
        told = as_object(Announced(step.extra))
        told = {"action": str(step.fate)} | told | ({"why": step.why} if step.why else {})
        self._note(told)
        if self._wishes.as_json and step.fate is not Fate.DELETING:
            terminal.line(told)

    def _note(self, told: dict[str, Any]) -> None:
        if self._report:
            self._report.line(told, at_once=True)

    def _deleted(self) -> Iterator[str]:
        fates, count = self._fates, len(self._extras.found)
        left = count - sum(fates.values())
        parts = [
            f"{fates[Fate.DELETED]} of {count} objects deleted",
            *([f"{fates[Fate.KEPT]} kept"] if fates[Fate.KEPT] else []),
            *([f"{fates[Fate.UNKNOWN]} without an answer"] if fates[Fate.UNKNOWN] else []),
            *([f"{left} not tried"] if left else []),
        ]
        yield f"{'; '.join(parts)}. Each stands in {shown(str(self._wishes.report))}."
        for each in self._troubles:
            yield f"  {each.fate}: {shown(each.extra.key)}: {shown(each.why)}"

    def end(self) -> None:
        """Raise `typer.Exit` unless all was looked at, and each object of the source is proved."""
        if not self._account.is_clean:
            raise typer.Exit(frame.EXIT_FAILED)
        if self._effort.not_looked_at or not self._account.is_proof:
            raise typer.Exit(frame.EXIT_NOT_ALL)
