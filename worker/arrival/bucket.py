"""Which bucket the copies are in: decided here alone, from OBS_BUCKET and from what the sync task says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.advice import OTHER_BUCKET, UNKNOWN_BUCKET
from worker.ports import TaskState


class Ground(StrEnum):
    """What a destination is known by.

    `TASK`: the task itself names it. `SETTING`: only OBS_BUCKET does, and the task contradicts in nothing,
    because it may not be read or does not say. `AGAINST_TASK`: OBS_BUCKET, and the task names another one.
    `NONE`: nobody names it, or not yet.
    """

    TASK = "task"
    SETTING = "setting"
    AGAINST_TASK = "against_task"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class DestinationBucket:
    """A bucket and what it is known by; `told` is the one that the task names, empty where it names none."""

    name: str
    ground: Ground
    told: str = ""

    @property
    def may_be_followed(self) -> bool:
        """Whether what OMS accepted may be looked for there: never where the task says otherwise."""
        return self.ground in (Ground.TASK, Ground.SETTING)

    @property
    def doubt(self) -> str:
        """Say what is wrong or not known, in one sentence without a stop; empty where the task names it."""
        match self.ground:
            case Ground.SETTING:
                return f"{self.name}, as OBS_BUCKET says: whether the sync task copies there is not known"
            case Ground.AGAINST_TASK:
                return f"{OTHER_BUCKET}: OBS_BUCKET is {self.name}, but it copies to {self.told}"
            case Ground.NONE:
                return f"{UNKNOWN_BUCKET}: the sync task was not seen, or does not name it"
        return ""


def destination_of(named: str, task: TaskState | None, *, is_unreadable: bool) -> DestinationBucket:
    """Decide by `named` (OBS_BUCKET, or empty) and the task, None where it was not read.

    `is_unreadable` says that it may not be read, so that OBS_BUCKET has to do. A task that is only not read
    yet may still contradict: then nothing is decided.
    """
    told = task.destination_bucket if task else ""
    if told:
        is_contrary = named not in ("", told)
        return DestinationBucket(
            named or told, Ground.AGAINST_TASK if is_contrary else Ground.TASK, told
        )
    if named and (task is not None or is_unreadable):
        return DestinationBucket(named, Ground.SETTING)
    return DestinationBucket("", Ground.NONE)
