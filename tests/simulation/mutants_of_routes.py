"""Planted bugs in what keeps routes apart; each must be noticed by a world with several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

from worker.flow.flow import Flow
from worker.flow.lease import Held
from worker.flow.put_off import Deliveries, PutOff
from worker.outages.breaker import Breaker
from worker.outages.breakers import OneOf


def _patch(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(mock.patch.object(owner, name, value))


def any_route_takes_it(stack: ExitStack) -> None:
    """Post each change to the first route there is."""

    def first(routes: Sequence[Any], bucket: str, key: str) -> Any:
        del bucket, key
        return routes[0]

    stack.enter_context(mock.patch("worker.flow.selection.route_of", first))


def put_off_without_bound(stack: ExitStack) -> None:
    """Hide as many messages of a route that is down as come."""
    _patch(stack, PutOff, "is_full", property(lambda _: False))
    _patch(stack, PutOff, "__len__", lambda _: 0)


def done_with_the_routes_that_work(stack: ExitStack) -> None:
    """End a message although a route that is down has not recorded its change."""
    finish = Flow._finish

    async def ending(self: Flow, held: Held) -> None:
        if held.waits_for:
            held.waits_for, held.undone = "", None
        await finish(self, held)

    _patch(stack, Flow, "_finish", ending)


def deliveries_of_an_outage_counted(stack: ExitStack) -> None:
    """Count every delivery against a message, also those for which its route is to blame."""
    _patch(stack, Deliveries, "counted", lambda _, message, __: message.dequeue_count)


def one_route_stops_all(stack: ExitStack) -> None:
    """Stop receiving while any route is down."""

    def is_open(self: OneOf) -> bool:
        breakers: Iterable[Breaker] = self._breakers
        return any(each.is_open for each in breakers)

    _patch(stack, OneOf, "is_open", property(is_open))


def one_route_on_trial_slows_all(stack: ExitStack) -> None:
    """Keep what failed on trial in hand, as where there is no other route."""
    stack.enter_context(
        mock.patch("worker.outages.service.Trial", lambda *given, **_: _holding(*given))
    )


def _holding(*given: Any) -> Any:
    from worker.outages.trial import Trial  # the real one, which is patched where it is used

    return Trial(*given)


ROUTE_MUTANTS: tuple[Callable[[ExitStack], None], ...] = (
    any_route_takes_it,
    put_off_without_bound,
    done_with_the_routes_that_work,
    deliveries_of_an_outage_counted,
    one_route_stops_all,
    one_route_on_trial_slows_all,
)
