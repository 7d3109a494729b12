"""The state of the whole: queue, dead letters, task, workers; each is read even where another cannot be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

import aiohttp

from worker.clouds.credentials import huawei_from
from worker.clouds.http import open_session
from worker.clouds.mns import MnsClient
from worker.clouds.oms_signature import HuaweiCredentials
from worker.config.routes_file import UNROUTED
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.events.event import Message
from worker.ledger.names import BRAKE
from worker.operate.arrival import ArrivalStatus, arrival_of
from worker.operate.brought import Brought, brought, brought_to_routes
from worker.operate.connect import Clients
from worker.operate.doctor import counter
from worker.operate.fleet import Fleet, FleetBoard, statuses
from worker.operate.last_account import LastAccount, last_account
from worker.operate.letters import Letters
from worker.operate.levels import Levels, levels_of
from worker.operate.log_bucket import LogBucket
from worker.operate.workers import Sample, WorkerStatus, look, rates
from worker.outages.breaker import PROBE_SECONDS_CREDENTIALS
from worker.ports import SYNCHRONIZING, TaskState

DEAD_COUNT_MAX = 100_000
RATE_SECONDS = 1.0
# Longer than this nobody waits for a part while another one could be read.
PART_SECONDS = 5.0
# Of that, what counting may take: what was counted by then is shown.
COUNTING_SHARE = 0.8
# The call that each part begins with, for the failure of one that does not come in time.
_FIRST_CALLS = {
    "queue": ("mns", "GetQueueAttributes"),
    "dead_letter_queue": ("mns", "GetQueueAttributes"),
    "dead_letters": ("oss", "ListObjectsV2"),
    "task": ("oms", "ShowSyncTask"),
    "brake": ("oss", "GetObject"),
    "last_account": ("oss", "GetObject"),
    "fleet": ("oss", "ListObjectsV2"),
}
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
    """The OMS task and its counters of this month; None is a counter that OMS does not tell.

    `status` and `source_bucket` are empty where it does not tell them.
    """

    status: str
    accepted: int | None
    succeeded: int | None
    failed: int | None
    skipped: int | None
    source_bucket: str = ""

    @property
    def is_synchronizing(self) -> bool:
        """Whether it is known to take keys now."""
        return self.status == SYNCHRONIZING

    @property
    def done(self) -> int | None:
        """How many objects need no copy any longer, as OMS says: copied, or the same already."""
        if self.succeeded is None or self.skipped is None:
            return None
        return self.succeeded + self.skipped

    @property
    def owed(self) -> int | None:
        """How many of the keys accepted this month it has not copied, skipped or failed; None: not told."""
        if self.accepted is None or self.failed is None or self.done is None:
            return None
        return max(0, self.accepted - self.done - self.failed)


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One of several routes: its task, and its dead letters by cause; None where that could not be read.

    `are_more_dead` says that there was no time to count all.
    """

    route: str
    task: TaskStatus | None
    dead_letters: Mapping[str, int] | None
    are_more_dead: bool = False


def part_of(name: str, route: str) -> str:
    """Return the name of a part that each of several routes has."""
    return f"{name} of {route}"


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at one moment. A part that could not be read is None, and `errors` says why by its name.

    `events` is None as well where the queue or the task could not be read. `is_log_source` says whether the
    log bucket is what the task copies; None where that is not known. `is_destination_set` says whether
    `OBS_ENDPOINT` is set here. `last_account` is that of the last comparison with the destination. `fleet` is
    None as well where workers were named: then only those are asked. `are_more_dead` says that there was no
    time to count all dead letters. `pending` names the parts that are still being read. With several routes
    each of `routes` has its own task, `task` is None, and `dead_letters` are those of events that no route
    takes. `brake` has the routes whose brake of deletions is on; where there is only one, it has no name.
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
    are_more_dead: bool = False
    pending: frozenset[str] = frozenset()
    routes: tuple[RouteStatus, ...] = ()
    brake: tuple[str, ...] | None = None

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
    def owed(self) -> int | None:
        """How many copies the tasks owe at least, by their counters of this month; None: none tells it."""
        found = [each.owed for each in self.tasks if each.owed is not None]
        return sum(found) if found else None

    @property
    def arrival(self) -> ArrivalStatus:
        """Whether what OMS accepted has arrived."""
        told = (each.sample.arrival for each in self.told)
        return arrival_of(told, is_set=self.is_destination_set, owed=self.owed)

    @property
    def levels(self) -> Levels:
        """How far changes have come."""
        is_known = bool(self.tasks) and len(self.tasks) >= len(self.routes)
        counts = [each.done for each in self.tasks]
        done = None if not is_known or None in counts else sum(filter(None, counts))
        return levels_of((each.sample for each in self.told), done)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """How many there are of each cause; `are_more` where there was no time to count all."""

    counts: Mapping[str, int]
    are_more: bool = False


@dataclass(slots=True)
class _Looking:
    """One look while its parts come in."""

    clients: Clients
    pending: frozenset[str]
    found: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, Failure] = field(default_factory=dict)

    def status(self) -> Status:
        """Return what is known by now."""
        found, settings = self.found, self.clients.settings
        seen, task = found.get("queue"), found.get("task")
        dead = found.get("dead_letters")
        source = task.source_bucket if task else ""
        return Status(
            self.clients.clock.wall(),
            seen[0] if seen else None,
            found.get("dead_letter_queue"),
            dead.counts if dead else None,
            task,
            found.get("workers", ()),
            dict(self.errors),
            self._brought(seen[1]) if seen else None,
            source == settings.log_bucket if source else None,
            any(each.obs_endpoint is not None for each in settings.each_route),
            found.get("last_account"),
            found.get("fleet"),
            dead.are_more if dead else False,
            self.pending,
            tuple(self._route(each.route) for each in settings.routes),
            found.get("brake"),
        )

    def _route(self, name: str) -> RouteStatus:
        dead = self.found.get(part_of("dead_letters", name))
        return RouteStatus(
            name,
            self.found.get(part_of("task", name)),
            dead.counts if dead else None,
            dead.are_more if dead else False,
        )

    def _brought(self, messages: list[Message]) -> Brought | None:
        if self.clients.all_routes:
            return brought_to_routes(messages, self.clients.all_routes)
        task = self.found.get("task")
        return brought(messages, task.source_bucket) if task else None


def _too_late(name: str) -> Failure:
    service, operation = _FIRST_CALLS[name.partition(" of ")[0]]
    why = f"not all of it came within {PART_SECONDS:.0f} s"
    return Failure(service, operation, Outcome.UNKNOWN, Blame.PASSING, message=why)


class StatusBoard:
    """Looks again and again; rates are over the time since the look before."""

    def __init__(
        self, clients: Clients, workers: Sequence[str] = (), *, counts_letters: bool = True
    ) -> None:
        self._clients = clients
        self._counts_letters = counts_letters
        self._workers = tuple(workers)
        self._fleet_board = FleetBoard(clients)
        self._before: dict[str, Sample] = {}
        # One question at a time for each key: routes that share one ask one after the other.
        self._keys: dict[HuaweiCredentials, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._refused: dict[HuaweiCredentials, tuple[float, Failure]] = {}

    async def look(self, tell: Callable[[Status], None] | None = None) -> Status:
        """Read every part side by side, each for at most five seconds.

        The first look watches the workers for a second, for their rates. `tell` hears of the status so far
        whenever a part has come.
        """
        parts = self._parts()
        looking = _Looking(self._clients, frozenset(parts))

        async def part(name: str, read: Callable[[], Awaitable[object]]) -> None:
            try:
                # Looking at workers has bounds of its own.
                async with asyncio.timeout(None if name == "workers" else PART_SECONDS):
                    looking.found[name] = await read()
            except CallFailed as failed:
                looking.errors[name] = failed.failure
            except TimeoutError:
                looking.errors[name] = _too_late(name)
            looking.pending -= {name}
            if tell is not None:
                tell(looking.status())

        async with asyncio.TaskGroup() as group:
            for name, read in parts.items():
                group.create_task(part(name, read), name=name)
        return looking.status()

    def _parts(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """Return what reads each part, by its name; of several routes each has two."""
        clients = self._clients
        several = clients.each_route if clients.settings.routes else ()
        own = clients.of_route(UNROUTED) if several else clients
        parts: dict[str, Callable[[], Awaitable[object]]] = {
            "queue": self._queue,
            "dead_letter_queue": self._dead_letter_queue,
            "dead_letters": partial(self._dead_letters, own),
            "brake": self._brake,
            "fleet": self._fleet,
            "workers": self._look_at_workers,
        }
        if not several:
            parts |= {"task": partial(self._task, clients), "last_account": self._last_account}
        for each in several:
            route = each.settings.route
            parts[part_of("task", route)] = partial(self._task, each)
            parts[part_of("dead_letters", route)] = partial(self._dead_letters, each)
        return parts

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

    async def _dead_letters(self, clients: Clients) -> DeadLetters | None:
        """Count as far as the time reaches; a count of none is one only where all was looked at."""
        if not self._counts_letters:
            return None
        counts: dict[str, int] = {}
        try:
            async with asyncio.timeout(PART_SECONDS * COUNTING_SHARE):
                await Letters(clients).counts(count_max=DEAD_COUNT_MAX, so_far=counts)
        except TimeoutError:
            if not any(counts.values()):
                raise
            return DeadLetters(counts, are_more=True)
        return DeadLetters(counts)

    async def _brake(self) -> tuple[str, ...]:
        """Return the routes whose brake of deletions is on."""
        several = self._clients.each_route
        found = await asyncio.gather(*(LogBucket(each).get(BRAKE) for each in several))
        on = zip(several, found, strict=True)
        return tuple(each.settings.route for each, stored in on if stored is not None)

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
