"""What a comparison has to know before it begins: the task's source, what is on its way, and OSS's time."""

from __future__ import annotations

from dataclasses import dataclass

from worker.errors import CallFailed, RelayError
from worker.observe.depth import UNCOUNTED
from worker.operate.connect import Clients
from worker.operate.doctor import counter, text
from worker.operate.network import Network, Unreachable

# A Date header tells whole seconds.
SKEW_SECONDS_MIN = 2.0


class WrongBucket(RelayError):  # noqa: N818  the name says what it is
    """The sync task copies from another bucket: OMS would look for these objects in vain."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`now` is OSS's time in epoch seconds; `doubts` are sentences on what could not be found out.

    `in_queue` counts messages, waiting or in hand; `copies_failed` those that OMS has counted this month.
    """

    now: float
    in_queue: int = 0
    copies_failed: int = 0
    doubts: tuple[str, ...] = ()


async def circumstances(clients: Clients, bucket: str) -> Circumstances:
    """Look at the task, the queue and the clock. Raises `WrongBucket`; what may not be read is a doubt."""
    doubts = []
    copies_failed = 0
    try:
        task = await clients.patiently(clients.sink.show)
        source = text(task, "src_bucket")
        if source and source != bucket:
            raise WrongBucket(
                f"the sync task of SYNC_URL copies from the bucket {source}, not from {bucket}: OMS would "
                f"look for these objects in vain. Nothing was done. Name {source}, or use the SYNC_URL of "
                f"the task that copies from {bucket}"
            )
        copies_failed = counter(task, "failure_object")
    except CallFailed as failed:
        doubts.append(f"Whether the task copies from {bucket} is not known: {failed}")
    in_queue, uncounted = await _in_queue(clients)
    if uncounted:
        doubts.append(f"How many messages are in the queue is not known: {uncounted}")
    skew = await _skew_seconds(clients, bucket)
    return Circumstances(clients.clock.wall() - skew, in_queue, copies_failed, tuple(doubts))


async def _in_queue(clients: Clients) -> tuple[int, str]:
    """Count the messages of the queue; return 0 and why where they cannot be counted."""
    try:
        attributes = await clients.patiently(clients.queue.attributes)
    except CallFailed as failed:
        return 0, str(failed)
    try:
        seen: int | None = len(await clients.patiently(clients.queue.peek))
        why = f"{UNCOUNTED}, and some wait"
    except CallFailed as failed:
        seen, why = None, f"MNS's counters all read 0, and nobody could look: {failed}"
    counts = attributes.counts(seen)
    return (0, why) if counts is None else (counts.total, "")


async def _skew_seconds(clients: Clients, bucket: str) -> float:
    """Return how far this clock is ahead of OSS's; 0 if it is near, or OSS does not say."""
    try:
        reached = await Network(clients.clock, proxies=clients.settings.proxies).reach(
            clients.store.origin(bucket)
        )
    except Unreachable:
        return 0.0
    skew = reached.skew_seconds or 0.0
    return skew if abs(skew) >= SKEW_SECONDS_MIN else 0.0
