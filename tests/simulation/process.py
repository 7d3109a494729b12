"""One worker process of a world: the real relay on modelled ports, to be killed, frozen and stopped."""

from __future__ import annotations

import asyncio
import random
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import structlog
from prometheus_client import CollectorRegistry

from doubles.build import breaker_of
from simulation.loop import OWNER, LoopClock
from simulation.queue import QueuePort
from simulation.sink import SinkPort
from simulation.store import StorePort
from simulation.wire import Wire
from worker.errors import Blame, Failure
from worker.flow.lease import Held
from worker.flow.relay import Stops
from worker.observe.journal import Journal
from worker.observe.metrics import Metrics
from worker.process.assembly import Plan, Ports, RoutePorts, assemble

if TYPE_CHECKING:
    from simulation.world import World

SERVER = Context()


class _Silence:
    """A log that nobody reads: the ledger knows more."""

    def info(self, *_: Any, **__: Any) -> None:
        """Drop a line."""

    debug = warning = error = info

    def bind(self, **_: Any) -> _Silence:
        """Say what is told beside each line."""
        return self

    def is_enabled_for(self, _: int) -> bool:
        """Say that no line is wanted."""
        return False


SILENCE = cast("structlog.stdlib.BoundLogger", cast("object", _Silence()))
# One for all worlds: metrics are counted here and judged elsewhere.
_JOURNAL = Journal(Metrics(CollectorRegistry()), SILENCE)


class Process:
    """A worker. After `kill` nothing it does has any effect; only requests already sent may still arrive."""

    def __init__(self, world: World, number: int, plan: Plan) -> None:
        self.name = f"worker-{number}"
        self.is_alive = True
        self.is_running = False
        self.was_frozen = False
        self.troubles = 0
        self.plan = plan
        self.stops = Stops()
        self.stop_asked_at: float | None = None
        self.leave_asked_at: float | None = None
        self._world = world
        self._freezes = 0
        self._context = copy_context()
        self._context.run(OWNER.set, self)
        self._task: asyncio.Task[None] | None = None
        wires = {service: self._wire(service) for service in ("mns", "oss")}
        oracles = world.oracles
        store = StorePort(world.store, wires["oss"], self, oracles)
        ports = Ports(
            QueuePort(world.queue, wires["mns"], self, oracles),
            {name: self._route(name) for name in world.sinks},
            store,
            LoopClock(world.loop),
            random.Random(f"{world.scenario.seed} {self.name}"),
            reads=store if world.scenario.is_fleet else None,
        )
        self.assembled = self._context.run(assemble, ports, plan, _JOURNAL)
        self._mns = [breaker_of(self.assembled, service) for service in ("mns", "mns-acks")]

    @property
    def in_hand(self) -> dict[str, Held]:
        """The messages this process holds, by its own account."""
        return self.assembled.flow.leases.in_hand

    @property
    def is_cut_off(self) -> bool:
        """Whether it makes no calls to MNS at present, because the last ones failed."""
        return any(each.is_open for each in self._mns)

    def start(self) -> None:
        """Run the relay."""
        self._world.oracles.ledger.note(self.name, "start")
        self.is_running = True
        run = self.assembled.relay.run(self.stops)
        self._task = self._world.loop.create_task(run, name=self.name, context=self._context)
        self._task.add_done_callback(self._ended, context=SERVER)

    async def breathe(self) -> None:
        """Return at once, or never if the process is dead: the first line of every port."""
        if not self.is_alive:
            await self._world.loop.create_future()

    def troubled(self, service: str) -> None:
        """Note trouble that may cost a lease."""
        if service == "mns":
            self.troubles += 1

    def kill(self) -> None:
        """End the process as kill -9 does; cancelling only tidies up what can have no effect any more."""
        if self.is_alive and self.is_running:
            self._world.oracles.ledger.note(self.name, "kill", len(self.in_hand))
            self.is_alive = False
            self._freezes = 0
            self._world.loop.thaw(self)
            self.abandon()

    def abandon(self) -> None:
        """Cancel the task of a dead process."""
        if self._task is not None:
            self._task.cancel()

    def freeze(self, seconds: float) -> None:
        """Stop the process as SIGSTOP does, and let it run on later."""
        self._world.oracles.ledger.note(self.name, "freeze", round(seconds, 3))
        self.was_frozen = True
        self.troubles += 1
        self._freezes += 1
        self._world.loop.freeze(self)
        self._world.loop.call_later(seconds, self._thaw, context=SERVER)

    def stop(self) -> None:
        """Ask the process to finish, as the first SIGTERM does."""
        if self.is_alive and self.stop_asked_at is None:
            self._world.oracles.ledger.note(self.name, "stop", len(self.in_hand))
            self.stop_asked_at = self._world.loop.time()
            self.stops.taking.set()

    def leave(self) -> None:
        """Ask the process to leave at once, as the second SIGTERM does."""
        self.stop()
        if self.is_alive and self.leave_asked_at is None:
            self._world.oracles.ledger.note(self.name, "leave", len(self.in_hand))
            self.leave_asked_at = self._world.loop.time()
            self.stops.working.set()

    async def ended(self) -> None:
        """Wait for the task, whatever its end."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _thaw(self) -> None:
        if not self.is_alive:
            return
        self._freezes -= 1
        if not self._freezes:
            self.troubles += 1
            self._world.loop.thaw(self)

    def _route(self, name: str) -> RoutePorts:
        wire = self._wire("oms", name)
        wire.on_failure = partial(self._hear_refusal, name)
        sink = SinkPort(self._world.sinks[name], wire, self, self._world.oracles)
        return RoutePorts(sink, key_mark=lambda: self._world.scenario.key_of(name))

    def _wire(self, service: str, route: str = "") -> Wire:
        return Wire(self._world.loop, self, service, self._world.weather, SERVER, route)

    def _hear_refusal(self, route: str, failure: Failure) -> None:
        if failure.blame is Blame.CREDENTIALS:
            self._world.oracles.refused(self, route)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.is_running = False
        error = None if task.cancelled() else task.exception()
        if self.is_alive:
            self._world.oracles.process_ended(self, error, was_cancelled=task.cancelled())
        self._world.process_left(self)
