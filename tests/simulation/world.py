"""One world from its first message to its last: services, workers, blows, and the verdict."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from simulation.bodies import Content, Writer
from simulation.faults import Weather
from simulation.ledger import Ledger
from simulation.loop import Stuck, VirtualLoop
from simulation.oracles import Oracles
from simulation.process import SERVER, Process
from simulation.queue import QueueModel
from simulation.scenario import Blow, Scenario
from simulation.sink import SinkModel
from simulation.store import StoreModel

RESTART_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a world."""

    seed: int
    violations: tuple[str, ...]
    counts: Counter[str]
    digest: str
    seconds: float
    drained_seconds: float


class World:
    """Everything that lives in one virtual loop."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = VirtualLoop(random.Random(f"order {scenario.seed}"))
        self.ledger = Ledger(self.loop.time)
        self.oracles = Oracles(scenario, self.ledger)
        rng = random.Random(f"world {scenario.seed}")
        self.weather = Weather(
            scenario.phases,
            random.Random(f"weather {scenario.seed}"),
            background=scenario.background,
            clears_at=scenario.clears_at,
            latency_seconds=scenario.latency_seconds,
        )
        self.writer = Writer(scenario.mix, rng)
        self.queue = QueueModel(self.loop, scenario.habits, rng, self.oracles)
        self.sinks = {
            name: SinkModel(self.loop, rng, scenario.poison, scenario.knee, scenario.work_seconds)
            for name in scenario.routes or ("",)
        }
        self.store = StoreModel(self.writer.keys, scenario.unrecordable, scenario.may_look)
        self.processes: list[Process] = []
        self._rng = rng
        self._is_over = False

    def play(self) -> Report:
        """Live through the world and judge it."""
        drained = 0.0
        try:
            for letter in self.writer.letters():
                self.at(letter.at, partial(self.queue.send, letter))
            for blow in self.scenario.blows:
                self.at(blow.at, partial(self._fall, blow))
            for _ in range(self.scenario.workers):
                self.start_process()
            drained = self.loop.run(self.loop.create_task(self._live(), name="world"))
            self._judge()
        except Stuck as stuck:
            self.ledger.violated("G9 crash-safe", str(stuck))
        finally:
            self._tidy()
        for fault in self.loop.faults:
            self.ledger.violated("no stray errors", str(fault.get("exception") or fault))
        return Report(
            self.scenario.seed,
            tuple(self.ledger.violations),
            self.ledger.counts,
            self.ledger.digest(),
            self.loop.time(),
            drained,
        )

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something at a virtual time, as the world: nobody's process."""
        self.loop.call_at(seconds, action, context=SERVER)

    def start_process(self) -> None:
        """Start one more worker."""
        # As in a container: the name outlives the process that bore it.
        names = {f"host-{n}" for n in range(self.scenario.workers)}
        if self.scenario.share_a_name:
            names = {"host-x"}
        name = min(names - {each.plan.worker for each in self.running()}, default="host-x")
        process = Process(self, len(self.processes) + 1, self.scenario.plan(name))
        self.processes.append(process)
        process.start()

    def process_left(self, process: Process) -> None:
        """A worker has ended: its supervisor starts another one soon."""
        del process
        if not self._is_over:
            self.loop.call_later(
                self._rng.uniform(0, RESTART_SECONDS), self._restart, context=SERVER
            )

    def running(self) -> list[Process]:
        """Return the workers that run."""
        return [each for each in self.processes if each.is_alive and each.is_running]

    def _restart(self) -> None:
        if not self._is_over:
            self.start_process()

    def _fall(self, blow: Blow) -> None:
        self.loop.after_steps(blow.steps, lambda: self._strike(blow))

    def _strike(self, blow: Blow) -> None:
        running = self.running()
        if not running:
            return
        process = self._rng.choice(running)
        match blow.kind:
            case "kill":
                process.kill()
            case "freeze":
                process.freeze(blow.seconds)
            case "stop":
                process.stop()
            case "leave":
                process.leave()
            case _:
                process.stop()
                self.loop.call_later(blow.seconds, process.leave, context=SERVER)

    async def _live(self) -> float:
        """Wait until faults end and the queue is empty, then stop everybody; return how long it took."""
        await asyncio.sleep(max(self.scenario.clears_at, self.scenario.mix.span_seconds + 0.001))
        cleared_at = self.loop.time()
        await self.queue.emptied(self.scenario.drain_seconds)
        drained = self.loop.time() - cleared_at
        self._is_over = True
        for process in self.running():
            process.stop()
        for process in self.processes:
            await process.ended()
        return drained

    def _judge(self) -> None:
        """Check what must hold at the end."""
        oracles = self.oracles
        for message_id in list(self.queue.messages)[:3]:
            stored = self.queue.messages[message_id]
            self.ledger.violated(
                "G9 crash-safe",
                f"{message_id} is still in the queue {self.scenario.drain_seconds:.0f} s after the last "
                f"fault, delivered {stored.dequeue_count} times",
            )
        for stored in oracles.messages.values():
            letter = stored.letter
            is_for_people = letter.content is Content.UNDECODABLE or letter.is_unrouted
            if is_for_people and stored.message_id not in oracles.dead:
                self.ledger.violated(
                    "G1 record before delete", f"{stored.message_id} was not buried"
                )
        for event in oracles.events:
            if event.key not in self.scenario.poison and (
                oracles.accepted_at.get(event.key, 0) <= event.sent
            ):
                self.ledger.violated(
                    "G2 no change lost",
                    f"change {event.number} of {event.key[:60]!r} was not posted",
                )
        for key, count in oracles.known_accepts.items():
            if key in oracles.deliveries and count > oracles.deliveries[key]:
                self.ledger.violated(
                    "G2 dedupe",
                    f"{count} accepted posts for {oracles.deliveries[key]} deliveries of {key[:60]!r}",
                )

    def _tidy(self) -> None:
        self._is_over = True
        for process in self.processes:
            process.is_alive = False
            process.abandon()
        self.loop.run(self.loop.create_task(self._last_breath(), name="tidy"))
        self.loop.close()

    async def _last_breath(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=1000)


def play(scenario: Scenario) -> Report:
    """Live through one world."""
    return World(scenario).play()
