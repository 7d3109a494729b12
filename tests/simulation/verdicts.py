"""What one process has seen and done, and the judgements that follow from it."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

from simulation.bodies import Event
from simulation.queue import Lease

# A post that asks with a key accepted before may wait for its place while other keys are accepted.
CONTROLS = 4


@dataclass(slots=True)
class Memory:
    """One process, from outside. Numbers are places in the ledger.

    `recorded` holds for each key the start of the latest post that a success record vouches for.
    """

    first_seen: dict[Event, int] = field(default_factory=dict)
    seen_of_key: dict[str, set[Event]] = field(default_factory=dict)
    done: set[Event] = field(default_factory=set)
    recorded: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    refused_at: dict[str, float] = field(default_factory=dict)
    refusals: int = 0
    controls: dict[str, deque[str]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=CONTROLS))
    )

    def why_not_done(self, event: Event, dead_cause: str | None) -> str:
        """Say why a message with this event must not be deleted yet; empty if it may."""
        seen_at = self.first_seen.get(event)
        if seen_at is None:
            return "it never received this event"
        if self.recorded.get(event.key, 0) > seen_at or dead_cause == "max-deliveries":
            return ""
        if event.key in self.failed:
            return "" if dead_cause == "rejected" else "the key failed and there is no dead letter"
        return "no record names an accepted post that started after the message came"


def lease_was_fair(lease: Lease) -> bool:
    """Whether the holder still has the message, and nothing but itself could have cost it the lease."""
    return (
        lease.is_delivered
        and not lease.is_let_go
        and not lease.is_exposed
        and not lease.is_doubtful
        and lease.process.is_alive
        and lease.process.troubles == lease.troubles
    )
