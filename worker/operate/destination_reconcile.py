"""Has everything arrived? The objects of the source against those of the destination, name by name.

Both listings are read side by side. What they settle is settled by them: equal ETags that are MD5s prove an
object, and most objects need no call of their own. Before anything counts as a gap both sides are looked at
once more (HeadObject), for a listing is a snapshot, and tells neither CRC64 nor encryption.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.arrival.again import why_futile
from worker.arrival.compare import (
    Comparison,
    Verdict,
    are_equal_md5s,
    are_unlike_md5s,
    compare,
)
from worker.arrival.deletions import KEPT_PREFIX
from worker.arrival.destination import knock
from worker.clouds.obs import ObsClient
from worker.errors import Blame, CallFailed, Failure
from worker.ledger.names import ROOT
from worker.operate.connect import Clients
from worker.operate.log_bucket import side_by_side
from worker.operate.two_listings import Pair, stretches
from worker.ports import Listed, ObjectFacts, Page, TaskState

LOOKS_AT_ONCE = 32
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
    """What a comparison has done so far: requests of both kinds, and what they were for."""

    list_requests: int = 0
    head_requests: int = 0
    source_objects: int = 0
    not_looked_at: int = 0
    may_be_sampled: int = 0
    sampled: int = 0


@dataclass(slots=True)
class _Sample:
    """So many of all that are offered, each with the same chance; holds no more than those."""

    size: int
    rng: random.Random
    offered: int = 0
    kept: list[tuple[Pair, Judged]] = field(default_factory=list)

    def offer(self, pair: Pair, judged: Judged) -> Judged | None:
        """Take it or leave it; return what is not in the sample, or no longer."""
        self.offered += 1
        if len(self.kept) < self.size:
            self.kept.append((pair, judged))
            return None
        place = self.rng.randrange(self.offered)
        if place >= self.size:
            return judged
        (_, left), self.kept[place] = self.kept[place], (pair, judged)
        return left


class DestinationReconciliation:
    """Compares both buckets once. `now` is the source's time; `task` is None where it is not known."""

    def __init__(
        self,
        clients: Clients,
        destination: ObsClient,
        question: Question,
        *,
        now: Callable[[], float],
        task: TaskState | None,
        rng: random.Random,
    ) -> None:
        self._clients = clients
        self._destination = destination
        self._question = question
        self._now = now
        self._task = task
        self._sample = _Sample(0 if question.is_deep else question.sample, rng)
        self._grace_seconds = clients.settings.arrival_seconds
        own = question.bucket == clients.settings.log_bucket
        self._own_records = f"{ROOT}/" if own else None
        self._has_looked = False
        self.effort = Effort()

    async def findings(self) -> AsyncGenerator[Judged]:
        """Yield every name in order, each once, and a sample last; a stop ends it soon.

        Raises `CallFailed` where a listing fails for good or credentials are refused, and `Unordered`.
        """
        listings = stretches(self._source_pages(), self._destination_pages())
        async with aclosing(listings):
            async for pairs in listings:
                async with aclosing(self._judged(pairs)) as found:
                    async for pair, judged in found:
                        told = self._told(pair, judged)
                        if told is not None:
                            yield told
                if self._clients.stop.is_set():
                    return
        self.effort.sampled = len(self._sample.kept)
        async with aclosing(self._looked_at([pair for pair, _ in self._sample.kept])) as looks:
            async for sampled in looks:
                if self._clients.stop.is_set():
                    return
                if sampled is not None:
                    yield sampled

    async def _judged(self, pairs: Sequence[Pair]) -> AsyncGenerator[tuple[Pair, Judged]]:
        """Judge by the listings, and look again at what they do not settle; in order."""
        now = self._now()
        entries = [(pair, self._by_listings(pair, now)) for pair in self._asked_for(pairs)]
        unsettled = [pair for pair, judged in entries if judged is None]
        async with aclosing(self._looked_at(unsettled)) as looks:
            for pair, by_listings in entries:
                judged = by_listings or await anext(looks)
                # After a stop a look may have been cut short.
                if self._clients.stop.is_set():
                    return
                if judged is not None:
                    yield pair, judged

    def _asked_for(self, pairs: Sequence[Pair]) -> Iterator[Pair]:
        own, question, effort = self._own_records, self._question, self.effort
        for pair in pairs:
            source, copy = pair.source, pair.destination
            if own is not None and pair.key.startswith(own):
                continue
            if source is None and pair.key.startswith(KEPT_PREFIX):
                continue
            effort.source_objects += source is not None
            changed = source or copy
            if question.has_span and changed and not question.covers(changed.last_modified):
                effort.not_looked_at += 1
                continue
            yield pair

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

    def _told(self, pair: Pair, judged: Judged) -> Judged | None:
        """Return what is to be told now: not what is in the sample."""
        if judged.standing is not Standing.UNPROVED or not self._sample.size:
            return judged
        if pair.source is None or pair.source.kind == "Symlink":
            return judged
        self.effort.may_be_sampled += 1
        return self._sample.offer(pair, judged)

    async def _looked_at(self, pairs: Sequence[Pair]) -> AsyncGenerator[Judged | None]:
        """Look at both sides of each, a few at once; None for what is on neither.

        The very first goes alone, so that refused credentials are met once only.
        """
        alone = 0 if self._has_looked else 1
        self._has_looked = self._has_looked or bool(pairs)
        for part in (pairs[:alone], pairs[alone:]):
            async for judged in side_by_side(part, self._look, LOOKS_AT_ONCE):
                yield judged

    async def _look(self, pair: Pair) -> Judged | None:
        listed = pair.source
        if self._clients.stop.is_set():
            return None
        try:
            copy = await self._copy(pair.key)
            source = await self._source(pair.key)
        except CallFailed as failed:
            if failed.failure.blame is Blame.CREDENTIALS and failed.failure.code:
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

    async def _source_pages(self) -> AsyncGenerator[Page]:
        question = self._question
        pages = self._clients.store.list(
            question.bucket, question.key_prefix, attempt=self._clients.patiently
        )
        async for page in self._counted(pages):
            yield page

    async def _destination_pages(self) -> AsyncGenerator[Page]:
        question = self._question
        pages = self._destination.list(
            question.destination_bucket, question.key_prefix, attempt=self._clients.patiently
        )
        async for page in self._counted(pages):
            yield page

    async def _counted(self, pages: AsyncGenerator[Page]) -> AsyncIterator[Page]:
        async with aclosing(pages):
            async for page in pages:
                self.effort.list_requests += 1
                yield page


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
