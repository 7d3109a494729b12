"""What a comparison has to know before it begins: the task's source, what is on its way, and OSS's time."""

from __future__ import annotations

from dataclasses import dataclass

from worker.advice import TEXTS, UNKNOWN_BUCKET
from worker.arrival.bucket import Ground, destination_of
from worker.errors import CallFailed, RelayError
from worker.observe.depth import UNCOUNTED
from worker.operate.connect import Clients
from worker.operate.doctor import counter, text
from worker.operate.network import Network, Unreachable
from worker.ports import TaskState

# A Date header tells whole seconds.
SKEW_SECONDS_MIN = 2.0


class WrongBucket(RelayError):  # noqa: N818  the name says what it is
    """The sync task copies from another bucket: OMS would look for these objects in vain."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`now` is OSS's time in epoch seconds; `doubts` are sentences on what could not be found out.

    `in_queue` counts messages, waiting or in hand; `copies_failed` those that OMS has counted this month.
    `task` is None where it could not be asked.
    """

    now: float
    in_queue: int = 0
    copies_failed: int = 0
    doubts: tuple[str, ...] = ()
    task: TaskState | None = None


class UnknownDestination(RelayError):  # noqa: N818  the name says what it is
    """Nobody says which bucket the copies are in."""


def destination_bucket(clients: Clients, around: Circumstances) -> str:
    """Return the bucket with the copies: OBS_BUCKET, or the task's. Raises `UnknownDestination`."""
    named, task = clients.settings.obs_bucket or "", around.task
    found = destination_of(named, task, is_unreadable=task is None).name
    if not found:
        why = "".join(f" {each.rstrip('.')}." for each in around.doubts)
        raise UnknownDestination(f"{UNKNOWN_BUCKET}: {TEXTS['obs.bucket']}.{why}")
    return found


def require_copied_from(bucket: str, task: TaskState | None, named: str) -> None:
    """Raise `WrongBucket` unless the task, or the route (`named`), says that it is copied."""
    if bucket not in (named, task.source_bucket if task else ""):
        raise WrongBucket(
            f"whether the sync task of SYNC_URL copies from the bucket {bucket} is not known: it cannot be "
            "read, or does not say, and of another bucket OMS would copy objects of the same name. Nothing "
            "was done. Let HW_AK read the task (oms:synctask:get), or try again when OMS answers"
        )


def require_copied_there(bucket: str, task: TaskState | None) -> None:
    """Raise `WrongBucket` if the task is known to copy into another bucket."""
    found = destination_of(bucket, task, is_unreadable=task is None)
    if found.ground is Ground.AGAINST_TASK:
        raise WrongBucket(
            f"the sync task of SYNC_URL copies into the bucket {found.told}, not into {bucket}: what is "
            f"announced would not arrive there. Nothing was done. Set OBS_BUCKET to {found.told}, or use "
            f"the SYNC_URL of the task that copies into {bucket}"
        )


async def circumstances(clients: Clients, bucket: str) -> Circumstances:
    """Look at the task, the queue and the clock. Raises `WrongBucket`; what may not be read is a doubt."""
    doubts = []
    copies_failed = 0
    task: TaskState | None = None
    try:
        task = await clients.patiently(clients.sink.show)
        source = text(task, "src_bucket")
        if source and source != bucket:
            raise WrongBucket(
                f"the sync task of SYNC_URL copies from the bucket {source}, not from {bucket}: OMS would "
                f"look for these objects in vain. Nothing was done. Name {source}, or use the SYNC_URL of "
                f"the task that copies from {bucket}"
            )
        failed_copies = counter(task, "failure_object")
        copies_failed = failed_copies or 0
        if failed_copies is None:
            doubts.append("How many copies OMS could not make this month is not known")
    except CallFailed as failed:
        doubts.append(f"Whether the task copies from {bucket} is not known: {failed}")
    in_queue, uncounted = await _in_queue(clients)
    if uncounted:
        doubts.append(f"How many messages are in the queue is not known: {uncounted}")
    skew = await _skew_seconds(clients, bucket)
    return Circumstances(clients.clock.wall() - skew, in_queue, copies_failed, tuple(doubts), task)


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
