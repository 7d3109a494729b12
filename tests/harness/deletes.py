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

FOLDERS = ("success_object/", "failed_object/", "log/")
NOT_SYNCED = ("ObjectRemoved:", "ObjectCreated:InitiateMultipartUpload", "ObjectCreated:UploadPart")


def watch(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the body of each message deleted before all its keys were recorded.

    Reads bodies of Form.BASE64 with KeyForm.RAW; any other is covered by its dead letter only.
    """
    queue = cloud.mns.queue(account.prepared(cloud).queue)
    really_delete, kept = queue.delete, _Kept(cloud)
    early: list[str] = []

    def delete(handle: str, now_ms: int) -> None:
        message = queue._messages.get(message_id_of(handle)) if is_well_formed(handle) else None
        body, message_id = (message.body, message.id) if message is not None else ("", "")
        really_delete(handle, now_ms)
        if not kept.covers(body, message_id):
            early.append(body)

    monkeypatch.setattr(queue, "delete", delete)
    return early


class _Kept:
    """What the log bucket holds, read once for each object."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._seen: set[str] = set()
        self._keys: set[str] = set()
        self._letters: set[str] = set()

    def covers(self, body: str, message_id: str) -> bool:
        self._read()
        if message_id in self._letters:
            return True
        try:
            events: list[dict[str, Any]] = json.loads(base64.b64decode(body, validate=True))[
                "events"
            ]
        except (binascii.Error, ValueError):
            return False
        keys = {
            str(event["oss"]["object"]["key"])
            for event in events
            if not event["eventName"].startswith(NOT_SYNCED)
        }
        return {key for key in keys if not key.startswith(f"{account.ROOT}/")} <= self._keys

    def _read(self) -> None:
        names = account.prepared(self._cloud)
        bucket = self._cloud.oss.buckets[names.log_bucket]
        # A record that is written again is that of the same key.
        for name in set(bucket.keys()) - self._seen:
            self._seen.add(name)
            stored, folder = bucket.get(name), name.removeprefix(f"{account.ROOT}/{names.task_id}/")
            if folder.startswith("dead_letter/"):
                self._letters.add(folder.rpartition("/")[2].removesuffix(".json"))
            elif stored is not None and folder.startswith(FOLDERS):
                self._keys |= {json.loads(line)["key"] for line in stored.data.splitlines()}
