"""Has everything arrived? The objects of the source against those of the destination, name by name.

Both listings are read side by side, in ranges of names that lanes work at the same time. What they settle is
settled by them: equal ETags that are MD5s prove an object, and most objects need no call of their own. Before
anything counts as a gap both sides are looked at once more (HeadObject), for a listing is a snapshot, and
tells neither CRC64 nor encryption.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import itemgetter
from typing import Protocol

from worker.arrival.again import why_futile
from worker.arrival.compare import (
    Comparison,
    Verdict,
    are_equal_md5s,
    are_md5s,
    are_unlike_md5s,
    compare,
)
from worker.arrival.deletions import KEPT_PREFIX
from worker.arrival.destination import knock
from worker.clouds.obs import ObsClient
from worker.errors import Blame, CallFailed, Failure
from worker.ledger.names import ROOT
from worker.operate.connect import Clients
from worker.operate.lanes import SPLIT_AFTER_PAGES, Lanes, Width
from worker.operate.log_bucket import side_by_side
from worker.operate.order import told_in_order
from worker.operate.ranges import LAST, Range, Work, middle
from worker.operate.two_listings import Pair, stretches
from worker.ports import Listed, ObjectFacts, Page, TaskState

LOOKS_AT_ONCE = 32
# With their waits some two minutes.
PAGE_ATTEMPTS_MAX = 15
THROTTLED = (429, 503)
# A range of no names.
NOWHERE = Range(LAST, LAST)
# Fields of pairs, and of what is listed, by place: a comparison of billions looks at whole columns.
_key_of, _source_of, _copy_of = map(itemgetter, range(3))
_size_of, _etag_of, _kind_of = itemgetter(1), itemgetter(3), itemgetter(4)
_NOT_THERE = "not in the destination"
_MOVED = "changed while it was compared"
_FOLDER = "a folder without content"


class Standing(StrEnum):
    """How an object stands in the destination.

    `PROVED`: equal checksums. `PENDING`: changed so lately that the copy may be on its way. `UNPROVED`: equal
    size, not older, no common checksum. `MISSING`: not there. `DIFFERENT`: another content, or older.
    `EXTRA`: the source has it no more. `UNREADABLE`: one side could not be looked at.
    """

    PROVED = "proved"
    PENDING = "pending"
    UNPROVED = "unproved"
    MISSING = "missing"
    DIFFERENT = "different"
    EXTRA = "extra"
    UNREADABLE = "unreadable"

    @property
    def is_gap(self) -> bool:
        """Whether the destination lacks what the source has."""
        return self in (Standing.MISSING, Standing.DIFFERENT)

    @property
    def sign(self) -> str:
        """The sign of it, as `rclone check --combined` has them."""
        return _SIGNS[self]


_SIGNS = dict(zip(Standing, "=~?+*-!", strict=True))
_STANDINGS = {
    Verdict.PROVED: Standing.PROVED,
    Verdict.PENDING: Standing.PENDING,
    Verdict.UNPROVED: Standing.UNPROVED,
    Verdict.MISSING: Standing.MISSING,
    Verdict.DIFFERENT: Standing.DIFFERENT,
    Verdict.STALE: Standing.DIFFERENT,
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One key, how it stands, and why in a few words; `source` and `destination` are what is known of each.

    `futile` says why the task would never copy it, however often it is announced; empty where it may.
    `failure` is that of the look at what is unreadable.
    """

    key: str
    standing: Standing
    source: Listed | ObjectFacts | None
    destination: Listed | ObjectFacts | None
    why: str = ""
    futile: str = ""
    failure: Failure | None = None

    @property
    def calls_for_event(self) -> bool:
        """Whether an event may close the gap."""
        return self.standing.is_gap and not self.futile

    @property
    def changed_at(self) -> float:
        """When it changed last, in epoch seconds: in the source, or where it is."""
        known = self.source or self.destination
        return known.last_modified if known else 0.0

    @property
    def size(self) -> int:
        """How many bytes it has: in the source, or where it is."""
        known = self.source or self.destination
        return known.size if known else 0

    @property
    def etag(self) -> str:
        """The ETag of it: in the source, or where it is."""
        known = self.source or self.destination
        return known.etag if known else ""

    @property
    def is_folder(self) -> bool:
        """Whether it only stands for a folder: a parallel file system makes such, and needs them."""
        return self.key.endswith("/") and not self.size


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared, and how deeply.

    With `since` or `until` (epoch seconds) only what changed between them is judged. `is_deep` looks for the
    checksums of everything unproved, `sample` for those of so many of them, taken at random.
    """

    bucket: str
    destination_bucket: str
    key_prefix: str = ""
    since: float | None = None
    until: float | None = None
    is_deep: bool = False
    sample: int = 0

    @property
    def has_span(self) -> bool:
        """Whether only a span of time is asked for."""
        return self.since is not None or self.until is not None

    def covers(self, at: float) -> bool:
        """Whether what changed then is asked for."""
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)


@dataclass(slots=True)
class Effort:
    """What a comparison has done so far: requests of all kinds, and what they were for.

    `probe_requests` are listings of one name, which find the places where ranges are split.
    """

    list_requests: int = 0
    head_requests: int = 0
    probe_requests: int = 0
    source_objects: int = 0
    not_looked_at: int = 0
    may_be_sampled: int = 0
    sampled: int = 0


@dataclass(slots=True)
class Stretch:
    """What was found of a part of the names: `others` one by one, in order, the proved as numbers.

    With `--show proved` those stand among the others as well, and the numbers are 0.
    """

    range: Range
    proved: int = 0
    proved_bytes: int = 0
    source_objects: int = 0
    not_looked_at: int = 0
    others: list[Judged] = field(default_factory=list)


@dataclass(slots=True)
class _Sample:
    """So many of all that are offered, each with the same chance; holds no more than those."""

    size: int
    rng: random.Random
    offered: int = 0
    kept: list[Judged] = field(default_factory=list)

    def offer(self, judged: Judged) -> Judged | None:
        """Take it or leave it; return what is not in the sample, or no longer."""
        self.offered += 1
        if len(self.kept) < self.size:
            self.kept.append(judged)
            return None
        place = self.rng.randrange(self.offered)
        if place >= self.size:
            return judged
        left, self.kept[place] = self.kept[place], judged
        return left


@dataclass(frozen=True, slots=True)
class Manner:
    """How a comparison goes about it, whatever it is that it compares.

    `width` is how many lanes work at once. `tells_proved`: the proved are told one by one as well.
    `ends_at_gaps`: each gap ends a stretch, so that a stop between two of them is exact. `in_order`: the
    stretches come in the order of the names, else as they are found.
    """

    width: Width = field(default_factory=lambda: Width(1))
    tells_proved: bool = True
    ends_at_gaps: bool = False
    in_order: bool = True
    split_after_pages: int = SPLIT_AFTER_PAGES


class Over(Protocol):
    """Whoever compares a range: this process, or another one."""

    def over(self, work: Work) -> AsyncGenerator[Stretch]:
        """Tell of a range, in order and part by part."""
        ...


class DestinationReconciliation:
    """Compares both buckets once. `now` is the source's time; `task` is None where it is not known.

    `helpers` take their share of the lanes.
    """

    def __init__(
        self,
        clients: Clients,
        destination: ObsClient,
        question: Question,
        *,
        now: Callable[[], float],
        task: TaskState | None,
        rng: random.Random,
        manner: Manner | None = None,
    ) -> None:
        self._clients = clients
        self._destination = destination
        self._question = question
        self._now = now
        self._task = task
        self._manner = manner or Manner()
        self._sample = _Sample(0 if question.is_deep else question.sample, rng)
        self._grace_seconds = clients.settings.arrival_seconds
        own = question.bucket == clients.settings.log_bucket
        self._own_records = f"{ROOT}/" if own else None
        self._first_look = asyncio.Lock()
        self._has_looked = False
        self._refused: CallFailed | None = None
        self._places = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._pages_retry = clients.retry.at_most(PAGE_ATTEMPTS_MAX)
        self.effort = Effort()
        self.helpers: Sequence[Over] = ()

    async def findings(self) -> AsyncGenerator[Judged]:
        """Yield every name in order, each once, and a sample last; a stop ends it soon.

        Raises `CallFailed` where a listing fails for good or credentials are refused, and `Unordered`.
        """
        async with aclosing(self.stretches()) as stretches:
            async for stretch in stretches:
                for judged in stretch.others:
                    yield judged
                    if self._clients.stop.is_set():
                        return

    async def stretches(self, ranges: Iterable[Range] = (Range(),)) -> AsyncGenerator[Stretch]:
        """Yield what is found, part by part, each name in one of them, and a sample last.

        The sample comes in a stretch without names. A stop ends it at once, between two stretches. Raises
        as `findings` does.
        """
        ranges = tuple(ranges)
        lanes: Lanes[Stretch] = Lanes(
            [self.over, *(each.over for each in self.helpers)],
            self._middle,
            self._manner.width,
            split_after_pages=self._manner.split_after_pages,
        )
        found: AsyncGenerator[Stretch] = lanes.run(ranges, self._clients.stop)
        if self._manner.in_order:
            found = told_in_order(found, ranges)
        async with aclosing(found):
            async for stretch in found:
                self.effort.source_objects += stretch.source_objects
                self.effort.not_looked_at += stretch.not_looked_at
                yield self._without_sample(stretch)
        if self._sample.kept and not self._clients.stop.is_set():
            yield await self._sampled()

    async def over(self, work: Work) -> AsyncGenerator[Stretch]:
        """Compare a range, and tell of it in order; a name is claimed before it is looked at."""
        listings = stretches(
            self._source_pages(work.at, work), self._destination_pages(work.at, work)
        )
        async with aclosing(listings):
            async for pairs in listings:
                if work.upto and pairs[-1].key > work.upto:
                    del pairs[bisect_right(pairs, work.upto, key=_key_of) :]
                is_last = not pairs or pairs[-1].key == work.upto
                if pairs:
                    work.claim(pairs[-1].key)
                    async with aclosing(self._told(work, pairs)) as told:
                        async for stretch in told:
                            yield stretch
                if is_last:
                    break
        rest = work.end()
        if rest.after != rest.upto or not rest.upto:
            yield Stretch(rest)

    async def _told(self, work: Work, pairs: Sequence[Pair]) -> AsyncGenerator[Stretch]:
        """Judge by the listings, and look again at what they do not settle; in order."""
        manner, now = self._manner, self._now()
        part = Stretch(work.rest)
        asked = pairs if self._all_are_asked_for(pairs) else self._asked_for(pairs, part)
        part.source_objects += len(pairs) if asked is pairs else 0
        if not manner.tells_proved:
            asked = self._count_proved(asked, part)
        entries = [(pair, self._by_listings(pair, now)) for pair in asked]
        unsettled = [pair for pair, judged in entries if judged is None]
        async with aclosing(self._looked_at(unsettled)) as looks:
            for pair, by_listings in entries:
                judged = by_listings or await anext(looks)
                # After a stop a look may have been cut short.
                if self._clients.stop.is_set():
                    return
                if judged is None:
                    continue
                part.others.append(judged)
                if manner.ends_at_gaps and judged.calls_for_event:
                    part.range = work.advance(pair.key)
                    work.claim(pairs[-1].key)
                    yield part
                    part = Stretch(work.rest)
        part.range = work.advance(pairs[-1].key)
        if part.range.after != part.range.upto:
            yield part

    def _all_are_asked_for(self, pairs: Sequence[Pair]) -> bool:
        """Whether no pair of them can be one to pass over, as nearly always."""
        if self._own_records is not None or self._question.has_span:
            return False
        is_kept = pairs[-1].key >= KEPT_PREFIX and pairs[0].key <= KEPT_PREFIX + LAST
        return not is_kept and all(map(_source_of, pairs))

    def _asked_for(self, pairs: Sequence[Pair], part: Stretch) -> list[Pair]:
        own, question = self._own_records, self._question
        asked = []
        for pair in pairs:
            source, copy = pair.source, pair.destination
            if own is not None and pair.key.startswith(own):
                continue
            if source is None and pair.key.startswith(KEPT_PREFIX):
                continue
            part.source_objects += source is not None
            changed = source or copy
            if question.has_span and changed and not question.covers(changed.last_modified):
                part.not_looked_at += 1
                continue
            asked.append(pair)
        return asked

    def _count_proved(self, pairs: Sequence[Pair], part: Stretch) -> list[Pair]:
        """Count what equal ETags prove, and return the rest; none where a stretch may end before them."""
        if self._manner.ends_at_gaps:
            return list(pairs)
        if _are_all_proved(pairs):
            part.proved += len(pairs)
            part.proved_bytes += sum(map(_size_of, map(_source_of, pairs)))
            return []
        rest = []
        for pair in pairs:
            _, source, copy = pair
            if (
                source is not None
                and copy is not None
                and source[1] == copy[1]
                and source[4] != "Symlink"
                and are_equal_md5s(source[3], copy[3])
            ):
                part.proved_bytes += source[1]
            else:
                rest.append(pair)
        part.proved += len(pairs) - len(rest)
        return rest

    def _without_sample(self, stretch: Stretch) -> Stretch:
        """Take out of a stretch what is in the sample, and put into it what is there no longer."""
        if not self._sample.size:
            return stretch
        others: list[Judged] = []
        for judged in stretch.others:
            listed = judged.source
            is_open = judged.standing is Standing.UNPROVED and isinstance(listed, Listed)
            if not is_open or listed is None or listed.kind == "Symlink":
                others.append(judged)
                continue
            self.effort.may_be_sampled += 1
            left = self._sample.offer(judged)
            others += [left] if left else []
        stretch.others = others
        return stretch

    async def _sampled(self) -> Stretch:
        kept = self._sample.kept
        self.effort.sampled = len(kept)
        pairs = [Pair(each.key, _listed(each.source), _listed(each.destination)) for each in kept]
        async with aclosing(self._looked_at(pairs)) as looks:
            found = [each async for each in looks]
        if self._clients.stop.is_set():
            return Stretch(NOWHERE)
        return Stretch(NOWHERE, others=[each for each in found if each is not None])

    def _by_listings(self, pair: Pair, now: float) -> Judged | None:
        """Judge by the listings alone; None where both sides have to be looked at once more."""
        source, copy = pair.source, pair.destination
        if source is None:
            # Such a name may have been misread: a blank and a plus are told apart by a guess.
            if copy is None or "+" in pair.key:
                return None
            why = _FOLDER if pair.key.endswith("/") and not copy.size else ""
            return Judged(pair.key, Standing.EXTRA, None, copy, why)
        # Most objects end here: what `compare` says of them, without the rest of its table.
        is_alike = copy and source.kind != "Symlink" and source.size == copy.size
        if is_alike and copy and are_equal_md5s(source.etag, copy.etag):
            return Judged(pair.key, Standing.PROVED, source, copy)
        found = compare(
            source.facts,
            copy.facts if copy else None,
            now=now,
            grace_seconds=self._grace_seconds,
        )
        if found.verdict.is_gap:
            return None
        is_open = found.verdict is Verdict.UNPROVED and source.kind != "Symlink"
        if is_open and copy and (self._question.is_deep or _may_differ(source, copy)):
            return None
        return self._of(pair.key, found, source, copy)

    def _of(
        self,
        key: str,
        found: Comparison,
        source: Listed | ObjectFacts | None,
        copy: Listed | ObjectFacts | None,
    ) -> Judged:
        standing = _STANDINGS[found.verdict]
        why = _NOT_THERE if copy is None else found.why
        futile = why_futile(self._task, found) if standing.is_gap else ""
        return Judged(key, standing, source, copy, why, futile)

    async def _looked_at(self, pairs: Sequence[Pair]) -> AsyncGenerator[Judged | None]:
        """Look at both sides of each, a few at once; None for what is on neither.

        The very first goes alone, so that refused credentials are met once only.
        """
        first: list[Judged | None] = []
        if pairs and not self._has_looked:
            async with self._first_look:
                if not self._has_looked:
                    first = [await self._look(pairs[0])]
                    self._has_looked = True
        for judged in first:
            yield judged
        async for judged in side_by_side(pairs[len(first) :], self._look, LOOKS_AT_ONCE):
            yield judged

    async def _look(self, pair: Pair) -> Judged | None:
        listed = pair.source
        try:
            async with self._places:
                if self._refused is not None:
                    raise self._refused
                if self._clients.stop.is_set():
                    return None
                copy = await self._copy(pair.key)
                source = await self._source(pair.key)
        except CallFailed as failed:
            if failed.failure.blame is Blame.CREDENTIALS and failed.failure.code:
                self._refused = failed
                raise
            sides = (listed, pair.destination)
            why = str(failed)
            return Judged(pair.key, Standing.UNREADABLE, *sides, why, failure=failed.failure)
        if listed is not None and source is not None and listed.kind == "Symlink":
            # OSS answers with what the link points to.
            source = replace(source, kind="Symlink")
        if source is None:
            return Judged(pair.key, Standing.EXTRA, None, copy) if copy else None
        found = compare(source, copy, now=self._now(), grace_seconds=self._grace_seconds)
        if found.verdict.is_gap and listed is not None and _has_moved(listed, source):
            found = Comparison(Verdict.PENDING, _MOVED)
        return self._of(pair.key, found, source, copy)

    async def _source(self, key: str) -> ObjectFacts | None:
        self.effort.head_requests += 1
        bucket = self._question.bucket
        return await self._clients.patiently(lambda: self._clients.store.facts(bucket, key))

    async def _copy(self, key: str) -> ObjectFacts | None:
        self.effort.head_requests += 1
        bucket = self._question.destination_bucket
        try:
            return await self._clients.patiently(lambda: self._destination.facts(bucket, key))
        except CallFailed as failed:
            if failed.failure.blame is Blame.CREDENTIALS and not failed.failure.code:
                await self._require_signature()
            raise

    async def _require_signature(self) -> None:
        """Raise `CallFailed` if OBS refuses the key: a refusal of HeadObject does not say what it is for.

        A listing has an answer with a code. If it is good, the right to read is what is missing.
        """
        self.effort.list_requests += 1
        bucket = self._question.destination_bucket
        await self._clients.patiently(lambda: knock(self._destination, bucket))

    async def _middle(self, left: Range) -> str | None:
        """Find a name about the middle of a range: of the source, or where that has none, of the copies."""
        return await middle(left, self._first_in_source) or await middle(left, self._first_copy)

    async def _first_in_source(self, after: str) -> str | None:
        question = self._question
        return await self._first(
            self._clients.store.list(
                question.bucket,
                question.key_prefix,
                start_after=after,
                keys_max=1,
                attempt=self._patiently,
            )
        )

    async def _first_copy(self, after: str) -> str | None:
        question = self._question
        return await self._first(
            self._destination.list(
                question.destination_bucket,
                question.key_prefix,
                start_after=after,
                keys_max=1,
                attempt=self._patiently,
            )
        )

    async def _first(self, pages: AsyncGenerator[Page]) -> str | None:
        self.effort.probe_requests += 1
        async with aclosing(pages):
            async for page in pages:
                return page.objects[0].key if page.objects else None
        return None

    async def _source_pages(self, after: str, work: Work) -> AsyncGenerator[Page]:
        question = self._question
        pages = self._clients.store.list(
            question.bucket, question.key_prefix, start_after=after, attempt=self._patiently
        )
        async for page in self._counted(pages):
            work.pages += 1
            yield page

    async def _destination_pages(self, after: str, work: Work) -> AsyncGenerator[Page]:
        question = self._question
        pages = self._destination.list(
            question.destination_bucket,
            question.key_prefix,
            start_after=after,
            attempt=self._patiently,
        )
        async for page in self._counted(pages):
            work.pages += 1
            yield page

    async def _counted(self, pages: AsyncGenerator[Page]) -> AsyncIterator[Page]:
        async with aclosing(pages):
            async for page in pages:
                self.effort.list_requests += 1
                self._manner.width.went_well()
                yield page

    async def _patiently(self, attempt: Callable[[], Awaitable[Page]]) -> Page:
        """Fetch a page, for minutes if need be: a long run must not end with a passing trouble."""

        async def once() -> Page:
            try:
                return await attempt()
            except CallFailed as failed:
                if failed.failure.status in THROTTLED:
                    self._manner.width.throttled()
                raise

        return await self._pages_retry.call(once, may_retry=lambda: not self._clients.stop.is_set())


def _are_all_proved(pairs: Sequence[Pair]) -> bool:
    """Whether equal MD5s prove all of them, as of most pages: said by a few comparisons of whole columns."""
    sources, copies = list(map(_source_of, pairs)), list(map(_copy_of, pairs))
    if not (all(sources) and all(copies)):
        return False
    if list(map(_size_of, sources)) != list(map(_size_of, copies)):
        return False
    ours, theirs = ("\n".join(map(_etag_of, each)).lower() for each in (sources, copies))
    return ours == theirs and are_md5s(ours) and "Symlink" not in map(_kind_of, sources)


def _listed(known: Listed | ObjectFacts | None) -> Listed | None:
    return known if isinstance(known, Listed) else None


def _may_differ(source: Listed, copy: Listed) -> bool:
    """Whether two ETags look like MD5s of different contents: they are, unless one side is encrypted."""
    return (
        source.kind in ("", "Normal")
        and copy.kind in ("", "Normal")
        and are_unlike_md5s(source.etag, copy.etag)
    )


def _has_moved(listed: Listed, source: ObjectFacts) -> bool:
    """Whether the source is another state than the one that was listed."""
    return (listed.etag, int(listed.last_modified)) != (source.etag, int(source.last_modified))
