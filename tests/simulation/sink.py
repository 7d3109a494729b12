"""A model of one OMS sync task: it accepts keys, refuses some, has a capacity, and can be stopped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.bodies import SOURCE_BUCKET
from simulation.faults import Trouble, answered, no_answer
from simulation.loop import VirtualLoop
from simulation.wire import Exchange, Wire
from worker.clouds.http import Answer
from worker.clouds.oms import accepted
from worker.errors import Blame, Outcome
from worker.ports import TaskState

if TYPE_CHECKING:
    from simulation.oracles import Oracles
    from simulation.process import Process

CALL_SECONDS = 30.0
# What a portal, a firewall and a gateway say with a 200 in place of OMS.
STRANGERS = (
    Answer(200, {"Content-Type": "text/html"}, b"<html>Log in</html>"),
    Answer(200, {"Content-Type": "text/html"}, b""),
    Answer(200, {"Content-Type": "application/json"}, b'{"error_code":"APIGW.0308"}'),
    Answer(200, {}, b"ok"),
)


@dataclass(slots=True, eq=False)
class Post:
    """One attempt to announce some keys. `started` is its number in the ledger."""

    process: Process
    keys: tuple[str, ...]
    started: int
    request_id: str
    is_accepted: bool = False
    is_known: bool = False
    is_control: bool = False
    route: str = ""


class SinkModel:
    """The service's side. Above `knee` calls at once it refuses."""

    def __init__(
        self,
        loop: VirtualLoop,
        rng: random.Random,
        poison: frozenset[str],
        knee: int,
        work_seconds: float,
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._poison = poison
        self._knee = knee
        self._work_seconds = work_seconds
        self._at_work = 0

    def serve(self, exchange: Exchange[Answer], post: Post, wire: Wire, oracles: Oracles) -> None:
        """Work on a post for a while, then decide."""
        if self._at_work >= self._knee:
            exchange.fail(answered("oms", exchange.operation, Blame.PASSING, 429))
            return
        self._at_work += 1
        seconds = (
            self._work_seconds * (0.5 + self._rng.random()) * (1 + 2 * self._at_work / self._knee)
        )
        self._loop.call_later(seconds, self._decide, exchange, post, wire, oracles)

    def _decide(self, exchange: Exchange[Answer], post: Post, wire: Wire, oracles: Oracles) -> None:
        self._at_work -= 1
        if wire.weather.is_on("oms", Trouble.STRANGER, self._loop.time(), wire.route):
            exchange.answer(self._rng.choice(STRANGERS))
            return
        is_stopped = wire.weather.is_on("oms", Trouble.STOPPED, self._loop.time(), wire.route)
        is_wave = wire.weather.is_on("oms", Trouble.WAVE, self._loop.time(), wire.route)
        if is_stopped or is_wave or not self._poison.isdisjoint(post.keys):
            oracles.rejected(post)
            exchange.fail(answered("oms", exchange.operation, Blame.ITEM, 400))
            return
        oracles.accepted(post)
        exchange.answer(Answer(200, {"X-Request-Id": post.request_id}, b""))


class SinkPort:
    """The near side: what `worker.clouds.oms.OmsClient` is in production."""

    def __init__(self, model: SinkModel, wire: Wire, process: Process, oracles: Oracles) -> None:
        self._model = model
        self._wire = wire
        self._process = process
        self._oracles = oracles

    async def post(self, keys: Sequence[str]) -> str:
        """Announce the keys; return a request id."""
        await self._process.breathe()
        under_way = self._wire.open_calls.get("post", 0)
        post = self._oracles.post_started(self._process, keys, under_way, self._wire.route)
        answer: Answer = await self._wire.call(
            "post",
            lambda exchange: self._model.serve(exchange, post, self._wire, self._oracles),
            CALL_SECONDS,
        )
        # The real client's own reading, so that worlds can show what it believes.
        request_id = accepted(answer)
        self._oracles.accept_known(post)
        return request_id

    async def show(self) -> TaskState:
        """Return the task's state."""
        await self._process.breathe()
        self._oracles.sink_called(self._process, self._wire.route)
        return await self._wire.call("show", self._show, CALL_SECONDS)

    def _show(self, exchange: Exchange[TaskState]) -> None:
        now, weather = self._wire.loop.time(), self._wire.weather
        if weather.is_on("oms", Trouble.STRANGER, now, self._wire.route):
            exchange.fail(no_answer("oms", exchange.operation, Outcome.UNKNOWN))
            return
        is_stopped = weather.is_on("oms", Trouble.STOPPED, now, self._wire.route)
        status = "STOPPED" if is_stopped else "SYNCHRONIZING"
        exchange.answer(TaskState(status, {"src_bucket": self._wire.route or SOURCE_BUCKET}))
