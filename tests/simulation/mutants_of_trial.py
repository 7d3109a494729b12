"""Planted bugs in the trial: some burn deliveries, the others let one bad key keep all others waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias
from unittest import mock

from worker.errors import Failure
from worker.outages.breaker import Breaker, State
from worker.outages.trial import Gate, Trial

Planted: TypeAlias = AbstractContextManager[Any]


def closed_by_a_probe() -> Planted:
    """Take the success of a probe for the success of the service."""
    become = Breaker._become

    def closing(self: Breaker, state: State, failure: Failure | None) -> None:
        if state is State.TRIAL:
            become(self, State.CLOSED, None)
        else:
            become(self, state, failure)

    return mock.patch.object(Breaker, "_become", closing)


def nothing_held() -> Planted:
    """Give back at once what fails on trial."""

    async def call_once(_: Trial, call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    return mock.patch.object(Trial, "held", call_once)


def no_poll_beside_what_failed() -> Planted:
    """Receive nothing on trial while a failed one has left something in hand."""
    return mock.patch.object(Gate, "_hear", return_value=None)


def no_key_ahead() -> Planted:
    """Try a batch as a whole only, until something else has worked."""
    return mock.patch.object(Trial, "wants_one_ahead", new=False)


def never_in_parts() -> Planted:
    """Give a batch back as a whole although others have worked."""

    async def may_not(*_: Any) -> bool:
        return False

    return mock.patch.object(Trial, "may_go_on", may_not)


BURNING = (closed_by_a_probe, nothing_held)
STARVING = (no_poll_beside_what_failed, no_key_ahead, never_in_parts)
