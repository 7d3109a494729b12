"""What the admin API reads and how it answers."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from localcloud.faults import Action, Fault
from localcloud.mns import Behaviour, DeadLetterPolicy
from localcloud.obs import ObsBehaviour
from localcloud.oms import Copying, Status
from localcloud.service import Call, Reply

_STRICT = ConfigDict(extra="forbid")
T = TypeVar("T")


class BadRequestError(Exception):
    """The request cannot be acted on; `accepted` says what could be."""

    def __init__(self, problem: str, accepted: object, status: int = 400) -> None:
        super().__init__(problem)
        self.problem = problem
        self.accepted = accepted
        self.status = status


@dataclass(frozen=True, slots=True, config=_STRICT)
class ClockSetting:
    """The body of POST /clock; `*` sets all clocks."""

    service: Literal["mns", "oss", "oms", "obs", "*"]
    offset_seconds: float


@dataclass(frozen=True, slots=True, config=_STRICT)
class TaskSetting:
    """The body of POST /tasks/<id>/status."""

    status: Status


@dataclass(frozen=True, slots=True, config=_STRICT)
class KeySetting:
    """The body of POST /keys. What is left out stays as it is; `denied` holds patterns of actions."""

    cloud: Literal["alibaba", "huawei"]
    secret: str | None = None
    denied: tuple[str, ...] | None = None


FAULT = TypeAdapter(Fault)
CLOCK = TypeAdapter(ClockSetting)
TASK = TypeAdapter(TaskSetting)
KEY = TypeAdapter(KeySetting)
SWITCHES = TypeAdapter(dict[str, Any])
BEHAVIOUR = TypeAdapter(Behaviour)
COPYING = TypeAdapter(Copying)
OBS_BEHAVIOUR = TypeAdapter(ObsBehaviour)
DEAD_LETTER = TypeAdapter(DeadLetterPolicy)
FAULT_ACCEPTED = {
    "fields": [field.name for field in fields(Fault)],
    "action": [action.value for action in Action],
    "service": "mns, oss, oms, obs, or a shell pattern",
    "name": "of a custom fault: mns duplicate, reorder; oss lose_event, duplicate_event;"
    " oms copy_fails, copy_lost; obs delete_fails",
    "operation": "a vendor's operation name such as BatchReceiveMessage, or a shell pattern",
}


def read(adapter: TypeAdapter[T], call: Call, accepted: object) -> T:
    """Return the JSON body of a call, checked; BadRequestError names every field that is wrong."""
    try:
        return adapter.validate_json(call.body)
    except ValidationError as error:
        raise BadRequestError(problems(error), accepted) from error


def problems(error: ValidationError) -> str:
    """Say in one line what is wrong with which field."""
    return "; ".join(
        _problem(fault["loc"], fault["msg"].removeprefix("Value error, "))
        for fault in error.errors()
    )


def answer(value: object, status: int = 200) -> Reply:
    """Answer with JSON that people can read."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return Reply(status, text, {"Content-Type": "application/json"})


def _problem(place: tuple[int | str, ...], text: str) -> str:
    name = ".".join(str(part) for part in place)
    return f"{name}: {text}" if name else text
