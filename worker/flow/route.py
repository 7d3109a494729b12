"""A route: a bucket, or the part of one under a prefix, and all that works for it alone.

What routes share (queue, leases, log bucket, deletes) is in `flow.py`. A relay whose settings name no file of
routes has one route, without a name, whose bucket is the one that the sync task names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.flow.bury import DeadLetters
from worker.flow.dedupe import Dedupe
from worker.flow.deletion import Deletions
from worker.flow.post import Poster, Verdict
from worker.flow.record import Records
from worker.flow.source import Source
from worker.outages.breaker import Breaker
from worker.outages.trial import Door


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One route, put together once by `assembly.py`.

    `door` is None where there is no other route: then receiving stops while this one is down. `follow` hears
    of each verdict whose record is confirmed; it must not wait.
    """

    name: str
    prefix: str
    source: Source
    breaker: Breaker
    door: Door | None
    dedupe: Dedupe
    poster: Poster
    records: Records
    dead_letters: DeadLetters
    follow: Callable[[Verdict], None] | None = None
    deletions: Deletions | None = None

    def copies(self, bucket: str) -> bool:
        """Whether it copies this bucket; while that is not known, it may be any."""
        return not self.source.is_foreign(bucket)

    @property
    def is_down(self) -> bool:
        """Whether its messages have to wait while other routes work."""
        return self.door is not None and self.breaker.is_open

    def lets_in(self) -> bool:
        """Whether one more change may be let in now."""
        return self.door is None or self.door.lets_in(self.dedupe.unsettled)
