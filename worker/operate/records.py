"""What became of keys: the records of one key in either layout, and the keys that OMS refused.

Names and bodies are those of `worker.ledger`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import NamedTuple

import orjson

from worker.errors import Blame, CallFailed, Failure, Outcome, RelayError
from worker.ledger.line import Record
from worker.ledger.names import FAILED, LOG, SUCCESS, is_hash, log_hour, record_name
from worker.ledger.runs import MARKS, Entry, Run, bucket_of, entries_of, is_last
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket, side_by_side
from worker.operate.sorted_names import Seen
from worker.ports import Listed, Stored

HOUR_SECONDS = 3600.0
UNREAD_IN_A_ROW_MAX = 100
DAY_SECONDS = 24 * HOUR_SECONDS
# How often runs are listed anew because they were merged while they were read.
LISTINGS_MAX = 5

_HOUR = re.compile(rf"{LOG}/(\d{{4}}/\d\d/\d\d/\d\d)/")


@dataclass(frozen=True, slots=True)
class Unread:
    """An object of the log bucket that could not be read, and why."""

    name: str
    failure: Failure


@dataclass(slots=True)
class Searched:
    """How far a search of the logs came: `objects` were read, those of layout `log` up to the hour `reached`.

    `reached` is `yyyy/mm/dd/HH`, empty if there was none yet. `is_cut`: it ended before it had read all, so
    that what it did not find may be there all the same. `unread` are the objects that cannot be read.
    """

    objects: int = 0
    reached: str = ""
    is_cut: bool = False
    unread: list[Unread] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all was read: only then is a key that was not found not there."""
        return not (self.is_cut or self.unread)


class BadKey(RelayError):  # noqa: N818  the name says what it is
    """The key cannot be the name of an object, so there is no record of it."""


class RecordsOf:
    """Reads the records of one relay. Every method raises `CallFailed` if OSS cannot be read.

    An object that cannot be read by itself (frozen, denied) is an `Unread` where a method says so.
    """

    def __init__(self, clients: Clients) -> None:
        self._bucket = LogBucket(clients)
        self._clock = clients.clock
        self._unread_in_a_row = 0

    async def of_key(self, key: str, unread: list[Unread] | None = None) -> list[Record]:
        """Return the record objects of a key, newest first: at most one success and one failure.

        Two reads, whatever the layout: successes stand there in layout `object`, failures in both. One that
        cannot be read is added to `unread`, or raised where there is no such list. Raises `BadKey` for what
        is no name of an object.
        """
        try:
            names = {folder: self.name(folder, key) for folder in (SUCCESS, FAILED)}
        except UnicodeEncodeError as error:
            raise BadKey(f"{key!a} is not UTF-8 text, and names of objects are") from error
        found = []
        for folder, name in names.items():
            stored = await self.readable(name)
            if isinstance(stored, Unread):
                if unread is None:
                    raise CallFailed(stored.failure)
                unread.append(stored)
            elif stored is not None:
                record = self._record(name, stored, folder, key)
                found += [record] if record.key == key else []
        return sorted(found, key=lambda each: each.posted_at_seconds, reverse=True)

    async def search_logs(
        self,
        key: str,
        take: Callable[[Record], None],
        *,
        since: float | None = None,
        until: float | None = None,
        seconds: float | None = None,
        records_max: int | None = None,
    ) -> Searched:
        """Give all lines of layout `log` about a key to `take`; the last 24 hours unless told otherwise.

        `since` and `until` are seconds since the epoch and choose log objects by the hour they were written
        in. It ends after `seconds`, whatever hangs, or with the record beyond `records_max`; the answer says
        how far it came. One object that cannot be read stops nothing. Raises `BadKey`.
        """
        searched, taken = Searched(), 0
        try:
            async with (
                asyncio.timeout(seconds),
                aclosing(self._in_logs(key, since, until, searched)) as found,
            ):
                async for record in found:
                    if taken == records_max:
                        searched.is_cut = True
                        break
                    taken += 1
                    take(record)
        except TimeoutError:
            searched.is_cut = True
        return searched

    async def _in_logs(
        self, key: str, since: float | None, until: float | None, searched: Searched
    ) -> AsyncGenerator[Record]:
        """Yield the lines about a key, each once, hour by hour. A log object holds at most 1,000 lines."""
        until = self._clock.wall() if until is None else until
        since = until - DAY_SECONDS if since is None else since
        try:
            needle = orjson.dumps(key)
        except TypeError as error:
            raise BadKey(f"{key!a} is not UTF-8 text, and names of objects are") from error
        told: set[Record] = set()
        everything = self._about(key, needle, _Hours(since, until), searched)
        async with aclosing(everything):
            async for found in everything:
                for record in found:
                    plain = replace(record, name="")
                    if plain not in told:
                        told.add(plain)
                        yield record

    async def _about(
        self, key: str, needle: bytes, hours: _Hours, searched: Searched
    ) -> AsyncGenerator[list[Record]]:
        """Yield the lines about a key, object by object: those of runs first, as there are few to read."""
        read = _RunsRead()
        in_runs = self._about_in_runs(key, hours, read, searched)
        async with aclosing(in_runs):
            async for found in in_runs:
                yield found
        async for page in self._log_pages(hours.since, hours.until):
            lines = side_by_side(page, lambda one: self._lines(one, needle, key))
            async with aclosing(lines):
                async for name, in_object in lines:
                    if isinstance(in_object, Unread):
                        searched.unread.append(in_object)
                        continue
                    searched.objects += 1
                    searched.reached = _hour_of(name)
                    yield in_object
        # What became part of a run meanwhile was in no listing of log objects.
        in_runs = self._about_in_runs(key, hours, read, searched)
        async with aclosing(in_runs):
            async for found in in_runs:
                yield found

    async def _about_in_runs(
        self, key: str, hours: _Hours, read: _RunsRead, searched: Searched
    ) -> AsyncGenerator[list[Record]]:
        async for new in self._runs_to_read(hours, read):
            if isinstance(new, Unread):
                searched.unread.append(new)
                continue
            in_buckets = side_by_side(new, lambda run: self.bucket(run, bucket_of(key, run.bits)))
            async with aclosing(in_buckets):
                number = 0
                async for found in in_buckets:
                    run, number = new[number], number + 1
                    if isinstance(found, Unread):
                        read.failed(run, found)
                        continue
                    searched.objects += 1
                    name = self._bucket.root + run.part(bucket_of(key, run.bits), 0)
                    records = (
                        Record.of_line(name, each.line)
                        for each in found
                        if hours.hold(each.written_at)
                    )
                    yield [each for each in records if each.key == key]

    async def _runs_to_read(
        self, hours: _Hours, read: _RunsRead
    ) -> AsyncGenerator[list[Run] | Unread]:
        """Yield the runs that were not read yet, and what could not be read of those that were.

        A run that is merged into another one is deleted: where a part was missing, the run has to be there
        still for that to be a fault, and else there is a new run to read.
        """
        for _ in range(LISTINGS_MAX):
            listed = await self.runs(hours.since, hours.until)
            for unread in read.faults(listed):
                yield unread
            new = read.begin(listed)
            if new:
                yield new
            if not read.gone:
                return
        for unread in read.faults(list(read.gone)):
            yield unread

    async def runs(self, since: float, until: float) -> list[Run]:
        """Return the runs that may hold what was written between these times, oldest day first."""
        # Workers name log objects by their own clocks.
        first, last = (
            log_hour(max(0.0, at))[len(LOG) + 1 : -4]
            for at in (since - HOUR_SECONDS, until + HOUR_SECONDS)
        )
        found: list[Run] = []
        async for page in self._bucket.pages(MARKS, start_after=f"{MARKS}{first}/"):
            runs = [run for each in page.objects if (run := Run.of_mark(each.key))]
            found += [run for run in runs if run.day <= last]
            if runs and runs[-1].day > last:
                break
        return found

    async def bucket(self, run: Run, bucket: int) -> list[Entry] | Unread:
        """Read a bucket of a run. A missing part is `Unread` with the code `NoSuchKey`."""
        found: list[Entry] = []
        for part in count():
            name = run.part(bucket, part)
            stored = await self.readable(name)
            if isinstance(stored, Unread):
                return stored
            if stored is None:
                return self._unfit(name, "NoSuchKey", "a part of a run is missing")
            try:
                found += entries_of(stored.body)
            except ValueError:
                return self._unfit(name, "", "this is no part of a run")
            if is_last(stored.body):
                break
        return found

    def _unfit(self, name: str, code: str, why: str) -> Unread:
        failure = Failure("oss", "GetObject", Outcome.UNKNOWN, Blame.ITEM, 200, code, why)
        return Unread(self._bucket.root + name, failure)

    async def accepted_in_logs(
        self, since: float, until: float
    ) -> AsyncIterator[list[tuple[str, Seen]] | Unread]:
        """Yield the keys that OMS accepted, log object by log object of layout `log`.

        What cannot be read of one is yielded in its place. Workers name log objects by their own clocks, so
        an hour before and after is read as well.
        """

        async def keys(listed: Listed) -> list[tuple[str, Seen]] | Unread:
            stored = await self.readable(listed.key)
            if isinstance(stored, Unread):
                return stored
            lines = stored.body.split(b"\n") if stored else ()
            name = self._bucket.root + listed.key
            records = (Record.of_line(name, line) for line in lines if line)
            return [
                (each.key, _seen(each, listed.last_modified))
                for each in records
                if each.outcome == Outcome.ACCEPTED and each.key
            ]

        hours, read = _Hours(max(0.0, since - HOUR_SECONDS), until + HOUR_SECONDS), _RunsRead()
        async for found in self._accepted_in_runs(hours, read):
            yield found
        async for page in self._log_pages(hours.since, hours.until):
            async for found in side_by_side(page, keys):
                yield found
        # What became part of a run meanwhile was in no listing of log objects.
        async for found in self._accepted_in_runs(hours, read):
            yield found

    async def _accepted_in_runs(
        self, hours: _Hours, read: _RunsRead
    ) -> AsyncIterator[list[tuple[str, Seen]] | Unread]:
        async for new in self._runs_to_read(hours, read):
            if isinstance(new, Unread):
                yield new
                continue
            for run in new:
                buckets = side_by_side(range(1 << run.bits), partial(self.bucket, run))
                async for found in buckets:
                    if isinstance(found, Unread):
                        read.failed(run, found)
                        continue
                    lines = (
                        (Record.of_line("", each.line), each.written_at)
                        for each in found
                        if hours.hold(each.written_at)
                    )
                    yield [
                        (record.key, _seen(record, at))
                        for record, at in lines
                        if record.outcome == Outcome.ACCEPTED and record.key
                    ]

    async def state_recorded(self, key: str) -> Seen | Unread | None:
        """Read which state of a key its success record is about; None if there is none."""
        stored = await self.readable(self.name(SUCCESS, key))
        if stored is None or isinstance(stored, Unread):
            return stored
        record = self._record(self.name(SUCCESS, key), stored, SUCCESS, key)
        return _seen(record, stored.last_modified)

    async def oldest_log_hour(self) -> float:
        """Return from when on the logs are known to be kept (epoch seconds); 0 if there are none.

        The hour of the oldest log object, or the end of the day of the oldest run.
        """
        found: list[float] = []
        async for page in self._bucket.pages(f"{LOG}/"):
            hours = [match[1] for each in page.objects if (match := _HOUR.match(each.key))]
            found += [_seconds(hours[0], "%Y/%m/%d/%H")] if hours else []
            break
        async for page in self._bucket.pages(MARKS):
            days = [run.day for each in page.objects if (run := Run.of_mark(each.key))]
            found += [_seconds(days[0], "%Y/%m/%d") + DAY_SECONDS] if days else []
            break
        return min(found, default=0.0)

    async def readable(self, name: str) -> Stored | Unread | None:
        """Read an object; return why not where it is this one that cannot be read.

        Raises `CallFailed` for refused credentials, and where so many in a row cannot be read that it is not
        the objects' fault.
        """
        try:
            stored = await self._bucket.get(name)
        except CallFailed as failed:
            self._unread_in_a_row += 1
            is_general = self._unread_in_a_row >= UNREAD_IN_A_ROW_MAX
            if failed.failure.blame is Blame.CREDENTIALS or is_general:
                raise
            return Unread(self._bucket.root + name, failed.failure)
        self._unread_in_a_row = 0
        return stored

    async def written(
        self, folder: str, key_prefix: str = "", after: str = ""
    ) -> AsyncIterator[tuple[str, Seen]]:
        """Yield the names of a folder of records and when OSS wrote them, in the order of the names.

        A name is its key, but for a key too long to be one: see `has_hashed_name` and `of_long_key`.
        """
        cut = len(folder) + 1
        start_after = f"{folder}/{after}" if after else ""
        async for page in self._bucket.pages(f"{folder}/{key_prefix}", start_after=start_after):
            for each in page.objects:
                yield each.key[cut:], Seen(each.last_modified)

    async def of_long_key(self, folder: str, key: str) -> Seen | Unread | None:
        """Return when OSS wrote the record of a key that is too long for a name; None if there is none."""
        stored = await self.readable(self.name(folder, key))
        return Seen(stored.last_modified) if isinstance(stored, Stored) else stored

    def has_hashed_name(self, key: str) -> bool:
        """Whether the key's record stands under a hash, because its own name would be too long."""
        return not self.name(SUCCESS, key).endswith(key)

    async def failed(
        self, *, key_prefix: str = "", since: float | None = None, until: float | None = None
    ) -> AsyncGenerator[Record]:
        """Yield the keys that OMS refused, in the order of their names, with the reason of each.

        Long keys stand under a hash of theirs and come last.
        """
        folder = f"{FAILED}/"
        async for page in self._bucket.pages(folder + key_prefix):
            names = [each.key for each in page.objects]
            async with aclosing(self._failures(names, key_prefix, since, until)) as records:
                async for record in records:
                    yield record
        if not key_prefix:
            return
        async for page in self._bucket.pages(folder, delimiter="/"):
            names = [
                each.key
                for each in page.objects
                if is_hash(each.key[len(folder) :]) and not each.key.startswith(folder + key_prefix)
            ]
            async with aclosing(self._failures(names, key_prefix, since, until)) as records:
                async for record in records:
                    yield record

    async def _failures(
        self, names: list[str], key_prefix: str, since: float | None, until: float | None
    ) -> AsyncGenerator[Record]:
        async with aclosing(side_by_side(names, self._failure)) as records:
            async for record in records:
                if record is None or not record.key.startswith(key_prefix):
                    continue
                at = record.posted_at_seconds
                if (since is None or at >= since) and (until is None or at <= until):
                    yield record

    async def _failure(self, name: str) -> Record | None:
        stored = await self._bucket.get(name)
        if stored is None:
            return None
        return self._record(name, stored, FAILED, name.removeprefix(f"{FAILED}/"))

    def _record(self, name: str, stored: Stored, folder: str, key: str) -> Record:
        return Record.of_object(
            self._bucket.root + name,
            stored.body,
            key=key,
            is_success=folder == SUCCESS,
            written_at=stored.last_modified,
        )

    async def _log_pages(self, since: float, until: float) -> AsyncIterator[list[Listed]]:
        """Yield the log objects of these hours: their names are in the order of time."""
        before, last = (log_hour(max(0.0, at)) for at in (since, until))
        async for page in self._bucket.pages(f"{LOG}/", start_after=before):
            found = [each for each in page.objects if each.key[: len(last)] <= last]
            yield found
            if len(found) < len(page.objects):
                return

    async def _lines(
        self, one: Listed, needle: bytes, key: str
    ) -> tuple[str, list[Record] | Unread]:
        stored = await self.readable(one.key)
        if isinstance(stored, Unread):
            return one.key, stored
        lines = stored.body.split(b"\n") if stored and needle in stored.body else ()
        records = (
            Record.of_line(self._bucket.root + one.key, line) for line in lines if needle in line
        )
        return one.key, [record for record in records if record.key == key]

    def name(self, folder: str, key: str) -> str:
        """Return where the record of a key stands, relative to the task's folder."""
        return record_name(self._bucket.task_id, folder, key).removeprefix(self._bucket.root)


class _Hours(NamedTuple):
    """Whole hours, from that of `since` to that of `until` (epoch seconds)."""

    since: float
    until: float

    def hold(self, at: float) -> bool:
        """Whether this time is in one of them."""
        return self.since // HOUR_SECONDS <= at // HOUR_SECONDS <= self.until // HOUR_SECONDS


class _RunsRead:
    """Which runs one search has begun to read, and of which of them a part is missing or cannot be read."""

    def __init__(self) -> None:
        self._begun: set[Run] = set()
        self.gone: dict[Run, Unread] = {}

    def begin(self, runs: Sequence[Run]) -> list[Run]:
        """Return those that are new."""
        new = [run for run in runs if run not in self._begun]
        self._begun.update(new)
        return new

    def failed(self, run: Run, unread: Unread) -> None:
        """Take that a part cannot be read; whether it matters says the next listing."""
        self.gone[run] = unread

    def faults(self, listed: Sequence[Run]) -> list[Unread]:
        """Return what could not be read of runs that are there still, and forget the others."""
        found = [self.gone[run] for run in listed if run in self.gone]
        self.gone = {}
        return found


def _seconds(text: str, form: str) -> float:
    return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()


def _hour_of(name: str) -> str:
    match = _HOUR.match(name)
    return match[1] if match else ""


def _seen(record: Record, at: float) -> Seen:
    return Seen(at, record.etag.strip('"'), record.posted_at_seconds)
