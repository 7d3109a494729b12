"""Synchronization tasks as values and counters: no network, no clock of their own.

Vendor facts: the pages of CreateSyncTask, ShowSyncTask and ListSyncTaskStatistic, and the user
guide on synchronization tasks.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Any, TypeVar

from localcloud.storage.stored import StoredObject

# Assumption: months begin at the region's midnight, and list files show its time.
REGION_ZONE = timezone(timedelta(hours=8))
FIVE_MINUTES_SECONDS = 300
ONE_HOUR_SECONDS = 3600
SLOTS_KEPT = 31 * 24 * 12
MONTHS_KEPT = 13


class Status(StrEnum):
    """The two states of a task; SYNCHRONIZING means no more than ready to receive."""

    SYNCHRONIZING = "SYNCHRONIZING"
    STOPPED = "STOPPED"


class Statistic(StrEnum):
    """The series that ListSyncTaskStatistic serves; SIZE is in bytes."""

    REQUEST = "REQUEST"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    SKIP = "SKIP"
    SIZE = "SIZE"


class Overwrite(StrEnum):
    """What happens where the destination has an object of that name: `object_overwrite_mode`."""

    NO_OVERWRITE = "NO_OVERWRITE"
    SIZE_LAST_MODIFIED = "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE"
    CRC64 = "CRC64_COMPARISON_OVERWRITE"
    FULL = "FULL_OVERWRITE"


class Consistency(StrEnum):
    """How OMS compares before and after a copy: `consistency_check` of a new task.

    TRANSMISSION is for sources that tell no size; where they do, as OSS does, it compares like the
    default. ShowSyncTask calls it no_check.
    """

    SIZE_LAST_MODIFIED = "size_last_modified"
    CRC64 = "crc64"
    TRANSMISSION = "transmission"

    @property
    def shown(self) -> str:
        """The name in the answers of ShowSyncTask and ListSyncTasks."""
        return "no_check" if self is Consistency.TRANSMISSION else self.value


def must_copy(task: SyncTask, source: StoredObject, destination: StoredObject | None) -> bool:
    """Whether OMS copies: always where nothing is there yet, else as the task's rule says.

    By the default rule an overwrite of equal size that looks older than the copy is skipped. CRC64
    compares contents; where either side has no checksum, the default rule stands in for it.
    """
    if destination is None or task.object_overwrite_mode is Overwrite.FULL:
        return True
    if task.object_overwrite_mode is Overwrite.NO_OVERWRITE:
        return False
    if source.size != destination.size:
        return True
    if task.compares_contents and None not in {source.crc64, destination.crc64}:
        return source.crc64 != destination.crc64
    # Assumption: an equal time counts as not newer.
    return source.modified_at > destination.modified_at


Tally = dict[Statistic, int]
K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class SyncTask:
    """One task: what it connects, its status, and its counters by month and by five minutes."""

    task_id: str
    project_id: str
    src_bucket: str
    dst_bucket: str
    created_at: float
    src_cloud_type: str = "Aliyun"
    src_region: str = "cn-hangzhou"
    dst_region: str = "cn-north-4"
    description: str = ""
    enable_metadata_migration: bool = False
    enable_restore: bool = False
    dst_storage_policy: str = "STANDARD"
    consistency_check: Consistency = Consistency.SIZE_LAST_MODIFIED
    object_overwrite_mode: Overwrite = Overwrite.SIZE_LAST_MODIFIED
    app_id: str | None = None
    status: Status = Status.SYNCHRONIZING
    last_started_at: float = 0.0
    _months: dict[tuple[int, int], Tally] = field(default_factory=dict, repr=False)
    _slots: dict[int, Tally] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        # A task starts by itself when it is created.
        self.last_started_at = self.last_started_at or self.created_at

    @property
    def compares_contents(self) -> bool:
        """Whether a copy is skipped for equal contents only, not for size and time."""
        # CreateSyncTask: crc64 compares before and after a copy. Assumption: the mode shown stays as it was.
        return (
            self.consistency_check is Consistency.CRC64
            or self.object_overwrite_mode is Overwrite.CRC64
        )

    def start(self, now: float) -> bool:
        """Begin to accept keys; False if it does already."""
        if self.status is Status.SYNCHRONIZING:
            return False
        self.status = Status.SYNCHRONIZING
        self.last_started_at = now
        return True

    def stop(self) -> bool:
        """Accept no more keys; False if it does not anyway."""
        # Assumption: keys accepted before are still copied.
        if self.status is Status.STOPPED:
            return False
        self.status = Status.STOPPED
        return True

    def count(self, statistic: Statistic, number: int, now: float) -> None:
        """Add to a counter of this month and of these five minutes; the oldest are forgotten."""
        slot = int(now) // FIVE_MINUTES_SECONDS
        for tally in (
            _tally(self._months, _month(now), MONTHS_KEPT),
            _tally(self._slots, slot, SLOTS_KEPT),
        ):
            tally[statistic] = tally.get(statistic, 0) + number

    def monthly(self, statistic: Statistic, at: float) -> int:
        """Return the counter of the month that holds an instant."""
        return self._months.get(_month(at), {}).get(statistic, 0)

    def series(
        self, statistic: Statistic, start: float, end: float, step_seconds: int
    ) -> list[tuple[int, int]]:
        """Return (start of the step in seconds, sum) for every step in the range that has any."""
        sums: dict[int, int] = {}
        for slot, tally in self._slots.items():
            at = slot * FIVE_MINUTES_SECONDS
            if statistic in tally and start - FIVE_MINUTES_SECONDS < at <= end:
                step = at - at % step_seconds
                sums[step] = sums.get(step, 0) + tally[statistic]
        return sorted(sums.items())

    def summary(self) -> dict[str, Any]:
        """Return the task as ListSyncTasks shows it."""
        return {
            "sync_task_id": self.task_id,
            "src_cloud_type": self.src_cloud_type,
            "src_region": self.src_region,
            "src_bucket": self.src_bucket,
            "create_time": int(self.created_at * 1000),
            "last_start_time": int(self.last_started_at * 1000),
            "dst_bucket": self.dst_bucket,
            "dst_region": self.dst_region,
            "description": self.description,
            "status": self.status.value,
            "enable_kms": False,
            "enable_metadata_migration": self.enable_metadata_migration,
            "enable_restore": self.enable_restore,
            "app_id": self.app_id,
            "object_overwrite_mode": self.object_overwrite_mode.value,
            "dst_storage_policy": self.dst_storage_policy,
            "consistency_check": self.consistency_check.shown,
        }

    def details(self, at: float) -> dict[str, Any]:
        """Return the task as ShowSyncTask shows it, with the counters of one month."""
        return self.summary() | {
            "monthly_acceptance_request": self.monthly(Statistic.REQUEST, at),
            "monthly_success_object": self.monthly(Statistic.SUCCESS, at),
            "monthly_failure_object": self.monthly(Statistic.FAILURE, at),
            "monthly_skip_object": self.monthly(Statistic.SKIP, at),
            "monthly_size": self.monthly(Statistic.SIZE, at),
        }

    def statistics(self, wanted: Iterable[Statistic], start: float, end: float) -> dict[str, Any]:
        """Return the answer of ListSyncTaskStatistic."""
        # Assumption: five-minute steps up to a day, hours beyond; empty steps are left out.
        is_short = end - start <= 24 * ONE_HOUR_SECONDS
        step = FIVE_MINUTES_SECONDS if is_short else ONE_HOUR_SECONDS
        return {
            "sync_task_id": self.task_id,
            "statistic_time_type": "FIVE_MINUTES" if is_short else "ONE_HOUR",
            "statistic_datas": [
                {
                    "data_type": statistic.value,
                    "data": [
                        {"time_stamp": at * 1000, "statistic_num": number}
                        for at, number in self.series(statistic, start, end, step)
                    ],
                }
                for statistic in wanted
            ],
        }


def _month(at: float) -> tuple[int, int]:
    moment = datetime.fromtimestamp(at, REGION_ZONE)
    return moment.year, moment.month


def _tally(tallies: dict[K, Tally], name: K, kept: int) -> Tally:
    tally = tallies.get(name)
    if tally is None:
        tally = tallies[name] = {}
        while len(tallies) > kept:
            del tallies[next(iter(tallies))]
    return tally
