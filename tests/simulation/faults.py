"""What goes wrong and when: phases of trouble per service, and a fate drawn for every call."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from worker.errors import Blame, Failure, Outcome


class Trouble(StrEnum):
    """What a phase is like. `MIXED` draws one of the passing ones for each call."""

    MIXED = "mixed"
    BUSY = "busy"
    THROTTLED = "throttled"
    REFUSED = "connection refused"
    CUT_BEFORE = "cut before the effect"
    CUT_AFTER = "cut after the effect"
    BROKEN_AFTER = "500 after the effect"
    SILENT = "no answer"
    SLOW = "slow"
    EARLY = "early empty answers"
    DENIED = "denied"
    CREDENTIALS = "credentials refused"
    STOPPED = "task stopped"
    WAVE = "every key refused"
    STRANGER = "answered by a stranger"


class Kind(Enum):
    """What becomes of one call."""

    GOOD = auto()
    FAILED = auto()
    FAILED_AFTER = auto()
    SILENT = auto()
    SILENT_AFTER = auto()
    EARLY = auto()


@dataclass(frozen=True, slots=True)
class Phase:
    """Trouble for a share of the calls to a service, from `start` to `end`; no operations means all.

    So does no route.
    """

    service: str
    trouble: Trouble
    start: float
    end: float
    share: float = 1.0
    operations: frozenset[str] = frozenset()
    route: str = ""

    def is_on(self, service: str, route: str, now: float) -> bool:
        """Whether it is on for this service and route now."""
        is_meant = self.service == service and self.route in ("", route)
        return is_meant and self.start <= now < self.end


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one call, and how long its request and its answer travel."""

    kind: Kind
    there_seconds: float
    back_seconds: float
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        """The whole time on the way."""
        return self.there_seconds + self.back_seconds


PASSING = (
    Trouble.BUSY,
    Trouble.BUSY,
    Trouble.THROTTLED,
    Trouble.REFUSED,
    Trouble.CUT_BEFORE,
    Trouble.CUT_AFTER,
    Trouble.BROKEN_AFTER,
    Trouble.SILENT,
    Trouble.SLOW,
)
_SILENT = (Kind.SILENT, Kind.SILENT_AFTER)


class Weather:
    """Draws the fate of each call from the phases that are on; after `clears_at` nothing goes wrong."""

    def __init__(
        self,
        phases: tuple[Phase, ...],
        rng: random.Random,
        *,
        background: float = 0.0,
        clears_at: float = float("inf"),
        latency_seconds: float = 0.02,
    ) -> None:
        self.rng = rng
        self._phases = phases
        self._background = background
        self._clears_at = clears_at
        self._latency_seconds = latency_seconds

    def is_on(self, service: str, trouble: Trouble, now: float, route: str = "") -> bool:
        """Whether a lasting trouble is on now."""
        return any(
            phase.trouble is trouble and phase.is_on(service, route, now) for phase in self._phases
        )

    def fate(self, service: str, operation: str, now: float, route: str = "") -> Fate:
        """Draw what becomes of a call that leaves now."""
        trouble = self._trouble(service, operation, now, route)
        there, back = self._seconds(), self._seconds()
        if trouble is None:
            return Fate(Kind.GOOD, there, back)
        if trouble is Trouble.MIXED:
            trouble = self.rng.choice(PASSING)
        if trouble is Trouble.SLOW:
            return Fate(Kind.GOOD, there + self.rng.uniform(0, 4), back + self.rng.uniform(0, 12))
        if trouble is Trouble.EARLY:
            return Fate(Kind.EARLY if operation == "receive" else Kind.GOOD, there, back)
        if trouble is Trouble.SILENT:
            return Fate(self.rng.choice(_SILENT), there, back)
        if trouble in (Trouble.STOPPED, Trouble.WAVE, Trouble.STRANGER):
            return Fate(Kind.GOOD, there, back)
        is_after = trouble in (Trouble.CUT_AFTER, Trouble.BROKEN_AFTER)
        kind = Kind.FAILED_AFTER if is_after else Kind.FAILED
        return Fate(kind, there, back, self.failure(service, operation, trouble))

    def failure(self, service: str, operation: str, trouble: Trouble) -> Failure:
        """Return what the real client reports for this trouble."""
        match trouble:
            case Trouble.CUT_BEFORE | Trouble.CUT_AFTER:
                return no_answer(service, operation, Outcome.UNKNOWN)
            case Trouble.REFUSED:
                return no_answer(service, operation, Outcome.RETRY_LATER)
            case Trouble.THROTTLED:
                asked = self.rng.choice((None, None, 1.0, 5.0))
                return answered(service, operation, Blame.PASSING, 429, retry_after_seconds=asked)
            case Trouble.DENIED:
                return answered(service, operation, Blame.SERVICE, 403)
            case Trouble.CREDENTIALS:
                return answered(service, operation, Blame.CREDENTIALS, 401)
            case _:
                return answered(service, operation, Blame.PASSING, 503)

    def _trouble(self, service: str, operation: str, now: float, route: str) -> Trouble | None:
        if now >= self._clears_at:
            return None
        for phase in self._phases:
            if (
                phase.is_on(service, route, now)
                and (not phase.operations or operation in phase.operations)
                and (phase.share >= 1 or self.rng.random() < phase.share)
            ):
                return phase.trouble
        if self._background and self.rng.random() < self._background:
            return Trouble.MIXED
        return None

    def _seconds(self) -> float:
        drawn = self.rng.random()
        return self._latency_seconds * (0.1 + drawn if drawn < 0.98 else 10 * drawn)


def no_answer(service: str, operation: str, outcome: Outcome) -> Failure:
    """Return the failure of a call that got no answer."""
    return Failure(service, operation, outcome, Blame.PASSING)


def answered(
    service: str,
    operation: str,
    blame: Blame,
    status: int,
    code: str = "",
    *,
    retry_after_seconds: float | None = None,
) -> Failure:
    """Return the failure of a call that was answered with an error."""
    outcome = Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER
    return Failure(
        service, operation, outcome, blame, status, code, retry_after_seconds=retry_after_seconds
    )
