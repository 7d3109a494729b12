"""The five levels of truth: announced, recorded, done, arrived, proved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.operate.workers import Sample


@dataclass(frozen=True, slots=True)
class Levels:
    """How far changes have come; None where nobody tells it.

    `announced` counts events, `recorded` keys that OMS accepted, `arrived` and `proved` those of them that
    were followed to the destination: all since the workers started. `done` is what OMS copied or skipped
    this month, by its own counters. So these do not add up, and a smaller one is no loss.
    """

    announced: int | None
    recorded: int | None
    done: int | None
    arrived: int | None
    proved: int | None


def levels_of(samples: Iterable[Sample], done: int | None) -> Levels:
    """Sum what the workers that answer have counted."""
    found = [each for each in samples if not each.error]
    following = [each for each in found if each.arrival is not None]
    return Levels(
        _sum(each.announced for each in found),
        _sum(each.accepted for each in found),
        done,
        _sum(each.arrived for each in following),
        _sum(each.proved for each in following),
    )


def _sum(counts: Iterable[float]) -> int | None:
    found = list(counts)
    return round(sum(found)) if found else None
