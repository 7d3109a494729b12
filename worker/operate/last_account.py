"""The account of the last comparison with the destination, kept in the log bucket for `status`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.clock import iso
from worker.ledger.names import LAST_ACCOUNT
from worker.operate.connect import Clients
from worker.operate.destination_reconcile import Standing
from worker.operate.log_bucket import LogBucket


@dataclass(frozen=True, slots=True)
class LastAccount:
    """What was found, and when it ended (epoch seconds). `is_whole`: all of the bucket, to its last name."""

    at: float
    place: str
    is_whole: bool
    objects: Mapping[Standing, int]

    @property
    def source_objects(self) -> int:
        """How many objects of the source were compared."""
        return sum(self.objects.values()) - self.objects[Standing.EXTRA]

    @property
    def gaps(self) -> int:
        """How many are missing, different, or could not be looked at."""
        wrong = (Standing.MISSING, Standing.DIFFERENT, Standing.UNREADABLE)
        return sum(self.objects[each] for each in wrong)

    @property
    def is_proof(self) -> bool:
        """Whether it proves that the destination had all that the source had."""
        return self.is_whole and 0 < self.objects[Standing.PROVED] == self.source_objects

    def as_object(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "at": iso(self.at, "seconds"),
            "place": self.place,
            "is_whole": self.is_whole,
            "is_proof": self.is_proof,
            "objects": {str(each): count for each, count in self.objects.items()},
        }


async def keep_account(clients: Clients, told: Mapping[str, Any]) -> None:
    """Keep the account that a report ends with. Raises `CallFailed`."""
    at = iso(clients.clock.wall(), "seconds")
    await LogBucket(clients).put(LAST_ACCOUNT, json.dumps({"at": at, **told}).encode())


async def last_account(clients: Clients) -> LastAccount | None:
    """Read the account that was kept last; None if there is none that can be read. Raises `CallFailed`."""
    stored = await LogBucket(clients).get(LAST_ACCOUNT)
    try:
        return _read(json.loads(stored.body)) if stored else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _read(told: Mapping[str, Any]) -> LastAccount:
    prefix = str(told["key_prefix"])
    return LastAccount(
        datetime.fromisoformat(told["at"]).timestamp(),
        f"{told['bucket']}/{prefix} and {told['destination']}/{prefix}",
        bool(told["is_complete"]) and not (prefix or told["since"] or told["until"]),
        {each: int(told["objects"][str(each)]) for each in Standing},
    )
