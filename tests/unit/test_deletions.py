"""Deletions are carried over to the destination only where nothing speaks against it."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from doubles.arrival import BY_CONTENT, Bench, facts
from doubles.build import event, failure
from doubles.clock import EPOCH
from worker.arrival.deletions import (
    AGAIN_SECONDS,
    AMBIGUOUS,
    HOUR_SECONDS,
    SPAN_SECONDS,
    TOO_MANY,
    UNCERTAIN,
)
from worker.errors import Blame
from worker.events.event import Kind, ObjectEvent
from worker.flow.deletion import DONE, Deletion
from worker.flow.source import Source
from worker.ports import ObjectFacts, TaskState

GRACE_SECONDS = 900
BRAKE_ON = "oms_source_record/task/brake/deletions.json"
RECORD = "oms_source_record/task/deleted_object/a.txt"


def deletion(key: str = "a.txt", seconds: float = 0.0) -> tuple[ObjectEvent, str]:
    """Return the event of a deletion so many seconds after the epoch of the tests."""
    time = datetime.fromtimestamp(EPOCH + seconds, UTC).isoformat(timespec="milliseconds")
    return event(key, name="ObjectRemoved:DeleteObject", kind=Kind.REMOVED, time=time), key


@pytest.fixture
def bench() -> Bench:
    """A relay that has waited long enough, with a copy of what was deleted."""
    found = Bench()
    found.clock.now = float(GRACE_SECONDS)
    found.destination.objects["a.txt"] = facts(b"one", EPOCH - 100)
    return found


async def test_what_the_source_has_no_more_is_deleted_and_recorded(bench: Bench) -> None:
    assert await bench.deletions.carry([deletion()]) == DONE
    assert bench.destination.objects == {}
    assert json.loads(bench.store.objects[RECORD])["outcome"] == "deleted"
    assert bench.heard.count("deletions_total", outcome="deleted") == 1


async def test_a_deletion_waits_until_copies_have_landed(bench: Bench) -> None:
    bench.clock.now = 300.5
    assert (await bench.deletions.carry([deletion()])).wait_seconds == 600
    assert bench.destination.called("delete") == []


async def test_of_several_deletions_the_newest_is_waited_for(bench: Bench) -> None:
    found = await bench.deletions.carry([deletion(), deletion("b.txt", 60.0)])
    assert found.wait_seconds == 60


async def test_where_only_a_setting_names_the_destination_nothing_is_deleted(
    bench: Bench,
) -> None:
    unread = Source()
    unread.learn(None)
    unread.hear("films")
    bench.view._source, bench.view._named = unread, "copies"
    assert bench.view.is_usable
    found = await bench.deletions.carry([deletion()])
    assert (found.wait_seconds, found.why) == (AGAIN_SECONDS, UNCERTAIN)
    silent = Source()
    silent.learn(TaskState("SYNCHRONIZING", {"src_bucket": "films"}))
    bench.view._source = silent
    assert (await bench.deletions.carry([deletion()])).why == UNCERTAIN
    assert bench.destination.calls == []


async def test_what_is_there_again_is_kept(bench: Bench) -> None:
    bench.source.objects["a.txt"] = facts(b"two", EPOCH)
    assert await bench.deletions.carry([deletion()]) == DONE
    assert bench.destination.called("delete") == []
    assert bench.sink.accepted == []
    assert bench.heard.count("deletions_total", outcome="there_again") == 1


async def test_what_is_there_again_and_has_no_copy_is_announced_again(bench: Bench) -> None:
    """An earlier delivery of the same deletion may have struck the copy of the new object."""
    bench.source.objects["a.txt"] = facts(b"two", EPOCH)
    bench.destination.objects.clear()
    assert await bench.deletions.carry([deletion()]) == DONE
    assert bench.sink.accepted == ["a.txt"]


async def test_what_is_created_while_it_is_deleted_is_announced_again(bench: Bench) -> None:
    delete = bench.destination.delete

    async def creating(bucket: str, key: str) -> None:
        bench.source.objects[key] = facts(b"two", EPOCH)
        await delete(bucket, key)

    bench.destination.delete = creating  # type: ignore[method-assign]
    assert await bench.deletions.carry([deletion()]) == DONE
    assert bench.sink.accepted == ["a.txt"]


async def test_what_was_written_after_the_deletion_is_kept(bench: Bench) -> None:
    """It is no copy of what was deleted: after the switch-over applications write there themselves."""
    bench.destination.objects["a.txt"] = facts(b"two", EPOCH + 1)
    assert await bench.deletions.carry([deletion()]) == DONE
    assert "a.txt" in bench.destination.objects
    assert bench.heard.count("deletions_total", outcome="kept") == 1


async def test_a_late_copy_of_what_was_deleted_goes(bench: Bench) -> None:
    late = bench.destination.objects["a.txt"] = facts(b"one", EPOCH + GRACE_SECONDS)
    removed, key = deletion()
    assert await bench.deletions.carry([(removed._replace(etag=late.etag.upper()), key)]) == DONE
    assert bench.destination.objects == {}


async def test_an_event_that_may_name_two_objects_is_for_people(bench: Bench) -> None:
    removed, _ = deletion("a+b")
    found = await bench.deletions.carry([(removed, "a+b"), (removed, "a b")])
    assert (found.is_held, found.why) == (True, AMBIGUOUS)


async def test_where_its_bucket_is_gone_nothing_is_taken_for_gone(bench: Bench) -> None:
    bench.destination.objects.clear()
    gone = failure(Blame.SERVICE, service="obs", status=404, code="NoSuchBucket")
    bench.destination.fail("list", gone)
    assert (await bench.deletions.carry([deletion()])).wait_seconds == AGAIN_SECONDS


async def test_in_an_outage_each_wait_is_longer(bench: Bench) -> None:
    waits = []
    for deliveries in (1, 2, 3, 4, 9, 50):
        bench.destination.fail("facts", failure(service="obs"))
        found = await bench.deletions.carry([deletion()], deliveries=deliveries)
        waits.append(found.wait_seconds)
    assert waits == [300, 300, 600, 1200, 21_600, 21_600]


async def test_the_lists_of_oms_are_never_deleted(bench: Bench) -> None:
    bench.destination.objects["oms/sync_task/1.txt"] = ObjectFacts(1, 1.0)
    assert await bench.deletions.carry([deletion("oms/sync_task/1.txt")]) == DONE
    assert bench.destination.called("delete") == []


async def test_what_is_not_there_needs_no_deletion(bench: Bench) -> None:
    assert await bench.deletions.carry([deletion("b.txt")]) == DONE
    assert bench.destination.called("delete") == []
    assert bench.heard.count("deletions_total", outcome="absent") == 1


@pytest.mark.parametrize("blame", [Blame.PASSING, Blame.SERVICE, Blame.CREDENTIALS])
@pytest.mark.parametrize("call", ["source.has", "destination.facts", "destination.delete"])
async def test_what_cannot_be_known_is_not_deleted(bench: Bench, blame: Blame, call: str) -> None:
    side, operation = call.split(".")
    refusal = failure(blame, service="oss" if side == "source" else "obs", status=403)
    getattr(bench, side).fail(operation, refusal)
    found = await bench.deletions.carry([deletion()])
    assert found.wait_seconds == AGAIN_SECONDS
    assert "Next: " in found.why
    assert "a.txt" in bench.destination.objects


async def test_a_deletion_without_a_record_is_looked_at_again(bench: Bench) -> None:
    bench.store.fail("put", failure(service="oss"))
    assert (await bench.deletions.carry([deletion()])).wait_seconds == AGAIN_SECONDS
    # By then it is gone: there is nothing left to do.
    assert await bench.deletions.carry([deletion()]) == DONE


async def test_a_time_that_cannot_be_read_is_for_people(bench: Bench) -> None:
    removed = event("a.txt", kind=Kind.REMOVED, time="yesterday")
    found = await bench.deletions.carry([(removed, "a.txt")])
    assert found.is_held
    assert "a.txt" in bench.destination.objects


async def test_more_deletions_in_an_hour_than_allowed_stop_them_all(bench: Bench) -> None:
    keys = [f"k{number}" for number in range(6)]
    for key in keys:
        bench.destination.objects[key] = facts(b"one", EPOCH - 100)
    ends = [await bench.deletions.carry([deletion(key)], deliveries=2) for key in keys]
    assert ends == [DONE] * 3 + [Deletion(0, TOO_MANY, is_held=True)] * 3
    # An hour later it is still for people to decide.
    bench.clock.now += 3601.0
    assert (await bench.deletions.carry([deletion("k5")])).is_held
    assert sorted(bench.destination.objects) == ["a.txt", "k3", "k4", "k5"]


async def test_the_brake_holds_for_all_relays_and_through_restarts() -> None:
    deleted = 0
    one, two = Bench.pair()
    for number in range(8):
        bench = one if number % 2 else two
        bench.clock.now = float(GRACE_SECONDS)
        bench.destination.objects[f"k{number}"] = facts(b"one", EPOCH - 100)
        end = await bench.deletions.carry([deletion(f"k{number}")], deliveries=2)
        deleted += end == DONE
        # As after a restart: what it has counted is forgotten.
        bench._build(BY_CONTENT, 1.0)
    assert deleted == 3


async def test_as_many_an_hour_as_allowed_go_on_for_ever(bench: Bench) -> None:
    for hour in range(4):
        for number in range(3):
            bench.destination.objects["a.txt"] = facts(b"one", EPOCH - 100)
            assert await bench.deletions.carry([deletion()], deliveries=2) == DONE, (hour, number)
        bench.clock.now += SPAN_SECONDS


async def tried(bench: Bench, key: str, now: float) -> bool:
    """Return whether the copy of a key was deleted that may be deleted at this time."""
    bench.clock.now = now
    bench.destination.objects[key] = facts(b"one", EPOCH - 100)
    return await bench.deletions.carry([deletion(key)], deliveries=2) == DONE


async def test_at_the_turn_of_a_span_no_more_are_deleted_than_in_an_hour() -> None:
    """Also by two relays: where a span ends is no new beginning."""
    one, two = Bench.pair()
    turn = SPAN_SECONDS - EPOCH % SPAN_SECONDS + SPAN_SECONDS
    before = [await tried(one, f"a{n}", turn - 20 + n) for n in range(2)]
    after = [await tried(two if n % 2 else one, f"b{n}", turn + 1 + n) for n in range(4)]
    assert before + after == [True] * 3 + [False] * 3


@pytest.mark.parametrize("seed", range(8))
async def test_no_hour_has_more_deletions_than_allowed(seed: int) -> None:
    """Whatever the times, and although people lift the brake again and again."""
    one, two = Bench.pair()
    rng, now, times = random.Random(seed), float(GRACE_SECONDS), []
    for number in range(150):
        now += rng.choice((0.0, 1.0, 300.0, 1200.0, HOUR_SECONDS))
        one.store.objects.pop(BRAKE_ON, None)
        if await tried(rng.choice((one, two)), f"k{number}", now):
            times.append(now)
        if rng.random() < 0.1:
            one._build(BY_CONTENT, 1.0)
    assert len(times) > 30
    assert all(later - at >= HOUR_SECONDS for at, later in zip(times, times[3:], strict=False))


async def test_the_brake_of_one_relay_stops_the_other_until_it_is_lifted() -> None:
    one, two = Bench.pair()
    assert [await tried(one, f"a{n}", 1000.0) for n in range(4)] == [True] * 3 + [False]
    assert BRAKE_ON in one.store.objects
    # Hours later every place is free again, and nobody has looked.
    assert not await tried(two, "b", 20_000.0)
    two._build(BY_CONTENT, 1.0)
    assert not await tried(two, "b", 20_001.0)
    del one.store.objects[BRAKE_ON]
    assert await tried(two, "b", 20_002.0)


async def test_where_the_brake_cannot_be_read_nothing_is_deleted(bench: Bench) -> None:
    bench.store.fail("get", failure(Blame.SERVICE, service="oss", status=403))
    assert (await bench.deletions.carry([deletion()])).wait_seconds == AGAIN_SECONDS
    assert "a.txt" in bench.destination.objects


async def test_a_place_that_took_long_to_take_is_not_used(bench: Bench) -> None:
    """Meanwhile it has grown old: the next one of that place would come too soon."""
    put = bench.store.put

    async def slow(*args: Any, **options: Any) -> None:
        await put(*args, **options)
        bench.clock.now += 100.0

    bench.store.put = slow  # type: ignore[method-assign]
    assert (await bench.deletions.carry([deletion()], deliveries=2)).is_held


async def test_what_needs_no_deletion_does_not_turn_the_brake_on(bench: Bench) -> None:
    """One name that is written, deleted and written again, all the time."""
    bench.clock.now = 0.0
    bench.source.objects["a.txt"] = facts(b"two", EPOCH)
    for _ in range(10):
        assert not (await bench.deletions.carry([deletion()])).is_held
    del bench.source.objects["a.txt"]
    for _ in range(10):
        assert not (await bench.deletions.carry([deletion()])).is_held
    assert BRAKE_ON not in bench.store.objects


async def test_deletions_that_are_put_off_are_told_with_their_reason(bench: Bench) -> None:
    known, unread = bench.view._source, Source()
    unread.learn(None)
    unread.hear("films")
    bench.view._source, bench.view._named = unread, "copies"
    for key in ("a.txt", "b.txt", "a.txt"):
        await bench.deletions.carry([deletion(key)])
    (notice,) = bench.deletions.notices
    assert "put off: 2;" in notice
    assert UNCERTAIN in notice
    told = [line for line in bench.heard.lines if "put off" in line["event"]]
    assert [line["why"] for line in told] == [UNCERTAIN]
    bench.view._source = known
    for key in ("a.txt", "b.txt"):
        await bench.deletions.carry([deletion(key)], deliveries=2)
    assert bench.deletions.notices == ()


async def test_what_only_waits_for_its_grace_is_no_notice(bench: Bench) -> None:
    bench.clock.now = 0.0
    await bench.deletions.carry([deletion()])
    assert bench.deletions.notices == ()


async def test_each_reason_to_hold_a_deletion_is_told_by_itself(bench: Bench) -> None:
    removed, _ = deletion("a+b")
    for _ in range(2):
        await bench.deletions.carry([(removed, "a+b"), (removed, "a b")])
    for number in range(5):
        await tried(bench, f"k{number}", 1000.0)
    told = [line for line in bench.heard.lines if line.get("action") == "delete" and "why" in line]
    assert [line["why"] for line in told] == [AMBIGUOUS, TOO_MANY]
    assert not any("nothing more" in line["event"] for line in told)


async def test_who_waits_when_the_brake_comes_on_is_not_deleted_later(bench: Bench) -> None:
    """They wait in the queue as messages that nobody acknowledges, of which MNS allows 5,000."""
    bench.clock.now = 0.0
    for number in range(5):
        bench.destination.objects[f"k{number}"] = facts(b"one", EPOCH - 100)
    ends = [await bench.deletions.carry([deletion(f"k{n}")]) for n in range(5)]
    assert [each.wait_seconds for each in ends] == [GRACE_SECONDS] * 3 + [0, 0]
    assert [each.is_held for each in ends] == [False] * 3 + [True] * 2
    bench.clock.now = float(GRACE_SECONDS)
    assert (await bench.deletions.carry([deletion("k0")], deliveries=2)).is_held


async def test_who_waits_already_may_wait_on(bench: Bench) -> None:
    bench.clock.now = 0.0
    for number in range(3):
        await bench.deletions.carry([deletion(f"k{number}")])
    bench.clock.now = 600.0
    assert (await bench.deletions.carry([deletion()], deliveries=2)).wait_seconds == 300


async def test_what_is_announced_again_is_followed(bench: Bench) -> None:
    bench.source.objects["a.txt"] = facts(b"two", EPOCH)
    bench.destination.objects.clear()
    await bench.deletions.carry([deletion()])
    assert bench.suspects == ["a.txt"]
