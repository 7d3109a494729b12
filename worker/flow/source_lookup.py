"""Looks at the source bucket, which settle how an ambiguous key is written.

They go past the breaker of the log bucket: good ones would hide that no record can be written, and bad ones
are no reason to stop the receiving, for not knowing is safe: then every reading of the key is posted.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.clock import Clock
from worker.errors import CallFailed
from worker.observe.journal import Journal
from worker.outages.limit import AdaptiveLimit
from worker.ports import Store

LOOKS_MAX = 64
# How long nobody looks after a look has failed in passing; then one finds out whether it has passed.
BLIND_SECONDS = 1.0


class Looks:
    """Says whether an object exists; None where that is not known. Never raises, never repeats a look.

    While looks fail, one at a time is made and the others are spared: messages whose looks all waited for
    their time-outs would fill the relay's hands. None is made while `may_look` says no.
    """

    def __init__(
        self, store: Store, may_look: Callable[[], bool], clock: Clock, journal: Journal
    ) -> None:
        self.limit = AdaptiveLimit(LOOKS_MAX)
        self._store = store
        self._may_look = may_look
        self._clock = clock
        self._journal = journal
        self._is_failing = False
        self._is_finding_out = False
        self._blind_until = 0.0

    async def exists(self, bucket: str, key: str) -> bool | None:
        """Say whether the bucket holds an object under this very name."""
        if self._is_blind():
            return None
        await self.limit.acquire()
        try:
            # Another look may have failed while this one waited for its place.
            return None if self._is_blind() else await self._look(bucket, key)
        finally:
            self.limit.release()

    def _is_blind(self) -> bool:
        is_paused = self._is_finding_out or self._clock.monotonic() < self._blind_until
        return not self._may_look() or (self._is_failing and is_paused)

    async def _look(self, bucket: str, key: str) -> bool | None:
        started = self._clock.monotonic()
        is_trial = self._is_failing
        self._is_finding_out |= is_trial
        found, result = None, "ok"
        try:
            found = await self._store.exists(bucket, key)
        except CallFailed as failed:
            result = str(failed.failure.blame)
            self.limit.congested()
            self._blind_until = self._clock.monotonic() + BLIND_SECONDS
        else:
            self.limit.succeeded(self._clock.monotonic() - started)
        finally:
            self._is_finding_out &= not is_trial
        self._is_failing = result != "ok"
        self._journal.called("oss", "HeadObject", result, self._clock.monotonic() - started)
        return found
