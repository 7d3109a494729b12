"""The final account of a run: what was sent, and where it is now (Jepsen's total queue)."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from localcloud.cloud import LocalCloud, Prepared

ROOT = "oms_source_record"


def prepared(cloud: LocalCloud) -> Prepared:
    assert cloud.prepared is not None
    return cloud.prepared


def waiting(cloud: LocalCloud) -> int:
    """How many messages the queue still holds, visible or not."""
    return len(cloud.mns.queue(prepared(cloud).queue))


def unlike(cloud: LocalCloud) -> list[str]:
    """Source keys whose copy is missing or has another content."""
    names = prepared(cloud)
    source = cloud.oss.buckets[names.source_bucket]
    differing = []
    for key in source.keys():  # noqa: SIM118  a bucket is no dict
        stored, copy = source.get(key), cloud.obs.read(names.destination_bucket, key)
        if stored is not None and (copy is None or copy.data != stored.data):
            differing.append(key)
    return differing


def log_objects(cloud: LocalCloud, folder: str) -> dict[str, bytes]:
    """The objects under one folder of the log bucket, by the rest of their name."""
    names = prepared(cloud)
    bucket = cloud.oss.buckets[names.log_bucket]
    prefix = f"{ROOT}/{names.task_id}/{folder}/"
    found = {}
    for name in bucket.keys():  # noqa: SIM118  a bucket is no dict
        stored = bucket.get(name)
        if name.startswith(prefix) and stored is not None:
            found[name.removeprefix(prefix)] = stored.data
    return found


def records(cloud: LocalCloud, outcome: str = "accepted") -> list[dict[str, Any]]:
    """Every record of that outcome, in either layout."""
    folder = "success_object" if outcome == "accepted" else "failed_object"
    bodies = [
        *log_objects(cloud, folder).values(),
        *log_objects(cloud, "log").values(),
    ]
    lines = [json.loads(line) for body in bodies for line in body.splitlines()]
    return [line for line in lines if line["outcome"] == outcome]


def recorded(cloud: LocalCloud, outcome: str = "accepted") -> set[str]:
    """The keys recorded under that outcome."""
    return {str(record["key"]) for record in records(cloud, outcome)}


def dead_letters(cloud: LocalCloud, cause: str) -> list[dict[str, Any]]:
    """The dead letters of one cause."""
    return [json.loads(body) for body in log_objects(cloud, f"dead_letter/{cause}").values()]


def posted(cloud: LocalCloud) -> Counter[str]:
    """How often OMS accepted each key."""
    return Counter(key for post in cloud.oms.posts for key in post.keys)


def check(cloud: LocalCloud, sent: set[str]) -> None:
    """Nothing is lost: every sent key is recorded and copied as it stands, and nothing waits."""
    lost = sent - recorded(cloud)
    assert not lost, f"{len(lost)} keys without a record: {sorted(lost)[:5]!r}"
    differing = unlike(cloud)
    assert not differing, f"{len(differing)} copies differ: {differing[:5]!r}"
    assert waiting(cloud) == 0
