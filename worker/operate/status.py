"""The state of the whole: queue, dead letters, task, workers; each is read even where another cannot be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import TypeVar

import aiohttp

from worker.clouds.credentials import huawei_from
from worker.clouds.http import open_session
from worker.clouds.mns import MnsClient
from worker.clouds.oms_signature import HuaweiCredentials
from worker.config.routes_file import UNROUTED
from worker.errors import Blame, CallFailed, Failure
from worker.events.event import Message
from worker.operate.arrival import ArrivalStatus, arrival_of
from worker.operate.brought import Brought, brought, brought_to_routes
from worker.operate.connect import Clients
from worker.operate.doctor import counter
from worker.operate.fleet import Fleet, FleetBoard, statuses
from worker.operate.last_account import LastAccount, last_account
from worker.operate.letters import Letters
from worker.operate.levels import Levels, levels_of
from worker.operate.workers import Sample, WorkerStatus, look, rates
from worker.outages.breaker import PROBE_SECONDS_CREDENTIALS
from worker.ports import TaskState

T = TypeVar("T")

DEAD_COUNT_MAX = 100_000
RATE_SECONDS = 1.0
# A message older than this share of the retention is about to be forgotten by MNS.
RETENTION_SHARE_WARNING = 0.5


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue. The counts are MNS's own, which lag; None where they are not to be believed.

    `visible` is how many messages a peek showed, at most 16. The age is that of a peek.

    `oldest_seconds` is the age of the oldest of up to 16 visible messages, None if none is visible: the
    queue's oldest may be older. `retention_share` is that age as a share of the retention period.
    """

    name: str
    active: int | None
    inactive: int | None
    delayed: int | None
    retention_seconds: int
    oldest_seconds: float | None
    visible: int = 0

    @property
    def total(self) -> int | None:
        """All messages of the queue; None where MNS does not count them."""
        if self.active is None or self.inactive is None or self.delayed is None:
            return None
        return self.active + self.inactive + self.delayed

    @property
    def retention_share(self) -> float:
        """How much of its life the oldest message has behind it, 0 to 1."""
        return (self.oldest_seconds or 0.0) / self.retention_seconds


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The OMS task and its counters of this month; `source_bucket` is empty where it does not tell."""

    status: str
    accepted: int
    succeeded: int
    failed: int
    skipped: int
    source_bucket: str = ""

    @property
    def done(self) -> int:
        """How many objects need no copy any longer, as OMS says: copied, or the same already."""
        return self.succeeded + self.skipped


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One of several routes: its task, and its dead letters by cause; None where that could not be read."""

    route: str
    task: TaskStatus | None
    dead_letters: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at one moment. A part that could not be read is None, and `errors` says why by its name.

    `events` is None as well where the queue or the task could not be read. `is_log_source` says whether the
    log bucket is what the task copies; None where that is not known. `is_destination_set` says whether
    `OBS_ENDPOINT` is set here. `last_account` is that of the last comparison with the destination. `fleet` is
    None as well where workers were named: then only those are asked. With several routes each of `routes` has
    its own task, `task` is None, and `dead_letters` are those of events that no route takes.
    """

    at: float
    queue: QueueStatus | None
    dead_letter_queue: QueueStatus | None
    dead_letters: Mapping[str, int] | None
    task: TaskStatus | None
    workers: tuple[WorkerStatus, ...]
    errors: Mapping[str, Failure] = field(default_factory=dict)
    events: Brought | None = None
    is_log_source: bool | None = None
    is_destination_set: bool = False
    last_account: LastAccount | None = None
    fleet: Fleet | None = None
    routes: tuple[RouteStatus, ...] = ()

    @property
    def tasks(self) -> tuple[TaskStatus, ...]:
        """What is known of the tasks."""
        found = (self.task, *(each.task for each in self.routes))
        return tuple(each for each in found if each is not None)

    @property
    def told(self) -> tuple[WorkerStatus, ...]:
        """What workers tell: those that were named, else those that live."""
        return self.workers or tuple(statuses(self.fleet))

    @property
    def arrival(self) -> ArrivalStatus:
        """Whether what OMS accepted has arrived."""
        told = (each.sample.arrival for each in self.told)
        return arrival_of(told, is_set=self.is_destination_set)

    @property
    def levels(self) -> Levels:
        """How far changes have come."""
        is_known = bool(self.tasks) and len(self.tasks) >= len(self.routes)
        done = sum(each.done for each in self.tasks) if is_known else None
        return levels_of((each.sample for each in self.told), done)

    @property
    def is_complete(self) -> bool:
        """Whether every part could be read, each worker too."""
        return not self.errors and not any(each.sample.error for each in self.workers)


class StatusBoard:
    """Looks again and again; rates are over the time since the look before."""

    def __init__(self, clients: Clients, workers: Sequence[str] = ()) -> None:
        self._clients = clients
        self._workers = tuple(workers)
        self._fleet_board = FleetBoard(clients)
        self._before: dict[str, Sample] = {}
        # One question at a time for each key: routes that share one ask one after the other.
        self._keys: dict[HuaweiCredentials, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._refused: dict[HuaweiCredentials, tuple[float, Failure]] = {}

    async def look(self) -> Status:
        """Read every part side by side. The first look watches the workers for a second, for their rates."""
        errors: dict[str, Failure] = {}
        clients = self._clients

        async def part(name: str, read: Callable[[], Awaitable[T]]) -> T | None:
            try:
                return await read()
            except CallFailed as failed:
                errors[name] = failed.failure
                return None

        async def route(each: Clients) -> RouteStatus:
            name = each.settings.route
            shown = await part(f"task of {name}", partial(self._task, each))
            dead = await part(f"dead letters of {name}", partial(self._dead_letters, each))
            return RouteStatus(name, shown, dead)

        settings = clients.settings
        alone = () if settings.routes else (clients,)
        async with asyncio.TaskGroup() as group:
            queue = group.create_task(part("queue", self._queue), name="queue")
            other = group.create_task(
                part("dead_letter_queue", self._dead_letter_queue), name="dead-letter queue"
            )
            own = clients.of_route(UNROUTED) if settings.routes else clients
            dead = group.create_task(
                part("dead_letters", partial(self._dead_letters, own)), name="dead letters"
            )
            tasks = [
                group.create_task(part("task", partial(self._task, each)), name="task")
                for each in alone
            ]
            accounts = [
                group.create_task(part("last_account", self._last_account), name="account")
                for _ in alone
            ]
            routes = [
                group.create_task(route(each), name=f"route {each.settings.route}")
                for each in (clients.each_route if settings.routes else ())
            ]
            workers = group.create_task(self._look_at_workers(), name="workers")
            fleet = group.create_task(part("fleet", self._fleet), name="fleet")
        seen = queue.result()
        found = tasks[0].result() if tasks else None
        source = found.source_bucket if found else ""
        return Status(
            clients.clock.wall(),
            seen[0] if seen else None,
            other.result(),
            dead.result(),
            found,
            workers.result(),
            errors,
            self._brought(seen[1], found) if seen else None,
            source == settings.log_bucket if source else None,
            any(each.obs_endpoint is not None for each in settings.each_route),
            accounts[0].result() if accounts else None,
            fleet.result(),
            tuple(each.result() for each in routes),
        )

    def _brought(self, messages: list[Message], task: TaskStatus | None) -> Brought | None:
        if self._clients.all_routes:
            return brought_to_routes(messages, self._clients.all_routes)
        return brought(messages, task.source_bucket) if task else None

    async def _fleet(self) -> Fleet | None:
        return None if self._workers else await self._fleet_board.look()

    async def _queue(self) -> tuple[QueueStatus, list[Message]]:
        return await self._read_queue(self._clients.queue, self._clients.settings.mns_queue)

    async def _dead_letter_queue(self) -> QueueStatus | None:
        queue, name = self._clients.dead_letter_queue, self._clients.settings.mns_dead_letter_queue
        if queue is None or name is None:
            return None
        return (await self._read_queue(queue, name))[0]

    async def _read_queue(self, queue: MnsClient, name: str) -> tuple[QueueStatus, list[Message]]:
        patiently, clock = self._clients.patiently, self._clients.clock
        attributes = await patiently(queue.attributes)
        messages = await patiently(queue.peek)
        oldest_ms = min((each.enqueue_time_ms for each in messages), default=None)
        counts = attributes.counts(len(messages))
        active, inactive, delayed = counts or (None, None, None)
        status = QueueStatus(
            name,
            active,
            inactive,
            delayed,
            attributes.retention_seconds,
            None if oldest_ms is None else max(0.0, clock.wall() - oldest_ms / 1000),
            len(messages),
        )
        return status, messages

    async def _dead_letters(self, clients: Clients) -> dict[str, int]:
        return await Letters(clients).counts(count_max=DEAD_COUNT_MAX)

    async def _last_account(self) -> LastAccount | None:
        return await last_account(self._clients)

    async def _task(self, clients: Clients) -> TaskStatus:
        # Huawei locks a key after five refusals in a row: looking on must not be what locks it (G5).
        clock, key = clients.clock, huawei_from(clients.settings)
        async with self._keys[key]:
            until, refusal = self._refused.get(key, (-inf, None))
            if refusal is not None and clock.monotonic() < until:
                raise CallFailed(refusal)
            try:
                return _task_status(await clients.patiently(clients.sink.show))
            except CallFailed as failed:
                if failed.failure.blame is Blame.CREDENTIALS:
                    until = clock.monotonic() + PROBE_SECONDS_CREDENTIALS
                    self._refused[key] = (until, failed.failure)
                raise

    async def _look_at_workers(self) -> tuple[WorkerStatus, ...]:
        clock = self._clients.clock
        proxies = self._clients.settings.proxies
        async with open_session(connections=16, total_seconds=10, proxies=proxies) as session:
            if any(url not in self._before for url in self._workers):
                await self._sample(session)
                await clock.sleep(RATE_SECONDS)
            before, now = self._before, await self._sample(session)
        return tuple(WorkerStatus(now[url], rates(before[url], now[url])) for url in self._workers)

    async def _sample(self, session: aiohttp.ClientSession) -> dict[str, Sample]:
        async with asyncio.TaskGroup() as group:
            tasks = {
                url: group.create_task(look(session, url, self._clients.clock), name=f"look {url}")
                for url in self._workers
            }
        self._before = {url: task.result() for url, task in tasks.items()}
        return self._before


def _task_status(state: TaskState) -> TaskStatus:
    return TaskStatus(
        state.status,
        counter(state, "acceptance_request"),
        counter(state, "success_object"),
        counter(state, "failure_object"),
        counter(state, "skip_object"),
        state.source_bucket,
    )
