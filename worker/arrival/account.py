"""What a relay tells of arrival on `/readyz`: the last hour, the last day, and what it cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.advice import cause_of
from worker.arrival.backlog import CopyBacklog
from worker.arrival.deletions import Deletions
from worker.arrival.destination import DestinationView
from worker.arrival.follow import Follower
from worker.arrival.history import DAY_SECONDS, span_from, together
from worker.clock import Clock

SPANS: Mapping[str, float] = {"1h": 3600.0, "24h": DAY_SECONDS}


def accounts_together(accounts: Sequence[ArrivalAccount]) -> dict[str, Any]:
    """Return what several routes tell as one, in the form of `ArrivalAccount.as_object`.

    Of what cannot be seen the first cause is told. A backlog that one route does not know is not known.
    """
    told = [each.as_object() for each in accounts]
    backlogs = [each["copy_backlog"] for each in told]
    ages = [each["copy_backlog_seconds"] for each in told]
    return {
        **{name: together(span_from(each[name]) for each in told).as_object() for name in SPANS},
        "promised_seconds": told[0]["promised_seconds"],
        "pending": sum(each["pending"] for each in told),
        "copy_backlog": None if None in backlogs else sum(backlogs),
        "copy_backlog_seconds": None if None in ages else max(ages),
        "cause": next((each["cause"] for each in told if each["cause"]), None),
    }


@dataclass(frozen=True, slots=True)
class ArrivalAccount:
    """Reads what the parts that follow keys have found; asks nothing of any service."""

    follower: Follower
    backlog: CopyBacklog
    view: DestinationView
    clock: Clock
    deletions: Deletions | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """What is taken for granted, and should not have to be; and which deletions wait for what."""
        doubts = (self.view.doubt,) if self.view.doubt else ()
        return doubts + (self.deletions.notices if self.deletions else ())

    def as_object(self) -> dict[str, Any]:
        """Return it as JSON. `cause` says why the destination cannot be looked at, null while it can.

        What is due by now, and could not be looked at, is unknown for as long as that lasts.
        """
        now = self.clock.monotonic()
        overdue = self.follower.overdue
        found = {name: self.follower.history.over(seconds, now) for name, seconds in SPANS.items()}
        spans = {
            name: replace(span, unknown=span.unknown + overdue).as_object()
            for name, span in found.items()
        }
        failure, age = self.view.blindness, self.backlog.age_seconds
        return {
            **spans,
            "promised_seconds": self.follower.late_seconds,
            "pending": self.follower.pending,
            "copy_backlog": self.backlog.objects,
            "copy_backlog_seconds": None if age is None else round(age, 1),
            "cause": cause_of(failure).as_object() if failure else None,
        }
