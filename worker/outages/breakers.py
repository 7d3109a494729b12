"""All breakers of one relay: who receives waits for each of them, and health and metrics show each."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from worker.clock import Clock
from worker.observe.journal import Journal
from worker.outages.breaker import Breaker


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

    def add(self, service: str, cloud: Cloud) -> Breaker:
        """Return a new breaker; it is shown under the name of its service."""
        breaker = Breaker(service, self._clock, self._journal)
        self._clouds[breaker] = cloud
        return breaker

    def probe_now(self, cloud: Cloud) -> None:
        """Bring all probes with this cloud's credentials forward: they have changed."""
        for breaker, its_cloud in self._clouds.items():
            if its_cloud is cloud:
                breaker.probe_now()
