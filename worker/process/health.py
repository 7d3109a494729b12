"""The admin server: `/healthz` (messages move), `/readyz` (the services work, else why not), `/metrics`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from worker.advice import Cause, cause_of
from worker.arrival.account import accounts_together
from worker.flow.route import Route
from worker.ledger.pause import Pause
from worker.listen import listening
from worker.observe.metrics import Metrics
from worker.outages.breaker import Breaker
from worker.process.assembly import Assembled

# While all services work no chain of calls takes as long: each has a time-out and a bound on its tries.
STUCK_SECONDS = 1800.0


class Health:
    """What the relay says about itself. Serves GET only, and nothing that is secret."""

    def __init__(self, assembled: Assembled, metrics: Metrics, now: Callable[[], float]) -> None:
        self._flow = assembled.flow
        self._breakers = assembled.breakers
        self._beside = assembled.beside
        self._arrivals = assembled.arrivals
        self._pauses = assembled.pauses
        self._share = assembled.share
        self._metrics = metrics
        self._now = now
        self._working_since: float | None = None
        for breaker in self._breakers:
            breaker.listeners.append(self._hear)
        self._hear()

    def _hear(self) -> None:
        """Note since when no breaker has been open: in an outage messages stay in hand, however long."""
        if not self._flow.receiver.is_open:
            self._working_since = None
        elif self._working_since is None:
            self._working_since = self._now()

    @property
    def is_stopping(self) -> bool:
        """Whether the relay takes no more and finishes."""
        return self._flow.receiver.is_stopping

    @property
    def pause(self) -> Pause | None:
        """The pause of the fleet that holds now."""
        return None if self._pauses is None else self._pauses.pause

    def causes(self) -> list[Cause]:
        """Return why the relay is not ready, with the next steps; an empty list means it is."""
        causes = []
        if self.is_stopping:
            causes.append(Cause("stopping: what is in hand is being finished"))
        routes = {each.breaker for each in self._flow.routes}
        # While one of several routes works, messages are taken.
        works = any(not each.is_open for each in routes)
        causes += [
            _cause(each)
            for each in self._breakers
            if each.is_open and not (works and each in routes)
        ]
        if self._flow.leases.hidden.is_full:
            causes.append(self._full())
        return causes

    def notices(self) -> list[str]:
        """Return what does not stop the worker, and has to be mended all the same."""
        found = [*self._share.notices, *(self._pauses.notices if self._pauses else ())]
        for name, account in self._arrivals.items():
            of = f"route {name}: " if name else ""
            found += [f"{of}{notice}" for notice in account.notices]
        down = [each for each in self._flow.routes if each.is_down]
        if len(down) < len(self._flow.routes):
            found += [f"route {each.name} is down: {_reason(each.breaker)}" for each in down]
        return found

    def _full(self) -> Cause:
        hidden = self._flow.leases.hidden
        counts = {each.name: hidden.of_route(each.name) for each in self._flow.routes}
        told = ", ".join(f"{count} of route {name}" for name, count in counts.items() if count)
        return Cause(
            f"{len(hidden)} messages are put off ({told}), as many as MNS may be asked to hide: nothing is "
            "received until some are visible again. Next: mend the route that is down"
        )

    def reasons(self) -> list[str]:
        """Return the causes in English, each in one line."""
        return [str(each) for each in self.causes()]

    async def healthz(self, _: web.Request) -> web.Response:
        """Answer 200 as long as messages can move; 503 if something hangs that only a restart can free."""
        stuck = self.stuck()
        body = {"status": "stuck" if stuck else "ok", "reasons": stuck}
        return web.json_response(body, status=503 if stuck else 200)

    def stuck(self) -> list[str]:
        """Return what has not moved for half an hour in which no service was known to be down."""
        if self._working_since is None:
            return []
        now = self._now()
        idle = now - self._flow.receiver.alive_at
        waiting = min(self._oldest_seconds(), now - self._working_since)
        stuck = []
        if idle > STUCK_SECONDS and not self._flow.leases.in_hand:
            stuck.append(f"no poll has begun for {idle:.0f} s: restart the relay")
        if waiting > STUCK_SECONDS:
            stuck.append(
                f"a message has been in hand for {waiting:.0f} s in which all services worked: "
                "restart the relay"
            )
        return stuck

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer 200 if messages are being taken, or could be but for a pause; else 503 with the reasons."""
        body = self.as_object()
        return web.json_response(body, status=503 if body["causes"] else 200)

    def as_object(self) -> dict[str, Any]:
        """Return what `/readyz` answers."""
        causes, pause = self.causes(), self.pause
        working = "ready" if pause is None else "paused"
        body: dict[str, Any] = {
            "status": "not ready" if causes else working,
            "reasons": [str(each) for each in causes],
            "causes": [each.as_object() for each in causes],
            "services": {each.name: str(each.state) for each in (*self._breakers, *self._beside)},
            "in_flight": len(self._flow.leases.in_hand),
            "in_flight_max": self._share.limit,
            "paused": None if pause is None else pause.as_object(),
            "notices": self.notices(),
        }
        if len(self._flow.routes) > 1:
            body["routes"] = [self._route(each) for each in self._flow.routes]
        if self._arrivals:
            body["arrival"] = accounts_together(tuple(self._arrivals.values()))
        return body

    def _route(self, route: Route) -> dict[str, Any]:
        failure = route.breaker.failure if route.breaker.is_open else None
        return {
            "route": route.name,
            "state": str(route.breaker.state),
            "cause": cause_of(failure).as_object() if failure else None,
            "keys_waiting": len(route.dedupe),
            "put_off": self._flow.leases.hidden.of_route(route.name),
        }

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics in Prometheus text form, or as OpenMetrics if that is asked for."""
        self.sample()
        body, content_type = self._metrics.shown(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def sample(self) -> None:
        """Take the gauges of what is in hand."""
        self._metrics.in_flight.set(len(self._flow.leases.in_hand))
        self._metrics.in_flight_max.set(self._share.limit)
        self._metrics.oldest.set(self._oldest_seconds())
        for route in self._flow.routes:
            counts = self._metrics.of_route(route.name)
            counts.waiting.set(len(route.dedupe))
            if counts.put_off is not None:
                counts.put_off.set(self._flow.leases.hidden.of_route(route.name))

    def _oldest_seconds(self) -> float:
        taken = [held.taken_at for held in self._flow.leases.in_hand.values()]
        return self._now() - min(taken) if taken else 0.0


def _reason(breaker: Breaker) -> Cause:
    unknown = Cause("not probed yet")
    return cause_of(breaker.failure) if breaker.failure else unknown


def _cause(breaker: Breaker) -> Cause:
    if breaker.failure is None:
        return Cause(f"{breaker.name}: not probed yet")
    found = cause_of(breaker.failure)
    if breaker.name == breaker.service:
        return found
    route = breaker.name.partition("/")[2]
    return replace(found, route=route)


@asynccontextmanager
async def serving(health: Health, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the context lasts; port 0 serves nothing. Raises `Fatal` if the address is taken."""
    if not port:
        yield
        return
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", health.healthz),
            web.get("/readyz", health.readyz),
            web.get("/metrics", health.metrics),
        ]
    )
    async with listening(
        app,
        host,
        port,
        what="the admin server",
        otherwise="set RELAY_ADMIN_PORT to another one (0 turns the server off)",
    ):
        yield
