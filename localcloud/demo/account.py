"""The account: every number beside what it must be. Plain functions over `Facts`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from localcloud.demo.facts import Facts, readings

KEYS_SHOWN_MAX = 3
KEYS_PER_POST_MAX = 10
_PREFIX = "oms_relay_"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what, how much, what it must be and why, and whether it is.

    `is_right` None marks a number that is only told. `differs` says what is wrong.
    """

    what: str
    found: str
    must_be: str = ""
    is_right: bool | None = None
    differs: str = ""


def account(facts: Facts) -> list[Line]:
    """Return all lines, in the order in which a change travels."""
    return [
        *_announced(facts),
        *_relayed(facts),
        *_accepted(facts),
        *_recorded(facts),
        *_dead(facts),
        *_arrived(facts),
        *_ended(facts),
    ]


def wrong(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that do not add up."""
    return [line for line in lines if line.is_right is False]


def _announced(facts: Facts) -> Iterator[Line]:
    source = facts.source
    overwrites = source.writes - len(source.keys)
    yield Line(
        "objects written",
        f"{len(source.keys):,}",
        f"{source.writes:,} writes ({overwrites:,} overwrites), {source.deletions:,} deletions",
    )
    expected = source.writes + source.deletions + source.announced_twice - source.events_lost
    yield _equal(
        "events announced",
        source.events_announced,
        expected,
        f"writes + deletions + {source.announced_twice:,} announced twice",
    )
    yield _equal("events lost by OSS", source.events_lost, 0, "none")


def _relayed(facts: Facts) -> Iterator[Line]:
    relay = facts.relay
    if relay is None:
        yield Line("relay's own counters", "-", f"gone with the killed processes ({facts.kills})")
        return
    received = _counter(relay, "messages_received_total")
    yield _at_least(
        "messages received", received, facts.messages, "all, and again what was delivered again"
    )
    merged, repeated = (
        _counter(relay, "keys_merged_total"),
        _counter(relay, "events_repeated_total"),
    )
    yield Line("merged with a waiting key", f"{merged:,}", "one post serves them all")
    yield Line(
        "delivered again by MNS",
        f"{repeated:,}",
        "events whose record stood already: not posted a second time",
    )
    changes = sum(
        _counter(relay, f'events_decoded_total{{kind="{kind}"}}')
        for kind in ("created", "modified", "replicated", "unknown")
    )
    settled = merged + repeated + _total(relay, "keys_posted_total")
    ambiguous = changes if any(map(readings, facts.source.keys)) else 0
    yield Line(
        "posted + merged + delivered again",
        f"{settled:,}",
        f"{changes:,} changes + {settled - changes:,} second readings of `%XX` and `+`",
        changes <= settled <= changes + ambiguous,
        f"{changes:,} changes were decoded",
    )


def _accepted(facts: Facts) -> Iterator[Line]:
    sink = facts.sink
    yield Line(
        "posts accepted by OMS", f"{sink.posts:,}", f"{sink.keys:,} keys in them, 10 at most"
    )
    if facts.relay is not None:
        known = _counter(facts.relay, 'keys_posted_total{outcome="accepted"}')
        known += _arrivals(facts.relay, "resent")
        again = sink.keys - known
        yield Line(
            "keys accepted by OMS",
            f"{sink.keys:,}",
            f"{known:,} known to the relay + {again:,} in {sink.answers_lost:,} lost answers",
            0 <= again <= sink.answers_lost * KEYS_PER_POST_MAX,
            f"{again:,} keys are more than so many lost answers explain",
        )


def _recorded(facts: Facts) -> Iterator[Line]:
    refused = facts.refused.keys()
    expected = facts.source.keys - refused
    allowed = {reading for key in expected for reading in readings(key)}
    missing = sorted(expected - facts.kept.success)
    surplus = sorted(facts.kept.success - expected - allowed)
    second = len(facts.kept.success & allowed - expected)
    yield Line(
        "success records",
        f"{len(facts.kept.success):,}",
        f"{len(expected):,} keys not refused + {second:,} second readings of deleted ones",
        not missing and not surplus,
        _keys("no record of", missing) or _keys("a record, but no such object:", surplus),
    )
    differing = sorted(facts.kept.failed ^ refused)
    yield Line(
        "failed records",
        f"{len(facts.kept.failed):,}",
        f"{len(refused):,} keys that OMS refuses",
        not differing,
        _keys("wrong or missing:", differing),
    )


def _dead(facts: Facts) -> Iterator[Line]:
    expected = {"rejected": sum(facts.refused.values()), "undecodable": facts.undecodable}
    reasons = {
        "rejected": "messages about refused keys",
        "undecodable": "messages without an event",
    }
    for cause in sorted(expected.keys() | facts.kept.dead_letters.keys()):
        yield _equal(
            f"dead letters: {cause}",
            facts.kept.dead_letters.get(cause, 0),
            expected.get(cause, 0),
            reasons.get(cause, "none"),
        )


def _arrived(facts: Facts) -> Iterator[Line]:
    relay, sink = facts.relay, facts.sink
    if relay is None:
        yield Line("arrived at the destination", "-", "followed by the killed processes")
        return
    yield Line(
        "copies lost by OMS",
        f"{sink.copies_lost:,}",
        f"in silence; {sink.copies_failed:,} more failed, and are listed by OMS",
    )
    resent = _arrivals(relay, "resent")
    yield Line("announced again", f"{resent:,}", "changes that were not there in time")
    arrived, proved = _arrivals(relay, "arrived"), _counter(relay, "arrivals_proved_total")
    pending, lost = _counter(relay, "arrivals_pending"), _arrivals(relay, "given_up")
    yield Line(
        "arrived at the destination",
        f"{arrived:,}",
        "keys followed to the end: none is missing, none was given up",
        not pending and not lost,
        f"{pending:,} are still followed, {lost:,} were given up",
    )
    yield _equal("proved by checksums", proved, arrived, "the same bytes on both sides")


def _ended(facts: Facts) -> Iterator[Line]:
    deleted = facts.messages - facts.messages_left
    yield _equal("messages deleted", deleted, facts.messages, "all that were sent")
    yield Line(
        "queue empty",
        _yes(is_true=not facts.messages_left),
        "yes",
        not facts.messages_left,
        f"{facts.messages_left:,} messages are left",
    )
    sink = facts.sink
    yield Line(
        "destination identical to source",
        _yes(is_true=not sink.differing),
        f"{facts.source.live - len(facts.refused):,} objects compared byte for byte",
        not sink.differing,
        f"{len(sink.differing):,} differ, " + _keys("such as", sink.differing),
    )
    told = "killed" if facts.exit_code is None else str(facts.exit_code)
    yield Line(
        "relay's exit code after SIGTERM", told, "0", facts.exit_code == 0, "it did not stop well"
    )


def _equal(what: str, found: int, expected: int, reason: str) -> Line:
    must_be = reason if expected == 0 and reason == "none" else f"{expected:,}: {reason}"
    return Line(what, f"{found:,}", must_be, found == expected, f"{found - expected:+,} off")


def _at_least(what: str, found: int, least: int, reason: str) -> Line:
    is_right = found >= least
    return Line(
        what, f"{found:,}", f"{least:,} or more: {reason}", is_right, f"{least - found:,} short"
    )


def _arrivals(relay: Mapping[str, float], outcome: str) -> int:
    return _counter(relay, f'arrivals_total{{outcome="{outcome}"}}')


def _counter(relay: Mapping[str, float], name: str) -> int:
    return round(relay.get(_PREFIX + name, 0))


def _total(relay: Mapping[str, float], name: str) -> int:
    whole = f"{_PREFIX}{name}{{"
    return round(sum(value for sample, value in relay.items() if sample.startswith(whole)))


def _keys(what: str, keys: Iterable[str]) -> str:
    listed = list(keys)
    shown = ", ".join(repr(key) for key in listed[:KEYS_SHOWN_MAX])
    more = len(listed) - KEYS_SHOWN_MAX
    if not listed:
        return ""
    return f"{what} {shown}" + (f" and {more:,} more" if more > 0 else "")


def _yes(*, is_true: bool) -> str:
    return "yes" if is_true else "no"
