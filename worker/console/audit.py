"""What was done on the console, by whom and when: a log line and a small object in the log bucket."""

from __future__ import annotations

from typing import Any

import structlog

from worker.clock import iso
from worker.console.operations import Ledger, Operation
from worker.observe.journal import bounded
from worker.operate.audit import Act, AuditFolder
from worker.operate.connect import Clients


class Audit(Ledger):
    """Writes to the audit folder, as the commands do; a dry run leaves a log line only."""

    def __init__(self, clients: Clients) -> None:
        self._folder = AuditFolder(clients)
        self._clock = clients.clock
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
        at = iso(self._clock.wall())
        texts = {name: bounded(each) for name, each in fields.items() if isinstance(each, str)}
        self._log.info("console", **(fields | texts), at=at)
        if not operation.order.limits.is_dry_run:
            action = str(operation.order.action)
            await self._folder.write(action, f"-{operation.number}-{event}", fields)


def describe(operation: Operation, event: str) -> dict[str, Any]:
    """Return an operation as the audit keeps it: nothing in it is secret."""
    order = operation.order
    typed = dict(order.about.conditions())
    act = Act(str(order.action), order.by, order.wanted, order.limits, order.reason, typed)
    fields = act.as_object(event) | {"operation": operation.number}
    if event == "ended":
        fields["state"] = str(operation.state)
        fields["counts"] = {str(each): number for each, number in operation.counts.items()}
        fields["error"] = str(operation.failed or "")
    return fields
