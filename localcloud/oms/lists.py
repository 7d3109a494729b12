"""The lists of results that OMS writes into the destination bucket.

Vendor facts: the user guide, "object lists" (oms_01_0044):
oms/sync_task/<task id>/failed_object_lists/<sync subtask name>/<time>.failed_list.txt, likewise for
success and skip; columns time, name and size, and for failures time, URL-encoded name, name, the source's
error code and a reason. Not known: the separator, the suffix of skipped ones, how often a list appears.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import NamedTuple
from urllib.parse import quote

from localcloud.oms.copying import Copying
from localcloud.oms.task import REGION_ZONE, Statistic, SyncTask
from localcloud.storage.stored import StoredObject

# Assumption: both names; the guide shows the first as a placeholder, and no file of skipped objects.
SUBTASK = "sync-subtask-1"
SKIP_SUFFIX = "skip_list.txt"

Put = Callable[[str, str, bytes], object]


class ResultList(StrEnum):
    """The folders of result lists."""

    FAILED = "failed_object_lists"
    SUCCESS = "success_object_lists"
    SKIPPED = "skip_object_lists"


_LIST_OF = {
    Statistic.FAILURE: ResultList.FAILED,
    Statistic.SUCCESS: ResultList.SUCCESS,
    Statistic.SKIP: ResultList.SKIPPED,
}
_SUFFIXES = {
    ResultList.FAILED: "failed_list.txt",
    ResultList.SUCCESS: "success_list.txt",
    ResultList.SKIPPED: SKIP_SUFFIX,
}


class Outcome(NamedTuple):
    """How the copy of one key goes; `error` is the source's error code, `read` what is to be written."""

    key: str
    result: Statistic
    size_bytes: int = 0
    error: str = ""
    reason: str = ""
    read: StoredObject | None = None


class _Pending(NamedTuple):
    due: float
    number: int
    task: SyncTask
    kind: ResultList
    rows: str


class ResultLists:
    """Writes the lists, one file for each kind and batch; what is due later waits here."""

    def __init__(self, copying: Copying, put: Put) -> None:
        self._copying = copying
        self._put = put
        self._pending: list[_Pending] = []
        self._numbers = count(1)
        self._last_ms = 0

    @property
    def next_due(self) -> float | None:
        """When the next list is due, by the service's clock; None if none waits."""
        return self._pending[0].due if self._pending else None

    def add(self, task: SyncTask, outcomes: Sequence[Outcome], now: float) -> None:
        """Note results; they are written at once, later, or never, as it is set."""
        after = self._copying.lists_after_seconds
        if after is None:
            return
        for kind in ResultList:
            rows = "".join(self._rows(kind, outcomes, now))
            if rows:
                pending = _Pending(now + after, next(self._numbers), task, kind, rows)
                heapq.heappush(self._pending, pending)
        self.write_due(now)

    def write_due(self, now: float) -> None:
        """Write the lists that are due."""
        while self._pending and self._pending[0].due <= now:
            due = heapq.heappop(self._pending)
            self._put(due.task.dst_bucket, self._name(due.task, due.kind, now), due.rows.encode())

    def _rows(self, kind: ResultList, outcomes: Iterable[Outcome], now: float) -> Iterable[str]:
        shown = datetime.fromtimestamp(now, REGION_ZONE).strftime("%Y-%m-%d %H:%M:%S")
        for each in outcomes:
            if _LIST_OF[each.result] is not kind:
                continue
            columns = [shown, each.key, str(each.size_bytes)]
            if kind is ResultList.FAILED:
                columns = [shown, quote(each.key, safe=""), each.key, each.error, each.reason]
            yield self._copying.list_separator.join(columns) + "\n"

    def _name(self, task: SyncTask, kind: ResultList, now: float) -> str:
        """Return the name of a new list. Assumption: the time is in milliseconds since 1970."""
        self._last_ms = max(int(now * 1000), self._last_ms + 1)
        folder = f"oms/sync_task/{task.task_id}/{kind}/{SUBTASK}"
        return f"{folder}/{self._last_ms}.{_SUFFIXES[kind]}"
