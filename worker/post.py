"""post: hand batches of keys to OMS, and split a refused batch until the bad keys stand alone (G4).

200 means that OMS has accepted the keys, not that it has copied them. OMS gives one verdict per batch and
none per key, so the bad ones are found by halving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.clock import Clock
from worker.dedupe import Change
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.journal import Journal
from worker.service import Service

STATE_SECONDS = 10.0


class TaskState(Protocol):
    """What a sink says about its sync task."""

    @property
    def is_synchronizing(self) -> bool:
        """Whether the task is known to take events."""
        ...

    @property
    def status(self) -> str:
        """The state in the vendor's word; empty if unknown."""
        ...


class Sink(Protocol):
    """What the verbs need of OMS; `worker.clients.oms.OmsClient` is the real one."""

    async def post(self, keys: Sequence[str]) -> str:
        """Announce the keys; return a request id."""
        ...

    async def show(self) -> TaskState:
        """Return the task's state."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one change. `failure` is None only with ACCEPTED; `posted_at` is epoch seconds."""

    change: Change
    outcome: Outcome
    posted_at: float
    request_id: str = ""
    failure: Failure | None = None
    attempts: int = 1

    @property
    def rejection(self) -> Failure | None:
        """Why OMS refuses this key for good; None unless it does."""
        return self.failure if self.outcome is Outcome.REJECTED else None


class Poster:
    """Posts batches; every change comes back with one verdict."""

    def __init__(self, sink: Sink, service: Service, clock: Clock, journal: Journal) -> None:
        self._sink = sink
        self._service = service
        self._clock = clock
        self._journal = journal
        self._synchronizing_until = float("-inf")

    async def post(self, batch: Sequence[Change]) -> list[Verdict]:
        """Post the batch. ACCEPTED and REJECTED are final; with the others the keys are still owed."""
        verdicts = await self._post(batch, 0)
        for verdict in verdicts:
            self._journal.posted(verdict.outcome, 1)
        return verdicts

    async def _post(self, batch: Sequence[Change], attempts: int) -> list[Verdict]:
        tries = 0

        async def attempt() -> str:
            nonlocal tries
            tries += 1
            return await self._sink.post([change.key for change in batch])

        posted_at = self._clock.wall()
        try:
            request_id = await self._service.call("CreateSyncEvents", attempt)
        except CallFailed as failed:
            failure, attempts = failed.failure, attempts + tries
        else:
            return [
                Verdict(change, Outcome.ACCEPTED, posted_at, request_id, None, attempts + tries)
                for change in batch
            ]
        if failure.outcome is Outcome.REJECTED and len(batch) > 1:
            half = len(batch) // 2
            return [
                *await self._post(batch[:half], attempts),
                *await self._post(batch[half:], attempts),
            ]
        if failure.outcome is Outcome.REJECTED:
            failure = await self._blame(failure)
        return [
            Verdict(change, failure.outcome, posted_at, failure.request_id, failure, attempts)
            for change in batch
        ]

    async def _blame(self, failure: Failure) -> Failure:
        """Blame the key for its refusal if the task is known to take events, else the service."""
        if await self._is_synchronizing():
            return failure
        blamed = Failure(
            failure.service,
            failure.operation,
            Outcome.RETRY_LATER,
            Blame.SERVICE,
            failure.status,
            failure.code,
            f"{failure.message} (and the sync task is not known to be SYNCHRONIZING)",
            failure.request_id,
        )
        self._service.breaker.open(blamed)
        return blamed

    async def _is_synchronizing(self) -> bool:
        if self._clock.monotonic() < self._synchronizing_until:
            return True
        try:
            state = await self._service.call("ShowSyncTask", self._sink.show)
        except CallFailed:
            return False
        if state.is_synchronizing:
            self._synchronizing_until = self._clock.monotonic() + STATE_SECONDS
        return state.is_synchronizing
