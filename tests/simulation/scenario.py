"""What a world is made of: everything that a seed decides, or that a named scenario sets by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from simulation.bodies import LOG_BUCKET, TASK_ID, Content, Mix
from simulation.faults import Phase, Trouble
from simulation.queue import Habits, Stored
from worker.events.keys import KeyEncoding
from worker.flow.relay import Capacity
from worker.process.assembly import Plan, RoutePlan

LASTING = (Trouble.DENIED, Trouble.CREDENTIALS, Trouble.STOPPED)
EVERYWHERE: tuple[Trouble, ...] = (
    *(Trouble.MIXED, Trouble.BUSY, Trouble.THROTTLED, Trouble.REFUSED, Trouble.SLOW),
    *(Trouble.CUT_BEFORE, Trouble.CUT_AFTER, Trouble.BROKEN_AFTER, Trouble.SILENT),
    *(Trouble.DENIED, Trouble.CREDENTIALS),
)
SOMEWHERE: dict[str, tuple[Trouble, ...]] = {
    "mns": (Trouble.EARLY,),
    "oms": (Trouble.STOPPED, Trouble.STOPPED, Trouble.STRANGER),
}


@dataclass(frozen=True, slots=True)
class Blow:
    """Something done to a running worker: kill, stop, leave or freeze, some steps after a moment."""

    at: float
    kind: str
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One world. In a fleet workers hear of each other through the log bucket.

    Each of `routes` is the name of one and of its bucket; without any there is one route of another bucket.

    After `clears_at` nothing goes wrong any more; then all has to drain within a bound."""

    seed: int
    mix: Mix = field(default_factory=Mix)
    habits: Habits = field(default_factory=Habits)
    phases: tuple[Phase, ...] = ()
    blows: tuple[Blow, ...] = ()
    background: float = 0.0
    workers: int = 1
    share_a_name: bool = False
    is_fleet: bool = False
    routes: tuple[str, ...] = ()
    share_a_key: bool = False
    clears_at: float = 60.0
    drain_seconds: float = 1800.0
    latency_seconds: float = 0.02
    work_seconds: float = 0.05
    knee: int = 1000
    may_look: bool = True
    layout: str = "object"
    encoding: KeyEncoding = "auto"
    pollers: int = 2
    batch_keys: int = 10
    linger_seconds: float = 0.02
    grace_seconds: float = 45.0
    max_in_flight: int = 64
    max_deliveries: int = 20
    wait_seconds: int = 10

    @property
    def poison(self) -> frozenset[str]:
        """The keys that OMS refuses for good."""
        return frozenset(f"poison/{n}?.bin" for n in range(self.mix.poison_keys))

    @property
    def unrecordable(self) -> frozenset[str]:
        """The keys whose own record OSS refuses for good."""
        return frozenset(f"cursed/{n}.bin" for n in range(self.mix.unrecordable_keys))

    @property
    def home(self) -> str:
        """The folder of what belongs to no single route."""
        return "queue.q" if self.routes else TASK_ID

    @property
    def task_ids(self) -> frozenset[str]:
        """The folders in which something may be written."""
        return frozenset({self.home, *map(self.task_id, self.routes)})

    def task_id(self, route: str) -> str:
        """Return the task of a route."""
        return f"task-of-{route}" if route else TASK_ID

    def key_of(self, route: str) -> str:
        """Return what tells the key of a route from others."""
        return "the key" if self.share_a_key else f"key of {route}"

    def plan(self, worker: str) -> Plan:
        """Return what the settings of one worker would say."""
        return Plan(
            worker=worker,
            home=self.home,
            log_bucket=LOG_BUCKET,
            capacity=Capacity(
                self.pollers, self.batch_keys, self.linger_seconds, self.grace_seconds
            ),
            record_layout=self.layout,
            key_encoding=self.encoding,
            max_in_flight=self.max_in_flight,
            max_deliveries=self.max_deliveries,
            wait_seconds=self.wait_seconds,
            routes=tuple(RoutePlan(each, self.task_id(each), each) for each in self.routes),
        )

    def why_not_dead(self, stored: Stored, cause: str) -> str:
        """Say why a message must not have become a dead letter; empty if it may."""
        keys = {event.key for event in stored.letter.changes}
        match cause:
            case "undecodable":
                return "" if stored.letter.content is Content.UNDECODABLE else "it can be read"
            case "rejected":
                return "" if keys & self.poison else "none of its keys is bad"
            case "unrouted":
                return "" if stored.letter.is_unrouted else "all of it is of the task's bucket"
            case "max-deliveries":
                if stored.dequeue_count < self.max_deliveries:
                    return f"it was delivered only {stored.dequeue_count} times"
                return "" if keys & self.unrecordable else "all of its keys can be recorded"
            case _:
                return f"{cause} is no cause here"


def random_scenario(seed: int) -> Scenario:
    """Draw a world. About one in eight is calm, so that order without faults is tested too."""
    rng = random.Random(f"scenario {seed}")
    is_calm = rng.random() < 0.12
    span = rng.choice((5.0, 30.0, 90.0))
    is_url_encoded = rng.random() < 0.2
    clears_at = span + rng.uniform(5, 60)
    return Scenario(
        seed,
        mix=Mix(
            letters=rng.randint(20, 60),
            span_seconds=span,
            plain_keys=rng.choice((3, 15, 40)),
            poison_keys=rng.choice((0, 0, 1, 2)),
            ambiguous_keys=rng.choice((0, 0, 3)),
            unrecordable_keys=0,
            is_url_encoded=is_url_encoded,
        ),
        habits=Habits(
            visibility_seconds=rng.choice((10, 12, 30, 45)),
            exposed_share=0.0 if is_calm else rng.choice((0.0, 0.05, 0.2)),
            is_short=rng.random() < 0.8,
            undeleted_share=0.0 if is_calm else rng.choice((0.0, 0.0, 0.1)),
        ),
        phases=() if is_calm else _phases(rng, clears_at),
        blows=() if is_calm else _blows(rng, clears_at),
        background=0.0 if is_calm else rng.choice((0.0, 0.0, 0.02, 0.1)),
        workers=rng.choice((1, 1, 2, 3)),
        clears_at=clears_at,
        latency_seconds=rng.choice((0.005, 0.02, 0.1)),
        work_seconds=rng.choice((0.01, 0.1, 1.0)),
        knee=rng.choice((1000, 1000, 4)),
        may_look=rng.random() < 0.7,
        layout=rng.choice(("object", "log")),
        encoding=rng.choice(("auto", "url" if is_url_encoded else "raw")),
        pollers=rng.choice((1, 2, 3)),
        batch_keys=rng.choice((1, 3, 10, 10, 100)),
        linger_seconds=rng.choice((0.0, 0.02, 0.5)),
        grace_seconds=rng.choice((20.0, 45.0)),
        max_in_flight=rng.choice((16, 32, 64, 1000)),
        wait_seconds=rng.choice((1, 5)),
    )


def _phases(rng: random.Random, clears_at: float) -> tuple[Phase, ...]:
    phases = []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        service = rng.choice(("mns", "oms", "oms", "oss", "oss"))
        start = rng.uniform(0, clears_at)
        end = min(clears_at, start + rng.choice((1.0, 10.0, 40.0)))
        trouble = rng.choice((*EVERYWHERE, *SOMEWHERE.get(service, ())))
        is_whole = trouble in LASTING or rng.random() < 0.3
        share = 1.0 if is_whole else rng.choice((0.1, 0.4, 0.8))
        phases.append(Phase(service, trouble, start, end, share))
    return tuple(phases)


def _blows(rng: random.Random, clears_at: float) -> tuple[Blow, ...]:
    kinds = ("kill", "kill", "kill", "stop", "leave", "stop and leave", "freeze")
    return tuple(
        Blow(
            at=rng.uniform(0.5, clears_at),
            kind=rng.choice(kinds),
            steps=rng.randint(0, 60),
            seconds=rng.choice((0.5, 5.0, 60.0)),
        )
        for _ in range(rng.choice((0, 1, 2, 3, 5)))
    )
