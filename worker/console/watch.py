"""Looks at workers, queue, task and dead letters: often while someone watches, else rarely."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import aiohttp

from worker.clock import is_set_within
from worker.clouds.http import open_session
from worker.console.charts import Point
from worker.errors import CallFailed, Failure
from worker.operate.arrival import ArrivalStatus, arrival_of
from worker.operate.connect import Clients, brief
from worker.operate.day import Slot, day_of
from worker.operate.fleet import Fleet, statuses
from worker.operate.letters import Letters
from worker.operate.levels import Levels, levels_of
from worker.operate.status import DEAD_COUNT_MAX, Status, StatusBoard, TaskStatus
from worker.operate.workers import Sample, WorkerStatus, look, rates

WATCHED_SECONDS = 20.0
WORKERS_EVERY_SECONDS = (2.0, 15.0)
SERVICES_EVERY_SECONDS = (5.0, 60.0)
# Counting dead letters lists them: with very many of them, looking must not become the console's whole work.
LOOKING_SHARE = 0.1
# So long the first look waits for the letters to be counted; a later one has the count before.
COUNTING_SECONDS = 1.5
POINTS_MAX = 600
# Some milliseconds for each worker: no page waits for it.
DAY_EVERY_SECONDS = (50.0, 300.0)


@dataclass(frozen=True, slots=True)
class Moment:
    """What all workers together did at one moment; None where none answered."""

    at: float
    rate_in: float | None = None
    rate_out: float | None = None
    lag_seconds: float | None = None
    in_flight: float | None = None
    arrival_p50: float | None = None
    arrival_p99: float | None = None
    copy_backlog: float | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """What waited in the queue at one moment, and what OMS and the dead letters came to by then."""

    at: float
    waiting: float | None = None
    accepted: float | None = None
    failed: float | None = None
    dead: float | None = None


class Watch:
    """The last look and a short history. `run` looks for ever; `asked` keeps it looking often."""

    def __init__(self, clients: Clients, workers: Iterable[str]) -> None:
        self.workers: tuple[WorkerStatus, ...] = ()
        self.status: Status | None = None
        self.moments: deque[Moment] = deque(maxlen=POINTS_MAX)
        self.depths: deque[Depth] = deque(maxlen=POINTS_MAX)
        self.has_looked = asyncio.Event()
        self._clients = clients
        self._clock = clients.clock
        # Letters are counted apart: however many there are, nothing else waits for them.
        self._board = StatusBoard(brief(clients, 1), counts_letters=False)
        self._letters = Letters(brief(clients, 1))
        self._counted: dict[str, int] | None = None
        self._uncounted: Failure | None = None
        self._has_counted = asyncio.Event()
        self.dead_days: Mapping[str, Mapping[str, int]] | None = None
        self.day: list[Slot] | None = None
        self._urls = tuple(workers)
        self._is_destination_set = clients.settings.obs_endpoint is not None
        self._before: dict[str, Sample] = {}
        self._asked_at = float("-inf")
        self._asked = asyncio.Event()

    def asked(self) -> None:
        """Note that someone watches."""
        self._asked_at = self._clock.monotonic()
        self._asked.set()
        self._asked.clear()

    @property
    def fleet(self) -> Fleet | None:
        """The workers by their pulses; None where those could not be read."""
        return None if self.status is None else self.status.fleet

    @property
    def told(self) -> tuple[WorkerStatus, ...]:
        """What workers tell: those at the addresses that answer, else all by their pulses."""
        answering = tuple(each for each in self.workers if not each.sample.error)
        return answering or tuple(statuses(self.fleet))

    @property
    def arrival(self) -> ArrivalStatus:
        """Whether what OMS accepted has arrived, as the workers told at the last look."""
        told = (each.sample.arrival for each in self.told)
        owed = self.status.owed if self.status else None
        return arrival_of(told, is_set=self._is_destination_set, owed=owed)

    @property
    def levels(self) -> Levels:
        """How far changes have come."""
        task = None if self.status is None else self.status.task
        done = None if task is None else task.done
        return levels_of((each.sample for each in self.told), done)

    async def add_up_day(self) -> None:
        """Add up what the pulses of the last look tell of the last day."""
        fleet = self.fleet
        self.day = None if fleet is None else await day_of(fleet, self._clock.wall())

    async def run(self) -> None:
        """Look again and again, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_workers(), name="watch workers")
            group.create_task(self._watch_services(), name="watch services")
            group.create_task(self._watch_letters(), name="count letters")
            group.create_task(self._watch_day(), name="add up the day")

    async def _watch_workers(self) -> None:
        proxies = self._clients.settings.proxies
        async with open_session(connections=16, total_seconds=10, proxies=proxies) as session:
            while True:
                await self._look_at_workers(session)
                await self._pause(WORKERS_EVERY_SECONDS)

    async def look_at_services(self) -> None:
        """Look at queue, task and pulses now; the letters are those that were counted last."""
        status = await self._board.look()
        # Few letters are counted by then: the first page shows them.
        await is_set_within(self._has_counted, COUNTING_SECONDS)
        errors = dict(status.errors)
        if self._uncounted is not None:
            errors["dead_letters"] = self._uncounted
        self.status = replace(status, dead_letters=self._counted, errors=errors)
        self.depths.append(_depth(self.status))
        self.has_looked.set()

    async def _watch_services(self) -> None:
        while True:
            started = self._clock.monotonic()
            await self.look_at_services()
            took = self._clock.monotonic() - started
            await self._pause(SERVICES_EVERY_SECONDS, took / LOOKING_SHARE)

    async def count_letters(self) -> None:
        """Count the dead letters now."""
        try:
            days: dict[str, dict[str, int]] = {}
            self._counted = await self._letters.counts(count_max=DEAD_COUNT_MAX, days=days)
            self.dead_days, self._uncounted = days, None
        except CallFailed as failed:
            self._counted = self.dead_days = None
            self._uncounted = failed.failure
        self._has_counted.set()

    async def _watch_letters(self) -> None:
        while True:
            started = self._clock.monotonic()
            await self.count_letters()
            took = self._clock.monotonic() - started
            await self._pause(SERVICES_EVERY_SECONDS, took / LOOKING_SHARE)

    async def _watch_day(self) -> None:
        await self.has_looked.wait()
        while True:
            await self.add_up_day()
            await self._pause(DAY_EVERY_SECONDS)

    async def _look_at_workers(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = {
                url: group.create_task(look(session, url, self._clock), name=f"look {url}")
                for url in self._urls
            }
        now = {url: task.result() for url, task in tasks.items()}
        self.workers = tuple(
            WorkerStatus(sample, rates(self._before[url], sample) if url in self._before else None)
            for url, sample in now.items()
        )
        self._before = now
        self.moments.append(_moment(self._clock.wall(), self.workers, self.arrival))

    async def _pause(self, seconds: tuple[float, float], seconds_min: float = 0.0) -> None:
        """Wait: shortly while someone watches; a long wait ends when someone comes."""
        often, rarely = seconds
        await self._clock.sleep(max(often, seconds_min))
        is_watched = self._clock.monotonic() - self._asked_at < WATCHED_SECONDS
        if is_watched or seconds_min >= rarely:
            return
        await is_set_within(self._asked, rarely - often)


def oms_rates(depths: Iterable[Depth], name: str) -> list[Point]:
    """Return what OMS counted by the second between one look and the next; a new month begins at 0."""
    points: list[Point] = []
    for before, each in pairwise(depths):
        now, last, seconds = getattr(each, name), getattr(before, name), each.at - before.at
        is_known = now is not None and last is not None and now >= last and seconds > 0
        points.append((each.at, (now - last) / seconds if is_known else None))
    return points


def _moment(at: float, workers: Iterable[WorkerStatus], arrival: ArrivalStatus) -> Moment:
    found = [each for each in workers if not each.sample.error]
    known = [each.rates for each in found if each.rates is not None]
    if not found:
        return Moment(at)
    lags = [each.lag_seconds for each in known if each.lag_seconds is not None]
    return Moment(
        at,
        rate_in=sum(each.received for each in known) if known else None,
        rate_out=sum(each.done for each in known) if known else None,
        lag_seconds=max(lags, default=None),
        in_flight=sum(each.sample.in_flight for each in found),
        arrival_p50=None if arrival.hour is None else arrival.hour.p50,
        arrival_p99=None if arrival.hour is None else arrival.hour.p99,
        copy_backlog=arrival.copy_backlog,
    )


def _depth(status: Status) -> Depth:
    queue = status.queue
    task = status.task or TaskStatus("", None, None, None, None)
    return Depth(
        status.at,
        waiting=None if queue is None else queue.total,
        accepted=None if status.task is None else task.accepted,
        failed=None if status.task is None else task.failed,
        dead=None if status.dead_letters is None else sum(status.dead_letters.values()),
    )
