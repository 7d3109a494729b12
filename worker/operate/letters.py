"""Dead letters as operators read them: page by page, filtered, grouped by cause and error, found by id.

A letter stands at `dead_letter/<cause>/<day>/<message id>.json` in the task's folder; once it was redriven or
archived, the same name stands under `archived/`. `worker.flow.bury` writes them, `redrive` here moves them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple

from worker.clouds.http import ANSWER_BYTES_MAX
from worker.errors import CallFailed, RelayError
from worker.ledger.letter import INDEX, Entry, Letter, Place, Ref, parse_index
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket, side_by_side
from worker.ports import Page

GROUPS_MAX = 1000
MATCHES_MAX = 10
ID_CHARS_MIN = 6
# Looking at so many letters one by one costs as much as a page of a listing.
WORTH_LISTING = 20
# No letter has this name: OSS's answer for it tells whether letters can be read at all.
NO_LETTER = "none.json"


class BadId(RelayError):  # noqa: N818  the name says what it is
    """A text that is too short to name a letter."""


def require_ids(ids: Iterable[str]) -> None:
    """Raise `BadId` unless each is long enough to mean one letter, or few: an empty id would mean all."""
    for text in ids:
        message_id = text.removesuffix(".json").split("/")[-1]
        if len(message_id) < ID_CHARS_MIN:
            raise BadId(
                f"{text!r} is no message id: at least its first {ID_CHARS_MIN} characters are needed. "
                "Nothing was done. `oms-relay dead list` shows the ids."
            )


class Chosen:
    """Letters that were counted, to move those and no others: a digest of eight bytes for each."""

    def __init__(self) -> None:
        self._digests = array("Q")
        self._is_sorted = True

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, ref: Ref) -> None:
        """Count a letter."""
        self._digests.append(_digest(ref))
        self._is_sorted = False

    def __contains__(self, ref: Ref) -> bool:
        if not self._is_sorted:
            self._digests = array("Q", sorted(self._digests))
            self._is_sorted = True
        digest = _digest(ref)
        at = bisect_left(self._digests, digest)
        return at < len(self._digests) and self._digests[at] == digest


class RefPage(NamedTuple):
    """Where some letters stand, by a page of a listing; `at` is OSS's time of it, 0 if it did not say."""

    refs: list[Ref]
    at: float


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters: those that meet every condition given. Times are seconds since the epoch.

    `key_prefix` holds if one of the letter's keys begins with it; `since` and `until` are about the time of
    death; `ids` are message ids, their beginnings, or `cause/day/id`. `chosen` are the letters that somebody
    has seen counted. A letter that cannot be read is wanted by any filter: nobody knows better.
    """

    cause: str = ""
    group: str = ""
    key_prefix: str = ""
    since: float | None = None
    until: float | None = None
    ids: tuple[str, ...] = ()
    chosen: Chosen | None = None

    def may_be(self, ref: Ref) -> bool:
        """Whether a letter that stands there can be wanted."""
        return self.may_hold(ref.day) and (self.chosen is None or ref in self.chosen)

    def may_hold(self, day: str) -> bool:
        """Whether letters of that day can be wanted."""
        first = _day(self.since) if self.since is not None else ""
        return first <= day and (self.until is None or day <= _day(self.until))

    def holds(self, letter: Letter) -> bool:
        """Whether the letter is wanted."""
        if self.cause and letter.ref.cause != self.cause:
            return False
        if letter.is_unreadable:
            return True
        if self.group and letter.group != self.group.lower():
            return False
        if self.key_prefix and not any(key.startswith(self.key_prefix) for key in letter.keys):
            return False
        return self._holds_time(letter.died_at_seconds)

    def holds_entry(self, entry: Entry) -> bool:
        """Whether a letter is wanted, as far as the index tells: `key_prefix` is not looked at."""
        if self.group and entry.group != self.group.lower():
            return False
        return self._holds_time(entry.died_at_seconds)

    def _holds_time(self, died: float) -> bool:
        return (self.since is None or died >= self.since) and (
            self.until is None or died <= self.until
        )


EVERY = LetterFilter()


@dataclass(frozen=True, slots=True)
class Group:
    """Letters with one cause and one kind of error. Times are ISO 8601, as in the letters."""

    group: str
    cause: str
    error: str
    count: int
    first_seen: str
    last_seen: str
    sample_id: str
    sample_key: str

    def joined(self, died_at: str) -> Group:
        """Return the group with one letter more, that died at this time (ISO 8601)."""
        return replace(
            self,
            count=self.count + 1,
            first_seen=min(self.first_seen, died_at),
            last_seen=max(self.last_seen, died_at),
        )


class Grouping:
    """Groups that grow letter by letter, for whoever wants to see them before all are read.

    Beyond 1,000 groups, further kinds of error are counted together for each cause. `unreadable` has the
    first letters that could not be read, of `unreadable_count`. `days` has how many letters of each group, by
    its name, died on each day.
    """

    def __init__(self) -> None:
        self.count = self.unreadable_count = 0
        self.unreadable: list[Letter] = []
        self.days: dict[str, dict[str, int]] = {}
        self._groups: dict[str, Group] = {}

    def add(self, letter: Letter) -> None:
        """Count one letter."""
        if letter.body is None:
            self.unreadable_count += 1
            if len(self.unreadable) < MATCHES_MAX:
                self.unreadable.append(letter)
        name, error = letter.group, letter.error
        if name not in self._groups and len(self._groups) >= GROUPS_MAX:
            name, error = letter.ref.cause, "(other errors)"
        known = self._groups.get(name)
        self._groups[name] = known.joined(letter.died_at) if known else _group(name, error, letter)
        self._count(name, letter.ref.day)

    def counts(self, ref: Ref, entry: Entry) -> bool:
        """Count a letter by its entry in the index; False if its group is new: then it has to be read."""
        name = entry.group
        if name not in self._groups and len(self._groups) >= GROUPS_MAX:
            name = ref.cause
        known = self._groups.get(name)
        if known is None:
            return False
        self._groups[name] = known.joined(entry.died_at)
        self._count(name, ref.day)
        return True

    def _count(self, name: str, day: str) -> None:
        self.count += 1
        by_day = self.days.setdefault(name, {})
        by_day[day] = by_day.get(day, 0) + 1

    def groups(self) -> list[Group]:
        """Return the groups so far, the largest first."""
        return sorted(self._groups.values(), key=lambda each: -each.count)


class Letters:
    """Reads the dead letters of one relay. Every method raises `CallFailed` if OSS cannot be read."""

    def __init__(self, clients: Clients) -> None:
        self.bucket = LogBucket(clients)
        self._met_ids: set[str] = set()
        self._too_large: dict[str, int] = {}

    async def read(
        self, wanted: LetterFilter = EVERY, place: Place = Place.DEAD, after: Ref | None = None
    ) -> AsyncGenerator[Letter]:
        """Yield the letters that are wanted, by cause and day; holds a page of names and a few letters.

        With `after`, only those that come after that one: a reader may go away and come back.
        """
        async with aclosing(self.pages(wanted, place, after)) as pages:
            async for page in pages:
                async with aclosing(side_by_side(page.refs, self.get)) as letters:
                    async for letter in letters:
                        if letter is not None and wanted.holds(letter):
                            yield letter

    async def get(self, ref: Ref) -> Letter | None:
        """Read one letter; None if it has been moved meanwhile. One that is damaged or unreadable says so.

        Raises `CallFailed` only where OSS answers for no other name either.
        """
        if size := self._too_large.get(ref.name):
            return Letter.unreadable(ref, f"the object has {size} bytes")
        try:
            stored = await self.bucket.get(ref.name)
        except CallFailed as failed:
            # Frozen, denied by itself, too large: another name tells whether it is this letter or all.
            if await self.bucket.get(f"{ref.place}/{NO_LETTER}") is not None:
                raise
            return Letter.unreadable(ref, str(failed))
        return None if stored is None else Letter.parse(ref, stored.body, stored.last_modified)

    async def twins(self, refs: Sequence[Ref], other: Place) -> set[str] | None:
        """Return the names in the other place that some of these letters of one page have as well.

        None where finding out takes more calls than looking at each: there are few, or many lie between.
        """
        if len(refs) < WORTH_LISTING:
            return None
        first, last = refs[0].at(other).name, refs[-1].at(other).name
        # A listing goes on after a name: this one comes just before the first.
        pages_max = 1 + len(refs) // WORTH_LISTING
        names = await self._between(f"{other}/{refs[0].cause}/", first[:-1], last, pages_max)
        return None if names is None else {ref.at(other).name for ref in refs}.intersection(names)

    def unknown_ids(self, wanted: LetterFilter) -> tuple[str, ...]:
        """Return the ids that no letter was found for, once all pages were read."""
        return tuple(text for text in wanted.ids if text not in self._met_ids)

    async def find(self, message_id: str) -> list[Letter]:
        """Return the letters, also archived ones, whose message id begins so; at most ten.

        `message_id` may also be `<cause>/<day>/<message id>`. A message that died twice has two letters.
        """
        wanted = LetterFilter(ids=(message_id,))
        found: list[Letter] = []
        for place in Place:
            async with aclosing(self.read(wanted, place)) as letters:
                async for letter in letters:
                    found.append(letter)
                    if len(found) >= MATCHES_MAX:
                        return found
        return found

    async def groups(self, wanted: LetterFilter = EVERY, place: Place = Place.DEAD) -> list[Group]:
        """Group the letters by cause and error, the largest group first."""
        grouping = Grouping()
        await self.group(grouping, wanted, place)
        return grouping.groups()

    async def group(
        self, grouping: Grouping, wanted: LetterFilter = EVERY, place: Place = Place.DEAD
    ) -> None:
        """Add the letters to a grouping, by their entries in the index.

        Read are one of each group, and those without an entry: a relay before this one buried them. With a
        `key_prefix` every letter is read.
        """
        async for page in self.pages(wanted, place):
            index = {} if wanted.key_prefix else await self.index(page.refs)
            unknown = []
            for ref in page.refs:
                entry = index.get(ref)
                if entry is None:
                    unknown.append(ref)
                elif wanted.holds_entry(entry) and not grouping.counts(ref, entry):
                    letter = await self.get(ref)
                    if letter is not None:
                        grouping.add(letter)
            async with aclosing(side_by_side(unknown, self.get)) as letters:
                async for letter in letters:
                    if letter is not None and wanted.holds(letter):
                        grouping.add(letter)

    async def index(self, refs: Sequence[Ref]) -> dict[Ref, Entry]:
        """Return what the index tells of the letters of one page, where looking at each costs more."""
        if not refs:
            return {}
        by_name = {f"{ref.cause}/{ref.day}/{ref.message_id}": ref for ref in refs}
        first, last = refs[0], refs[-1]
        found: dict[Ref, Entry] = {}
        names = await self._between(
            f"{INDEX}/{first.cause}/",
            f"{INDEX}/{first.cause}/{first.day}/{first.message_id}",
            f"{INDEX}/{last.cause}/{last.day}/{last.message_id}/",
            2 + len(refs) // WORTH_LISTING,
        )
        for name in names or ():
            parsed = parse_index(name)
            ref = by_name.get(parsed[0]) if parsed else None
            # Of a message that died more than once the last time counts.
            if parsed is None or ref is None:
                continue
            known = found.get(ref)
            if known is None or known.died_at_seconds < parsed[1].died_at_seconds:
                found[ref] = parsed[1]
        return found

    async def _between(
        self, folder: str, first: str, last: str, pages_max: int
    ) -> list[str] | None:
        """Return the names of a folder after `first` and before `last`; None if there are very many."""
        names: list[str] = []
        async for page in self.bucket.pages(folder, start_after=first):
            found = [each.key for each in page.objects]
            names += found
            if not found or found[-1] >= last:
                return names
            pages_max -= 1
            if not pages_max:
                return None
        return names

    async def counts(
        self,
        place: Place = Place.DEAD,
        count_max: int = 100_000,
        so_far: dict[str, int] | None = None,
        days: dict[str, dict[str, int]] | None = None,
    ) -> dict[str, int]:
        """Count the letters of each cause from listings alone, each up to `count_max`.

        `so_far` is filled page by page, for whoever does not wait for the end. `days` is filled with how many
        of each cause died on each day, which is in their names; oldest first, so the newest may be missing
        where `count_max` is reached.
        """
        counts = {} if so_far is None else so_far
        for cause in await self.bucket.folders(f"{place}/"):
            async for page in self.bucket.pages(f"{place}/{cause}/"):
                counts[cause] = min(counts.get(cause, 0) + len(page.objects), count_max)
                if days is not None:
                    by_day = days.setdefault(cause, {})
                    for ref in self._listed(page):
                        by_day[ref.day] = by_day.get(ref.day, 0) + 1
                if counts[cause] >= count_max:
                    break
        return counts

    async def pages(
        self, wanted: LetterFilter, place: Place, after: Ref | None = None
    ) -> AsyncGenerator[RefPage]:
        """Yield the places of letters that may be wanted, a page at a time, each once."""
        causes = [wanted.cause] if wanted.cause else await self.bucket.folders(f"{place}/")
        for cause in causes:
            if after is not None and cause.encode() < after.cause.encode():
                continue
            if wanted.ids:
                async for found in self._refs_by_id(wanted, place, cause):
                    yield found
                continue
            folder = f"{place}/{cause}/"
            start = f"{folder}{_day(wanted.since)}" if wanted.since is not None else ""
            if after is not None and cause == after.cause:
                start = max(start, after.at(place).name, key=str.encode)
            async for page in self.bucket.pages(folder, start_after=start):
                refs = self._listed(page)
                may_be = [ref for ref in refs if wanted.may_be(ref)]
                if wanted.group:
                    index = await self.index(may_be)
                    may_be = [r for r in may_be if r not in index or wanted.holds_entry(index[r])]
                yield RefPage(may_be, page.at)
                if refs and wanted.until is not None and refs[-1].day > _day(wanted.until):
                    break

    def _listed(self, page: Page) -> list[Ref]:
        """Return where the letters of a page stand; too large ones are remembered as that."""
        refs = []
        for each in page.objects:
            ref = Ref.parse(each.key)
            if ref is None:
                continue
            refs.append(ref)
            if each.size > ANSWER_BYTES_MAX:
                self._too_large[ref.name] = each.size
        return refs

    async def _refs_by_id(
        self, wanted: LetterFilter, place: Place, cause: str
    ) -> AsyncIterator[RefPage]:
        seen: set[int] = set()
        asked = _Ids(wanted.ids)
        days = [
            day for day in await self.bucket.folders(f"{place}/{cause}/") if wanted.may_hold(day)
        ]
        for text in wanted.ids:
            *path, message_id = text.removesuffix(".json").split("/")
            for day in days:
                if path and path[-2:] != [cause, day][-len(path) :]:
                    continue
                async for page in self.bucket.pages(f"{place}/{cause}/{day}/{message_id}"):
                    refs = self._listed(page)
                    for ref in refs:
                        self._met_ids.update(asked.naming(ref))
                    # An id and how it begins name the same letter: it is one.
                    fresh = [r for r in refs if wanted.may_be(r) and _digest(r) not in seen]
                    if len(wanted.ids) > 1:
                        seen.update(_digest(ref) for ref in fresh)
                    yield RefPage(fresh, page.at)


class _Ids:
    """Texts that name letters: `id`, `day/id` or `cause/day/id`, each id perhaps only how it begins."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: dict[tuple[str, ...], str] = {}
        for text in texts:
            *path, message_id = text.removesuffix(".json").split("/")
            self._texts[*path[-2:], message_id] = text
        self._lengths = {len(parts[-1]) for parts in self._texts}

    def naming(self, ref: Ref) -> Iterator[str]:
        """Yield the texts that name this letter."""
        for length in self._lengths:
            begin = ref.message_id[:length]
            for parts in ((begin,), (ref.day, begin), (ref.cause, ref.day, begin)):
                if parts in self._texts:
                    yield self._texts[parts]


def _digest(ref: Ref) -> int:
    return int.from_bytes(blake2b(ref.name.encode(), digest_size=8).digest())


def _group(name: str, error: str, letter: Letter) -> Group:
    return Group(
        group=name,
        cause=letter.ref.cause,
        error=error,
        count=1,
        first_seen=letter.died_at,
        last_seen=letter.died_at,
        sample_id=letter.ref.message_id,
        sample_key=letter.keys[0] if letter.keys else "",
    )


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
