"""The account of a comparison with the destination: objects and bytes, proved and unproved apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.clock import iso
from worker.commands import frame
from worker.commands.terminal import size, span
from worker.errors import CallFailed, Failure
from worker.operate.announce import Announced
from worker.operate.destination_reconcile import Effort, Judged, Question, Standing

REASONS_SHOWN = 8
REQUEST_CNY = 0.01 / 10_000
ESTIMATED_AT = 10_000
MILLION = 1_000_000
ORDER = (
    Standing.PROVED,
    Standing.UNPROVED,
    Standing.PENDING,
    Standing.MISSING,
    Standing.DIFFERENT,
    Standing.EXTRA,
    Standing.UNREADABLE,
)


@dataclass(slots=True)
class Account:
    """What was found so far."""

    counts: Counter[Standing] = field(default_factory=Counter)
    bytes: Counter[Standing] = field(default_factory=Counter)
    unproved: Counter[str] = field(default_factory=Counter)
    futile: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    first_failure: Failure | None = None

    def add(self, announced: Announced[Judged]) -> None:
        """Count one name."""
        judged = announced.finding
        self.counts[judged.standing] += 1
        self.bytes[judged.standing] += judged.size
        self.sent += bool(announced.message_id)
        self.first_failure = self.first_failure or judged.failure
        if judged.standing is Standing.UNPROVED:
            self.unproved[judged.why] += 1
        if judged.futile:
            self.futile[judged.futile] += 1

    def add_proved(self, count: int, held: int) -> None:
        """Count proved objects, and the bytes that they hold."""
        if count:
            self.counts[Standing.PROVED] += count
            self.bytes[Standing.PROVED] += held

    def kept(self) -> dict[str, Any]:
        """Return what an interrupted comparison needs to go on with its account."""
        return {
            "counts": dict(self.counts),
            "bytes": dict(self.bytes),
            "unproved": dict(self.unproved),
            "futile": dict(self.futile),
            "sent": self.sent,
        }

    @classmethod
    def again(cls, kept: Mapping[str, Any]) -> Account:
        """Take up the account of an interrupted comparison."""
        return cls(
            Counter({Standing(name): int(count) for name, count in kept["counts"].items()}),
            Counter({Standing(name): int(count) for name, count in kept["bytes"].items()}),
            Counter(kept["unproved"]),
            Counter(kept["futile"]),
            int(kept["sent"]),
        )

    @property
    def gaps(self) -> int:
        """How many names the destination lacks, or has otherwise."""
        return sum(count for standing, count in self.counts.items() if standing.is_gap)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is missing, different or unreadable."""
        return not self.gaps and not self.counts[Standing.UNREADABLE]

    @property
    def is_proof(self) -> bool:
        """Whether something of the source was compared, and each of it is proved."""
        compared = self.counts.total() - self.counts[Standing.EXTRA]
        return 0 < self.counts[Standing.PROVED] == compared

    def lines(self, grace_seconds: float) -> Iterator[str]:
        """Yield a line for each sign, and under `?` one for each reason."""
        words = {
            Standing.PROVED: "the same, proved by equal checksums",
            Standing.UNPROVED: "of equal size and not older, but not proved",
            Standing.PENDING: f"changed in the last {span(grace_seconds)}: may be on the way",
            Standing.MISSING: "missing in the destination",
            Standing.DIFFERENT: "different or older in the destination",
            Standing.EXTRA: "only in the destination (deleted, or never in the source)",
            Standing.UNREADABLE: "could not be looked at",
        }
        for each in ORDER:
            yield f"{each.sign} {self.counts[each]:>11} {size(self.bytes[each]):>10}  {words[each]}"
            if each is Standing.UNPROVED:
                for why, count in self.unproved.most_common(REASONS_SHOWN):
                    yield f"  {count:>11} {'':>10}    {why}"

    def share(self) -> str:
        """Say how much of what the source has is proved."""
        count, held = (each.total() - each[Standing.EXTRA] for each in (self.counts, self.bytes))
        if not count:
            return "No object of the source was compared, so nothing is proved."
        proved = self.counts[Standing.PROVED]
        return (
            f"Proved: {proved} of {count} objects of the source ({_percent(proved, count)}), "
            f"{size(self.bytes[Standing.PROVED])} of {size(held)}."
        )

    def trouble(self) -> str:
        """Say what the first failed look was, and what to do."""
        if self.first_failure is None:
            return ""
        return (
            f"The first that could not be looked at: {frame.told(CallFailed(self.first_failure))}"
        )

    def as_object(self, question: Question, *, is_complete: bool) -> dict[str, Any]:
        """Return it as the last line of a report."""
        return {
            "bucket": question.bucket,
            "destination": question.destination_bucket,
            "key_prefix": question.key_prefix,
            "since": time_of(question.since),
            "until": time_of(question.until),
            "is_complete": is_complete,
            "objects": {str(each): self.counts[each] for each in ORDER},
            "bytes": {str(each): self.bytes[each] for each in ORDER},
            "unproved_because": dict(self.unproved),
        }


def title(question: Question) -> str:
    """Say what was compared."""
    span_asked = " to ".join(
        f"{time_of(at)[:19].replace('T', ' ')}" if at is not None else words
        for at, words in ((question.since, "the beginning"), (question.until, "now"))
    )
    what = f"objects changed {span_asked} UTC" if question.has_span else "all objects"
    prefix = question.key_prefix
    return f"{question.bucket}/{prefix} and {question.destination_bucket}/{prefix} of OBS, {what}:"


def estimate(effort: Effort, expected: int) -> str:
    """Say what a long run costs, by what it has cost so far."""
    share = (expected or MILLION) / max(1, effort.source_objects)
    lists, heads = (round(count * share) for count in (effort.list_requests, effort.head_requests))
    money = max(0.01, (lists + heads) * REQUEST_CNY)
    objects = f"the {expected} objects that are expected" if expected else "each million objects"
    return (
        f"By the first {effort.source_objects}, {objects} take about {lists} list and {heads} HEAD requests: "
        f"about {money:.2f} CNY at 0.01 CNY per 10,000 (OSS's list price in the mainland, and taken for "
        "OBS's too: compare with your bill). Ctrl-C stops."
    )


def as_object(announced: Announced[Judged]) -> dict[str, Any]:
    """Return one name as JSON has it; null where a side does not have it."""
    judged = announced.finding
    why = "; ".join(each for each in (judged.why, judged.futile) if each)
    return {
        "key": judged.key,
        "sign": judged.standing.sign,
        "state": str(judged.standing),
        "why": why,
        **_side("source", judged),
        **_side("destination", judged),
        "message_id": announced.message_id,
    }


def _side(name: str, judged: Judged) -> Mapping[str, Any]:
    known = judged.source if name == "source" else judged.destination
    return {
        f"{name}_size": known.size if known else None,
        f"{name}_changed_at": time_of(known.last_modified) if known else None,
        f"{name}_etag": known.etag if known else None,
    }


def time_of(seconds: float | None) -> str:
    """Return epoch seconds as ISO 8601; empty for none."""
    return iso(seconds, "seconds") if seconds else ""


def _percent(part: int, whole: int) -> str:
    """Return a share that is 100 % only where nothing is left out."""
    share = 100 * part / whole
    return "100 %" if part == whole else f"{min(share, 99.99):.2f} %"
