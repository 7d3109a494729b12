"""What an MNS queue holds: messages, their states, and the attributes that rule them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

PRIORITY_UNSET = 8
PRIORITIES = 16


class State(IntEnum):
    """Where a message stands."""

    DELAYED = 0
    ACTIVE = 1
    INACTIVE = 2
    DELETED = 3


@dataclass(frozen=True, slots=True)
class Property:
    """A named, typed value beside the body (user property or system property)."""

    name: str
    value: str
    type: str = "STRING"


@dataclass(frozen=True, slots=True)
class Attributes:
    """The settable attributes of a queue; the defaults are those of a recorded live queue."""

    delay_seconds: int = 0
    maximum_message_size: int = 65_536
    message_retention_period: int = 345_600
    visibility_timeout: int = 30
    polling_wait_seconds: int = 0
    logging_enabled: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """Where a message goes once it would be received more than `max_receive_count` times."""

    target: str
    max_receive_count: int

    def __post_init__(self) -> None:
        # Assumption: the range of the real service is not documented anywhere.
        if self.max_receive_count < 1:
            raise ValueError("max_receive_count must be 1 or more")


@dataclass(slots=True)
class Message:
    """A message and its place in the life cycle; all times are milliseconds since the epoch."""

    id: str
    body: str
    enqueue_ms: int
    priority: int = PRIORITY_UNSET
    group_id: str = ""
    user_properties: tuple[Property, ...] = ()
    system_properties: tuple[Property, ...] = ()
    state: State = State.ACTIVE
    dequeue_count: int = 0
    first_dequeue_ms: int = 0
    next_visible_ms: int = 0
    lease: int = 0
    handle: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages stand where."""

    active: int
    inactive: int
    delayed: int
