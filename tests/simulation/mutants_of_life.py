"""Planted bugs in what lives beside the flow: leases, deletes, stops and refused credentials."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any
from unittest import mock

from worker.flow.delete import Deleter
from worker.flow.lease import Held, Leases
from worker.flow.receive import Receiver
from worker.flow.relay import Relay, Stops
from worker.outages.breaker import Breaker


def stale_handle(stack: ExitStack) -> None:
    """Go on with the first receipt handle after a renewal."""
    leased = Leases._leased

    def keeping(self: Leases, held: Held, _: str, since: float) -> None:
        leased(self, held, held.message.receipt_handle, since)

    _patch(stack, Leases, "_leased", keeping)


def no_renewal(stack: ExitStack) -> None:
    """Never renew a lease."""
    _patch(stack, Leases, "_due", lambda _: [])


def renewals_in_single_file(stack: ExitStack) -> None:
    """Let one renewal that hangs hold up all the others."""
    stack.enter_context(mock.patch("worker.process.assembly.LEASES_MAX", 1))


def no_renewal_while_draining(stack: ExitStack) -> None:
    """Stop renewing when the stop comes."""
    due = Leases._due
    stop = Receiver.stop

    def stopping(self: Receiver) -> None:
        stop(self)
        self._leases.__dict__["is_draining"] = True

    def due_until_stop(self: Leases) -> list[Held]:
        return [] if self.__dict__.get("is_draining") else due(self)

    _patch(stack, Receiver, "stop", stopping)
    _patch(stack, Leases, "_due", due_until_stop)


def nothing_released_at_a_stop(stack: ExitStack) -> None:
    """Leave without making unfinished messages visible again."""

    async def nothing(_: Relay, __: float) -> None:
        return

    _patch(stack, Relay, "_release_all", nothing)


def refused_credentials_repeated(stack: ExitStack) -> None:
    """Probe after refused credentials as often as after anything else."""
    _patch(stack, Breaker, "_is_refused", lambda _: False)


def deaf_to_stops(stack: ExitStack) -> None:
    """Wait for the work to end, however long it takes."""

    async def until_done(self: Relay, stops: Stops, work: asyncio.Task[None]) -> None:
        await stops.taking.wait()
        self.flow.receiver.stop()
        await asyncio.wait((work,))

    _patch(stack, Relay, "_until_done", until_done)


def deletes_forgotten(stack: ExitStack) -> None:
    """Let a message go when its delete leaves, so that the process never knows what it deleted."""
    delete = Deleter.delete

    def every_other(self: Deleter, held: Held, end: str = "deleted", why: str = "") -> None:
        if int(held.message.message_id[1:]) % 7:
            delete(self, held, end, why)
        else:
            self._leases.forget(held)

    _patch(stack, Deleter, "delete", every_other)


def _patch(stack: ExitStack, owner: type, name: str, value: Any) -> None:
    stack.enter_context(mock.patch.object(owner, name, value))


LIFE_MUTANTS = (
    stale_handle,
    no_renewal,
    renewals_in_single_file,
    no_renewal_while_draining,
    nothing_released_at_a_stop,
    refused_credentials_repeated,
    deaf_to_stops,
    deletes_forgotten,
)
