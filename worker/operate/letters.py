"""Dead letters as operators read them: page by page, filtered, grouped by cause and error, found by id.

A letter stands at `dead_letter/<cause>/<day>/<message id>.json` in the task's folder; once it was redriven or
archived, the same name stands under `archived/`. `worker.flow.bury` writes them, `redrive` here moves them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from worker.ledger.letter import Letter, Place, Ref
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket, side_by_side
from worker.ports import Listed

GROUPS_MAX = 1000
MATCHES_MAX = 10


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters: those that meet every condition given. Times are seconds since the epoch.

    `key_prefix` holds if one of the letter's keys begins with it; `since` and `until` are about the time of
    death; `ids` are message ids, their beginnings, or `cause/day/id`.
    """

    cause: str = ""
    group: str = ""
    key_prefix: str = ""
    since: float | None = None
    until: float | None = None
    ids: tuple[str, ...] = ()

    def may_hold(self, day: str) -> bool:
        """Whether letters of that day can be wanted."""
        first = _day(self.since) if self.since is not None else ""
        return first <= day and (self.until is None or day <= _day(self.until))

    def holds(self, letter: Letter) -> bool:
        """Whether the letter is wanted."""
        if self.cause and letter.ref.cause != self.cause:
            return False
        if self.group and letter.group != self.group.lower():
            return False
        if self.key_prefix and not any(key.startswith(self.key_prefix) for key in letter.keys):
            return False
        died = letter.died_at_seconds
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

    def joined(self, letter: Letter) -> Group:
        """Return the group with one letter more."""
        return replace(
            self,
            count=self.count + 1,
            first_seen=min(self.first_seen, letter.died_at),
            last_seen=max(self.last_seen, letter.died_at),
        )


class Grouping:
    """Groups that grow letter by letter, for whoever wants to see them before all are read.

    Beyond 1,000 groups, further kinds of error are counted together for each cause.
    """

    def __init__(self) -> None:
        self.count = 0
        self._groups: dict[str, Group] = {}

    def add(self, letter: Letter) -> None:
        """Count one letter."""
        name, error = letter.group, letter.error
        if name not in self._groups and len(self._groups) >= GROUPS_MAX:
            name, error = letter.ref.cause, "(other errors)"
        known = self._groups.get(name)
        self._groups[name] = known.joined(letter) if known else _group(name, error, letter)
        self.count += 1

    def groups(self) -> list[Group]:
        """Return the groups so far, the largest first."""
        return sorted(self._groups.values(), key=lambda each: -each.count)


class Letters:
    """Reads the dead letters of one relay. Every method raises `CallFailed` if OSS cannot be read."""

    def __init__(self, clients: Clients) -> None:
        self.bucket = LogBucket(clients)

    async def read(
        self, wanted: LetterFilter = EVERY, place: Place = Place.DEAD, after: Ref | None = None
    ) -> AsyncIterator[Letter]:
        """Yield the letters that are wanted, by cause and day; holds a page of names and a few letters.

        With `after`, only those that come after that one: a reader may go away and come back.
        """
        async for refs in self._refs(wanted, place, after):
            async for letter in side_by_side(refs, self.get):
                if letter is not None and wanted.holds(letter):
                    yield letter

    async def get(self, ref: Ref) -> Letter | None:
        """Read one letter; None if it has been moved meanwhile. One that is damaged says so itself."""
        stored = await self.bucket.get(ref.name)
        return None if stored is None else Letter.parse(ref, stored.body, stored.last_modified)

    async def find(self, message_id: str) -> list[Letter]:
        """Return the letters, also archived ones, whose message id begins so; at most ten.

        `message_id` may also be `<cause>/<day>/<message id>`. A message that died twice has two letters.
        """
        wanted = LetterFilter(ids=(message_id,))
        found: list[Letter] = []
        for place in Place:
            async for letter in self.read(wanted, place):
                found.append(letter)
                if len(found) >= MATCHES_MAX:
                    return found
        return found

    async def groups(self, wanted: LetterFilter = EVERY, place: Place = Place.DEAD) -> list[Group]:
        """Group the letters by cause and error, the largest group first. Reads every letter once."""
        grouping = Grouping()
        async for letter in self.read(wanted, place):
            grouping.add(letter)
        return grouping.groups()

    async def counts(
        self,
        place: Place = Place.DEAD,
        count_max: int = 100_000,
        so_far: dict[str, int] | None = None,
    ) -> dict[str, int]:
        """Count the letters of each cause from listings alone, each up to `count_max`.

        `so_far` is filled page by page, for whoever does not wait for the end.
        """
        counts = {} if so_far is None else so_far
        for cause in await self.bucket.folders(f"{place}/"):
            async for page in self.bucket.pages(f"{place}/{cause}/"):
                counts[cause] = min(counts.get(cause, 0) + len(page.objects), count_max)
                if counts[cause] >= count_max:
                    break
        return counts

    async def _refs(
        self, wanted: LetterFilter, place: Place, after: Ref | None
    ) -> AsyncIterator[list[Ref]]:
        """Yield the places of letters that may be wanted, a page at a time."""
        causes = [wanted.cause] if wanted.cause else await self.bucket.folders(f"{place}/")
        for cause in causes:
            if after is not None and cause.encode() < after.cause.encode():
                continue
            if wanted.ids:
                async for refs in self._refs_by_id(wanted, place, cause):
                    yield refs
                continue
            folder = f"{place}/{cause}/"
            start = f"{folder}{_day(wanted.since)}" if wanted.since is not None else ""
            if after is not None and cause == after.cause:
                start = max(start, after.at(place).name, key=str.encode)
            async for page in self.bucket.pages(folder, start_after=start):
                refs = list(_refs(page.objects))
                yield [ref for ref in refs if wanted.may_hold(ref.day)]
                if refs and wanted.until is not None and refs[-1].day > _day(wanted.until):
                    break

    async def _refs_by_id(
        self, wanted: LetterFilter, place: Place, cause: str
    ) -> AsyncIterator[list[Ref]]:
        days = [
            day for day in await self.bucket.folders(f"{place}/{cause}/") if wanted.may_hold(day)
        ]
        for text in wanted.ids:
            *path, message_id = text.removesuffix(".json").split("/")
            for day in days:
                if path and path[-2:] != [cause, day][-len(path) :]:
                    continue
                async for page in self.bucket.pages(f"{place}/{cause}/{day}/{message_id}"):
                    yield list(_refs(page.objects))


def _refs(objects: tuple[Listed, ...]) -> Iterator[Ref]:
    for each in objects:
        ref = Ref.parse(each.key)
        if ref is not None:
            yield ref


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
