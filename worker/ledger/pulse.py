"""A pulse: what a worker tells of itself once a minute, as a small object in the log bucket.

It is read by whoever may read the log bucket. So it holds no secret, and no address that could be called:
those are taken out of the reasons. A host name is told, because people have to find the machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

_ADDRESS = re.compile(
    r"https?://[^\s\"',;)]+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:aliyuncs|myhuaweicloud)\.com(?::\d+)?"
)
ADDRESS = "(address)"
# A reason is a sentence or two; nothing else in a pulse is long.
PULSE_BYTES_MAX = 65_536


class PulseState(StrEnum):
    """How a worker is by its own account. `STOPPED`: its last pulse."""

    READY = "ready"
    NOT_READY = "not_ready"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Rates:
    """What moved between two looks, by the second; `lag_seconds` is the mean from event to record."""

    over_seconds: float
    received: float
    done: float
    recorded: float
    dead: float
    lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """One pulse. `ready` is the worker's `/readyz`, `totals` its counters since its start.

    `rates` is None in a worker's first pulse. `day` is its last day, as `worker.ledger.day` reads it; empty
    in pulses of an older version.
    """

    worker: str
    host: str
    version: str
    state: PulseState
    uptime_seconds: float
    ready: Mapping[str, Any]
    totals: Mapping[str, float]
    rates: Rates | None = None
    day: str = ""

    def as_bytes(self) -> bytes:
        """Return it as it is written, without addresses."""
        found = asdict(self) | {"ready": without_addresses(self.ready)}
        return json.dumps(found, indent=1).encode()


def pulse_from(body: bytes) -> Pulse:
    """Read a pulse, also one of another version that tells more. Raises ValueError if it is none."""
    try:
        found: dict[str, Any] = json.loads(body)
        rates = found["rates"]
        return Pulse(
            str(found["worker"]),
            str(found["host"]),
            str(found["version"]),
            PulseState(found["state"]),
            float(found["uptime_seconds"]),
            dict(found["ready"]),
            {str(name): float(value) for name, value in found["totals"].items()},
            None if rates is None else _rates(rates),
            str(found.get("day", "")),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not a pulse: {error!r}") from error


def _rates(found: Mapping[str, Any]) -> Rates:
    given = {each.name: found[each.name] for each in fields(Rates)}
    return Rates(**{name: None if each is None else float(each) for name, each in given.items()})  # type: ignore[arg-type]


def without_addresses(value: Any) -> Any:
    """Return JSON with every address in its texts replaced."""
    if isinstance(value, str):
        return _ADDRESS.sub(ADDRESS, value)
    if isinstance(value, Mapping):
        return {name: without_addresses(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_addresses(each) for each in value]
    return value
