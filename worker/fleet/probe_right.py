"""The right to ask OMS whether the Huawei key is good: one worker of the fleet asks, the others hear of it.

Huawei locks a key after more than 5 refused calls in a row (devg-apisign, api-sign-0001), so 50 workers must
not find out one by one that it is wrong. The right is an object in the log bucket that only one can write
(`x-oss-forbid-overwrite`). Its name holds a slot of five minutes and a mark of the key: nothing has to be
deleted, clocks may be off by a minute, and a mended key is another name, which may be tried at once. Who
holds it asks, and writes the verdict over it. Where none comes, as after a kill, one other worker may ask in
the same slot. So the fleet makes one refused call a slot, and two at most.

A worker whose key was good when it asked last needs no right: it asks as often as it likes. Where the log
bucket cannot be used, or not read, a worker is alone, and asks ever more rarely.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from worker.advice import advise
from worker.clock import Clock
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.fleet.folder import FleetFolder
from worker.ledger.names import right_name
from worker.outages.breaker import PROBE_SECONDS_CREDENTIALS, Breaker
from worker.ports import NAME_TAKEN

SLOT_SECONDS = PROBE_SECONDS_CREDENTIALS
TURNS = 2
# So long a verdict is waited for before the next turn is taken.
WAIT_SECONDS = 15.0
WAIT_SECONDS_FIRST = 0.1
ALONE_SECONDS_MAX = 3600.0
WRITES_MAX = 3
KEYS_MAX = 200


@dataclass(frozen=True, slots=True)
class _Found:
    """What stands in a right: who holds it, and the verdict, if any; without `failure` the key is good."""

    worker: str
    is_judged: bool
    failure: Failure | None


_UNTOLD = _Found("", is_judged=False, failure=None)


class _AloneError(Exception):
    """Nothing can be agreed on with the others now."""


class ProbeRight:
    """Stands before the probe of OMS. `mark` tells the present key from others, and not what it is."""

    def __init__(
        self,
        folder: FleetFolder,
        probe: Callable[[], Awaitable[None]],
        breaker: Breaker,
        clock: Clock,
        *,
        mark: Callable[[], str],
        worker: str,
        alone: Alone | None = None,
    ) -> None:
        self._folder = folder
        self._ask = probe
        self._breaker = breaker
        self._clock = clock
        self._mark = mark
        self._worker = worker
        self._good = ""
        # The key that was refused, and in which slot that was heard.
        self._refused: tuple[str, int] = ("", 0)
        self._alone = alone or Alone(clock)

    async def probe(self) -> None:
        """Ask OMS if this worker may; else do as the worker that asked was answered. Raises `CallFailed`."""
        mark = self._mark()
        if mark == self._good and not self._is_refused():
            await self._ask()
            return
        self._good = ""
        await self._folder.judged()
        told = self._alone.told(mark)
        # Routes of one worker ask one after the other: what one has heard of its key holds for the others.
        async with told.under_way:
            refusal = told.by_another(self, self._clock.monotonic())
            if refusal is not None:
                raise CallFailed(refusal)
            try:
                await self._probe(mark)
            except CallFailed as failed:
                if failed.failure.blame is Blame.CREDENTIALS:
                    told.hear(failed.failure, self, self._clock.monotonic())
                raise
            told.hear(None, self, self._clock.monotonic())

    async def _probe(self, mark: str) -> None:
        """Ask for the fleet, or hear what another worker was answered. Raises `CallFailed`."""
        try:
            name = await self._right(mark, slot := self._slot(mark))
            await self._judge(mark, name)
        except _AloneError:
            await self._alone.ask(mark, self._ask)
            self._good = mark
        except CallFailed as failed:
            if failed.failure.blame is Blame.CREDENTIALS:
                self._refused = (mark, slot)
            raise

    def _slot(self, mark: str) -> int:
        """Return the slot of now, or the one after that in which a refusal of this key was heard.

        A clock that was set back would lead to an old refusal again and again.
        """
        slot = int(self._clock.wall() // SLOT_SECONDS)
        refused, heard = self._refused
        return max(slot, heard + 1) if mark == refused else slot

    async def _right(self, mark: str, slot: int) -> str:
        """Return the right that this worker holds, or nothing where the key is known to be good.

        Raises the refusal that another worker met, `CallFailed` where there is no verdict yet, `_AloneError`.
        """
        for turn in range(1, TURNS + 1):
            name = right_name(slot, mark, turn)
            if await self._claims(name):
                return name
            found = await self._verdict(name, mark)
            if found.worker == self._worker and not found.is_judged:
                return name
            if found.failure is not None:
                raise CallFailed(found.failure)
            if found.is_judged:
                return ""
        raise CallFailed(_waiting("another worker asks, and has no answer yet"))

    async def _claims(self, name: str) -> bool:
        """Whether this worker gets the right. Raises `_AloneError` if that cannot be found out."""
        body = json.dumps({"worker": self._worker, "verdict": None}).encode()
        for _ in range(WRITES_MAX):
            try:
                await self._folder.write(name, body, may_replace=False)
            except CallFailed as failed:
                if failed.failure.code == NAME_TAKEN:
                    return False
                # A lost answer may hide a right that was got: the next attempt finds it taken, by ourselves.
                if failed.failure.blame is not Blame.PASSING:
                    break
            else:
                return True
        raise _AloneError

    async def _verdict(self, name: str, mark: str) -> _Found:
        """Return what stands in another's right, once it has a verdict or has had time for one."""
        found = await self._read(name)
        for seconds in _waits():
            if found.is_judged or found.worker == self._worker:
                break
            await self._clock.sleep(seconds)
            if self._mark() != mark:
                raise CallFailed(_waiting("the key has changed"))
            found = await self._read(name)
        return found

    async def _read(self, name: str) -> _Found:
        try:
            stored = await self._folder.read(name)
            return _UNTOLD if stored is None else _found(stored.body)
        except CallFailed as failed:
            if failed.failure.blame is Blame.PASSING:
                return _UNTOLD
            raise _AloneError from failed
        except ValueError as error:
            raise _AloneError from error

    async def _judge(self, mark: str, name: str) -> None:
        """Ask, and tell the others where a right says so. What passes is no verdict on a key.

        Nor is what comes of this machine's own clock.
        """
        failure: Failure | None = None
        try:
            await self._ask()
        except CallFailed as failed:
            failure = failed.failure
        is_judged = failure is None or (
            failure.blame is not Blame.PASSING and not _is_of_own_clock(failure)
        )
        is_refused = failure is not None and failure.blame is Blame.CREDENTIALS
        if is_judged and not is_refused:
            self._good = mark
        if is_judged and name:
            await self._tell(name, failure if is_refused else None)
        if failure is not None:
            raise CallFailed(failure)

    async def _tell(self, name: str, refusal: Failure | None) -> None:
        told: dict[str, Any] = {"worker": self._worker, "verdict": "ok"}
        if refusal is not None:
            told |= {
                "verdict": "refused",
                "status": refusal.status,
                "code": refusal.code,
                "message": refusal.message,
            }
        for _ in range(WRITES_MAX):
            try:
                await self._folder.write(name, json.dumps(told).encode())
            except CallFailed as failed:
                # In the end the others take the next turn, or wait for the next slot.
                if failed.failure.blame is Blame.PASSING:
                    continue
            return

    def _is_refused(self) -> bool:
        failure = self._breaker.failure
        return failure is not None and failure.blame is Blame.CREDENTIALS


@dataclass(slots=True)
class _Told:
    """What one worker knows of one key: the last refusal, which route heard it and when.

    `refusals`, `ask_at` and `failure` are of the calls that it made alone.
    """

    refusals: int = 0
    ask_at: float = 0.0
    failure: Failure | None = None
    refusal: Failure | None = None
    heard_by: object = None
    heard_at: float = 0.0
    under_way: asyncio.Lock = field(default_factory=asyncio.Lock)

    def hear(self, refusal: Failure | None, by: object, at: float) -> None:
        """Note what a route was answered; None: the key is good."""
        self.refusal, self.heard_by, self.heard_at = refusal, by, at

    def by_another(self, asking: object, now: float) -> Failure | None:
        """Return the refusal that another route has heard within a slot."""
        is_recent = self.heard_by is not asking and now - self.heard_at < SLOT_SECONDS
        return self.refusal if is_recent else None


class Alone:
    """A worker that can agree with nobody: after each refusal it waits twice as long, up to an hour.

    Its routes share this: those with one key ask one after the other. Of the keys that were tried the last
    few are remembered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, _Told] = {}

    def told(self, mark: str) -> _Told:
        """Return what is known of a key."""
        found = self._told.setdefault(mark, _Told())
        while len(self._told) > KEYS_MAX:
            del self._told[next(iter(self._told))]
        return found

    async def ask(self, mark: str, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask, or raise the last refusal once more while the next attempt is not due. Raises `CallFailed`."""
        told = self.told(mark)
        if told.failure is not None and self._clock.monotonic() < told.ask_at:
            raise CallFailed(told.failure)
        try:
            await ask()
        except CallFailed as failed:
            if failed.failure.blame is Blame.CREDENTIALS and not _is_of_own_clock(failed.failure):
                seconds = SLOT_SECONDS * 2.0 ** min(told.refusals, 10)
                told.refusals += 1
                told.ask_at = self._clock.monotonic() + min(seconds, ALONE_SECONDS_MAX)
                told.failure = failed.failure
            raise
        told.refusals, told.failure = 0, None


def _is_of_own_clock(failure: Failure) -> bool:
    return advise(failure).name == "clock"


def _waits() -> Iterator[float]:
    seconds, waited = WAIT_SECONDS_FIRST, 0.0
    while waited < WAIT_SECONDS:
        yield seconds
        waited += seconds
        seconds = min(1.0, seconds * 2)


def _found(body: bytes) -> _Found:
    """Read a right. Raises ValueError if it is none."""
    try:
        found = json.loads(body)
        verdict, worker = found["verdict"], str(found["worker"])
        if verdict != "refused":
            return _Found(worker, verdict == "ok", None)
        status, code, message = int(found["status"]), str(found["code"]), str(found["message"])
    except (LookupError, TypeError) as error:
        raise ValueError(f"not a right to probe: {error!r}") from error
    told = f"{message} (worker {worker} asked for all)"
    failure = Failure(
        "oms", "ShowSyncTask", Outcome.RETRY_LATER, Blame.CREDENTIALS, status, code, told
    )
    return _Found(worker, True, failure)


def _waiting(why: str) -> Failure:
    return Failure("oms", "ShowSyncTask", Outcome.RETRY_LATER, Blame.PASSING, message=why)
