from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.build import Heard, change, failure, service
from doubles.clock import EPOCH, QuickClock
from doubles.vendors import ModelSink
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.flow.post import UNVOUCHED_MAX, Poster, Verdict
from worker.outages.breaker import State
from worker.ports import KEYS_DOCUMENTED


class Bench:
    """A poster in front of a sync task in memory."""

    def __init__(self, keys_max: int = 10) -> None:
        self.clock = QuickClock()
        self.heard = Heard()
        self.sink = ModelSink()
        self.service = service(self.clock, self.heard.journal, attempts_max=3)
        self.poster = Poster(self.sink, self.service, self.clock, self.heard.journal, keys_max)

    async def post(self, *keys: str) -> list[Verdict]:
        return await self.poster.post([change(key) for key in keys])

    @property
    def posts(self) -> list[list[str]]:
        return self.sink.called("post")


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_accepted_batch_is_one_post_and_one_verdict_for_each_key(bench: Bench) -> None:
    verdicts = await bench.post("a", "b")
    assert [(v.change.key, v.outcome, v.request_id, v.attempts) for v in verdicts] == [
        ("a", Outcome.ACCEPTED, "request-1", 1),
        ("b", Outcome.ACCEPTED, "request-1", 1),
    ]
    assert all(v.failure is None and v.rejection is None for v in verdicts)
    assert bench.posts == [["a", "b"]]
    assert bench.heard.count("keys_posted_total", outcome="accepted") == 2


async def test_attempts_are_counted_and_the_last_one_is_the_time_of_the_post(bench: Bench) -> None:
    bench.sink.fail("post", failure(), failure())
    (verdict,) = await bench.post("a")
    assert verdict.attempts == 3
    assert verdict.posted_at == EPOCH + sum(bench.clock.slept)


async def test_unknown_stays_unknown(bench: Bench) -> None:
    """It was sent and no answer came: neither accepted nor refused, so the keys are still owed."""
    unknown = failure(outcome=Outcome.UNKNOWN, message="timed out")
    bench.sink.fail("post", *[unknown] * 3)
    verdicts = await bench.post("a", "b")
    assert [(v.outcome, v.failure, v.rejection) for v in verdicts] == [
        (Outcome.UNKNOWN, unknown, None)
    ] * 2
    assert bench.heard.count("keys_posted_total", outcome="unknown") == 2


async def test_while_the_breaker_is_open_nothing_is_posted_and_every_key_is_owed(
    bench: Bench,
) -> None:
    bench.service.breaker.open(failure(Blame.SERVICE, message="stopped"))
    (verdict,) = await bench.post("a")
    assert (verdict.outcome, verdict.attempts) == (Outcome.RETRY_LATER, 0)
    assert bench.sink.calls == []


async def test_one_bad_key_never_sinks_its_neighbours(bench: Bench) -> None:
    bench.sink.bad = {"c"}
    verdicts = await bench.post(*"abcdefgh")
    assert sorted(bench.sink.accepted) == list("abdefgh")
    (bad,) = [v for v in verdicts if v.outcome is not Outcome.ACCEPTED]
    assert bad.change.key == "c"
    assert bad.rejection is not None
    assert bad.rejection.code == "OMS.0064"
    assert [v.change.key for v in verdicts] == list("abcdefgh")


def posts_max(keys: int, bad: int) -> float:
    """The whole batch, two halves for each level down to each bad key, and the control key once."""
    return 2 * bad * math.ceil(math.log2(keys)) + 2 if bad and keys > 1 else 1 + 2 * bad


@given(st.integers(1, 100).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_splitting_finds_exactly_the_bad_keys_in_few_posts(case: tuple[int, set[int]]) -> None:
    count, bad = case
    bench = Bench(keys_max=100)
    keys = [f"key-{number}" for number in range(count)]
    bench.sink.bad = {keys[number] for number in bad}

    async def post() -> list[Verdict]:
        await bench.post("control")
        return await bench.post(*keys)

    verdicts = asyncio.run(post())
    assert {v.change.key for v in verdicts if v.rejection} == bench.sink.bad
    accepted = [key for key in bench.sink.accepted if key != "control"]
    assert sorted(accepted) == sorted(set(keys) - bench.sink.bad)
    assert [v.change.key for v in verdicts] == keys
    assert len(bench.posts) - 1 <= posts_max(count, len(bad))
    assert bench.service.breaker.state is State.CLOSED


async def test_a_stopped_task_is_to_blame_and_no_key(bench: Bench) -> None:
    bench.sink.status = "STOPPED"
    verdicts = await bench.post(*"abcd")
    assert {v.outcome for v in verdicts} == {Outcome.RETRY_LATER}
    assert not any(v.rejection for v in verdicts)
    assert bench.service.breaker.is_open
    assert bench.service.breaker.failure is not None
    assert bench.service.breaker.failure.blame is Blame.SERVICE
    assert "not known to be SYNCHRONIZING" in bench.service.breaker.failure.message
    assert len(bench.posts) == 1


@pytest.mark.parametrize("blame", [Blame.SERVICE, Blame.PASSING, Blame.ITEM])
async def test_a_task_whose_state_cannot_be_read_is_not_taken_for_synchronizing(
    bench: Bench, blame: Blame
) -> None:
    bench.sink.bad = {"a"}
    bench.sink.fail("show", *[failure(blame)] * 3)
    verdicts = await bench.post("a", "b")
    assert {v.outcome for v in verdicts} == {Outcome.RETRY_LATER}
    assert bench.service.breaker.is_open


async def test_a_task_that_stops_while_a_batch_is_split_costs_no_key(bench: Bench) -> None:
    bench.sink.bad = {"a", "d"}
    looks = 0
    show = bench.sink.show

    async def stop_after_two() -> object:
        nonlocal looks
        looks += 1
        bench.sink.status = "SYNCHRONIZING" if looks < 3 else "STOPPED"
        return await show()

    bench.sink.show = stop_after_two  # type: ignore[assignment, method-assign]
    verdicts = await bench.post(*"abcd")
    assert not any(v.rejection for v in verdicts)


async def test_a_task_that_was_stopped_during_the_post_and_started_again_costs_no_key(
    bench: Bench,
) -> None:
    """The refusal came from the stop, the look after it saw the new start: so the key is tried once more."""
    bench.sink.fail("post", failure(Blame.ITEM, status=400))
    (verdict,) = await bench.post("a")
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.attempts == 2


async def test_attempts_count_every_post_that_a_key_was_in(bench: Bench) -> None:
    bench.sink.bad = {"a"}
    verdicts = await bench.post(*"abcd")
    assert [v.attempts for v in verdicts] == [3, 3, 2, 2]


async def test_a_failure_in_the_middle_of_splitting_leaves_the_rest_owed(bench: Bench) -> None:
    bench.sink.bad = {"d"}
    refusal = failure(Blame.ITEM, status=400)
    bench.sink.fail("post", refusal, failure(Blame.CREDENTIALS, status=401))
    verdicts = await bench.post(*"abcd")
    assert {v.outcome for v in verdicts} == {Outcome.RETRY_LATER}
    assert len(bench.posts) == 2


class SmallSink(ModelSink):
    """A task that takes no more than so many keys at once."""

    keys_max = KEYS_DOCUMENTED

    async def post(self, keys: Sequence[str]) -> str:
        if len(keys) > self.keys_max:
            self.play("post", list(keys))
            refusal: Failure = failure(Blame.ITEM, status=400)
            raise CallFailed(refusal)
        return await super().post(keys)


def limited(keys_max: int) -> Bench:
    bench = Bench(keys_max)
    bench.sink = SmallSink()
    bench.poster = Poster(bench.sink, bench.service, bench.clock, bench.heard.journal, keys_max)
    return bench


async def test_a_size_that_oms_refuses_is_not_tried_again() -> None:
    bench = limited(16)
    await bench.post(*"abcdefghijklmnop")
    assert bench.poster.keys_max == KEYS_DOCUMENTED
    assert sorted(bench.sink.accepted) == list("abcdefghijklmnop")
    (line,) = bench.heard.lines
    assert (line["log_level"], line["keys"]) == ("warning", 16)


async def test_a_refused_size_says_nothing_while_keys_are_bad_too() -> None:
    bench = limited(16)
    bench.sink.bad = {"a"}
    await bench.post(*"abcdefghijklmnop")
    assert bench.poster.keys_max == 16


async def test_a_refused_batch_of_the_documented_size_is_not_blamed_on_its_size(
    bench: Bench,
) -> None:
    bench.sink.fail("post", failure(Blame.ITEM, status=400))
    await bench.post(*"abcdefghij")
    assert bench.poster.keys_max == 10


async def test_on_trial_after_an_outage_one_key_goes_first(bench: Bench) -> None:
    bench.service.breaker._become(State.TRIAL, failure())
    verdicts = await bench.post("a", "b", "c")
    assert bench.posts == [["a"], ["b", "c"]]
    assert [(v.change.key, v.outcome) for v in verdicts] == [
        (key, Outcome.ACCEPTED) for key in "abc"
    ]


async def test_a_key_that_oms_fails_on_sinks_no_neighbour_while_others_work(bench: Bench) -> None:
    post = bench.sink.post

    async def fail_on_bad(keys: Sequence[str]) -> str:
        if "bad" in keys:
            # Meanwhile another batch is accepted.
            bench.service.breaker.succeeded()
            bench.sink.fail("post", failure(Blame.PASSING))
        return await post(keys)

    bench.sink.post = fail_on_bad  # type: ignore[method-assign]
    keys = [f"good {number}" for number in range(6)] + ["bad", "last"]
    verdicts = await bench.post(*keys)
    assert [v.change.key for v in verdicts] == keys
    assert [v.change.key for v in verdicts if v.outcome is not Outcome.ACCEPTED] == ["bad"]


async def test_a_batch_that_fails_while_nothing_works_stays_whole(bench: Bench) -> None:
    bench.sink.fail("post", *[failure()] * 3)
    verdicts = await bench.post("a", "b")
    assert bench.posts == [["a", "b"]] * 3
    assert all(v.outcome is not Outcome.ACCEPTED for v in verdicts)


async def test_a_wave_of_refusals_costs_no_key_once_one_was_accepted(bench: Bench) -> None:
    """The task says SYNCHRONIZING all along, and refuses what it took a moment ago."""
    await bench.post("control")
    bench.sink.bad = {"control", *map(str, range(300))}
    verdicts = [verdict for n in range(300) for verdict in await bench.post(str(n))]
    assert all(verdict.outcome is Outcome.RETRY_LATER for verdict in verdicts)
    assert bench.service.breaker.is_open
    assert "a key that OMS has accepted before" in str(bench.service.breaker.failure)
    assert len(bench.posts) <= 4


async def test_a_wave_from_the_first_key_on_costs_at_most_twenty(bench: Bench) -> None:
    bench.sink.bad = set(map(str, range(300)))
    outcomes = [verdict.outcome for n in range(300) for verdict in await bench.post(str(n))]
    assert outcomes.count(Outcome.REJECTED) == UNVOUCHED_MAX
    assert bench.service.breaker.is_open
    assert "none was ever accepted" in str(bench.service.breaker.failure)


async def test_a_key_refused_in_a_wave_that_ends_is_posted_again(bench: Bench) -> None:
    await bench.post("control")
    bench.sink.fail("post", failure(Blame.ITEM, status=400, code="OMS.0999"))
    (verdict,) = await bench.post("a")
    assert verdict.outcome is Outcome.ACCEPTED
    assert bench.posts == [["control"], ["a"], ["control"], ["a"]]


async def test_an_acceptance_lets_refusals_count_again(bench: Bench) -> None:
    bench.sink.bad = set(map(str, range(300)))
    for n in range(UNVOUCHED_MAX):
        await bench.post(str(n))
    await bench.post("good")
    outcomes = [verdict.outcome for n in range(100, 140) for verdict in await bench.post(str(n))]
    assert outcomes == [Outcome.REJECTED] * 40
    assert not bench.service.breaker.is_open


async def test_a_control_key_is_posted_only_where_nothing_else_vouches(bench: Bench) -> None:
    await bench.post("good")
    bench.sink.bad = {"bad", "worse"}
    await bench.post("a", "b", "c", "bad")
    assert ["good"] not in bench.posts[1:]
    await bench.post("worse")
    assert bench.posts[-3:] == [["worse"], ["c"], ["worse"]]


async def test_a_control_key_that_gets_no_answer_is_no_verdict(bench: Bench) -> None:
    await bench.post("good")
    bench.sink.bad = {"bad"}
    unknown = failure(outcome=Outcome.UNKNOWN, message="timed out")
    bench.sink.fail("post", None, unknown, unknown, unknown)
    (verdict,) = await bench.post("bad")
    assert (verdict.outcome, verdict.failure) == (Outcome.UNKNOWN, unknown)
