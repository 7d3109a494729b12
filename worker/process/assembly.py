"""Puts the relay together, from ports: the same verbs for production, tests and simulations."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from worker.arrival.account import ArrivalAccount
from worker.arrival.again import Again
from worker.arrival.backlog import CopyBacklog
from worker.arrival.deletions import Brake, Deletions
from worker.arrival.destination import DestinationView
from worker.arrival.follow import LOOKS_AT_ONCE, Follower
from worker.arrival.result_lists import ResultLists
from worker.clock import Clock
from worker.events.encode import event_body
from worker.events.keys import KeyEncoding, KeyReader
from worker.fleet.folder import FLEET_CALLS_MAX, FleetFolder
from worker.fleet.pause import PauseWatch
from worker.fleet.probe_right import ProbeRight
from worker.flow.bury import DeadLetters
from worker.flow.dead_letter_queue import Undelivered
from worker.flow.dedupe import Dedupe
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
from worker.flow.selection import Selection
from worker.flow.share import Share
from worker.flow.source import Source
from worker.flow.source_lookup import Looks
from worker.ledger.names import probe_name
from worker.observe.depth import Depth
from worker.observe.journal import Journal
from worker.outages.breaker import Breaker
from worker.outages.breakers import Breakers, Cloud
from worker.outages.limit import AdaptiveLimit
from worker.outages.probes import Probes
from worker.outages.retry import Backoff, Retry
from worker.outages.service import Pace, Service
from worker.ports import (
    Destination,
    Queue,
    QueueView,
    Reads,
    Sink,
    SourceObjects,
    Statistics,
    Store,
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
class Ports:
    """The outside world of one relay. `observed` is the queue once more, for its depth; None: not sampled.

    Without `arrival` nothing is followed to the destination; without `reads` a worker hears of no other one.
    `key_mark` tells the present Huawei key from others, and not what it is.
    """

    queue: Queue
    sink: Sink
    store: Store
    clock: Clock
    rng: random.Random
    dead_letter_queue: Queue | None = None
    observed: QueueView | None = None
    arrival: ArrivalPorts | None = None
    reads: Reads | None = None
    key_mark: Callable[[], str] = _no_mark


@dataclass(frozen=True, slots=True)
class Plan:
    """What the settings decide about one relay. `wait_seconds` is the length of a long poll.

    With `deletions_per_hour` deletions are propagated, at most so many an hour.
    """

    worker: str
    task_id: str
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


@dataclass(frozen=True, slots=True)
class Assembled:
    """A relay ready to run, and the parts that the admin server looks at.

    `share` is how many messages it may have in hand. `beside` are the breakers of services without which
    messages move all the same. `arrival` is None where nothing is followed to the destination. `pauses` is
    None where no other worker is heard of.
    """

    relay: Relay
    flow: Flow
    breakers: Breakers
    fleet: FleetFolder
    share: Share
    beside: tuple[Breaker, ...] = ()
    arrival: ArrivalAccount | None = None
    pauses: PauseWatch | None = None


def assemble(ports: Ports, plan: Plan, journal: Journal) -> Assembled:
    """Wire the six verbs. Nothing is sent before the relay runs."""
    clock = ports.clock
    breakers = Breakers(clock, journal)
    services = _services(ports, plan, breakers, journal)
    leases, share = _hands(ports, plan, services, journal)
    records = _records(ports, plan, services.records, journal)
    dead_letters = DeadLetters(records, plan.worker, clock)
    looks = Looks(ports.store, services.looks)
    source = Source()
    reader = KeyReader(plan.key_encoding, looks.exists, VERDICTS_MAX)
    poster = Poster(ports.sink, services.posts, clock, journal, plan.capacity.batch_keys)
    probes = Probes(clock, journal)
    fleet = FleetFolder(ports.store, ports.reads, services.fleet, plan.log_bucket, plan.task_id)

    async def probe_queue() -> None:
        await probes.queue(ports.queue, share.see)

    async def probe_sink() -> None:
        await probes.sink(ports.sink, source.learn, plan.log_bucket)

    async def probe_store() -> None:
        await probes.store(ports.store, plan.log_bucket, probe_name(plan.task_id))

    receiver = Receiver(
        ports.queue,
        services.polls,
        leases,
        breakers,
        ports.rng,
        wait_seconds=plan.wait_seconds,
        throttled=share.throttled,
        # Until the fleet has been asked whether it is paused.
        is_paused=ports.reads is not None,
    )
    arrival = _arrival(ports, plan, source, services, records, dead_letters, journal)
    deleter = Deleter(ports.queue, services.acknowledgements, leases, clock, journal)
    propagation = _propagation(arrival, leases, deleter, dead_letters)
    flow = Flow(
        receiver=receiver,
        selection=Selection(
            reader,
            plan.key_encoding,
            plan.log_bucket,
            source,
            journal,
            takes_deletions=bool(arrival and arrival.deletions),
        ),
        dedupe=Dedupe(journal),
        poster=poster,
        records=records,
        deleter=deleter,
        dead_letters=dead_letters,
        leases=leases,
        journal=journal,
        deliveries_max=plan.max_deliveries,
        witnesses={
            "oms": poster.takes_keys,
            "oss": lambda: services.records.works("PutObject", probe_store),
        },
        follow=arrival.follower.accepted if arrival else None,
        propagation=propagation,
    )
    probe_key: Probe = probe_sink
    if ports.reads is not None:
        probe_key = ProbeRight(
            fleet,
            probe_sink,
            services.posts.breaker,
            clock,
            mark=ports.key_mark,
            worker=plan.worker,
        ).probe
    probed: tuple[tuple[Breaker, Probe], ...] = (
        (services.polls.breaker, probe_queue),
        (services.records.breaker, probe_store),
        (services.posts.breaker, probe_key),
        (services.acknowledgements.breaker, probe_queue),
    )
    sides = _sides(ports, services, dead_letters, leases, share, receiver, journal)
    pauses = None
    if ports.reads is not None:
        pauses = PauseWatch(fleet, clock, journal, receiver.pause)
        sides.append(pauses.run)
    sides += [propagation.run] if propagation else []
    if arrival is None:
        relay = Relay(flow, probed, sides, plan.capacity, journal)
        return Assembled(relay, flow, breakers, fleet, share, pauses=pauses)
    account = ArrivalAccount(arrival.follower, arrival.backlog, arrival.view, clock)
    probed += ((arrival.breaker, arrival.view.probe),)
    sides += [arrival.follower.run, arrival.lists.run, arrival.backlog.run]
    relay = Relay(flow, probed, sides, plan.capacity, journal)
    return Assembled(relay, flow, breakers, fleet, share, (arrival.breaker,), account, pauses)


def _hands(ports: Ports, plan: Plan, services: _Services, journal: Journal) -> tuple[Leases, Share]:
    """Wire what is in hand, and its limit: it learns from the calls that a message waits for."""
    leases = Leases(
        _Leased(ports.queue, services.leases),
        ports.clock,
        journal,
        visibility_seconds=VISIBILITY_SECONDS_DEFAULT,
        limit=plan.max_in_flight,
    )
    calls = (services.posts, services.records, services.acknowledgements)
    lingers = 2 * plan.capacity.linger_seconds + DELETE_LINGER_SECONDS

    def latency() -> float:
        return lingers + sum(each.limit.mean_seconds for each in calls)

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


def _propagation(
    arrival: _Arrival | None, leases: Leases, deleter: Deleter, dead_letters: DeadLetters
) -> Propagation | None:
    if arrival is None or arrival.deletions is None:
        return None
    return Propagation(arrival.deletions, leases, deleter, dead_letters)


@dataclass(frozen=True, slots=True)
class _Arrival:
    breaker: Breaker
    view: DestinationView
    follower: Follower
    lists: ResultLists
    backlog: CopyBacklog
    deletions: Deletions | None


def _arrival(
    ports: Ports,
    plan: Plan,
    source: Source,
    services: _Services,
    records: Records,
    dead_letters: DeadLetters,
    journal: Journal,
) -> _Arrival | None:
    """Wire what follows accepted keys to the destination; its breaker stops nothing else."""
    if ports.arrival is None:
        return None
    clock, asked = ports.clock, ports.arrival
    breaker, limit = Breaker("obs", clock, journal), AdaptiveLimit(LOOKS_AT_ONCE)
    journal.metrics.limit.labels("arrival").set_function(lambda: limit.limit)
    retry, pace = Retry(clock, Backoff(ports.rng)), Pace(clock, None)
    service = Service(breaker, limit, retry, pace, clock, journal)
    deleting = Service(breaker, AdaptiveLimit(DELETIONS_AT_ONCE), retry, pace, clock, journal)
    # A limit of their own: they must not take the places of those that the flow waits for.
    looks = Service(
        services.records.breaker,
        AdaptiveLimit(LOOKS_AT_ONCE),
        retry,
        pace,
        clock,
        journal,
        tells_breaker=False,
    )
    view, other_view = (
        DestinationView(
            asked.destination, asked.source, each, looks, source, plan.destination_bucket
        )
        for each in (service, deleting)
    )
    body_of = partial(event_body, region=plan.region, key_encoding=plan.key_encoding)
    again = Again(
        ports.sink, services.posts, records, dead_letters, source, clock, journal, body_of
    )
    follower = Follower(
        view,
        again,
        clock,
        ports.rng,
        journal,
        ratio=plan.arrival_ratio,
        late_seconds=plan.arrival_seconds,
    )
    deletions = None
    if plan.deletions_per_hour is not None:
        brake = Brake(records, clock, ports.rng, plan.deletions_per_hour)
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
        CopyBacklog(asked.statistics, services.posts, clock, journal),
        deletions,
    )


def _sides(
    ports: Ports,
    services: _Services,
    dead_letters: DeadLetters,
    leases: Leases,
    share: Share,
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
            lambda: len(leases.in_hand),
            share.see,
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


def _records(ports: Ports, plan: Plan, service: Service, journal: Journal) -> Records:
    common = (ports.store, service, plan.log_bucket, plan.task_id, ports.clock, journal)
    if plan.record_layout == "object":
        return Records(*common)
    return LogRecords(*common, worker=plan.worker, linger_seconds=plan.capacity.linger_seconds)


@dataclass(frozen=True, slots=True)
class _Services:
    polls: Service
    acknowledgements: Service
    leases: Service
    records: Service
    looks: Service
    posts: Service
    fleet: Service


def _services(ports: Ports, plan: Plan, breakers: Breakers, journal: Journal) -> _Services:
    """Polls, acknowledgements and leases have a limit each, and acknowledgements a breaker of their own.

    Polls are long by design; a delete that hangs must cost no lease, nor a stop the time to release all; and
    where messages may be received but not deleted, receiving has to stop.
    """
    clock, retry = ports.clock, Retry(ports.clock, Backoff(ports.rng))
    mns, oss = breakers.add("mns", Cloud.ALIBABA), breakers.add("oss", Cloud.ALIBABA)
    oms, acks = breakers.add("oms", Cloud.HUAWEI), breakers.add("mns-acks", Cloud.ALIBABA)
    polls = plan.capacity.polls

    def service(
        name: str,
        breaker: Breaker,
        limit: AdaptiveLimit,
        max_rps: float | None = None,
        *,
        tells_breaker: bool = True,
    ) -> Service:
        journal.metrics.limit.labels(name).set_function(lambda: limit.limit)
        pace = Pace(clock, max_rps)
        return Service(breaker, limit, retry, pace, clock, journal, tells_breaker=tells_breaker)

    return _Services(
        polls=service("polls", mns, AdaptiveLimit(polls, polls)),
        acknowledgements=service("acknowledgements", acks, AdaptiveLimit(ACKNOWLEDGEMENTS_MAX)),
        leases=service("leases", mns, AdaptiveLimit(LEASES_MAX, LEASES_MAX)),
        records=service("records", oss, AdaptiveLimit(RECORDS_MAX)),
        looks=service("looks", oss, AdaptiveLimit(LOOKS_MAX), tells_breaker=False),
        posts=service("posts", oms, AdaptiveLimit(POSTS_MAX), plan.oms_max_rps),
        fleet=service(
            "fleet", oss, AdaptiveLimit(FLEET_CALLS_MAX, FLEET_CALLS_MAX), tells_breaker=False
        ),
    )
