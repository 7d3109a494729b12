"""Grouping dead letters in the background: each is read once, and the page shows how far it has come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from worker.console.filters import Filter
from worker.errors import CallFailed
from worker.operate.connect import Clients
from worker.operate.letters import Group, Grouping, LetterFilter, Letters

GROUPINGS_MAX = 8
RUNNING_MAX = 2
PATIENCE_SECONDS = 1.5
FRESH_SECONDS = 5.0
# One that took long is kept for longer: reading a million letters again for every visit would never end.
FRESH_SHARE = 5.0


@dataclass(slots=True)
class GroupingJob:
    """The groups found so far. `ended_at` is None while letters are read, `failed` says why it ended."""

    started_at: float
    grouping: Grouping = field(default_factory=Grouping)
    ended_at: float | None = None
    failed: CallFailed | None = None

    @property
    def is_running(self) -> bool:
        """Whether letters are still being read."""
        return self.ended_at is None

    def groups(self) -> list[Group]:
        """Return the groups so far, the largest first."""
        return self.grouping.groups()

    def is_fresh(self, now: float) -> bool:
        """Whether it may be shown instead of reading everything again."""
        if self.ended_at is None:
            return True
        took = self.ended_at - self.started_at
        return not self.failed and now - self.ended_at < max(FRESH_SECONDS, took * FRESH_SHARE)


class GroupingJobs:
    """The last few groupings by what they are about; at most two read at a time, the others end early."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._letters = Letters(clients)
        self._known: OrderedDict[Filter, GroupingJob] = OrderedDict()
        self._tasks: dict[Filter, asyncio.Task[None]] = {}

    async def of(self, about: Filter, *, is_new: bool = False) -> GroupingJob:
        """Return the job, begun now unless there is one; waits a moment for a short one to end.

        Raises `BadFilter`.
        """
        clock = self._clients.clock
        job = self._known.get(about)
        if job is None or not job.is_fresh(clock.monotonic()) or (is_new and not job.is_running):
            job = await self._begin(about, about.wanted(clock.wall()))
        task = self._tasks.get(about)
        if task is not None:
            await asyncio.wait((task,), timeout=PATIENCE_SECONDS)
        return job

    def forget(self) -> None:
        """Let every job that has ended be read anew: letters have moved."""
        for about in [each for each, job in self._known.items() if not job.is_running]:
            del self._known[about]
            self._tasks.pop(about, None)

    async def close(self) -> None:
        """End all."""
        for about in list(self._tasks):
            await self._end(about)

    async def _begin(self, about: Filter, wanted: LetterFilter) -> GroupingJob:
        running = [each for each, task in self._tasks.items() if not task.done()]
        for oldest in running[: max(0, len(running) + 1 - RUNNING_MAX)]:
            await self._end(oldest)
            self._known.pop(oldest, None)
        job = GroupingJob(self._clients.clock.monotonic())
        self._known[about] = job
        self._known.move_to_end(about)
        self._tasks[about] = asyncio.create_task(
            self._read(job, about, wanted), name="job dead letters"
        )
        while len(self._known) > GROUPINGS_MAX:
            dropped, _ = self._known.popitem(last=False)
            await self._end(dropped)
        return job

    async def _read(self, job: GroupingJob, about: Filter, wanted: LetterFilter) -> None:
        try:
            await self._letters.group(job.grouping, wanted, about.place)
        except CallFailed as failed:
            job.failed = failed
        finally:
            job.ended_at = self._clients.clock.monotonic()

    async def _end(self, about: Filter) -> None:
        task = self._tasks.pop(about, None)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
