"""Names in the log bucket. All stand under `oms_source_record/<task id>/`.

A relative name is one without that folder.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

ROOT = "oms_source_record"
NAME_BYTES_MAX = 1023
SUCCESS = "success_object"
FAILED = "failed_object"
LOG = "log"
DELETED = "deleted_object"
# A relative name: while this object stands, no relay of the task deletes a copy.
BRAKE = "brake/deletions.json"
# A relative name: the account of the last comparison with the destination.
LAST_ACCOUNT = "reconcile/last.json"
FLEET = "fleet"
MOVING = "moving"

_HASH = re.compile(r"[0-9a-f]{64}")


def task_folder(task_id: str) -> str:
    """Return the folder of a task, with its slash."""
    return f"{ROOT}/{task_id}/"


def record_name(task_id: str, folder: str, key: str) -> str:
    """Return where the record of a key stands; a name beyond 1023 bytes ends in the key's SHA-256 instead."""
    place = f"{task_folder(task_id)}{folder}/"
    name = place + key
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    return f"{place}{hashlib.sha256(key.encode()).hexdigest()}"


def state_name(digest: str) -> str:
    """Return the relative name of where a comparison stands that has not ended."""
    return f"reconcile/state-{digest}.json"


def is_hash(name: str) -> bool:
    """Whether the last part of a record's name may be the hash of a long key."""
    return _HASH.fullmatch(name) is not None


def log_hour(at: float) -> str:
    """Return the relative name of the folder of layout `log` for the hour of this time (epoch seconds)."""
    return f"{LOG}/{datetime.fromtimestamp(at, UTC):%Y/%m/%d/%H}/"


def log_name(task_id: str, at: float, worker: str, number: int) -> str:
    """Return where a log object stands that a worker writes at this time."""
    return f"{task_folder(task_id)}{log_hour(at)}{worker}-{number}.jsonl"


def claim_name(task_id: str, what: str) -> str:
    """Return the object by which one worker of a task claims something for itself; `what` tells it apart."""
    return f"{task_folder(task_id)}arrival/{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"


def place_name(task_id: str, span: int, place: int) -> str:
    """Return the object by which a deletion takes one of the places of a span of time (its number)."""
    return f"{task_folder(task_id)}deletions/{span}/{place}.json"


def probe_name(task_id: str, prober: str = "relay") -> str:
    """Return the one object that each `prober` of a task writes to see whether records can be written."""
    return f"{task_folder(task_id)}probe/{prober}.json"


def fleet_folder(task_id: str) -> str:
    """Return the folder, with its slash, in which the workers of a task tell of themselves."""
    return f"{task_folder(task_id)}{FLEET}/"


def pulse_name(worker: str) -> str:
    """Return where a worker's pulse stands, relative to the folder of the fleet."""
    return f"{worker}.json"


def turn_name(slot: int, turn: int) -> str:
    """Return where the right to move letters stands for one turn of a slot: a relative name."""
    return f"{MOVING}/{slot:010d}-{turn:03d}.json"


def right_name(slot: int, mark: str, turn: int) -> str:
    """Return where the right to probe with a key in a slot stands, relative to the folder of the fleet."""
    return f"probe/{slot}-{mark}-{turn}.json"
