"""The doctor on the OMS task: is it there and synchronizing, and does it fit queue and log bucket.

Facts: OMS API reference, ShowSyncTask and CreateSyncEvents. SYNCHRONIZING means ready to take keys, not that
any came: the counters of the month tell that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from worker.advice import TEXTS
from worker.config.addresses import mns_region
from worker.operate.check import Check, CheckStatus
from worker.operate.service_prober import ServiceProber
from worker.ports import TaskState
from worker.settings import Settings

NO_OVERWRITE = "NO_OVERWRITE"
BY_SIZE_AND_TIME = "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE"
BY_CONTENT = ("CRC64_COMPARISON_OVERWRITE", "FULL_OVERWRITE")
NEW_TASK = (
    "create a new task with consistency check CRC64 (the rule of a task cannot be changed), set SYNC_URL to "
    "it, and stop the old one"
)


@dataclass(slots=True)
class Task:
    """What the task said about its source, for later checks; empty if it could not be asked."""

    source_bucket: str = ""


async def task_checks(prober: ServiceProber, task: Task) -> AsyncIterator[Check]:
    """Yield the checks of the task; fills `task` if OMS answers."""
    settings, states = prober.clients.settings, list[TaskState]()

    def judge(state: TaskState) -> Check:
        states.append(state)
        return _judge_state(state)

    yield await prober.ask("oms.task", prober.clients.sink.show, judge)
    for state in states:
        yield _judge_month(state, settings.sync_task.task_id)
        yield _judge_overwrites(state)
        if text(state, "src_cloud_type") in ("", "Aliyun"):
            task.source_bucket = text(state, "src_bucket")
            if task.source_bucket == settings.log_bucket:
                prober.close("oss", "not tried: in the source bucket a probe would announce itself")
            yield _judge_log_bucket(task.source_bucket, settings)
            yield _judge_regions(state, settings)
        else:
            cloud = text(state, "src_cloud_type")
            yield Check(
                "oms.source",
                CheckStatus.FAILURE,
                f"the task copies from {cloud}, and the events come from Alibaba OSS",
                "set SYNC_URL to the task whose source is the Alibaba bucket",
            )


async def post_check(prober: ServiceProber, key: str) -> Check:
    """Return whether OMS takes a post of this key; without a key none is tried, for it copies the object."""
    sink = prober.clients.sink

    def judge(request_id: str) -> Check:
        return Check(
            "oms.post",
            CheckStatus.OK,
            f"{key!r} was accepted (request {request_id or 'without id'})",
        )

    if key:
        return await prober.ask("oms.post", lambda: sink.post([key]), judge)
    why = (
        "not tried: a post has OMS copy an object, and no other call proves oms:synctask:createEvent. "
        "--post KEY posts one"
    )
    return Check("oms.post", CheckStatus.SKIPPED, why)


def _judge_state(state: TaskState) -> Check:
    source = (
        f"{text(state, 'src_cloud_type')} {text(state, 'src_region')} {text(state, 'src_bucket')}"
    )
    target = f"{text(state, 'dst_region')} {text(state, 'dst_bucket')}"
    detail = f"{state.status or 'in an unknown state'}, from {source} to {target}"
    if state.is_synchronizing:
        return Check("oms.task", CheckStatus.OK, detail)
    return Check(
        "oms.task",
        CheckStatus.FAILURE,
        detail,
        f"{TEXTS['oms.start_task']}; meanwhile messages stay in the queue",
    )


def _judge_month(state: TaskState, task_id: str) -> Check:
    accepted, failed = counter(state, "acceptance_request"), counter(state, "failure_object")
    detail = (
        f"this month {accepted} keys accepted, {counter(state, 'success_object')} copied, "
        f"{failed} failed, {counter(state, 'skip_object')} skipped as already there"
    )
    if failed:
        return Check(
            "oms.month",
            CheckStatus.WARNING,
            detail,
            f"OMS lists the failed objects in the destination bucket under oms/sync_task/{task_id}/",
        )
    return Check("oms.month", CheckStatus.OK, detail)


def _judge_overwrites(state: TaskState) -> Check:
    """Judge what the task does with an object that is there already (`object_overwrite_mode`).

    OMS API reference, ShowSyncTask: by size and last-modified time an object is skipped if its size is equal
    and the copy is not older, so a change made while the older state is being copied is lost. A task created
    with `consistency_check=crc64` compares contents before a copy as well (CreateSyncTask).
    """
    name, mode = "oms.overwrites", text(state, "object_overwrite_mode")
    check = text(state, "consistency_check")
    if mode == NO_OVERWRITE:
        return Check(
            name,
            CheckStatus.FAILURE,
            f"the task never overwrites ({mode}): changed objects are not copied",
            NEW_TASK,
        )
    if mode in BY_CONTENT or (mode == BY_SIZE_AND_TIME and check == "crc64"):
        return Check(
            name, CheckStatus.OK, f"overwrites are copied ({mode}, {check or 'no check told'})"
        )
    if mode == BY_SIZE_AND_TIME and check:
        return Check(
            name,
            CheckStatus.WARNING,
            f"OMS skips an overwrite of equal size that is made while the older state is being copied, and "
            f"says nothing ({mode}, {check})",
            NEW_TASK,
        )
    told = ", ".join(each for each in (mode, check) if each) or "nothing"
    return Check(
        name,
        CheckStatus.WARNING,
        f"unknown: how the task overwrites cannot be told from what it says ({told})",
        "look at the task's details in the OMS console: the consistency check should be CRC64",
    )


def _judge_log_bucket(source_bucket: str, settings: Settings) -> Check:
    if not source_bucket:
        return Check(
            "oms.log_bucket",
            CheckStatus.SKIPPED,
            "unknown: the task does not tell which bucket it copies",
        )
    if source_bucket == settings.log_bucket:
        return Check(
            "oms.log_bucket",
            CheckStatus.FAILURE,
            f"the log bucket {settings.log_bucket} is the source bucket: each record would announce itself",
            "set LOG_BUCKET to another bucket, which no event rule covers",
        )
    return Check("oms.log_bucket", CheckStatus.OK, "the log bucket is not the source bucket")


def _judge_regions(state: TaskState, settings: Settings) -> Check:
    source = text(state, "src_region")
    queue = mns_region(settings.mns_endpoint)
    others = {"the log bucket": settings.oss_region, "the queue": queue or source}
    apart = [f"{what} is in {region}" for what, region in others.items() if region != source]
    if source and apart:
        return Check(
            "oms.region",
            CheckStatus.WARNING,
            f"the source bucket is in {source}, but {' and '.join(apart)}",
            "put queue and log bucket into the source's region: OSS announces to queues of its own region, "
            "and records that cross regions are slower and cost traffic",
        )
    if not source:
        return Check(
            "oms.region", CheckStatus.SKIPPED, "unknown: the task does not tell its region"
        )
    told = (
        f"source, queue and log bucket are in {source}"
        if queue
        else f"source and log bucket are in {source}; MNS_ENDPOINT does not tell the queue's region"
    )
    return Check("oms.region", CheckStatus.OK, told)


def counter(state: TaskState, name: str) -> int:
    """Return a counter of the month, such as `success_object`; 0 where OMS does not say."""
    value = state.details.get(f"monthly_{name}")
    return value if isinstance(value, int) else 0


def text(state: TaskState, name: str) -> str:
    """Return what the task says of itself, such as `src_bucket`; empty where it does not."""
    value = state.details.get(name)
    return value if isinstance(value, str) else ""
