"""Who is followed, when it is looked at, and what is done about what does not arrive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from unittest import mock

import pytest

from doubles.arrival import BY_CONTENT, Bench, facts
from doubles.build import change, failure, held
from doubles.clock import EPOCH, QuickClock
from simulation.loop import VirtualLoop
from worker.arrival import follow
from worker.arrival.account import ArrivalAccount
from worker.arrival.backlog import CopyBacklog
from worker.arrival.history import ArrivalSpan
from worker.errors import Blame, CallFailed, Outcome
from worker.flow.post import Verdict
from worker.outages.breaker import State
from worker.ports import CopyCounts

HOUR = 3600.0


class Story:
    """A bench on a virtual loop: hours pass at once, and each sleep ends in its turn."""

    def __init__(self, **more: Any) -> None:
        self.loop = VirtualLoop(random.Random(1))
        clock = QuickClock()
        # The same epoch as in the other unit tests, and the loop's time.
        clock.wall = lambda: EPOCH + self.loop.time()  # type: ignore[method-assign]
        clock.monotonic = self.loop.time  # type: ignore[method-assign]
        clock.sleep = asyncio.sleep  # type: ignore[assignment, method-assign]
        self.bench = Bench(clock=clock, **more)
        self.looks: list[float] = []
        self.posts: list[float] = []
        self._listen(self.bench.destination, "facts", self.looks)
        self._listen(self.bench.sink, "post", self.posts)

    def _listen(self, double: Any, name: str, times: list[float]) -> None:
        call = getattr(double, name)

        async def heard(*arguments: Any) -> Any:
            if "a" in arguments or ["a"] in arguments:
                times.append(round(self.loop.time(), 1))
            return await call(*arguments)

        setattr(double, name, heard)

    def accept(self, key: str = "a", data: bytes = b"one", *, sent_after: float = 0.0) -> None:
        """The key of a change made now is accepted; its message was sent so much later."""
        at = EPOCH + self.loop.time()
        self.bench.source.objects[key] = facts(data, at)
        time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        message = held()
        message.message = message.message._replace(enqueue_time_ms=int((at + sent_after) * 1000))
        posted = change(key, of=message, time=time, etag=facts(data, at).etag)
        self.bench.follower.accepted(Verdict(posted, Outcome.ACCEPTED, at + sent_after))

    def overwrite(self, every_seconds: float, *, until: float) -> None:
        """The key is changed again and again, and each change is accepted."""
        now = self.loop.time()
        self.accept("a", f"{now:08.0f}".encode())
        if now + every_seconds < until:
            again = partial(self.overwrite, every_seconds, until=until)
            self.loop.call_later(every_seconds, again)

    def copy(self, key: str = "a", data: bytes = b"one") -> None:
        """A copy lands at the destination now."""
        self.bench.destination.objects[key] = facts(data, EPOCH + self.loop.time())

    def others_arrive(self) -> None:
        """From now on other keys are accepted every five minutes, and copied at once."""

        self.another_arrives()
        self.loop.call_later(300.0, self.others_arrive)

    def another_arrives(self) -> None:
        """Another key is accepted and copied at once."""
        key = f"other at {self.loop.time():.0f}"
        self.accept(key)
        self.copy(key)

    def at(self, seconds: float, action: Any) -> None:
        """Do something at a time."""
        self.loop.call_at(seconds, action)

    def run(self, seconds: float) -> None:
        """Live so long."""

        async def live() -> None:
            following = asyncio.ensure_future(self.bench.follower.run())
            await asyncio.sleep(seconds)
            following.cancel()
            await asyncio.wait((following,))
            assert following.cancelled()

        self.loop.run(self.loop.create_task(live()))

    def hour(self) -> ArrivalSpan:
        """What the last hour's share is made of."""
        return self.bench.follower.history.over(HOUR, self.loop.time())

    def count(self, outcome: str) -> float:
        return self.bench.heard.count("arrivals_total", outcome=outcome)


@pytest.fixture
def story() -> Iterator[Story]:
    found = Story()
    yield found
    found.loop.close()


@contextmanager
def told(**more: Any) -> Iterator[Story]:
    found = Story(**more)
    try:
        yield found
    finally:
        found.loop.close()


def test_a_share_of_the_keys_is_followed() -> None:
    with told(ratio=0.01) as story:
        for number in range(2000):
            story.accept(f"k{number}")
        assert 5 <= len(story.bench.suspects) <= 40
    with told(ratio=0.0) as story:
        for number in range(2000):
            story.accept(f"k{number}")
        assert story.bench.suspects == []


def test_what_there_is_no_room_for_is_unknown(story: Story) -> None:
    with mock.patch.object(follow, "FOLLOWED_MAX", 3):
        for number in range(5):
            story.accept(f"k{number}")
        # An event of a key that is followed already takes no room.
        story.accept("k0", b"two")
    assert len(story.bench.suspects) == 3
    assert story.count("unknown") == 2
    assert story.hour().unknown == 2


def test_what_is_there_at_the_first_look_costs_one_call(story: Story) -> None:
    story.accept()
    story.at(3.0, story.copy)
    story.run(100.0)
    assert story.looks == [15.0]
    assert story.count("arrived") == 1
    assert story.bench.heard.count("arrival_seconds_sum") == 3.0


def test_looks_come_ever_more_rarely_until_it_is_late(story: Story) -> None:
    story.at(880.0, story.another_arrives)
    story.accept()
    story.run(900.5)
    assert story.looks == [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 900.0]
    assert story.posts == [900.0]
    assert (story.count("late"), story.count("resent")) == (1, 1)


def test_where_copies_are_quick_the_first_look_comes_early(story: Story) -> None:
    for number in range(60):
        story.accept(f"k{number}")
        story.copy(f"k{number}")
    story.run(20.0)
    story.accept("a")
    started = story.loop.time()
    story.run(20.0)
    assert story.looks[0] - started == pytest.approx(5.0, abs=0.2)


def test_a_state_is_announced_three_times_ever_more_rarely(story: Story) -> None:
    story.others_arrive()
    story.accept()
    story.run(12 * HOUR)
    assert story.posts == [pytest.approx(each, abs=5.0) for each in (900.0, 1500.0, 1500.0 + HOUR)]
    assert story.count("given_up") == 1
    (letter,) = [name for name in story.bench.store.objects if "/dead_letter/not_arrived/" in name]
    assert letter
    assert "a" not in story.bench.suspects


def test_where_nothing_arrives_oms_is_behind_and_the_key_waits(story: Story) -> None:
    """Announced again at once, each key would make an OMS that is behind slower still."""
    story.accept()
    story.run(900.0 + 4 * 900.0 - 1.0)
    assert (story.count("late"), story.posts) == (1, [])
    story.run(900.0)
    assert len(story.posts) == 1


def test_while_nothing_arrives_nothing_is_given_up_for_a_day(story: Story) -> None:
    story.accept()
    story.run(24 * HOUR)
    assert (len(story.posts), story.count("given_up")) == (3, 0)
    story.run(12 * HOUR)
    assert (len(story.posts), story.count("given_up")) == (3, 1)


def test_a_bucket_that_is_gone_loses_no_keys(story: Story) -> None:
    """HeadObject says 404 for each of them."""
    gone = failure(Blame.SERVICE, service="obs", status=404, code="NoSuchBucket")
    story.others_arrive()
    story.accept()
    story.bench.destination.fail("list", *[gone] * 4)
    story.run(925.0)
    assert story.posts == []
    story.run(120.0)
    assert len(story.posts) == 1


def test_another_state_is_announced_anew(story: Story) -> None:
    story.others_arrive()
    story.accept()
    story.at(2 * HOUR, lambda: story.accept("a", b"two"))
    story.run(3 * HOUR)
    # Twice for the first state; the second is late a quarter of an hour after it was accepted.
    assert story.posts == [
        pytest.approx(each, abs=5.0) for each in (900.0, 1500.0, 5100.0, 8100.0, 8700.0)
    ]


def test_what_arrives_after_it_was_announced_again_is_looked_at_soon(story: Story) -> None:
    story.others_arrive()
    story.accept()
    story.at(905.0, story.copy)
    story.run(930.0)
    assert "a" not in story.bench.suspects
    assert story.looks[-1] < 925.0


def test_an_event_that_was_sent_again_says_nothing_of_how_long_copies_take(story: Story) -> None:
    story.accept(sent_after=HOUR)
    story.at(3.0, story.copy)
    story.run(100.0)
    assert story.count("arrived") == 1
    assert story.bench.heard.count("arrival_seconds_count") == 0


def test_where_the_source_may_not_be_looked_at_it_stays_unknown(story: Story) -> None:
    story.accept()
    denied = failure(Blame.SERVICE, service="oss", status=403, operation="HeadObject")
    story.bench.source.fail("facts", denied)
    story.run(1000.0)
    assert story.count("unknown") == 1
    assert story.posts == []
    assert story.bench.suspects == []
    assert (story.hour().followed, story.hour().share) == (1, 0.0)


def test_a_suspect_that_cannot_be_looked_at_says_nothing_of_the_share(story: Story) -> None:
    denied = failure(Blame.SERVICE, service="oss", status=403, operation="HeadObject")
    story.bench.source.fail("facts", denied)
    story.bench.follower.suspect("a")
    story.run(10.0)
    assert (story.count("unknown"), story.hour().followed) == (0, 0)
    assert story.bench.heard.count("suspects_unfollowed_total") == 1


def test_what_is_due_while_nobody_can_look_is_unknown_until_somebody_can(story: Story) -> None:
    story.accept()
    calls, clock = story.bench.view._service, story.bench.clock
    calls.breaker.open(failure(Blame.SERVICE, service="obs", status=403))
    backlog = CopyBacklog(_Counts(CopyCounts(0, 0)), calls, clock, story.bench.heard.journal)
    account = ArrivalAccount(story.bench.follower, backlog, story.bench.view, clock)
    found = []
    for seconds in (950.0, 100.0):
        story.run(seconds)
        found.append(account.as_object()["1h"])
    assert [(each["followed"], each["unknown"]) for each in found] == [(0, 0), (1, 1)]
    calls.breaker.state = State.CLOSED
    story.copy()
    story.run(60.0)
    told = account.as_object()["1h"]
    assert (told["followed"], told["unknown"], told["late"]) == (1, 0, 1)


def test_a_look_that_fails_is_made_again(story: Story) -> None:
    story.accept()
    story.copy()
    story.bench.destination.fail("facts", failure(service="obs"))
    story.run(60.0)
    assert story.looks == [15.0, 45.0]
    assert story.count("arrived") == 1


def test_a_key_that_oms_refuses_by_now_is_given_up(story: Story) -> None:
    story.others_arrive()
    story.accept()
    story.bench.sink.bad.add("a")
    story.run(1000.0)
    assert (story.count("resent"), story.count("given_up")) == (0, 1)


def test_an_outage_of_oms_gives_nothing_up(story: Story) -> None:
    story.others_arrive()
    story.accept()
    story.bench.sink.fail("post", failure(service="oms"), failure(service="oms"))
    story.run(1100.0)
    assert story.posts == [900.0, 960.0, 1020.0]
    assert (story.count("resent"), story.count("given_up")) == (1, 0)


def test_what_cannot_be_kept_as_a_dead_letter_is_followed_on() -> None:
    never = {**BY_CONTENT, "object_overwrite_mode": "NO_OVERWRITE"}
    with told(task=never) as story:
        story.others_arrive()
        story.accept("a", b"two")
        story.copy("a", b"one!")
        story.bench.store.fail("put", failure(service="oss"))
        story.run(950.0)
        assert story.count("given_up") == 0
        story.run(60.0)
        assert story.count("given_up") == 1
        assert story.posts == []


def test_a_suspect_is_looked_at_once_and_announced_at_once(story: Story) -> None:
    story.bench.source.objects["a"] = facts(b"one", EPOCH - 1)
    story.bench.follower.suspect("a")
    story.at(3.0, story.copy)
    story.run(60.0)
    assert story.posts == [0.0]
    assert (story.count("late"), story.count("resent"), story.count("arrived")) == (0, 1, 1)


def test_a_key_that_is_listed_many_times_is_announced_once(story: Story) -> None:
    story.bench.source.objects["a"] = facts(b"one", EPOCH - 1)
    for _ in range(8):
        story.bench.follower.suspect("a")
    story.at(0.01, lambda: story.bench.follower.suspect("a"))
    story.run(300.0)
    assert story.posts == [0.0]


def test_what_is_overwritten_each_second_and_never_copied_is_late(story: Story) -> None:
    story.overwrite(1.0, until=2 * HOUR)
    story.run(899.0)
    assert story.count("late") == 0
    story.run(3.0)
    assert story.count("late") == 1
    story.run(HOUR)
    # Once more for each term in which no copy came; and its own events announce it often enough.
    assert (story.count("late"), story.posts) == (4, [])
    assert len(story.bench.suspects) == 1


def test_an_old_copy_that_stays_as_it_is_is_no_copy_of_what_is_overwritten(story: Story) -> None:
    story.copy("a", b"before")
    story.at(10.0, lambda: story.overwrite(10.0, until=HOUR))
    story.run(912.0)
    assert story.count("late") == 1


def test_while_copies_of_older_states_come_what_is_overwritten_is_not_late(story: Story) -> None:
    story.overwrite(1.0, until=3 * HOUR)
    for number in range(1, 13):
        story.at(number * 800.0, lambda: story.copy("a", b"older"))
    story.run(12 * 800.0)
    assert story.count("late") == 0
    # That was the last one.
    story.run(880.0)
    assert story.count("late") == 0
    story.run(60.0)
    assert story.count("late") == 1


def test_what_is_overwritten_and_never_copied_is_given_up_in_the_end(story: Story) -> None:
    story.others_arrive()
    story.overwrite(60.0, until=24 * HOUR)
    story.run(7 * HOUR)
    assert story.count("given_up") == 0
    story.run(2 * HOUR)
    assert (story.count("given_up"), story.posts) == (1, [])
    (letter,) = [name for name in story.bench.store.objects if "/dead_letter/not_arrived/" in name]
    assert b"overwritten again and again" in story.bench.store.objects[letter]
    story.run(15 * HOUR)
    # Each change that comes later is followed anew.
    assert story.count("given_up") == 3
    assert story.posts == []


def test_where_the_bucket_is_gone_what_is_overwritten_is_not_given_up(story: Story) -> None:
    gone = failure(Blame.ITEM, service="obs", status=404, code="NoSuchBucket")
    story.others_arrive()
    story.overwrite(60.0, until=10 * HOUR)
    story.bench.destination.fail("list", *[gone] * 1000)
    story.run(9 * HOUR)
    assert (story.count("given_up"), story.count("late") > 0) == (0, True)


def test_where_nothing_arrives_what_is_overwritten_is_not_given_up_for_a_day(story: Story) -> None:
    story.overwrite(60.0, until=30 * HOUR)
    story.run(24 * HOUR - 7.0)
    assert story.count("given_up") == 0
    story.run(HOUR)
    assert story.count("given_up") == 1


def test_states_that_are_late_one_after_the_other_are_announced_for_so_long_only(
    story: Story,
) -> None:
    story.others_arrive()
    story.overwrite(1800.0, until=24 * HOUR)
    story.run(12 * HOUR)
    assert story.count("given_up") == 1
    # Twice for each state until then; later once more in the same way.
    assert len(story.posts) < 2 * 24


def test_a_newer_state_after_a_late_one_has_a_term_of_its_own(story: Story) -> None:
    story.others_arrive()
    story.accept()
    story.at(HOUR, lambda: story.accept("a", b"two"))
    story.at(HOUR + 20.0, lambda: story.copy("a", b"two"))
    story.run(1.5 * HOUR)
    found = story.bench.follower.history.over(24 * HOUR, story.loop.time())
    assert (story.count("late"), found.late) == (1, 1)
    assert "a" not in story.bench.suspects


def test_an_older_event_that_comes_later_ends_nothing(story: Story) -> None:
    """MNS may deliver the event of the first state after that of the second."""
    at = EPOCH + story.loop.time()
    story.at(1.0, lambda: story.accept("a", b"two"))
    old = facts(b"one", at)
    first = change("a", time=datetime.fromtimestamp(at, UTC).isoformat(), etag=old.etag)
    verdict = Verdict(first, Outcome.ACCEPTED, at)
    story.at(2.0, lambda: story.bench.follower.accepted(verdict))
    story.at(3.0, lambda: story.copy("a", b"one"))
    story.run(100.0)
    assert story.count("arrived") == 0
    assert story.bench.suspects == ["a"]


def test_what_was_given_up_and_is_listed_later_is_counted_once(story: Story) -> None:
    story.bench.source.objects["a"] = facts(b"one", EPOCH - 1)
    story.bench.sink.fail("post", *[failure(Blame.ITEM, Outcome.REJECTED)] * 3)
    story.bench.follower.suspect("a")
    story.run(60.0)
    assert story.count("given_up") == 1
    story.bench.follower.suspect("a")
    story.run(60.0)
    assert story.count("given_up") == 1
    assert story.hour().given_up == 1
    # Another state of it is another change.
    story.bench.source.objects["a"] = facts(b"two", EPOCH)
    story.bench.follower.suspect("a")
    story.run(60.0)
    assert story.count("given_up") == 2


def test_a_suspect_that_is_there_is_no_news(story: Story) -> None:
    story.bench.source.objects["a"] = facts(b"one", EPOCH - 1)
    story.copy()
    story.bench.follower.suspect("a")
    story.run(60.0)
    assert story.posts == []
    assert story.count("arrived") == 0
    assert story.bench.suspects == []


class _Counts:
    """OMS's statistics: each answer in turn, the last one for ever."""

    def __init__(self, *answers: CopyCounts | CallFailed) -> None:
        self._answers = list(answers)

    async def copies(self, since: float, until: float) -> CopyCounts:
        assert until - since == 86_400.0
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, CallFailed):
            raise answer
        return answer


def test_the_backlog_is_what_is_not_done_and_unknown_where_it_cannot_be_asked(
    story: Story,
) -> None:
    denied = CallFailed(failure(Blame.SERVICE, status=403, operation="ListSyncTaskStatistic"))
    counts = _Counts(CopyCounts(10, 7), denied, denied, CopyCounts(5, 9))
    service = story.bench.view._service
    backlog = CopyBacklog(counts, service, service.clock, story.bench.heard.journal)
    found: list[float | None] = []

    async def live() -> None:
        looking = asyncio.ensure_future(backlog.run())
        registry = story.bench.heard.journal.metrics.registry
        for _ in range(4):
            await asyncio.sleep(10.0)
            found.append(registry.get_sample_value("oms_relay_copy_backlog_objects"))
            await asyncio.sleep(290.0)
        looking.cancel()

    story.loop.run(story.loop.create_task(live()))
    assert found[0] == 3.0
    assert found[1] != found[1]
    assert found[3] == 0.0
    assert backlog.age_seconds == 300.0
    warnings = [line for line in story.bench.heard.lines if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "oms:synctask:statistics" in cast("str", warnings[0]["hint"])
