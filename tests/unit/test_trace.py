"""Traces: which messages are sampled, what is noted of them, and what the environment asks for."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from doubles.build import Heard, change, held, message
from doubles.clock import EPOCH, HandClock
from worker.flow.dedupe import Change, Waiter
from worker.flow.flow import note_pass, note_request
from worker.flow.lease import Held
from worker.observe.trace import RATIO_DEFAULT, Trace, Traces, Verb, wished

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


class Ended:
    """What was handed over at the end of a trace."""

    def __init__(self) -> None:
        self.traces: list[tuple[Trace, Mapping[str, str | int], str]] = []

    def __call__(self, trace: Trace, facts: Mapping[str, str | int], why: str) -> None:
        self.traces.append((trace, facts, why))


def sampled(ratio: float, count: int, seed: int = 7) -> list[Trace]:
    traces = Traces(ratio, HandClock(), random.Random(seed), Ended())
    return [trace for _ in range(count) if (trace := traces.begin(0, 0.0))]


@pytest.mark.parametrize("ratio", [0.001, 0.1, 0.5])
def test_the_ratio_is_kept(ratio: float) -> None:
    count = 50_000
    spread = (count * ratio * (1 - ratio)) ** 0.5
    assert abs(len(sampled(ratio, count)) - count * ratio) < 4 * spread


def test_every_message_or_none_can_be_sampled() -> None:
    assert len(sampled(1.0, 1000)) == 1000
    assert not sampled(0.0, 1000)


def test_the_trace_id_decides_as_collectors_do() -> None:
    rng = random.Random(7)
    drawn = [rng.getrandbits(128) for _ in range(10_000)]
    below = [each for each in drawn if (each & (2**64 - 1)) / 2**64 < 0.1]
    assert [trace.trace_id for trace in sampled(0.1, 10_000)] == below


def traced(clock: HandClock, *, polled_at: float = 0.0, queued_at: float = 0.0) -> Held:
    """A message in hand that is traced."""
    queued = message()._replace(enqueue_time_ms=round((EPOCH + queued_at) * 1000))
    one = Held(queued, "H", clock.now, 0.0, 0.0)
    traces = Traces(1.0, clock, random.Random(1), Ended())
    one.trace = traces.begin(queued.enqueue_time_ms, polled_at)
    return one


def spans(one: Held) -> list[tuple[str, float, float]]:
    assert one.trace is not None
    return [(str(verb), began, ended) for verb, began, ended in one.trace.spans()]


@pytest.mark.parametrize(
    ("polled_at", "queued_at", "began"),
    [
        (10.0, 5.0, 10.0),  # it waited before the poll left
        (10.0, 25.0, 25.0),  # the poll waited for it
        (10.0, 99.0, 30.0),  # the clock of MNS is ahead
    ],
)
def test_receive_begins_with_the_poll_or_with_the_message(
    polled_at: float, queued_at: float, began: float
) -> None:
    clock = HandClock()
    clock.advance(30.0)
    one = traced(clock, polled_at=polled_at, queued_at=queued_at)
    [(verb, start, end)] = spans(one)
    assert (verb, end) == ("receive", 30.0)
    assert start == pytest.approx(began, abs=1e-3)


def test_the_verbs_follow_each_other_without_a_gap() -> None:
    clock = HandClock()
    one = traced(clock)
    assert one.trace is not None
    for seconds, verb in enumerate([*Verb][1:], 1):
        clock.advance(seconds)
        one.trace.passed(verb)
    assert [verb for verb, _, _ in spans(one)] == [str(verb) for verb in Verb]
    assert [ended - began for _, began, ended in spans(one)] == [0, 1, 2, 3, 4, 5]
    ends = [ended for _, _, ended in spans(one)]
    assert [began for _, began, _ in spans(one)] == [0, *ends[:-1]]


def test_a_verb_lasts_from_the_first_key_to_the_last() -> None:
    clock = HandClock()
    one = traced(clock)
    assert one.trace is not None
    # Two keys: the second one waits while the first one is posted.
    for verb in (Verb.DECODE, Verb.DEDUPE, Verb.DEDUPE, Verb.POST, Verb.POST):
        clock.advance(1.0)
        one.trace.passed(verb)
    assert spans(one)[1:] == [("decode", 0, 1), ("dedupe", 1, 3), ("post", 2, 5)]


def test_a_wall_clock_that_is_set_back_turns_no_span_around() -> None:
    class SetBack(HandClock):
        def wall(self) -> float:
            return EPOCH - 1000 * self.now

    clock = SetBack()
    one = traced(clock)
    clock.advance(5.0)
    assert one.trace is not None
    one.trace.passed(Verb.DECODE)
    assert all(began <= ended for _, began, ended in spans(one))
    assert one.trace.epoch == EPOCH


def test_all_messages_behind_a_key_note_its_way() -> None:
    clock = HandClock()
    first, second, untraced = traced(clock), traced(clock), held("M3")
    waiters = [Waiter(each, change().newest.event, b"") for each in (first, second, untraced)]
    note_pass(Verb.DEDUPE, [Change("a.txt", waiters)])
    note_request(Change("a.txt", waiters), "R1")
    note_request(Change("a.txt", waiters), "")
    assert [spans(each)[-1][0] for each in (first, second)] == ["dedupe", "dedupe"]
    assert [each.trace.request_id for each in (first, second) if each.trace] == ["R1", "R1"]
    assert untraced.trace is None


def test_a_message_ends_its_trace_once_with_what_the_log_says() -> None:
    heard, ended = Heard(), Ended()
    one = held(deliveries=3)
    heard.journal.traces = Traces(1.0, HandClock(), random.Random(1), ended)
    one.trace = heard.journal.traced(0, 0.0)
    one.keys, one.first_key = 2, "k" * 600
    heard.journal.ended(one.story(), "released", 1.0, "w" * 600)
    heard.journal.ended(one.story(), "deleted", 1.0)
    [(_, facts, why)] = ended.traces
    line = heard.lines[0]
    assert facts == {
        name: line[name] for name in ("message_id", "key", "keys", "attempt", "outcome")
    }
    assert len(str(facts["key"])) == len(why) == 512


def test_without_a_wish_nothing_is_noted() -> None:
    assert Heard().journal.traced(0, 0.0) is None


@pytest.mark.parametrize(
    ("environ", "ratio"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "  "}, None),
        (ON, RATIO_DEFAULT),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, RATIO_DEFAULT),
        (ON | {"OTEL_SDK_DISABLED": "TRUE"}, None),
        (ON | {"OTEL_SDK_DISABLED": "false"}, RATIO_DEFAULT),
        (ON | {"OTEL_TRACES_EXPORTER": "none"}, None),
        (ON | {"OTEL_TRACES_EXPORTER": "console, OTLP"}, RATIO_DEFAULT),
        (ON | {"OTEL_TRACES_SAMPLER": "always_on"}, 1.0),
        (ON | {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1.0),
        (ON | {"OTEL_TRACES_SAMPLER": "always_off"}, None),
        (ON | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, 0.25),
        (ON | {"OTEL_TRACES_SAMPLER": "traceidratio"}, 1.0),
        (ON | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, None),
        (ON | {"OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5),
    ],
)
def test_the_environment_asks_for_a_share(environ: dict[str, str], ratio: float | None) -> None:
    wish = wished(environ)
    assert (wish.ratio if wish else None) == ratio
    assert not wish or not wish.warnings


@pytest.mark.parametrize(
    "wrong",
    [
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER_ARG": "often"},
        {"OTEL_TRACES_SAMPLER_ARG": "1.5"},
        {"OTEL_TRACES_SAMPLER_ARG": "nan"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_cannot_be_used_is_ignored_with_a_warning(wrong: dict[str, str]) -> None:
    wish = wished(ON | wrong)
    assert wish is not None
    assert wish.ratio == RATIO_DEFAULT
    [warning] = wish.warnings
    assert next(iter(wrong)) in warning
