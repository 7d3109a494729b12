"""The doctor on the log bucket: may records be written, and may operators' commands read, list and delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from worker.clients.oss import Stored
from worker.ops.examiner import Examiner
from worker.ops.verdict import Check, Verdict
from worker.record import ROOT

NO_OBJECT = "oms-relay-doctor-looks-for-an-object-that-is-not-there"


async def store_checks(examiner: Examiner) -> AsyncIterator[Check]:
    """Yield the checks of the log bucket: write, read, list and delete one probe object."""
    clients = examiner.clients
    store, bucket = clients.store, clients.settings.log_bucket
    # One name for all times: a probe that may not be deleted is overwritten by the next one.
    name = f"{ROOT}/{clients.settings.sync_task.task_id}/probe/doctor.json"
    at = datetime.fromtimestamp(clients.clock.wall(), UTC).isoformat()
    body = json.dumps({"probed_at": at}).encode()

    def read(found: Stored | None) -> Check:
        if found is not None and found.body != body:
            return Check(
                "oss.read",
                Verdict.WARNING,
                f"{name} holds something else",
                "run the doctor again: did another one run?",
            )
        return Check("oss.read", Verdict.OK, "records can be read")

    async def look() -> bool:
        async for page in store.list(bucket, name):
            return bool(page.objects)
        return False

    yield await examiner.ask(
        "oss.write",
        lambda: store.put(bucket, name, body, "application/json"),
        lambda _: Check("oss.write", Verdict.OK, f"records can be written to {bucket}"),
    )
    yield await examiner.ask(
        "oss.read",
        lambda: store.get(bucket, name),
        read,
        otherwise=Verdict.WARNING,
        note="the relay does without this right, `dead` and `records` do not",
    )
    yield await examiner.ask(
        "oss.list",
        look,
        lambda _: Check("oss.list", Verdict.OK, "records can be listed"),
        otherwise=Verdict.WARNING,
        note="the relay does without this right, `dead` and `records` do not",
    )
    yield await examiner.ask(
        "oss.delete",
        lambda: store.delete(bucket, name),
        lambda _: Check("oss.delete", Verdict.OK, "records can be deleted"),
        otherwise=Verdict.WARNING,
        note="the relay does without this right, `dead redrive` and `dead archive` do not",
    )


async def source_checks(examiner: Examiner, source_bucket: str) -> AsyncIterator[Check]:
    """Yield whether `RELAY_KEY_ENCODING=auto` may look into the source bucket; nothing if it need not."""
    settings, store = examiner.clients.settings, examiner.clients.store
    if settings.key_encoding != "auto" or not source_bucket:
        return

    def judge(is_there: bool | None) -> Check:
        if is_there is not None:
            return Check("oss.source", Verdict.OK, f"keys can be looked up in {source_bucket}")
        return Check(
            "oss.source",
            Verdict.WARNING,
            f"keys cannot be looked up in {source_bucket}: those with % or + are posted in both readings",
            f"grant oss:GetObject on acs:oss:*:*:{source_bucket}/* to the RAM identity of this key, "
            "or set RELAY_KEY_ENCODING",
        )

    yield await examiner.ask("oss.source", lambda: store.exists(source_bucket, NO_OBJECT), judge)
