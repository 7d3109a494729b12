"""The network between a worker process and a service: effects do not depend on the life of their caller.

What a call does at the service is scheduled when it leaves. A caller that is killed, cancelled or frozen
meanwhile gets no answer, but the effect may still happen: that is what makes kill -9 and lost replies real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Generic, Protocol, TypeVar

from simulation.faults import Fate, Kind, Weather, no_answer
from simulation.loop import VirtualLoop
from worker.errors import CallFailed, Failure, Outcome

T = TypeVar("T")

# Answers slower than this count as trouble on the wire: the relay cannot be held to its leases.
PROMPT_SECONDS = 1.0
SENT_BEFORE_DEATH_SHARE = 0.5


class Caller(Protocol):
    """The process at the near end of the wire."""

    @property
    def is_alive(self) -> bool:
        """Whether it has not been killed."""
        ...

    def troubled(self, service: str) -> None:
        """Hear that a call did not go as it should."""
        ...


class Exchange(Generic[T]):
    """One call under way, as the service sees it."""

    def __init__(self, wire: Wire, operation: str, fate: Fate) -> None:
        loop = wire.loop
        self.operation = operation
        self.future: asyncio.Future[T] = loop.create_future()
        self._wire = wire
        self._fate = fate
        self._left_at = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done() or not self._wire.caller.is_alive

    @property
    def is_early(self) -> bool:
        """Whether a poll is to be answered at once, as if there were too many of them."""
        return self._fate.kind is Kind.EARLY

    def travel(self, serve: Callable[[Exchange[T]], None], limit_seconds: float) -> None:
        """Let the request leave."""
        wire, fate = self._wire, self._fate
        self._timer = wire.loop.call_later(limit_seconds, self._time_out, context=wire.context)
        if fate.kind is Kind.SILENT:
            return
        wire.loop.call_later(fate.there_seconds, self._arrive, serve, context=wire.context)

    def answer(self, value: T) -> None:
        """Send the answer back; it may be lost or arrive as an error."""
        match self._fate.kind:
            case Kind.SILENT_AFTER:
                return
            case Kind.FAILED_AFTER if self._fate.failure is not None:
                self.fail(self._fate.failure)
            case _:
                self._back(self._deliver, value)

    def fail(self, failure: Failure) -> None:
        """Send an error back."""
        self._back(self._deliver_failure, failure)

    def _arrive(self, serve: Callable[[Exchange[T]], None]) -> None:
        # Killed while the request was on its way: nobody knows whether it had left the machine.
        if (
            not self._wire.caller.is_alive
            and self._wire.weather.rng.random() >= SENT_BEFORE_DEATH_SHARE
        ):
            return
        if self._fate.kind is Kind.FAILED and self._fate.failure is not None:
            self.fail(self._fate.failure)
        else:
            serve(self)

    def _back(self, deliver: Callable[..., None], what: object) -> None:
        wire = self._wire
        wire.loop.call_later(self._fate.back_seconds, deliver, what, context=wire.context)

    def _deliver(self, value: T) -> None:
        if self.is_gone:
            return
        if self._fate.seconds > PROMPT_SECONDS or self.is_early:
            self._wire.caller.troubled(self._wire.service)
        self._end()
        self.future.set_result(value)

    def _deliver_failure(self, failure: Failure) -> None:
        if self.is_gone:
            return
        self._wire.caller.troubled(self._wire.service)
        self._wire.on_failure(failure)
        self._end()
        self.future.set_exception(CallFailed(failure))

    def _time_out(self) -> None:
        self._deliver_failure(no_answer(self._wire.service, self.operation, Outcome.UNKNOWN))

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Wire:
    """The calls of one process to one service."""

    def __init__(
        self,
        loop: VirtualLoop,
        caller: Caller,
        service: str,
        weather: Weather,
        context: Context,
        route: str = "",
    ) -> None:
        self.route = route
        self.loop = loop
        self.caller = caller
        self.service = service
        self.weather = weather
        self.context = context
        self.open_calls: dict[str, int] = {}
        self.on_failure: Callable[[Failure], None] = lambda _: None

    async def call(
        self,
        operation: str,
        serve: Callable[[Exchange[T]], None],
        limit_seconds: float,
    ) -> T:
        """Make a call; `serve` has its effect at the service and answers. Of the dead nothing is heard."""
        if not self.caller.is_alive:
            await self.loop.create_future()
        fate = self.weather.fate(self.service, operation, self.loop.time(), self.route)
        if fate.kind is not Kind.GOOD or fate.seconds > PROMPT_SECONDS:
            self.caller.troubled(self.service)
        exchange: Exchange[T] = Exchange(self, operation, fate)
        exchange.travel(serve, limit_seconds)
        self.open_calls[operation] = self.open_calls.get(operation, 0) + 1
        try:
            return await exchange.future
        finally:
            self.open_calls[operation] -= 1
