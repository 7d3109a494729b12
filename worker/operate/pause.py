"""Pause and resume the fleet: one object in the log bucket, and a trace in the audit folder."""

from __future__ import annotations

import getpass
import socket

from worker.ledger.names import FLEET
from worker.ledger.pause import PAUSE_NAME, Pause, pause_body, pause_from
from worker.operate.audit import AuditFolder
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket

NAME = f"{FLEET}/{PAUSE_NAME}"


class Pauses:
    """Every method raises `CallFailed`. What cannot be written to the audit folder first is not done."""

    def __init__(self, clients: Clients) -> None:
        self._bucket = LogBucket(clients, clients.settings.home)
        self._audit_folder = AuditFolder(clients, clients.settings.home)
        self._clock = clients.clock

    async def begin(self, by: str, reason: str, for_seconds: float | None) -> Pause:
        """Pause the fleet from now on; one that holds already is replaced. Return it by OSS's clock."""
        await self._audit("pause", by, reason, for_seconds)
        body = pause_body(by, reason, for_seconds)
        await self._bucket.put(NAME, body)
        stored = await self._bucket.get(NAME)
        if stored is None:
            return Pause(by, reason, self._clock.wall(), for_seconds)
        return pause_from(stored.body, stored.last_modified)

    async def end(self, by: str) -> bool:
        """End a pause; return whether there was one. One that is over already is only tidied up."""
        stored = await self._bucket.get(NAME)
        if stored is None:
            return False
        await self._audit("resume", by, "", None)
        await self._bucket.delete(NAME)
        try:
            return not pause_from(stored.body, stored.last_modified).is_over(
                stored.at or self._clock.wall()
            )
        except ValueError:
            return False

    async def _audit(self, action: str, by: str, reason: str, for_seconds: float | None) -> None:
        fields = {"action": action, "by": by, "reason": reason, "for_seconds": for_seconds}
        await self._audit_folder.write(action, "", fields)


def whoever_types() -> str:
    """Return who types a command, as far as the system knows: `user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # A container may run as a user without a name.
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
