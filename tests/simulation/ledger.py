"""What happened in a world, in order: the source of its digest, its counts and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

VIOLATIONS_MAX = 20


@dataclass(slots=True)
class Ledger:
    """Numbers every event of a world: `a` happened before `b` if its number is smaller."""

    now: Callable[[], float]
    entries: list[tuple[float, str, str, object]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def note(self, who: str, what: str, detail: object = "") -> int:
        """Write one event down and return its number."""
        self.counts[what] += 1
        self.entries.append((round(self.now(), 6), who, what, detail))
        return len(self.entries)

    def violated(self, rule: str, text: str) -> None:
        """Write a broken promise down."""
        self.note("oracle", "violation", f"{rule}: {text}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(f"{rule} at {self.now():.3f} s: {text}")

    def digest(self) -> str:
        """Return a digest of everything that happened: equal worlds have equal digests."""
        return blake2b(repr(self.entries).encode(), digest_size=12).hexdigest()
