"""Objects of the source and of the destination as old as a test wants them, and the comparison of both."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from harness.ops import connected
from localcloud.cloud import LocalCloud
from worker.operate.connect import Clients
from worker.operate.destination_reconcile import (
    DestinationReconciliation,
    Judged,
    Question,
    Standing,
)

HOUR = 3600.0
QUESTION = Question("source", "destination")


def put_source(
    cloud: LocalCloud, key: str, data: bytes = b"content", *, age: float = HOUR, **fields: Any
) -> None:
    """Put an object into the source, without an event, as if it had been there for a while."""
    rules, cloud.oss.rules[:] = list(cloud.oss.rules), []
    stored = cloud.oss.put("source", key, data)
    cloud.oss.rules[:] = rules
    aged = replace(stored, modified_at=stored.modified_at - age, **fields)
    cloud.oss.buckets["source"].put(aged)


def put_copy(
    cloud: LocalCloud,
    key: str,
    data: bytes = b"content",
    *,
    age: float = HOUR / 2,
    bucket: str = "destination",
    **written: Any,
) -> None:
    """Put an object into the destination, as OMS or somebody else would have."""
    stored = cloud.obs.write(bucket, key, data, **written)
    cloud.obs.buckets[bucket].put(replace(stored, modified_at=stored.modified_at - age))


def put_both(cloud: LocalCloud, *keys: str) -> None:
    """Put objects that have arrived."""
    for key in keys:
        put_source(cloud, key, key.encode())
        put_copy(cloud, key, key.encode())


@asynccontextmanager
async def comparing(
    cloud: LocalCloud, settings: Mapping[str, str] | None = None, **question: Any
) -> AsyncIterator[tuple[Clients, DestinationReconciliation]]:
    """The clients, and a comparison that has not begun."""
    named = cloud.settings(with_destination=True) | dict(settings or {})
    async with connected(cloud, settings=named) as clients:
        assert clients.destination is not None
        yield (
            clients,
            DestinationReconciliation(
                clients,
                clients.destination,
                replace(QUESTION, **question),
                now=time.time,
                task=await clients.sink.show(),
                rng=random.Random(7),
            ),
        )


async def judged(cloud: LocalCloud, **question: Any) -> list[Judged]:
    """What a comparison finds."""
    async with comparing(cloud, **question) as (_, comparison):
        return [each async for each in comparison.findings()]


async def standings(cloud: LocalCloud, **question: Any) -> dict[str, Standing]:
    """How each name stands; every name once, in order."""
    found = await judged(cloud, **question)
    by_key = {each.key: each.standing for each in found}
    assert len(by_key) == len(found)
    if not question.get("sample"):
        assert list(by_key) == sorted(by_key, key=str.encode)
    return by_key
