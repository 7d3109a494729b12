"""What was done on the console, by whom and when: a log line and a small object in the log bucket."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Any

import structlog

from worker.console.operations import Ledger, Operation
from worker.observe.journal import bounded
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket

AUDIT = "audit"


class Audit(Ledger):
    """Writes under `audit/<yyyy>/<mm>/<dd>/` in the task's folder; a dry run leaves a log line only."""

    def __init__(self, clients: Clients) -> None:
        self._bucket = LogBucket(clients)
        self._clock = clients.clock
        # Tells this console's objects from those of another that runs, or ran before it.
        self._console = secrets.token_hex(4)
        self._log = structlog.get_logger("console")

    async def begun(self, operation: Operation) -> None:
        """Write what is about to be done. Raises `CallFailed`."""
        await self._write(operation, "begun")

    async def ended(self, operation: Operation) -> None:
        """Write what was done. Raises `CallFailed`."""
        await self._write(operation, "ended")

    def noted(self, event: str, by: str) -> None:
        """Log a sign-in, a sign-out or a wrong token."""
        self._log.info("console", action=event, by=bounded(by))

    async def _write(self, operation: Operation, event: str) -> None:
        fields = describe(operation, event)
        fields["at"] = self._now().isoformat(timespec="milliseconds")
        texts = {name: bounded(each) for name, each in fields.items() if isinstance(each, str)}
        self._log.info("console", **(fields | texts))
        if not operation.order.limits.is_dry_run:
            body = json.dumps(fields, indent=1).encode()
            await self._bucket.put(self._name(operation, event), body)

    def _name(self, operation: Operation, event: str) -> str:
        now = self._now()
        what = f"{operation.order.action}-{self._console}-{operation.number}-{event}"
        return f"{AUDIT}/{now:%Y/%m/%d}/{now:%H%M%S}-{what}.json"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def describe(operation: Operation, event: str) -> dict[str, Any]:
    """Return an operation as the audit keeps it: nothing in it is secret."""
    order = operation.order
    fields: dict[str, Any] = {
        "action": str(order.action),
        "event_kind": event,
        "operation": operation.number,
        "by": order.by,
        "is_dry_run": order.limits.is_dry_run,
        "filter": dict(order.about.conditions()),
        "ids": list(order.wanted.ids),
        "since": _iso(order.wanted.since),
        "until": _iso(order.wanted.until),
        "count_max": order.limits.count,
        "per_second": order.limits.per_second,
        "reason": order.reason,
    }
    if event == "ended":
        fields["state"] = str(operation.state)
        fields["counts"] = {str(each): number for each, number in operation.counts.items()}
        fields["error"] = str(operation.failed or "")
    return fields


def _iso(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
