from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from doubles.build import Heard, failure
from doubles.build import message as build_message
from doubles.clock import EPOCH, EndingClock, EndOfTestError, QuickClock
from doubles.vendors import ModelQueue
from worker.errors import Blame, CallFailed
from worker.events.event import Message
from worker.flow.lease import Leases
from worker.observe.depth import JITTER, SAMPLE_SECONDS, Depth
from worker.ports import QueueAttributes

FOUND = QueueAttributes(30, 345_600, active_messages=700, inactive_messages=20, delayed_messages=3)
PASSING = CallFailed(
    failure(Blame.PASSING, service="mns", operation="GetQueueAttributes", status=503)
)
DENIED = CallFailed(
    failure(
        Blame.SERVICE,
        service="mns",
        operation="BatchPeekMessage",
        status=403,
        code="AccessDenied",
    )
)


@dataclass
class Queue:
    """Answers in turn; the last answer again and again. An exception is raised."""

    answers: list[QueueAttributes | Exception]
    seen: list[Message] | Exception = field(default_factory=list)
    asked: int = 0

    async def attributes(self) -> QueueAttributes:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def peek(self) -> list[Message]:
        if isinstance(self.seen, Exception):
            raise self.seen
        return self.seen


def waiting(*ages: float) -> list[Message]:
    found = [build_message(f"M{number}") for number in range(len(ages))]
    return [
        each._replace(enqueue_time_ms=int((EPOCH - age) * 1000))
        for each, age in zip(found, ages, strict=True)
    ]


def leases(heard: Heard) -> Leases:
    queue = ModelQueue(QuickClock())
    return Leases(queue, QuickClock(), heard.journal, visibility_seconds=60, limit=1000)


def seen_by(held: Leases) -> tuple[Callable[[], int], Callable[[QueueAttributes], None]]:
    return lambda: len(held.in_hand), held.follow


def depth(queue: Queue, heard: Heard, clock: QuickClock | None = None) -> Depth:
    return Depth(
        queue, clock or QuickClock(), random.Random(1), heard.journal, *seen_by(leases(heard))
    )


def shown(heard: Heard, state: str) -> float | None:
    registry = heard.journal.metrics.registry
    return registry.get_sample_value("oms_relay_queue_messages", {"state": state})


async def test_the_counters_of_the_queue_are_shown() -> None:
    heard = Heard()
    await depth(Queue([FOUND], waiting(5, 90, 60)), heard).sample()
    assert shown(heard, "active") == 700
    assert shown(heard, "inactive") == 20
    assert shown(heard, "delayed") == 3
    assert heard.count("queue_oldest_seconds") == pytest.approx(90, abs=0.01)
    assert heard.count("queue_retention_seconds") == 345_600


@pytest.mark.parametrize("peeked", [[], DENIED])
async def test_leases_take_the_visibility_that_the_queue_has_by_now(
    peeked: list[Message] | Exception,
) -> None:
    heard = Heard()
    held = leases(heard)
    sampler = Depth(
        Queue([FOUND], peeked), QuickClock(), random.Random(1), heard.journal, *seen_by(held)
    )
    await sampler.sample()
    assert held.visibility_seconds == 30


async def test_an_empty_queue_has_an_age_of_zero() -> None:
    heard = Heard()
    await depth(Queue([RETIRED]), heard).sample()
    assert shown(heard, "active") == 0
    assert heard.count("queue_oldest_seconds") == 0


RETIRED = replace(FOUND, active_messages=0, inactive_messages=0, delayed_messages=0)


async def test_counters_that_read_0_while_messages_come_are_no_figure() -> None:
    heard = Heard()
    sampler = depth(Queue([FOUND, RETIRED], waiting(1, 2, 3)), heard)
    await sampler.sample()
    assert shown(heard, "active") == 700
    await sampler.sample()
    await sampler.sample()
    assert [shown(heard, state) for state in ("active", "inactive", "delayed")] == [None] * 3
    assert heard.count("queue_oldest_seconds") == pytest.approx(3, abs=0.01)
    assert heard.count("queue_retention_seconds") == 345_600
    (line,) = heard.lines
    assert line["why"] == "MNS's counters all read 0 while messages come"
    assert "oms_relay_queue_oldest_seconds" in line["hint"]


async def test_messages_in_hand_prove_as_well_that_counters_of_0_are_wrong() -> None:
    heard = Heard()
    held = leases(heard)
    sampler = Depth(
        Queue([RETIRED], []), QuickClock(), random.Random(1), heard.journal, *seen_by(held)
    )
    await sampler.sample()
    assert shown(heard, "active") == 0
    held.hold([build_message("M1")])
    await sampler.sample()
    assert shown(heard, "active") is None


async def test_counters_of_0_are_no_figure_where_nobody_may_look() -> None:
    heard = Heard()
    await depth(Queue([RETIRED], DENIED), heard).sample()
    assert shown(heard, "active") is None


async def test_a_denied_peek_costs_only_the_age_and_is_told_once() -> None:
    heard = Heard()
    with pytest.raises(EndOfTestError):
        await depth(Queue([FOUND], DENIED), heard, EndingClock(3)).run()
    assert shown(heard, "active") == 700
    assert math.isnan(heard.count("queue_oldest_seconds"))
    assert len(heard.lines) == 1
    assert "mns:PeekMessage" in heard.lines[0]["hint"]


async def test_a_failure_hides_the_figures_until_they_are_fresh() -> None:
    heard = Heard()
    with pytest.raises(EndOfTestError):
        await depth(Queue([FOUND, PASSING]), heard, EndingClock(2)).run()
    assert shown(heard, "active") is None
    assert math.isnan(heard.count("queue_retention_seconds"))
    with pytest.raises(EndOfTestError):
        await depth(Queue([PASSING, FOUND]), heard, EndingClock(2)).run()
    assert shown(heard, "active") == 700


async def test_one_kind_of_failure_is_logged_once_and_again_after_a_success() -> None:
    heard = Heard()
    answers: list[QueueAttributes | Exception] = [PASSING, PASSING, FOUND, PASSING]
    with pytest.raises(EndOfTestError):
        await depth(Queue(answers), heard, EndingClock(4)).run()
    assert [line["action"] for line in heard.lines] == ["depth", "depth"]


async def test_not_even_a_fault_of_its_own_ends_it() -> None:
    heard = Heard()
    with pytest.raises(EndOfTestError):
        await depth(Queue([ZeroDivisionError("oops"), FOUND]), heard, EndingClock(2)).run()
    assert shown(heard, "active") == 700
    assert "oops" in heard.lines[0]["why"]


async def test_samples_are_half_a_minute_apart_give_or_take() -> None:
    clock = EndingClock(50)
    with pytest.raises(EndOfTestError):
        await depth(Queue([FOUND]), Heard(), clock).run()
    low, high = SAMPLE_SECONDS * (1 - JITTER), SAMPLE_SECONDS * (1 + JITTER)
    assert all(low <= each <= high for each in clock.slept)
    assert len(set(clock.slept)) > 40


async def test_nothing_is_asked_while_mns_does_not_work() -> None:
    heard, queue = Heard(), Queue([FOUND])
    sampler = Depth(
        queue,
        EndingClock(3),
        random.Random(1),
        heard.journal,
        *seen_by(leases(heard)),
        lambda: False,
    )
    with pytest.raises(EndOfTestError):
        await sampler.run()
    assert queue.asked == 0
    assert shown(heard, "active") is None
