"""An event loop without a world outside: time jumps, and chance decides which ready callback runs next."""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import Handle, TimerHandle
from asyncio.events import _set_running_loop
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

# 2026-03-01T00:00:00Z: when every world begins.
EPOCH = 1_772_323_200.0
STEPS_MAX = 3_000_000
STEPS_AT_ONE_TIME_MAX = 200_000
SECONDS_MAX = 7 * 86_400.0

# Which worker process a callback belongs to; the services and the world itself belong to none.
OWNER: ContextVar[object | None] = ContextVar("owner", default=None)


class Stuck(AssertionError):  # noqa: N818  a verdict about a world
    """The world cannot go on: nothing is ready and no timer is set, or a bound is passed."""


class _Call(TimerHandle):
    """A callback to come, without the debug bookkeeping of asyncio's own handles."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context or copy_context()
        self._cancelled = False

    def cancel(self) -> None:
        """Forget the callback."""
        self._cancelled = True


class NumberedTask(asyncio.Task[T]):
    """A task whose hash is its number: sets of tasks have the same order in every run of a seed."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs ready callbacks in an order drawn from `rng`; when there are none, time jumps to the next timer.

    Code that is correct on any fair scheduler is correct here. A frozen owner's callbacks are put
    aside until it thaws, as if its process had been stopped by SIGSTOP.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.steps = 0
        self._steps_now = 0
        self._steps_end, self._seconds_end = STEPS_MAX, SECONDS_MAX
        self.faults: list[dict[str, Any]] = []
        self._now = 0.0
        self._random = rng.random
        self._queue: list[_Call] = []
        self._timers: list[tuple[float, int, _Call]] = []
        self._timer_number = 0
        self._task_number = 0
        self._frozen: dict[object, list[_Call]] = {}
        self._at_step: list[tuple[int, int, Callable[[], None]]] = []
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        """Return the virtual seconds since the world began."""
        return self._now

    def call_soon(  # type: ignore[override]  # narrower on purpose: any arguments
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Make a callback ready."""
        call = _Call(callback, args, context)
        self._queue.append(call)
        return call

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Make a callback ready at a virtual time."""
        call = _Call(callback, args, context)
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, call))
        return call

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Make a callback ready after some virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],  # type: ignore[override]
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Start a numbered task."""
        task = NumberedTask(coro, loop=self, name=str(name) if name else None, context=context)
        self._task_number += 1
        task.number = self._task_number
        return task

    def after_steps(self, steps: int, callback: Callable[[], None]) -> None:
        """Call between two steps from now on: the way to strike in the middle of a burst of callbacks."""
        self._timer_number += 1
        heapq.heappush(self._at_step, (self.steps + steps, self._timer_number, callback))

    def freeze(self, owner: object) -> None:
        """Let nothing of this owner run until `thaw`."""
        self._frozen.setdefault(owner, [])

    def thaw(self, owner: object) -> None:
        """Let the owner run on; what it missed is ready at once."""
        self._queue += self._frozen.pop(owner, [])

    def run(self, task: asyncio.Task[T]) -> T:
        """Run until the task is done and return its result. Raises `Stuck`."""
        _set_running_loop(self)
        self._steps_now = 0
        self._steps_end, self._seconds_end = self.steps + STEPS_MAX, self._now + SECONDS_MAX
        step, is_done = self._step, task.done
        try:
            while not is_done():
                step()
        finally:
            _set_running_loop(None)
        return task.result()

    def _step(self) -> None:
        queue = self._queue
        if not queue:
            self._advance()
            return
        call = queue.pop()
        if queue:
            chosen = int(self._random() * (len(queue) + 1))
            if chosen < len(queue):
                call, queue[chosen] = queue[chosen], call
        if call._cancelled:
            return
        if self._frozen and (frozen := self._frozen.get(call._context.get(OWNER))) is not None:
            frozen.append(call)
            return
        try:
            call._context.run(call._callback, *call._args)
        except Exception as error:  # noqa: BLE001  as asyncio does: a callback must not end the loop
            self.call_exception_handler({"message": "a callback failed", "exception": error})
        self.steps += 1
        self._steps_now += 1
        if self._at_step and self._at_step[0][0] <= self.steps:
            heapq.heappop(self._at_step)[2]()
        if self.steps > self._steps_end or self._steps_now > STEPS_AT_ONE_TIME_MAX:
            raise Stuck(f"{self._steps_now} steps at {self._now:.3f} s; {self._pending()}")

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            if self._at_step:
                heapq.heappop(self._at_step)[2]()
                return
            raise Stuck(f"deadlock at {self._now:.3f} s: {self._pending()}")
        self._now = max(self._now, timers[0][0])
        self._steps_now = 0
        if self._now > self._seconds_end:
            raise Stuck(f"more than {SECONDS_MAX:.0f} virtual seconds; {self._pending()}")
        while timers and timers[0][0] <= self._now:
            self._queue.append(heapq.heappop(timers)[2])

    def _pending(self) -> str:
        names = sorted(task.get_name() for task in asyncio.all_tasks(self))
        return f"{len(names)} tasks pending: {', '.join(names[:40])}"


class LoopClock:
    """The relay's clock on a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = loop.time

    def wall(self) -> float:
        """Return seconds since the epoch: every world lives through the same days."""
        return EPOCH + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many virtual seconds."""
        await asyncio.sleep(seconds)
