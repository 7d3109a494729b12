"""The last day of all workers together, added up from what their pulses carry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from worker.ledger.day import COUNTS, STEP_SECONDS, Stretch, added, stretches
from worker.operate.fleet import Fleet, Member

DAY_SECONDS = 86_400.0
# Less than this of a slot says too little about all of it.
COVERED_SECONDS_MIN = 20.0


@dataclass(slots=True)
class Slot:
    """What was counted in the five minutes that end at `until`, seconds since the epoch.

    `covered_seconds` is how much of it the worker that tells most of it tells of: 0 where no worker does, and
    then nothing is known. `counts` are in the order of `COUNTS`; `live` and `resent` are lags by bucket.
    """

    until: float
    covered_seconds: float = 0.0
    counts: list[float] = field(default_factory=lambda: [0.0] * len(COUNTS))
    live: list[float] = field(default_factory=list)
    resent: list[float] = field(default_factory=list)
    waiting: float | None = None
    oldest_seconds: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether enough of it is told to be shown."""
        return self.covered_seconds >= COVERED_SECONDS_MIN

    def rate(self, name: str) -> float | None:
        """Return how many of one of `COUNTS` there were by the second; None where nothing is known."""
        if not self.is_known:
            return None
        return self.counts[COUNTS.index(name)] / self.covered_seconds


async def day_of(fleet: Fleet, now: float) -> list[Slot]:
    """Add up the pulses, oldest slot first; lets others work between one worker and the next.

    `now` is seconds since the epoch. A worker that is gone counts up to its last pulse. What a worker tells
    in another form is left out.
    """
    first = int((now - DAY_SECONDS) // STEP_SECONDS) + 1
    last = int(now // STEP_SECONDS)
    slots = [Slot((number + 1) * STEP_SECONDS) for number in range(first, last + 1)]
    for each in fleet.members:
        _add(slots, each, now - each.age_seconds)
        await asyncio.sleep(0)
    return slots


def _add(slots: list[Slot], member: Member, until: float) -> None:
    try:
        told = stretches(member.day)
    except ValueError:
        return
    covered = [0.0] * len(slots)
    end = until
    for each in reversed(told):
        begin = end - each.seconds
        for number, share in _shares(slots, begin, end):
            covered[number] += share * each.seconds
            _join(slots[number], each, share)
        end = begin
        if end < slots[0].until - STEP_SECONDS:
            break
    for slot, seconds in zip(slots, covered, strict=True):
        slot.covered_seconds = max(slot.covered_seconds, min(seconds, STEP_SECONDS))


def _shares(slots: list[Slot], begin: float, end: float) -> Iterable[tuple[int, float]]:
    """Yield the slots that a stretch lies in, each with the share of the stretch that is in it."""
    if end <= begin:
        return
    start = slots[0].until - STEP_SECONDS
    number = max(0, int((begin - start) // STEP_SECONDS))
    while number < len(slots):
        low = slots[number].until - STEP_SECONDS
        if low >= end:
            return
        share = (min(end, slots[number].until) - max(begin, low)) / (end - begin)
        if share > 0:
            yield number, share
        number += 1


def _join(slot: Slot, stretch: Stretch, share: float) -> None:
    slot.counts = added(slot.counts, stretch.counts, share)
    slot.live = added(slot.live, stretch.live, share)
    slot.resent = added(slot.resent, stretch.resent, share)
    # Every worker looks at the same queue: what one of them saw is not added to what another saw.
    slot.waiting = _most(slot.waiting, stretch.waiting)
    slot.oldest_seconds = _most(slot.oldest_seconds, stretch.oldest_seconds)


def _most(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)
