"""post: hand batches of keys to OMS, and split a refused batch until the bad keys stand alone (G4).

200 means that OMS has accepted the keys, not that it has copied them. OMS gives one verdict per batch and
none per key, so the bad ones are found by halving.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

from worker.clock import Clock
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.flow.dedupe import Change
from worker.observe.journal import Journal
from worker.outages.service import Service
from worker.ports import KEYS_DOCUMENTED, Sink

# So many keys in a row may be refused for good where no key was ever accepted, and no control key is known.
UNVOUCHED_MAX = 20


class Verdict(NamedTuple):
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


@dataclass(slots=True)
class _Post:
    """One batch on its way: when it last left, how often, and what came of it."""

    batch: Sequence[Change]
    attempts: int
    posted_at: float = 0.0
    request_id: str = ""
    failure: Failure | None = None
    number: int = 0

    @property
    def is_rejected(self) -> bool:
        return self.failure is not None and self.failure.outcome is Outcome.REJECTED

    def verdicts(self) -> list[Verdict]:
        outcome = self.failure.outcome if self.failure else Outcome.ACCEPTED
        facts = (outcome, self.posted_at, self.request_id, self.failure, self.attempts)
        return [Verdict(change, *facts) for change in self.batch]


@dataclass(slots=True)
class _Control:
    """What vouches for the task: a key that it took, and the number of the newest post that it took.

    `refused` counts the keys that were refused for good before it took any.
    """

    key: str | None = None
    number: int = 0
    refused: int = 0
    under_way: asyncio.Lock = field(default_factory=asyncio.Lock)

    def took(self, key: str, number: int) -> None:
        """Note that the task took this key in the post of this number."""
        self.key = key
        self.number = max(self.number, number)


class Poster:
    """Posts batches; every change comes back with one verdict."""

    def __init__(
        self, sink: Sink, service: Service, clock: Clock, journal: Journal, keys_max: int
    ) -> None:
        self.keys_max = keys_max
        self._sink = sink
        self._service = service
        self._trial = service.trial
        self._clock = clock
        self._journal = journal
        self._control = _Control()
        self._numbers = count(1)

    async def post(self, batch: Sequence[Change]) -> list[Verdict]:
        """Post the batch. ACCEPTED and REJECTED are final; with the others the keys are still owed."""
        verdicts = await self._posted(batch, 0)
        self._journal.posted(Counter(verdict.outcome for verdict in verdicts))
        return verdicts

    async def takes_keys(self) -> bool:
        """Whether OMS takes a key that it took before; False where there is none."""
        if self._control.key is None:
            return False
        return await self._service.works("CreateSyncEvents", self._post_control_key)

    async def _posted(self, batch: Sequence[Change], attempts: int) -> list[Verdict]:
        if len(batch) > 1 and self._trial.wants_one_ahead:
            return await self._in_two(batch, 1, attempts)
        began = self._clock.monotonic()
        post = await self._send(batch, attempts)
        if post.is_rejected:
            verdicts = await self._split(post)
            self._learn_keys_max(verdicts)
            return verdicts
        if len(batch) > 1 and post.failure and await self._trial.may_go_on(post.failure, began):
            return await self._in_two(batch, len(batch) // 2, post.attempts)
        return post.verdicts()

    async def _in_two(self, batch: Sequence[Change], first: int, attempts: int) -> list[Verdict]:
        """Post the batch in two parts, at once: a part that fails on trial lets the other one try."""
        async with asyncio.TaskGroup() as parts:
            tasks = [
                parts.create_task(self._part(part, attempts), name=f"post {len(part)} keys")
                for part in (batch[:first], batch[first:])
            ]
        return [verdict for task in tasks for verdict in task.result()]

    async def _part(self, part: Sequence[Change], attempts: int) -> list[Verdict]:
        await self._trial.next()
        return await self._posted(part, attempts)

    async def _send(self, batch: Sequence[Change], attempts: int) -> _Post:
        post = _Post(batch, attempts)
        keys = [change.key for change in batch]

        async def attempt() -> str:
            post.attempts += 1
            post.posted_at = self._clock.wall()
            post.number = next(self._numbers)
            return await self._sink.post(keys)

        try:
            post.request_id = await self._service.persist("CreateSyncEvents", attempt)
        except CallFailed as failed:
            post.failure = failed.failure
            post.request_id = failed.failure.request_id
        else:
            self._control.took(keys[0], post.number)
        return post

    async def _split(self, refused: _Post, since: int | None = None) -> list[Verdict]:
        """Halve a refused batch until the bad keys stand alone, while it is keys that are refused.

        A lone key is bad only if the task was seen synchronizing, and took another key, before its post, and
        is synchronizing after it: else a task that comes and goes would cost good keys. `since` is the number
        of the post that was refused first, None if it is this one.
        """
        is_last = since is not None and len(refused.batch) == 1
        refused.failure = await self._blame(refused)
        if refused.is_rejected and is_last:
            refused.failure = self._counted(refused.failure)
        if not refused.is_rejected or is_last:
            return refused.verdicts()
        half = len(refused.batch) // 2
        since = since or refused.number
        verdicts = []
        for part in filter(None, (refused.batch[:half], refused.batch[half:])):
            post = await self._send_vouched(part, refused, since)
            verdicts += await self._split(post, since) if post.is_rejected else post.verdicts()
        return verdicts

    async def _send_vouched(self, part: Sequence[Change], refused: _Post, since: int) -> _Post:
        """Post a part of a refused batch; a lone key only after the task has taken another one."""
        why = await self._vouch(refused.failure, since) if len(part) == 1 else None
        if why is not None:
            return _Post(part, refused.attempts, refused.posted_at, refused.request_id, why)
        return await self._send(part, refused.attempts)

    async def _blame(self, refused: _Post) -> Failure | None:
        """Blame the keys if the task, asked after the refusal, takes events; else the service (G3)."""
        failure = refused.failure
        if failure is None or await self._is_synchronizing():
            return failure
        return self._of_service(failure, "and the sync task is not known to be SYNCHRONIZING")

    def _of_service(self, failure: Failure, why: str) -> Failure:
        blamed = replace(
            failure,
            outcome=Outcome.RETRY_LATER,
            blame=Blame.SERVICE,
            message=f"{failure.message} ({why})",
        )
        self._service.breaker.open(blamed)
        return blamed

    async def _vouch(self, failure: Failure | None, since: int) -> Failure | None:
        """Return why the task is to blame; None once it has taken a key that was posted after number `since`.

        A wave of refusals is the task's fault. Where no other post has shown that it still takes keys, one
        that it took before, the control key, is posted once more: for OMS a needless announcement.
        """
        control = self._control
        async with control.under_way:
            if failure is None or control.key is None or control.number > since:
                return None
            try:
                await self._service.call("CreateSyncEvents", self._post_control_key)
            except CallFailed as failed:
                if failed.failure.outcome is not Outcome.REJECTED:
                    return failed.failure
                return self._of_service(failure, "and so is a key that OMS has accepted before")
        return None

    async def _post_control_key(self) -> None:
        """Post the key that OMS accepted last once more."""
        key, number = self._control.key, next(self._numbers)
        if key is not None:
            await self._sink.post([key])
            self._control.took(key, number)

    def _counted(self, failure: Failure | None) -> Failure | None:
        """Let a bounded number of refusals in a row count where no key was ever accepted."""
        if failure is None or self._control.key is not None:
            return failure
        if self._control.refused < UNVOUCHED_MAX:
            self._control.refused += 1
            return failure
        why = f"and {UNVOUCHED_MAX} other keys in a row were, while none was ever accepted"
        return self._of_service(failure, why)

    async def _is_synchronizing(self) -> bool:
        try:
            state = await self._service.call("ShowSyncTask", self._sink.show)
        except CallFailed:
            return False
        return state.is_synchronizing

    def _learn_keys_max(self, verdicts: Sequence[Verdict]) -> None:
        """If a batch of more than 10 was refused and none of its keys was, its size was the reason."""
        is_size = all(verdict.outcome is Outcome.ACCEPTED for verdict in verdicts)
        if is_size and self.keys_max >= len(verdicts) > KEYS_DOCUMENTED:
            self.keys_max = KEYS_DOCUMENTED
            self._journal.log.warning(
                "OMS refuses this many keys in one post: the relay goes on with 10, the documented maximum. "
                "Set RELAY_BATCH_KEYS=10",
                action="post",
                keys=len(verdicts),
            )
