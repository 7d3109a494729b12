"""Looks at the source bucket, which settle how an ambiguous key is written.

Their service tells the breaker of the log bucket nothing: good looks would hide that no record can be
written, and bad ones are no reason to stop the receiving, for not knowing is safe: then every reading of the
key is posted.
"""

from __future__ import annotations

from worker.errors import CallFailed
from worker.outages.breaker import BreakerOpen
from worker.outages.service import Service
from worker.ports import Store

# How long nobody looks after a look has failed in passing; then one finds out whether it has passed.
BLIND_SECONDS = 1.0


class Looks:
    """Says whether an object exists; None where that is not known. Never raises, never repeats a look.

    While looks fail, one at a time is made and the others are spared: messages whose looks all waited for
    their time-outs would fill the relay's hands. None is made while the breaker of the service is open.
    """

    def __init__(self, store: Store, service: Service) -> None:
        self._store = store
        self._service = service
        self._clock = service.clock
        self._failed: CallFailed | None = None
        self._is_finding_out = False
        self._blind_until = 0.0

    async def exists(self, bucket: str, key: str) -> bool | None:
        """Say whether the bucket holds an object under this very name."""
        try:
            self._refuse_if_blind()
            return await self._service.once("HeadObject", lambda: self._look(bucket, key))
        except CallFailed:
            return None

    def _refuse_if_blind(self) -> None:
        is_paused = self._is_finding_out or self._clock.monotonic() < self._blind_until
        if self._failed is not None and is_paused:
            raise BreakerOpen(self._failed.failure)

    async def _look(self, bucket: str, key: str) -> bool | None:
        # Another look may have failed while this one waited for its place.
        self._refuse_if_blind()
        is_trial = self._failed is not None
        self._is_finding_out |= is_trial
        try:
            found = await self._store.exists(bucket, key)
        except CallFailed as failed:
            self._failed = failed
            self._blind_until = self._clock.monotonic() + BLIND_SECONDS
            raise
        finally:
            self._is_finding_out &= not is_trial
        self._failed = None
        return found
