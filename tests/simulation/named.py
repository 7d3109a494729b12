"""Scenarios that have a name: the outages and accidents that people ask about."""

from __future__ import annotations

from dataclasses import replace

from simulation.bodies import Mix
from simulation.faults import Phase, Trouble
from simulation.queue import Habits
from simulation.scenario import Blow, Scenario

HOUR = 3600.0


def outage(service: str, trouble: Trouble, seconds: float = HOUR, start: float = 10.0) -> Scenario:
    """A service is gone for a while, with messages in hand and more to come."""
    return Scenario(
        1,
        mix=Mix(letters=60, span_seconds=120.0),
        phases=(Phase(service, trouble, start, start + seconds),),
        clears_at=start + seconds,
        pollers=1,
        workers=1,
    )


def _mix(letters: int, span_seconds: float, keys: int, events_max: int = 1) -> Mix:
    """Return letters that are all changes and all different."""
    return Mix(
        letters,
        span_seconds,
        plain_keys=keys,
        events_max=events_max,
        undecodable_share=0.0,
        nothing_share=0.0,
        repeated_share=0.0,
        nameless_share=0.0,
    )


def _only(service: str, trouble: Trouble, operation: str, share: float, end: float) -> Phase:
    return Phase(service, trouble, 0.0, end, share, frozenset({operation}))


NAMED: dict[str, Scenario] = {
    "calm": Scenario(1),
    "workers-of-one-name": Scenario(
        1, mix=Mix(letters=200, span_seconds=20.0), workers=3, share_a_name=True, layout="log"
    ),
    "sink-down-an-hour": outage("oms", Trouble.BUSY),
    "sink-silent": outage("oms", Trouble.SILENT, 900.0),
    "sink-slow-and-cut": outage("oms", Trouble.CUT_AFTER, 300.0),
    "store-down-an-hour": outage("oss", Trouble.BUSY),
    "store-read-only": outage("oss", Trouble.DENIED, 1200.0),
    "queue-down-an-hour": outage("mns", Trouble.REFUSED),
    "queue-credentials-refused": outage("mns", Trouble.CREDENTIALS, 1200.0),
    "task-stopped": outage("oms", Trouble.STOPPED, 1200.0),
    "answered-by-strangers": outage("oms", Trouble.STRANGER, 600.0),
    "wave-of-refusals": outage("oms", Trouble.WAVE, 1200.0),
    "posts-refused-while-the-task-answers": Scenario(
        1,
        mix=Mix(letters=60, span_seconds=120.0),
        phases=(Phase("oms", Trouble.DENIED, 10.0, 10.0 + HOUR, 1.0, frozenset({"post"})),),
        clears_at=10.0 + HOUR,
        pollers=4,
    ),
    "deletes-refused-while-polls-work": Scenario(
        1,
        mix=Mix(letters=60, span_seconds=120.0),
        phases=(Phase("mns", Trouble.DENIED, 10.0, 10.0 + HOUR, 1.0, frozenset({"delete"})),),
        clears_at=10.0 + HOUR,
        pollers=4,
    ),
    "credentials-refused-from-the-start": outage("oms", Trouble.CREDENTIALS, 1500.0, start=0.0),
    "credentials-refused-later": outage("oms", Trouble.CREDENTIALS, 1500.0),
    "credentials-refused-while-the-task-is-asked": Scenario(
        1,
        mix=Mix(letters=80, span_seconds=60.0, poison_keys=4, plain_keys=6),
        phases=(
            Phase("oms", Trouble.CREDENTIALS, 20.0, 1200.0, 1.0, frozenset({"show"})),
            Phase("oms", Trouble.CREDENTIALS, 22.0, 1200.0),
        ),
        clears_at=1200.0,
        pollers=4,
    ),
    "one-poison-key-in-a-full-batch": Scenario(
        1,
        mix=Mix(letters=40, span_seconds=0.01, plain_keys=30, poison_keys=1, events_max=1),
        habits=Habits(is_short=False),
        linger_seconds=0.5,
        clears_at=1.0,
    ),
    "a-thousand-duplicates": Scenario(
        1, mix=_mix(1000, 20.0, keys=3), clears_at=30.0, max_in_flight=1000, pollers=4
    ),
    "lost-delete-replies": Scenario(
        1,
        mix=_mix(80, 60.0, keys=200),
        phases=(
            Phase("mns", Trouble.CUT_AFTER, 25.0, 300.0, 0.4, frozenset({"delete"})),
            Phase("mns", Trouble.CUT_BEFORE, 25.0, 300.0, 1.0, frozenset({"delete"})),
        ),
        clears_at=300.0,
    ),
    "slow-sink-short-visibility": Scenario(
        1,
        mix=_mix(80, 30.0, keys=60),
        habits=Habits(visibility_seconds=10),
        work_seconds=12.0,
        clears_at=60.0,
    ),
    "slow-drain-short-visibility": Scenario(
        1,
        mix=_mix(60, 40.0, keys=60),
        habits=Habits(visibility_seconds=10, is_short=False),
        work_seconds=8.0,
        blows=(Blow(40.0, "stop"), Blow(100.0, "stop")),
        workers=2,
        clears_at=90.0,
    ),
    "sink-down-with-few-deliveries-allowed": replace(
        outage("oms", Trouble.BUSY, 900.0), max_deliveries=2
    ),
    "one-failed-renewal": Scenario(
        1,
        mix=_mix(60, 60.0, keys=60),
        habits=Habits(visibility_seconds=10),
        phases=(_only("mns", Trouble.BUSY, "renew", 0.3, 100.0),),
        work_seconds=8.0,
        clears_at=100.0,
    ),
    "hung-deletes": Scenario(
        1,
        mix=_mix(60, 60.0, keys=60),
        habits=Habits(visibility_seconds=10),
        phases=(_only("mns", Trouble.SILENT, "delete", 0.2, 100.0),),
        clears_at=100.0,
    ),
    "stop-during-an-outage": Scenario(
        1,
        mix=Mix(letters=60, span_seconds=60.0),
        phases=(Phase("oms", Trouble.SILENT, 10.0, 200.0),),
        blows=(Blow(20.0, "stop"), Blow(100.0, "stop")),
        clears_at=200.0,
    ),
    "hard-stop": Scenario(
        1,
        mix=_mix(200, 10.0, keys=150),
        work_seconds=15.0,
        blows=(Blow(9.0, "leave"), Blow(40.0, "stop and leave", seconds=2.0)),
        clears_at=60.0,
        max_in_flight=1000,
    ),
    "early-empty-answers": Scenario(
        1,
        mix=Mix(letters=20, span_seconds=200.0),
        phases=(Phase("mns", Trouble.EARLY, 0.0, 200.0),),
        clears_at=200.0,
        pollers=4,
    ),
    "a-record-that-cannot-be-written": Scenario(
        1,
        mix=Mix(letters=30, span_seconds=10.0, plain_keys=20, unrecordable_keys=1),
        clears_at=20.0,
        max_deliveries=5,
    ),
    "kill-after-kill": Scenario(
        1,
        mix=Mix(letters=80, span_seconds=60.0),
        blows=tuple(Blow(0.7 * n, "kill", steps=7 * n) for n in range(2, 80)),
        workers=2,
        clears_at=60.0,
    ),
}
