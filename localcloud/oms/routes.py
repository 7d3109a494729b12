"""Which OMS API a request names, and which action a caller needs for it."""

from __future__ import annotations

from typing import NamedTuple

_OPERATIONS = {
    ("POST", 4, ""): "CreateSyncTask",
    ("GET", 4, ""): "ListSyncTasks",
    ("GET", 5, ""): "ShowSyncTask",
    ("DELETE", 5, ""): "DeleteSyncTask",
    ("POST", 6, "events"): "CreateSyncEvents",
    ("POST", 6, "start"): "StartSyncTask",
    ("POST", 6, "stop"): "StopSyncTask",
    ("GET", 6, "statistics"): "ListSyncTaskStatistic",
}

ACTIONS = {
    "CreateSyncEvents": "oms:synctask:createEvent",
    "CreateSyncTask": "oms:synctask:create",
    "ListSyncTasks": "oms:synctask:list",
    "ShowSyncTask": "oms:synctask:get",
    "ListSyncTaskStatistic": "oms:synctask:statistics",
    # Assumption: the names of these three; the published list was not seen in full.
    "StartSyncTask": "oms:synctask:start",
    "StopSyncTask": "oms:synctask:stop",
    "DeleteSyncTask": "oms:synctask:delete",
}

UNKNOWN = "Unknown"


class Route(NamedTuple):
    """The API of a request; `operation` is `Unknown` and the ids are empty where there is none."""

    operation: str
    project_id: str = ""
    task_id: str = ""


def route(method: str, path: str) -> Route:
    """Find the API of a method and a raw path: /v2/{project}/sync-tasks[/{task}[/{verb}]]."""
    # Assumption: a trailing slash, part of the canonical path only, names no API.
    parts = path.split("/")
    size = len(parts)
    if not 4 <= size <= 6 or parts[0] or parts[1] != "v2" or parts[3] != "sync-tasks":
        return Route(UNKNOWN)
    operation = _OPERATIONS.get((method, size, parts[5] if size == 6 else ""), UNKNOWN)
    if operation == UNKNOWN:
        return Route(UNKNOWN)
    return Route(operation, parts[2], parts[4] if size > 4 else "")
