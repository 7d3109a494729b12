"""G1 at the moment of effect: what is known about a message when the queue lets it go."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import pytest

from harness import account
from localcloud.cloud import LocalCloud
from localcloud.mns.handle import is_well_formed, message_id_of

NOT_SYNCED = ("ObjectRemoved:", "ObjectCreated:InitiateMultipartUpload", "ObjectCreated:UploadPart")


def watch(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each message deleted before all its keys were recorded.

    Reads bodies of Form.BASE64 with KeyForm.RAW.
    """
    queue = cloud.mns.queue(account.prepared(cloud).queue)
    really_delete = queue.delete
    early: list[str] = []

    def delete(handle: str, now_ms: int) -> None:
        message = queue._messages.get(message_id_of(handle)) if is_well_formed(handle) else None
        body, message_id = (message.body, message.id) if message is not None else ("", "")
        really_delete(handle, now_ms)
        if not _is_covered(cloud, body, message_id):
            early.append(body)

    monkeypatch.setattr(queue, "delete", delete)
    return early


def _is_covered(cloud: LocalCloud, body: str, message_id: str) -> bool:
    letters = account.log_objects(cloud, "dead_letter")
    if any(name.endswith(f"/{message_id}.json") for name in letters):
        return True
    keys = {
        event["oss"]["object"]["key"]
        for event in _events(body)
        if not event["eventName"].startswith(NOT_SYNCED)
        and not event["oss"]["object"]["key"].startswith(f"{account.ROOT}/")
    }
    return keys <= account.recorded(cloud) | account.recorded(cloud, "rejected")


def _events(body: str) -> list[dict[str, Any]]:
    try:
        return list(json.loads(base64.b64decode(body, validate=True))["events"])
    except (binascii.Error, ValueError) as error:
        raise AssertionError(f"deleted without a dead letter: {body[:80]!r}") from error
