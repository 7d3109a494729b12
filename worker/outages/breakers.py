"""All breakers of one relay: who receives waits for each of them, and health and metrics show each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from worker.clock import Clock
from worker.observe.journal import Journal
from worker.outages.breaker import Breaker, State


class Cloud(StrEnum):
    """Whose credentials the calls to a service are signed with."""

    ALIBABA = "alibaba"
    HUAWEI = "huawei"


class Breakers:
    """As many as the relay depends on, in the order in which they were added."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._clouds: dict[Breaker, Cloud] = {}

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._clouds)

    def add(self, service: str, cloud: Cloud, journal: Journal | None = None) -> Breaker:
        """Return a new breaker; it is shown under the name of its service, and of the journal's route."""
        breaker = Breaker(service, self._clock, journal or self._journal)
        self._clouds[breaker] = cloud
        return breaker

    def probe_now(self, cloud: Cloud) -> None:
        """Bring all probes with this cloud's credentials forward: they have changed."""
        for breaker, its_cloud in self._clouds.items():
            if its_cloud is cloud:
                breaker.probe_now()


class OneOf:
    """The breakers of several routes as receiving sees them: it stops while all are open, and for no trial.

    What may pass on trial each route decides at its own door, for messages come mixed.
    """

    def __init__(self, breakers: Iterable[Breaker]) -> None:
        self._breakers = tuple(breakers)
        self.listeners: list[Callable[[], None]] = []
        for breaker in self._breakers:
            breaker.listeners.append(self._hear)

    @property
    def state(self) -> State:
        """Open if all are, else closed."""
        return State.OPEN if self.is_open else State.CLOSED

    @property
    def is_open(self) -> bool:
        """Whether none of them may be called."""
        return all(breaker.is_open for breaker in self._breakers)

    def _hear(self) -> None:
        for hear in self.listeners:
            hear()
