"""The doctor on the log bucket: may records be written, and may operators' commands read, list and delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from worker.ledger.names import probe_name
from worker.operate.check import Check, CheckStatus
from worker.operate.service_prober import ServiceProber, always

_DONE = {"read": "read", "list": "listed", "delete": "deleted"}

NO_OBJECT = "oms-relay-doctor-looks-for-an-object-that-is-not-there"


async def store_checks(prober: ServiceProber) -> AsyncIterator[Check]:
    """Yield the checks of the log bucket: write, read, list and delete one probe object."""
    clients = prober.clients
    store, bucket = clients.store, clients.settings.log_bucket
    # One name for all times: a probe that may not be deleted is overwritten by the next one.
    name = probe_name(clients.settings.sync_task.task_id, "doctor")
    at = datetime.fromtimestamp(clients.clock.wall(), UTC).isoformat()
    body = json.dumps({"probed_at": at}).encode()

    async def look() -> bool:
        async for page in store.list(bucket, name):
            return bool(page.objects)
        return False

    yield await prober.ask(
        "oss.write",
        lambda: store.put(bucket, name, body, "application/json"),
        always(Check("oss.write", CheckStatus.OK, f"records can be written to {bucket}")),
    )
    for what, attempt, commands in (
        ("read", lambda: store.get(bucket, name), "`dead` and `records`"),
        ("list", look, "`dead` and `records`"),
        ("delete", lambda: store.delete(bucket, name), "`dead redrive` and `dead archive`"),
    ):
        fine = Check(f"oss.{what}", CheckStatus.OK, f"records can be {_DONE[what]}")
        yield await prober.ask(
            fine.name,
            attempt,
            always(fine),
            otherwise=CheckStatus.WARNING,
            note=f"the relay does without this right, {commands} do not",
        )


async def source_checks(prober: ServiceProber, source_bucket: str) -> AsyncIterator[Check]:
    """Yield whether `RELAY_KEY_ENCODING=auto` may look into the source bucket; nothing if it need not."""
    settings, store = prober.clients.settings, prober.clients.store
    if settings.key_encoding != "auto" or not source_bucket:
        return

    def judge(is_there: bool | None) -> Check:
        if is_there is not None:
            return Check("oss.source", CheckStatus.OK, f"keys can be looked up in {source_bucket}")
        return Check(
            "oss.source",
            CheckStatus.WARNING,
            f"keys cannot be looked up in {source_bucket}: those with % or + are posted in both readings",
            f"grant oss:GetObject on acs:oss:*:*:{source_bucket}/* to the RAM identity of this key, "
            "or set RELAY_KEY_ENCODING",
        )

    yield await prober.ask("oss.source", lambda: store.exists(source_bucket, NO_OBJECT), judge)
