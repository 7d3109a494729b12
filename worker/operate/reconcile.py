"""Is everything across? The objects of a source bucket against the records, name by name, in flat memory.

Both are read in the order of their names, as OSS lists them, and laid side by side. What counts is OSS's own
clock: an object is recorded if a record was written at or after its last change. So one thing is not seen: a
change between a post and the record of that post, if its own event was lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from enum import StrEnum

from worker.errors import Blame, CallFailed, RelayError
from worker.ledger.names import FAILED, ROOT, SUCCESS, is_hash
from worker.operate.connect import Clients
from worker.operate.records import RecordsOf
from worker.operate.sorted_names import SortedNames, laid_side_by_side


class State(StrEnum):
    """What the records say of an object.

    `RECORDED`: OMS accepted it after its last change. `MISSING`: there is no record. `CHANGED`: it changed
    after its last record. `REFUSED`: OMS refused it after its last change. `GONE`: OMS accepted it, and the
    source has it no more.
    """

    RECORDED = "recorded"
    MISSING = "missing"
    CHANGED = "changed"
    REFUSED = "refused"
    GONE = "gone"

    @property
    def is_gap(self) -> bool:
        """Whether nobody has told OMS of the object's last change, as far as the records tell."""
        return self in (State.MISSING, State.CHANGED)


@dataclass(frozen=True, slots=True)
class Finding:
    """One key. Times are seconds since the epoch, 0 for none; `recorded_at` is that of its newest record."""

    key: str
    state: State
    changed_at: float = 0.0
    recorded_at: float = 0.0

    @property
    def calls_for_event(self) -> bool:
        """Whether an event may close what was found."""
        return self.state.is_gap


@dataclass(frozen=True, slots=True)
class Scope:
    """The objects to compare: of this bucket, whose keys begin so, changed between these times."""

    bucket: str
    since: float
    until: float
    key_prefix: str = ""


class SourceUnreadable(RelayError):  # noqa: N818  the name says what it is
    """The source bucket cannot be listed, for a reason that only people can mend."""


class Reconciliation:
    """Compares the objects in scope with their records."""

    def __init__(self, clients: Clients, scope: Scope) -> None:
        self._clients = clients
        self._records = RecordsOf(clients)
        self._scope = scope

    async def findings(self) -> AsyncGenerator[Finding]:
        """Yield every key in the order of names, until a stop.

        Raises `CallFailed`, `SourceUnreadable`, or `NoRoom` for sorting on disk.
        """
        scope, records = self._scope, self._records
        with closing(SortedNames()) as logged:
            await self._sort(logged)
            names = laid_side_by_side(
                self._source(),
                records.written(SUCCESS, scope.key_prefix),
                logged.read(),
                records.written(FAILED, scope.key_prefix),
            )
            async with aclosing(names):
                async for key, (changed, success, line, failed) in names:
                    # After it a listing may have ended early: what it lacks is not missing.
                    if self._clients.stop.is_set():
                        return
                    accepted = max(success, line)
                    if changed and scope.since <= changed <= scope.until:
                        yield await self._judged(key, changed, accepted, failed)
                    elif changed or not scope.since <= accepted <= scope.until:
                        continue
                    elif line or not is_hash(key):
                        yield Finding(key, State.GONE, recorded_at=accepted)

    async def _judged(self, key: str, changed: float, accepted: float, refused: float) -> Finding:
        if self._records.has_hashed_name(key):
            accepted = max(accepted, await self._records.of_long_key(SUCCESS, key))
            refused = await self._records.of_long_key(FAILED, key)
        if accepted >= changed:
            state = State.RECORDED
        elif refused >= changed:
            state = State.REFUSED
        else:
            state = State.CHANGED if accepted or refused else State.MISSING
        return Finding(key, state, changed, max(accepted, refused))

    async def _sort(self, logged: SortedNames) -> None:
        now = self._clients.clock.wall()
        async for at, keys in self._records.accepted_in_logs(self._scope.since, now):
            if self._clients.stop.is_set():
                return
            logged.add((key for key in keys if key.startswith(self._scope.key_prefix)), at)

    async def _source(self) -> AsyncIterator[tuple[str, float]]:
        """Yield the objects of the bucket; the relay's own records are none that need one."""
        bucket = self._scope.bucket
        own = f"{ROOT}/" if bucket == self._clients.settings.log_bucket else None
        listing = self._clients.store.list(
            bucket, self._scope.key_prefix, attempt=self._clients.patiently
        )
        try:
            async for page in listing:
                # Pages of nothing but own records yield no name at which the stop would be seen.
                if self._clients.stop.is_set():
                    return
                for each in page.objects:
                    if own is None or not each.key.startswith(own):
                        yield each.key, each.last_modified
        except CallFailed as failed:
            if failed.failure.blame is not Blame.SERVICE:
                raise
            raise SourceUnreadable(
                f"the bucket {bucket} cannot be listed: {failed}. Correct its name, or "
                f"grant oss:ListObjects on acs:oss:*:*:{bucket} to the RAM identity of this key; it has to "
                f"be in the region of OSS_ENDPOINT."
            ) from failed
