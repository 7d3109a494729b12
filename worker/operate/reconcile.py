"""Is everything across? The objects of a source bucket against the records, name by name, in flat memory.

Both are read in the order of their names, as OSS lists them, and laid side by side. A record proves the state
of an object that was posted: its ETag must be that of the object, and it must have been written at or after
the object's last change, by OSS's own clock. Layout `log` has the ETags in its lines. In layout `object` the
record is read, because a listing does not tell what is in it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from worker.clouds.http import SKEW_SECONDS_MAX
from worker.errors import Blame, CallFailed, RelayError
from worker.ledger.names import FAILED, ROOT, SUCCESS, is_hash
from worker.operate.connect import Clients
from worker.operate.log_bucket import side_by_side
from worker.operate.records import DAY_SECONDS, RecordsOf, Unread
from worker.operate.sorted_names import Seen, SortedNames, laid_side_by_side
from worker.ports import Listed

READS_AT_ONCE = 64
NAMES_AT_ONCE = 1000
OUTSIDE_NAMED = 3
# As our Terraform sets it (`record_days`).
KEPT_SECONDS = 90 * DAY_SECONDS
# A post and its record belong to one delivery, and MNS keeps no message for longer (15 days at the most).
POST_TO_RECORD_SECONDS_MAX = 15 * DAY_SECONDS

_ANOTHER_STATE = "the record is of another state"


class State(StrEnum):
    """What the records say of an object.

    `RECORDED`: OMS accepted this state of it. `MISSING`: there is no record. `CHANGED`: what was recorded is
    another state. `REFUSED`: OMS refused it after its last change. `GONE`: OMS accepted it, and it is in the
    source no more. `UNREADABLE`: its record cannot be read. `EXPIRED`: it changed before the oldest record
    that is kept, so that the lack of one proves nothing.
    """

    RECORDED = "recorded"
    MISSING = "missing"
    CHANGED = "changed"
    REFUSED = "refused"
    GONE = "gone"
    UNREADABLE = "unreadable"
    EXPIRED = "expired"

    @property
    def is_gap(self) -> bool:
        """Whether nobody has told OMS of the object's last change, as far as the records tell."""
        return self in (State.MISSING, State.CHANGED)


@dataclass(frozen=True, slots=True)
class Finding:
    """One key. Times are seconds since the epoch, 0 for none; `recorded_at` is that of its newest record.

    `is_by_time`: the record has no ETag, so that only its time says which state it is about.
    """

    key: str
    state: State
    changed_at: float = 0.0
    recorded_at: float = 0.0
    etag: str = ""
    why: str = ""
    is_by_time: bool = False

    @property
    def calls_for_event(self) -> bool:
        """Whether an event may close what was found."""
        return self.state.is_gap


@dataclass(frozen=True, slots=True)
class Scope:
    """The objects to compare: of this bucket, whose keys begin so, changed between these times.

    `after` is where an earlier run stopped: only names behind it are compared. Records are kept for
    `kept_seconds`.
    """

    bucket: str
    since: float
    until: float
    key_prefix: str = ""
    after: str = ""
    kept_seconds: float = KEPT_SECONDS

    def covers(self, at: float) -> bool:
        """Whether what changed then is asked for."""
        return self.since <= at <= self.until


@dataclass(slots=True)
class Outside:
    """The objects that changed before or after the times that were asked for; some of them by name."""

    older: int = 0
    younger: int = 0
    named: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.older + self.younger

    def __add__(self, other: Outside) -> Outside:
        """Return both together."""
        named = [*self.named, *other.named][:OUTSIDE_NAMED]
        return Outside(self.older + other.older, self.younger + other.younger, named)

    def add(self, key: str, *, is_older: bool) -> None:
        """Count one."""
        self.older += is_older
        self.younger += not is_older
        if len(self.named) < OUTSIDE_NAMED:
            self.named.append(key)


class SourceUnreadable(RelayError):  # noqa: N818  the name says what it is
    """The source bucket cannot be listed, for a reason that only people can mend."""


class _Case(NamedTuple):
    """One name and what is known of it: in the source, and by its records of either layout."""

    key: str
    source: Listed | None
    success: Seen | None
    line: Seen | None
    failed: Seen | None


class _Proof(StrEnum):
    """What a record says of the state of an object as it is listed. `BY_TIME`: it has no ETag."""

    NONE = "none"
    BY_TIME = "by time"
    SURE = "sure"


def _proof(source: Listed, seen: Seen | None) -> _Proof:
    if seen is None or seen.at < source.last_modified:
        return _Proof.NONE
    if seen.at - source.last_modified >= POST_TO_RECORD_SECONDS_MAX:
        return _Proof.SURE
    if not (seen.etag and source.etag):
        return _Proof.BY_TIME
    if seen.etag.upper() == source.etag.upper():
        return _Proof.SURE
    # A post that began after the change took the object as it was then. Its time is that of a worker, whose
    # clock cannot be further off: every service refuses its signatures beyond that.
    is_later = seen.posted_at - source.last_modified >= SKEW_SECONDS_MAX
    return _Proof.SURE if is_later else _Proof.NONE


class Reconciliation:
    """Compares the objects in scope with their records.

    `outside` are the objects that are not in scope, `unread` the log objects that cannot be read.
    """

    def __init__(self, clients: Clients, scope: Scope) -> None:
        self._clients = clients
        self._records = RecordsOf(clients)
        self._scope = scope
        self._oldest_log_hour = 0.0
        self.outside = Outside()
        self.unread: list[Unread] = []
        self.oldest_record_at = 0.0

    async def findings(self) -> AsyncGenerator[Finding]:
        """Yield every key in the order of names, until a stop.

        Raises `CallFailed`, `SourceUnreadable`, or `NoRoom` for sorting on disk.
        """
        with closing(SortedNames()) as logged:
            await self._sort(logged)
            async with aclosing(self._cases(logged)) as cases:
                waiting: list[_Case] = []
                reads = 0
                async for case in cases:
                    # After it a listing may have ended early: what it lacks is not missing.
                    if self._clients.stop.is_set():
                        return
                    waiting.append(case)
                    reads += self._needs_read(case)
                    if reads and reads < READS_AT_ONCE and len(waiting) < NAMES_AT_ONCE:
                        continue
                    async for finding in self._found(waiting):
                        yield finding
                    waiting, reads = [], 0
                async for finding in self._found(waiting):
                    yield finding

    async def _cases(self, logged: SortedNames) -> AsyncGenerator[_Case]:
        scope, records = self._scope, self._records
        names = laid_side_by_side(
            self._source(),
            records.written(SUCCESS, scope.key_prefix, scope.after),
            logged.read(),
            records.written(FAILED, scope.key_prefix, scope.after),
        )
        async with aclosing(names):
            async for key, found in names:
                yield _Case(key, *found)

    async def _found(self, cases: Sequence[_Case]) -> AsyncGenerator[Finding]:
        """Judge some names in their order; the records that have to be read are read a few at once."""
        to_read = [each for each in cases if self._needs_read(each)]
        async with aclosing(side_by_side(to_read, self._read, READS_AT_ONCE)) as reads:
            for case in cases:
                known = await anext(reads) if self._needs_read(case) else case
                # After a stop a read may have been cut short.
                if self._clients.stop.is_set():
                    return
                finding = self._finding(case, known)
                if finding is not None:
                    yield finding

    def _needs_read(self, case: _Case) -> bool:
        """Whether the record object has to be read to know which state it is about.

        Not where a line of layout `log` settles it, nor where the record is so much younger than the change
        that its post is younger, too.
        """
        source = case.source
        if source is None or not self._scope.covers(source.last_modified):
            return False
        if self._records.has_hashed_name(case.key):
            return True
        if case.success is None or _proof(source, case.line) is _Proof.SURE:
            return False
        return 0.0 <= case.success.at - source.last_modified < POST_TO_RECORD_SECONDS_MAX

    async def _read(self, case: _Case) -> _Case | Unread:
        success = await self._records.state_recorded(case.key)
        if isinstance(success, Unread):
            return success
        if not self._records.has_hashed_name(case.key):
            return case._replace(success=success)
        failed = await self._records.of_long_key(FAILED, case.key)
        return (
            failed if isinstance(failed, Unread) else case._replace(success=success, failed=failed)
        )

    def _finding(self, case: _Case, known: _Case | Unread) -> Finding | None:
        source, scope = case.source, self._scope
        recorded_at = max((each.at for each in (case.success, case.line) if each), default=0.0)
        self._note_age(recorded_at)
        if source is None:
            is_named = case.line is not None or not is_hash(case.key)
            if not (scope.covers(recorded_at) and is_named):
                return None
            return Finding(case.key, State.GONE, recorded_at=recorded_at)
        if not scope.covers(source.last_modified):
            self.outside.add(case.key, is_older=source.last_modified < scope.since)
            return None
        if isinstance(known, Unread):
            why = str(known.failure)
            return Finding(
                case.key, State.UNREADABLE, source.last_modified, recorded_at, source.etag, why
            )
        return self._judged(known, source)

    def _judged(self, case: _Case, source: Listed) -> Finding:
        changed, failed = source.last_modified, case.failed
        known = [each for each in (case.success, case.line) if each is not None]
        recorded_at = max((each.at for each in (*known, failed) if each), default=0.0)
        proofs = {_proof(source, each) for each in known} - {_Proof.NONE}
        why = ""
        if proofs:
            state = State.RECORDED
        elif failed is not None and failed.at >= changed:
            state = State.REFUSED
        elif recorded_at:
            state = State.CHANGED
            why = _ANOTHER_STATE if recorded_at >= changed else ""
        else:
            state = State.EXPIRED if self._may_have_expired(changed) else State.MISSING
        is_by_time = proofs == {_Proof.BY_TIME}
        return Finding(case.key, state, changed, recorded_at, source.etag, why, is_by_time)

    def _may_have_expired(self, changed: float) -> bool:
        """Whether a record of that time may have been removed by a lifecycle rule."""
        is_old = changed < self._clients.clock.wall() - self._scope.kept_seconds
        reaches_back = 0.0 < self._oldest_log_hour <= changed
        return is_old and not reaches_back

    def _note_age(self, recorded_at: float) -> None:
        if recorded_at:
            oldest = self.oldest_record_at
            self.oldest_record_at = min(recorded_at, oldest) if oldest else recorded_at

    async def _sort(self, logged: SortedNames) -> None:
        scope, now = self._scope, self._clients.clock.wall()
        if scope.since < now - scope.kept_seconds:
            self._oldest_log_hour = await self._records.oldest_log_hour()
        async for found in self._records.accepted_in_logs(scope.since, now):
            if self._clients.stop.is_set():
                return
            if isinstance(found, Unread):
                self.unread.append(found)
                continue
            logged.add(
                (key, seen)
                for key, seen in found
                if key > scope.after and key.startswith(scope.key_prefix)
            )

    async def _source(self) -> AsyncIterator[tuple[str, Listed]]:
        """Yield the objects of the bucket; the relay's own records are none that need one."""
        scope, bucket = self._scope, self._scope.bucket
        own = f"{ROOT}/" if bucket == self._clients.settings.log_bucket else None
        listing = self._clients.store.list(
            bucket, scope.key_prefix, start_after=scope.after, attempt=self._clients.patiently
        )
        try:
            async for page in listing:
                # Pages of nothing but own records yield no name at which the stop would be seen.
                if self._clients.stop.is_set():
                    return
                for each in page.objects:
                    if own is None or not each.key.startswith(own):
                        yield each.key, each
        except CallFailed as failed:
            if failed.failure.blame is not Blame.SERVICE:
                raise
            raise SourceUnreadable(
                f"the bucket {bucket} cannot be listed: {failed}. Correct its name, or "
                f"grant oss:ListObjects on acs:oss:*:*:{bucket} to the RAM identity of this key; it has to "
                f"be in the region of OSS_ENDPOINT."
            ) from failed
