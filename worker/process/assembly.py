"""Puts the relay together, from ports: the same verbs for production, tests and simulations."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from worker.arrival.account import ArrivalAccount
from worker.arrival.again import Again
from worker.arrival.backlog import CopyBacklog
from worker.arrival.deletions import Brake, Deletions
from worker.arrival.destination import DestinationView
from worker.arrival.follow import LOOKS_AT_ONCE, Follower
from worker.arrival.result_lists import ResultLists
from worker.clock import Clock
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.events.encode import event_body
from worker.events.keys import KeyEncoding, KeyReader
from worker.fleet.folder import FLEET_CALLS_MAX, FleetFolder
from worker.fleet.pause import PauseWatch
from worker.fleet.probe_right import Alone, ProbeRight
from worker.flow.bury import DeadLetters
from worker.flow.dead_letter_queue import Undelivered
from worker.flow.dedupe import Dedupe, Identities
from worker.flow.delete import LINGER_SECONDS as DELETE_LINGER_SECONDS
from worker.flow.delete import Deleter
from worker.flow.deletion import AT_ONCE as DELETIONS_AT_ONCE
from worker.flow.deletion import Propagation
from worker.flow.flow import Flow
from worker.flow.lease import Leases
from worker.flow.post import Poster
from worker.flow.receive import Receiver
from worker.flow.record import Records
from worker.flow.record_log import LogRecords
from worker.flow.relay import Capacity, Probe, Relay, Side
from worker.flow.route import Route
from worker.flow.selection import Selection
from worker.flow.share import Share
from worker.flow.source import Source
from worker.flow.source_lookup import Looks
from worker.ledger.names import probe_name
from worker.observe.depth import Depth
from worker.observe.journal import Journal
from worker.outages.breaker import Breaker
from worker.outages.breakers import Breakers, Cloud, OneOf
from worker.outages.limit import AdaptiveLimit
from worker.outages.probes import Probes
from worker.outages.retry import Backoff, Retry
from worker.outages.service import Pace, Service
from worker.outages.trial import Door, Watched
from worker.ports import (
    Destination,
    Queue,
    QueueAttributes,
    QueueView,
    Reads,
    Sink,
    SourceObjects,
    Statistics,
    Store,
    Stored,
)

POSTS_MAX = 128
RECORDS_MAX = 128
LOOKS_MAX = 64
ACKNOWLEDGEMENTS_MAX = 64
LEASES_MAX = 64
VERDICTS_MAX = 100_000
# MNS's own default, until the queue has told us.
VISIBILITY_SECONDS_DEFAULT = 30


@dataclass(frozen=True, slots=True)
class ArrivalPorts:
    """What a relay needs to see that copies arrive. `source` is where single source objects are looked at."""

    destination: Destination
    source: SourceObjects
    statistics: Statistics


def _no_mark() -> str:
    return "unmarked"


@dataclass(frozen=True, slots=True)
class RoutePorts:
    """The outside world of one route. Without `arrival` nothing is followed to the destination.

    `key_mark` tells the present Huawei key from others, and not what it is.
    """

    sink: Sink
    arrival: ArrivalPorts | None = None
    key_mark: Callable[[], str] = _no_mark


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world of one relay. `observed` is the queue once more, for its depth; None: not sampled.

    `routes` has those of each route by its name, which is empty where there is only one. Without `reads` a
    worker hears of no other one.
    """

    queue: Queue
    routes: Mapping[str, RoutePorts]
    store: Store
    clock: Clock
    rng: random.Random
    dead_letter_queue: Queue | None = None
    observed: QueueView | None = None
    reads: Reads | None = None


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What the settings decide about one route. An empty `bucket` is the one that the sync task names."""

    name: str
    task_id: str
    bucket: str = ""
    prefix: str = ""
    destination_bucket: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the settings decide about one relay. `wait_seconds` is the length of a long poll.

    `home` is the folder of the log bucket for what belongs to no single route. Without `routes` there is one,
    without a name, and `home` is its task. With `deletions_per_hour` deletions are propagated, at most so
    many an hour for each route.
    """

    worker: str
    home: str
    log_bucket: str
    capacity: Capacity
    record_layout: str = "object"
    key_encoding: KeyEncoding = "auto"
    max_in_flight: int = 4000
    max_deliveries: int = 20
    oms_max_rps: float | None = None
    wait_seconds: int = 15
    region: str = ""
    destination_bucket: str = ""
    arrival_ratio: float = 0.01
    arrival_seconds: float = 900.0
    deletions_per_hour: int | None = None
    routes: tuple[RoutePlan, ...] = ()

    @property
    def each_route(self) -> tuple[RoutePlan, ...]:
        """The plans of all routes: at least one."""
        only = RoutePlan("", self.home, destination_bucket=self.destination_bucket)
        return self.routes or (only,)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A relay ready to run, and the parts that the admin server looks at.

    `share` is how many messages it may have in hand or put off. `beside` are the breakers of services without
    which messages move all the same. `arrivals` has an account for each route, by its name; it is empty where
    nothing is followed to the destination. `pauses` is None where no other worker is heard of.
    """

    relay: Relay
    flow: Flow
    breakers: Breakers
    fleet: FleetFolder
    share: Share
    beside: tuple[Breaker, ...] = ()
    arrivals: Mapping[str, ArrivalAccount] = field(default_factory=dict)
    pauses: PauseWatch | None = None


def assemble(ports: Ports, plan: Plan, journal: Journal) -> Assembled:
    """Wire the six verbs. Nothing is sent before the relay runs."""
    clock = ports.clock
    breakers = Breakers(clock, journal)
    services = _services(ports, plan, breakers, journal)
    dead_letters = DeadLetters(
        _records(ports, plan, plan.home, services.records, journal), plan.worker, clock
    )
    probes = Probes(clock, journal)
    fleet = FleetFolder(ports.store, ports.reads, services.fleet, plan.log_bucket, plan.home)
    # The looks of arrival have a limit of their own: they must not take the places that the flow waits for.
    looks_at_source = AdaptiveLimit(LOOKS_AT_ONCE)
    common = _Common(
        ports,
        plan,
        services,
        breakers,
        fleet,
        Identities(),
        looks_at_source,
        Alone(clock),
        journal,
    )
    wired = [_route(common, each) for each in plan.each_route]
    _share_refusals(wired)
    acknowledgements = _acknowledgements(ports, breakers, journal)
    leases, share = _hands(ports, plan, services, acknowledgements, wired, journal)

    async def probe_queue() -> None:
        await probes.queue(ports.queue, share.see)

    async def probe_store() -> None:
        await probes.store(ports.store, plan.log_bucket, probe_name(plan.home))

    receiver = Receiver(
        ports.queue,
        services.polls,
        leases,
        _gated(services, wired, acknowledgements.breaker),
        ports.rng,
        wait_seconds=plan.wait_seconds,
        throttled=share.throttled,
        # Until the fleet has been asked whether it is paused.
        is_paused=ports.reads is not None,
    )
    deleter = Deleter(ports.queue, acknowledgements, leases, clock, journal)
    routes = tuple(each.route for each in wired)
    deletions = {
        each.name: (each.deletions, each.dead_letters)
        for each in routes
        if each.deletions is not None
    }
    propagation = Propagation(deletions, leases, deleter, clock) if deletions else None
    looks = Looks(ports.store, services.looks)
    flow = Flow(
        receiver=receiver,
        selection=Selection(
            KeyReader(plan.key_encoding, looks.exists, VERDICTS_MAX),
            plan.key_encoding,
            plan.log_bucket,
            routes,
            journal,
            takes_deletions=propagation is not None,
        ),
        routes=routes,
        deleter=deleter,
        dead_letters=dead_letters,
        leases=leases,
        journal=journal,
        deliveries_max=plan.max_deliveries,
        records_work=lambda: services.records.works("PutObject", probe_store),
        propagation=propagation,
    )
    probed: list[tuple[Breaker, Probe]] = [
        (services.polls.breaker, probe_queue),
        (services.records.breaker, probe_store),
        *((each.route.breaker, each.probe) for each in wired),
        (acknowledgements.breaker, probe_queue),
    ]

    def see(found: QueueAttributes) -> None:
        share.see(found)
        if propagation is not None:
            propagation.see(found)

    sides = _sides(ports, services, dead_letters, leases, share, see, receiver, journal)
    pauses = None
    if ports.reads is not None:
        pauses = PauseWatch(fleet, clock, journal, receiver.pause)
        sides.append(pauses.run)
    sides += [propagation.run] if propagation else []
    followed = {each.route.name: each.arrival for each in wired if each.arrival is not None}
    for each in wired:
        if (arrival := each.arrival) is None:
            continue
        probed.append((arrival.breaker, _after(each.route.breaker, arrival.view.probe)))
        sides += [arrival.follower.run, arrival.lists.run, arrival.backlog.run]
    return Assembled(
        Relay(flow, probed, sides, plan.capacity, journal),
        flow,
        breakers,
        fleet,
        share,
        tuple(each.breaker for each in followed.values()),
        {
            name: ArrivalAccount(each.follower, each.backlog, each.view, clock, each.deletions)
            for name, each in followed.items()
        },
        pauses,
    )


def _hands(
    ports: Ports,
    plan: Plan,
    services: _Services,
    acknowledgements: Service,
    wired: Sequence[_Wired],
    journal: Journal,
) -> tuple[Leases, Share]:
    """Wire what is in hand, and its limit: it learns from the calls that a message waits for."""
    leases = Leases(
        _Leased(ports.queue, services.leases),
        ports.clock,
        journal,
        visibility_seconds=VISIBILITY_SECONDS_DEFAULT,
        limit=plan.max_in_flight,
    )
    shared = (services.records, acknowledgements)
    lingers = 2 * plan.capacity.linger_seconds + DELETE_LINGER_SECONDS

    def posting_seconds() -> float:
        """Of several routes the slowest one that works: what is enough for it binds no other."""
        working = [each for each in wired if not each.route.breaker.is_open]
        return max(each.posts.limit.mean_seconds for each in working or wired)

    def latency() -> float:
        return lingers + posting_seconds() + sum(each.limit.mean_seconds for each in shared)

    share = Share(
        leases,
        (ports.observed or ports.queue).attributes,
        lambda: not services.polls.breaker.is_open,
        latency,
        ports.clock,
        ports.rng,
        ceiling=plan.max_in_flight,
    )
    return leases, share


def _gated(
    services: _Services, wired: Sequence[_Wired], acknowledgements: Breaker
) -> tuple[Watched, ...]:
    """Return what has to work so that messages are received: of several routes one is enough."""
    oms: list[Breaker] = [each.route.breaker for each in wired]
    return (
        services.polls.breaker,
        services.records.breaker,
        oms[0] if len(oms) == 1 else OneOf(oms),
        acknowledgements,
    )


def _share_refusals(wired: Sequence[_Wired]) -> None:
    """Let routes that sign with one key hear of its refusal: more refused calls would lock it."""

    def hear(one: _Wired) -> None:
        failure = one.route.breaker.failure
        if failure is None or failure.blame is not Blame.CREDENTIALS:
            return
        if one.route.breaker.is_open:
            for other in wired:
                if other is not one and other.key_mark() == one.key_mark():
                    other.route.breaker.hear_refusal(failure)

    if len(wired) > 1:
        for one in wired:
            one.route.breaker.listeners.append(partial(hear, one))


@dataclass(frozen=True, slots=True)
class _Common:
    """What all routes are made of."""

    ports: Ports
    plan: Plan
    services: _Services
    breakers: Breakers
    fleet: FleetFolder
    recorded: Identities
    source_looks: AdaptiveLimit
    alone: Alone
    journal: Journal


@dataclass(frozen=True, slots=True)
class _Wired:
    """A route, and what runs beside it."""

    route: Route
    posts: Service
    probe: Probe
    arrival: _Arrival | None
    key_mark: Callable[[], str]


def _route(common: _Common, route: RoutePlan) -> _Wired:
    """Wire one route: all that works for it alone."""
    plan, clock, services = common.plan, common.ports.clock, common.services
    ports = common.ports.routes[route.name]
    journal = common.journal.of_route(route.name)
    breaker = common.breakers.add("oms", Cloud.HUAWEI, journal)
    limit = AdaptiveLimit(POSTS_MAX)
    is_only = len(plan.each_route) == 1
    posts = _service(
        common.ports, journal, "posts", breaker, limit, plan.oms_max_rps, holds=is_only
    )
    source = Source(route.bucket)
    records = _records(common.ports, plan, route.task_id, services.records, journal)
    dead_letters = DeadLetters(records, plan.worker, clock)
    parts = _Parts(route, ports, posts, source, records, dead_letters, journal)
    arrival = _arrival(common, parts)
    probes = Probes(clock, journal)

    async def probe_sink() -> None:
        await probes.sink(ports.sink, source.learn, plan.log_bucket, route.bucket)

    probe_key: Probe = probe_sink
    if common.ports.reads is not None:
        prober = f"{plan.worker}/{route.name}" if route.name else plan.worker
        probe_key = ProbeRight(
            common.fleet,
            probe_sink,
            breaker,
            clock,
            mark=ports.key_mark,
            worker=prober,
            alone=common.alone,
        ).probe
    wired = Route(
        name=route.name,
        prefix=route.prefix,
        source=source,
        breaker=breaker,
        door=None if is_only else Door(breaker, clock),
        dedupe=Dedupe(journal, common.recorded),
        poster=Poster(ports.sink, posts, clock, journal, plan.capacity.batch_keys),
        records=records,
        dead_letters=dead_letters,
        follow=arrival.follower.accepted if arrival else None,
        deletions=arrival.deletions if arrival else None,
    )
    return _Wired(wired, posts, probe_key, arrival, ports.key_mark)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What of one route its arrival is made of."""

    plan: RoutePlan
    ports: RoutePorts
    posts: Service
    source: Source
    records: Records
    dead_letters: DeadLetters
    journal: Journal


@dataclass(frozen=True, slots=True)
class _Arrival:
    breaker: Breaker
    view: DestinationView
    follower: Follower
    lists: ResultLists
    backlog: CopyBacklog
    deletions: Deletions | None


def _arrival(common: _Common, parts: _Parts) -> _Arrival | None:
    """Wire what follows accepted keys to the destination; its breaker stops nothing else."""
    asked = parts.ports.arrival
    if asked is None:
        return None
    plan, rng, clock = common.plan, common.ports.rng, common.ports.clock
    journal, records = parts.journal, parts.records
    breaker, limit = Breaker("obs", clock, journal), AdaptiveLimit(LOOKS_AT_ONCE)
    journal.counts.limit.labels("arrival").set_function(lambda: limit.limit)
    retry, pace = Retry(clock, Backoff(rng)), Pace(clock, None)
    service = Service(breaker, limit, retry, pace, clock, journal)
    deleting = Service(breaker, AdaptiveLimit(DELETIONS_AT_ONCE), retry, pace, clock, journal)
    looks = Service(
        common.services.records.breaker,
        common.source_looks,
        retry,
        pace,
        clock,
        journal,
        tells_breaker=False,
    )
    view, other_view = (
        DestinationView(
            asked.destination,
            asked.source,
            each,
            looks,
            parts.source,
            parts.plan.destination_bucket,
        )
        for each in (service, deleting)
    )
    again = Again(
        parts.ports.sink,
        parts.posts,
        records,
        parts.dead_letters,
        parts.source,
        clock,
        journal,
        partial(event_body, region=plan.region, key_encoding=plan.key_encoding),
    )
    follower = Follower(
        view,
        again,
        clock,
        rng,
        journal,
        ratio=plan.arrival_ratio,
        late_seconds=plan.arrival_seconds,
        routes=len(plan.each_route),
    )
    deletions = None
    if plan.deletions_per_hour is not None:
        brake = Brake(records, partial(_read, common), clock, rng, plan.deletions_per_hour)
        deletions = Deletions(
            other_view,
            again,
            records,
            brake,
            follower.expect,
            clock,
            journal,
            grace_seconds=plan.arrival_seconds,
        )
    return _Arrival(
        breaker,
        view,
        follower,
        ResultLists(view, follower, records, clock, journal),
        CopyBacklog(asked.statistics, parts.posts, clock, journal),
        deletions,
    )


def _after(task: Breaker, probe: Probe) -> Probe:
    """Probe once the task was asked for, whatever came of it: it names the bucket."""

    async def probe_later() -> None:
        await task.judged()
        await probe()

    return probe_later


def _sides(
    ports: Ports,
    services: _Services,
    dead_letters: DeadLetters,
    leases: Leases,
    share: Share,
    see: Callable[[QueueAttributes], None],
    receiver: Receiver,
    journal: Journal,
) -> list[Side]:
    sides: list[Side] = [share.run]
    if ports.dead_letter_queue is not None:
        common = (ports.dead_letter_queue, dead_letters, ports.clock, journal)

        def may_keep() -> bool:
            return not services.records.breaker.is_open and not receiver.is_paused

        sides.append(Undelivered(*common, may_keep=may_keep).run)
    if ports.observed is not None:
        depth = Depth(
            ports.observed,
            ports.clock,
            ports.rng,
            journal,
            lambda: leases.taken,
            see,
            lambda: not services.polls.breaker.is_open,
        )
        sides.append(depth.run)
    return sides


class _Leased:
    """The queue as leases see it: behind the breaker, so that refused credentials are not hammered (G5)."""

    def __init__(self, queue: Queue, service: Service) -> None:
        self._queue = queue
        self._service = service

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        """Return the new handle; None if the lease is lost. Tried once: leases come back by themselves."""
        return await self._service.once(
            "ChangeMessageVisibility", lambda: self._queue.change_visibility(handle, seconds)
        )


async def _read(common: _Common, name: str) -> Stored | None:
    """Read an object of the log bucket, tried once, by a service that stops nothing. Raises `CallFailed`."""
    reads = common.ports.reads
    if reads is None:
        raise CallFailed(
            Failure(
                "oss", "GetObject", Outcome.RETRY_LATER, Blame.SERVICE, message="nothing is read"
            )
        )
    bucket = common.plan.log_bucket
    return await common.services.fleet.once("GetObject", lambda: reads.get(bucket, name))


def _records(ports: Ports, plan: Plan, task_id: str, service: Service, journal: Journal) -> Records:
    common = (ports.store, service, plan.log_bucket, task_id, ports.clock, journal)
    if plan.record_layout == "object":
        return Records(*common)
    return LogRecords(*common, worker=plan.worker, linger_seconds=plan.capacity.linger_seconds)


@dataclass(frozen=True, slots=True)
class _Services:
    polls: Service
    leases: Service
    records: Service
    looks: Service
    fleet: Service


def _services(ports: Ports, plan: Plan, breakers: Breakers, journal: Journal) -> _Services:
    """What all routes share. Polls, leases and acknowledgements have a limit each: polls are long by design.

    A delete that hangs must cost no lease, nor a stop the time to release all.
    """
    mns, oss = breakers.add("mns", Cloud.ALIBABA), breakers.add("oss", Cloud.ALIBABA)
    polls = plan.capacity.polls
    service = partial(_service, ports, journal)
    return _Services(
        polls=service("polls", mns, AdaptiveLimit(polls, polls)),
        leases=service("leases", mns, AdaptiveLimit(LEASES_MAX, LEASES_MAX)),
        records=service("records", oss, AdaptiveLimit(RECORDS_MAX)),
        looks=service("looks", oss, AdaptiveLimit(LOOKS_MAX), tells_breaker=False),
        fleet=service(
            "fleet", oss, AdaptiveLimit(FLEET_CALLS_MAX, FLEET_CALLS_MAX), tells_breaker=False
        ),
    )


def _acknowledgements(ports: Ports, breakers: Breakers, journal: Journal) -> Service:
    """Acknowledgements have a breaker of their own: where nothing may be deleted, receiving has to stop."""
    breaker = breakers.add("mns-acks", Cloud.ALIBABA)
    limit = AdaptiveLimit(ACKNOWLEDGEMENTS_MAX)
    return _service(ports, journal, "acknowledgements", breaker, limit)


def _service(
    ports: Ports,
    journal: Journal,
    name: str,
    breaker: Breaker,
    limit: AdaptiveLimit,
    max_rps: float | None = None,
    *,
    tells_breaker: bool = True,
    holds: bool = True,
) -> Service:
    """Return a service whose limit is shown under this name."""
    clock = ports.clock
    journal.counts.limit.labels(name).set_function(lambda: limit.limit)
    retry, pace = Retry(clock, Backoff(ports.rng)), Pace(clock, max_rps)
    return Service(
        breaker, limit, retry, pace, clock, journal, tells_breaker=tells_breaker, holds=holds
    )
