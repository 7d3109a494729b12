"""What operators did, by whom and when: small objects in the log bucket, of commands and consoles alike."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.operate.connect import Clients
from worker.operate.letters import LetterFilter
from worker.operate.log_bucket import LogBucket
from worker.operate.redrive import Limits

AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Act:
    """What is done to letters, and who said so. `typed` are the conditions as they were typed, by name."""

    action: str
    by: str
    wanted: LetterFilter
    limits: Limits
    reason: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)

    def as_object(self, event: str) -> dict[str, Any]:
        """Return it as it is written down when it begins: nothing in it is secret."""
        return {
            "action": self.action,
            "event_kind": event,
            "by": self.by,
            "is_dry_run": self.limits.is_dry_run,
            "filter": dict(self.typed),
            "ids": list(self.wanted.ids),
            "chosen": None if self.wanted.chosen is None else len(self.wanted.chosen),
            "since": _iso(self.wanted.since),
            "until": _iso(self.wanted.until),
            "count_max": self.limits.count,
            "per_second": self.limits.per_second,
            "reason": self.reason,
        }


class AuditFolder:
    """`audit/<yyyy>/<mm>/<dd>/` in the folder of the task, unless another is named.

    `teller` tells its objects from those of others.
    """

    def __init__(self, clients: Clients, folder: str = "") -> None:
        self._bucket = LogBucket(clients, folder)
        self._clock = clients.clock
        self._teller = secrets.token_hex(4)

    async def write(self, action: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write what happens; `event` is part of the name. Raises `CallFailed`."""
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        told = {**fields, "at": now.isoformat(timespec="milliseconds")}
        name = f"{AUDIT}/{now:%Y/%m/%d}/{now:%H%M%S}-{action}-{self._teller}{event}.json"
        await self._bucket.put(name, json.dumps(told, indent=1).encode())


def _iso(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
