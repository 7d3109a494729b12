from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from harness import account
from harness.ops import DAY, bodies, calls, connected, message_id, objects, put_letter, put_object
from harness.relay import HurriedClock, relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import ALIBABA, Identity
from worker.clock import SystemClock
from worker.clouds.credentials import REFRESH_SECONDS
from worker.errors import Blame, CallFailed
from worker.ledger.letter import HELD_BY_BRAKE, Place
from worker.ledger.names import BRAKE
from worker.operate.connect import Clients
from worker.operate.letters import EVERY, BadId, Chosen, LetterFilter, Letters
from worker.operate.move_right import SLOT_SECONDS
from worker.operate.records import RecordsOf
from worker.operate.redrive import NO_LIMITS, Limits, Move, Moves, Outcome

DENIED = "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"


@pytest.fixture(autouse=True)
def _prepared(cloud: LocalCloud) -> None:
    cloud.prepare()


class PacedClock:
    """Monotonic time stands still; short waits are on record and over at once."""

    wall = staticmethod(SystemClock.wall)

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        if seconds >= REFRESH_SECONDS:
            await asyncio.sleep(seconds)
        self.slept.append(seconds)


async def redrive(
    clients: Clients, wanted: LetterFilter = EVERY, limits: Limits = NO_LIMITS
) -> list[Move]:
    return [move async for move in Moves(clients).redrive(wanted, limits)]


async def collect(moves: AsyncIterator[Move], into: list[Move]) -> None:
    async for move in moves:
        into.append(move)  # noqa: PERF401  what came before a failure counts


async def failing_redrive(clients: Clients) -> tuple[list[Move], CallFailed]:
    moves: list[Move] = []
    with pytest.raises(CallFailed) as caught:
        await collect(Moves(clients).redrive(), moves)
    return moves, caught.value


def names(cloud: LocalCloud, folder: str) -> list[str]:
    return [name for name in objects(cloud) if name.startswith(f"{folder}/")]


def letters(cloud: LocalCloud) -> dict[str, bytes]:
    """All letters, dead and archived."""
    folders = ("dead_letter/", "archived/")
    return {name: body for name, body in objects(cloud).items() if name.startswith(folders)}


def refuse(cloud: LocalCloud, operation: str) -> None:
    """OSS denies the operation until the faults are cleared."""
    cloud.faults.add(
        Fault("oss", operation, status=403, body=DENIED, content_type="application/xml")
    )


@pytest.mark.parametrize(
    "body",
    [
        "plain",
        " blanks around \t",
        "line\r\nbreaks\rof\nall kinds",
        "<a>&amp;]]>\"'</a>",
        "猫😀",
        "eyJldmVudHMiOltdfQ==",
        "x" * 65_536,
    ],
)
async def test_the_body_comes_back_byte_for_byte(cloud: LocalCloud, body: str) -> None:
    put_letter(cloud, 1, body=body)
    async with connected(cloud) as clients:
        [move] = await redrive(clients)
    assert bodies(cloud) == [body]
    [queued] = cloud.mns.queue("oss-events").peek(1, cloud.mns.store.now_ms())
    assert (move.outcome, move.message_id) == (Outcome.DONE, queued.id)


async def test_a_redriven_letter_stands_in_the_archive_with_its_story(cloud: LocalCloud) -> None:
    name = put_letter(cloud, 1)
    before = json.loads(objects(cloud)[name])
    async with connected(cloud) as clients:
        [move] = await redrive(clients)
        [letter] = await Letters(clients).find(message_id(1))
    assert names(cloud, "dead_letter") == []
    assert (letter.ref.place, letter.redriven_as) == (Place.ARCHIVED, move.message_id)
    after = json.loads(letter.stored)
    assert after.pop("moved")["at"] == letter.moved_at
    assert after == before


@pytest.mark.parametrize("act", ["redrive", "archive"])
async def test_who_moves_what_the_brake_held_lifts_it(cloud: LocalCloud, act: str) -> None:
    """Somebody has looked. A deletion that was held for another reason says nothing about the brake."""
    put_object(cloud, BRAKE, b"")
    put_letter(cloud, 1, cause="deletion_held", error="the event may name one object or another")
    async with connected(cloud) as clients:
        [_] = [move async for move in getattr(Moves(clients), act)()]
        assert BRAKE in objects(cloud)
        put_letter(cloud, 2, cause="deletion_held", error=f"{HELD_BY_BRAKE}: the brake is on")
        async for _ in getattr(Moves(clients), act)(limits=Limits(is_dry_run=True)):
            assert BRAKE in objects(cloud)
        [move] = [move async for move in getattr(Moves(clients), act)()]
    assert move.outcome is Outcome.DONE
    assert BRAKE not in objects(cloud)


async def test_a_dry_run_changes_nothing(cloud: LocalCloud) -> None:
    for number in range(20):
        put_letter(cloud, number)
    before = objects(cloud)
    async with connected(cloud) as clients:
        moves = await redrive(clients, limits=Limits(is_dry_run=True))
        archived = [m async for m in Moves(clients).archive(limits=Limits(is_dry_run=True))]
    assert {move.outcome for move in [*moves, *archived]} == {Outcome.WOULD}
    assert (len(moves), len(archived)) == (20, 20)
    assert objects(cloud) == before
    assert bodies(cloud) == []
    assert calls(cloud, "mns") == calls(cloud, "oss", "PutObject") == 0


@pytest.mark.parametrize("count", [1, 5, 40])
async def test_a_canary_takes_only_so_many(cloud: LocalCloud, count: int) -> None:
    for number in range(50):
        put_letter(cloud, number)
    async with connected(cloud) as clients:
        moves = await redrive(clients, limits=Limits(count=count))
    assert {move.letter.body for move in moves} == {f"body {n}" for n in range(count)}
    assert sorted(bodies(cloud)) == sorted(f"body {n}" for n in range(count))
    assert len(names(cloud, "dead_letter")) == 50 - count


async def test_a_rate_spaces_what_is_sent(cloud: LocalCloud) -> None:
    for number in range(11):
        put_letter(cloud, number)
    clock = PacedClock()
    async with connected(cloud, clock) as clients:
        await redrive(clients, limits=Limits(per_second=5))
    # The first goes at once; each of the others waits a fifth of a second longer than the one before.
    assert clock.slept == pytest.approx([0.2 * n for n in range(1, 11)])
    assert len(bodies(cloud)) == 11


async def test_only_what_is_wanted_is_sent(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    put_letter(cloud, 2, cause="undecodable")
    put_letter(cloud, 3, keys=[{"key": "videos/3", "error": "no"}])
    async with connected(cloud) as clients:
        await redrive(clients, LetterFilter(cause="rejected", key_prefix="photos/"))
    assert bodies(cloud) == ["body 1"]
    assert len(names(cloud, "dead_letter")) == 2


async def test_a_fault_before_the_send_moves_nothing(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    put_letter(cloud, 2)
    before = letters(cloud)
    cloud.alibaba.add(Identity(ALIBABA.access_key, ALIBABA.secret, allowed=("oss:*", "mns:Get*")))
    async with connected(cloud) as clients:
        moves, failed = await failing_redrive(clients)
    # The first letter goes alone: the missing right is met once.
    assert [move.outcome for move in moves] == [Outcome.KEPT]
    assert calls(cloud, "mns", "SendMessage") == 1
    assert (failed.failure.code, failed.failure.blame) == ("AccessDenied", Blame.SERVICE)
    assert letters(cloud) == before


async def test_a_body_that_the_queue_refuses_stays_and_sinks_no_other(cloud: LocalCloud) -> None:
    put_letter(cloud, 1, body="x" * 65_537)
    put_letter(cloud, 2, body="half of a pair: \ud800")
    put_letter(cloud, 3, body="control: \x07")
    put_letter(cloud, 4)
    put_object(cloud, f"dead_letter/rejected/2026-09-22/{message_id(5)}.json", b"damaged")
    async with connected(cloud) as clients:
        moves = await redrive(clients)
    assert [move.outcome for move in moves] == [
        *[Outcome.KEPT] * 3,
        Outcome.DONE,
        Outcome.KEPT,
    ]
    assert all(move.detail for move in moves if move.outcome is Outcome.KEPT)
    assert bodies(cloud) == ["body 4"]
    assert len(names(cloud, "dead_letter")) == 4


async def test_a_fault_after_the_mark_leaves_the_letter_and_it_is_not_sent_again(
    cloud: LocalCloud,
) -> None:
    put_letter(cloud, 1)
    put_letter(cloud, 2)
    refuse(cloud, "DeleteObject")
    async with connected(cloud) as clients:
        [move], failed = await failing_redrive(clients)
        assert (move.outcome, move.message_id != "") == (Outcome.SENT, True)
        assert failed.failure.operation == "DeleteObject"
        assert len(names(cloud, "dead_letter")) == 2
        cloud.faults.clear()
        again = await redrive(clients)
    assert names(cloud, "dead_letter") == []
    assert len(names(cloud, "archived")) == 2
    assert [each.outcome for each in again] == [Outcome.ALREADY, Outcome.DONE]
    assert again[0].message_id == move.message_id
    assert bodies(cloud) == ["body 1", "body 2"]


async def test_where_nothing_can_be_written_nothing_is_sent(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    refuse(cloud, "PutObject")
    async with connected(cloud) as clients:
        moves, failed = await failing_redrive(clients)
    assert (moves, bodies(cloud)) == ([], [])
    assert failed.failure.operation == "PutObject"


async def test_a_letter_that_was_sent_twice_is_posted_once(cloud: LocalCloud) -> None:
    """The mark could not be written: the second message carries the same intent as the first."""
    cloud.oms.reject = ("bad",)
    cloud.oss.put("source", "bad", b"content")
    async with relaying(cloud) as relay, connected(cloud) as clients:
        await relay.settle()
        cloud.oms.reject = ()
        before = calls(cloud, "oms", "CreateSyncEvents")
        [letter] = [each async for each in Letters(clients).read()]
        for _ in range(2):
            await clients.queue.send(letter.body or "", letter.intent)
            await relay.settle()
    assert calls(cloud, "oms", "CreateSyncEvents") == before + 1


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("mns", "SendMessage"),
        ("oss", "PutObject"),
        ("oss", "DeleteObject"),
        ("oss", "GetObject"),
        ("oss", "ListObjectsV2"),
    ],
)
@pytest.mark.parametrize("action", [Action.CUT_BEFORE, Action.CUT_AFTER, Action.TRUNCATE])
async def test_cut_replies_are_repeated_and_lose_nothing(
    cloud: LocalCloud, service: str, operation: str, action: Action
) -> None:
    for number in range(4):
        put_letter(cloud, number)
    cloud.faults.add(Fault(service, operation, action, times=2))
    async with connected(cloud) as clients:
        moves = await redrive(clients)
        assert len(moves) == 4 or (operation, action) == ("GetObject", Action.TRUNCATE)
        # What was never answered may still take effect until the right to move ends.
        cloud.oss.clock.offset_seconds += 2 * SLOT_SECONDS
        await redrive(clients)
    assert set(bodies(cloud)) == {f"body {n}" for n in range(4)}
    assert names(cloud, "dead_letter") == []
    assert len(names(cloud, "archived")) == 4


async def test_what_was_redriven_is_not_sent_again_by_another_run(cloud: LocalCloud) -> None:
    for number in range(5):
        put_letter(cloud, number)
    async with connected(cloud) as clients:
        await redrive(clients)
        assert await redrive(clients) == []
        # The message came back once more after it was kept, and was kept a second time.
        put_letter(cloud, 3)
        [dry] = await redrive(clients, limits=Limits(is_dry_run=True))
        [move] = await redrive(clients)
    assert dry.outcome is move.outcome is Outcome.ALREADY
    assert len(bodies(cloud)) == 5
    assert names(cloud, "dead_letter") == []


async def test_a_stop_leaves_the_rest_where_it_stands(cloud: LocalCloud) -> None:
    for number in range(2_000):
        put_letter(cloud, number)
    moves = []
    async with connected(cloud) as clients:
        async for move in Moves(clients).redrive():
            moves.append(move)
            clients.stop.set()
    # What was in hand when the stop came is finished, and told.
    done = Counter(move.outcome for move in moves)[Outcome.DONE]
    assert 1 <= done == len(bodies(cloud)) == len(names(cloud, "archived"))
    assert len(names(cloud, "dead_letter")) == 2_000 - done > 0


async def test_letters_that_die_while_it_runs_are_left_so_that_it_ends(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    cloud.oss.clock.offset_seconds += 60
    put_letter(cloud, 2)
    cloud.oss.clock.offset_seconds -= 60
    async with connected(cloud) as clients:
        moves = await redrive(clients)
    assert {move.letter.body: move.outcome for move in moves} == {
        "body 1": Outcome.DONE,
        "body 2": Outcome.LEFT,
    }


async def test_a_worker_whose_clock_is_ahead_leaves_no_letter_behind(cloud: LocalCloud) -> None:
    put_letter(cloud, 1, day="2999-01-01")
    async with connected(cloud) as clients:
        [move] = await redrive(clients)
    assert move.outcome is Outcome.DONE


async def test_a_failed_record_is_cleared_unless_it_is_of_another_message(
    cloud: LocalCloud,
) -> None:
    long_key = "photos/" + "猫" * 338
    put_letter(cloud, 1, keys=[{"key": key, "error": "no"} for key in ("a", "b", "..", long_key)])
    async with connected(cloud) as clients:
        records = RecordsOf(clients)
        for key, owner in (("a", 1), ("b", 99), ("..", 1), (long_key, 1)):
            name = records.name("failed_object", key)
            put_object(
                cloud, name, json.dumps({"key": key, "message_id": message_id(owner)}).encode()
            )
        await redrive(clients)
        left = [record.key async for record in records.failed()]
    assert left == ["b"]


async def test_a_refused_key_goes_all_the_way_round(cloud: LocalCloud) -> None:
    """Refused, kept as a dead letter with a failed record, redriven, accepted, copied."""
    cloud.oms.reject = ("bad*",)
    for key in ("bad 猫😀", "good"):
        cloud.oss.put("source", key, b"content")
    async with relaying(cloud) as relay, connected(cloud) as clients:
        await relay.settle()
        assert account.recorded(cloud, "rejected") == {"bad 猫😀"}
        cloud.oms.reject = ()
        [move] = await redrive(clients)
        await relay.settle()
        [record] = await RecordsOf(clients).of_key("bad 猫😀")
    assert (record.outcome, record.message_id) == ("accepted", move.message_id)
    account.check(cloud, {"bad 猫😀", "good"})
    assert account.recorded(cloud, "rejected") == set()


async def test_archive_and_unarchive_are_a_round_trip(cloud: LocalCloud) -> None:
    for number in range(40):
        put_letter(cloud, number)
    put_object(cloud, f"dead_letter/rejected/2026-09-22/{message_id(99)}.json", b"damaged")
    before = letters(cloud)
    async with connected(cloud) as clients:
        moves = Moves(clients)
        gone = [move async for move in moves.archive(reason="test events")]
        assert names(cloud, "dead_letter") == []
        [letter] = await Letters(clients).find(message_id(7))
        assert (letter.ref.place, letter.reason) == (Place.ARCHIVED, "test events")
        back = [move async for move in moves.unarchive()]
    assert {move.outcome for move in [*gone, *back]} == {Outcome.DONE}
    assert (len(gone), len(back)) == (41, 41)
    assert letters(cloud) == before
    assert bodies(cloud) == []


async def test_a_fault_while_archiving_loses_nothing(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    refuse(cloud, "DeleteObject")
    async with connected(cloud) as clients:
        moves: list[Move] = []
        with pytest.raises(CallFailed):
            await collect(Moves(clients).archive(), moves)
        assert [move.outcome for move in moves] == [Outcome.KEPT]
        assert len(names(cloud, "dead_letter")) == 1
        cloud.faults.clear()
        assert [m.outcome async for m in Moves(clients).archive()] == [Outcome.DONE]
    assert (len(names(cloud, "dead_letter")), len(names(cloud, "archived"))) == (0, 1)


async def test_what_was_redriven_stays_in_the_archive_unless_it_is_asked_for(
    cloud: LocalCloud,
) -> None:
    for number in range(3):
        put_letter(cloud, number)
    async with connected(cloud) as clients:
        await redrive(clients, limits=Limits(count=2))
        await collect(Moves(clients).archive(), [])
        moves = Counter([m.outcome async for m in Moves(clients).unarchive()])
        assert moves == {Outcome.REDRIVEN: 2, Outcome.DONE: 1}
        named = Moves(clients).unarchive(LetterFilter(ids=(message_id(0),)))
        assert [m.outcome async for m in named] == [Outcome.DONE]
        asked = Moves(clients).unarchive(redriven=True)
        assert [m.outcome async for m in asked] == [Outcome.DONE]


async def test_a_repeat_is_a_repeat(cloud: LocalCloud) -> None:
    """Accepted, brought back, redriven again: the relay asks OMS again, though it knows the event."""
    cloud.oms.reject = ("bad",)
    cloud.oss.put("source", "bad", b"content")
    async with relaying(cloud) as relay, connected(cloud) as clients:
        await relay.settle()
        cloud.oms.reject = ()
        for _ in range(3):
            before = calls(cloud, "oms", "CreateSyncEvents")
            [move] = await redrive(clients)
            await relay.settle()
            assert move.outcome is Outcome.DONE
            assert calls(cloud, "oms", "CreateSyncEvents") == before + 1
            await collect(Moves(clients).unarchive(redriven=True), [])


async def test_a_letter_whose_return_was_cut_short_is_sent_and_not_put_away_unsent(
    cloud: LocalCloud,
) -> None:
    put_letter(cloud, 1)
    async with connected(cloud) as clients:
        await redrive(clients)
        refuse(cloud, "DeleteObject")
        with pytest.raises(CallFailed):
            await collect(Moves(clients).unarchive(redriven=True), [])
        cloud.faults.clear()
        assert (len(names(cloud, "dead_letter")), len(names(cloud, "archived"))) == (1, 1)
        [dry] = await redrive(clients, limits=Limits(is_dry_run=True))
        [move] = await redrive(clients)
    assert (dry.outcome, move.outcome) == (Outcome.WOULD, Outcome.DONE)
    assert bodies(cloud) == ["body 1", "body 1"]
    assert (len(names(cloud, "dead_letter")), len(names(cloud, "archived"))) == (0, 1)


async def test_a_letter_that_was_sent_keeps_saying_so_when_it_is_archived(
    cloud: LocalCloud,
) -> None:
    put_letter(cloud, 1)
    async with connected(cloud) as clients:
        [sent] = await redrive(clients)
        put_letter(cloud, 1)
        [move] = [m async for m in Moves(clients).archive(reason="by mistake")]
        [letter] = await Letters(clients).find(message_id(1))
    assert (move.outcome, letter.redriven_as) == (Outcome.ALREADY, sent.message_id)


@pytest.mark.parametrize("ids", [("",), ("rejected/2026-09-22/",), ("0" * 5,), ("0" * 32, "")])
async def test_an_id_that_is_too_short_is_no_id(cloud: LocalCloud, ids: tuple[str, ...]) -> None:
    put_letter(cloud, 1)
    async with connected(cloud) as clients:
        for moves in (Moves(clients).redrive, Moves(clients).archive, Moves(clients).unarchive):
            with pytest.raises(BadId):
                await collect(moves(LetterFilter(ids=ids)), [])
    assert (bodies(cloud), len(names(cloud, "dead_letter"))) == ([], 1)


async def test_an_id_and_how_it_begins_act_once_and_unknown_ones_are_told(
    cloud: LocalCloud,
) -> None:
    put_letter(cloud, 0xAB1)
    ids = (
        message_id(0xAB1),
        message_id(0xAB1)[:31],
        f"rejected/{DAY}/{message_id(0xAB1)}",
        "FFFFFF",
    )
    async with connected(cloud) as clients:
        moves = Moves(clients)
        [move] = [m async for m in moves.redrive(LetterFilter(ids=ids))]
        assert moves.unknown_ids == ("FFFFFF",)
    assert move.outcome is Outcome.DONE
    assert len(bodies(cloud)) == 1


@pytest.mark.parametrize("verb", ["redrive", "archive"])
async def test_letters_that_cannot_be_read_stop_nothing(cloud: LocalCloud, verb: str) -> None:
    for number in range(40):
        put_letter(cloud, number)
    frozen = [f"dead_letter/rejected/{DAY}/{message_id(n)}.json" for n in (0, 7, 8, 39)]
    put_object(cloud, frozen[0], b"x" * 5_000_000)
    put_object(cloud, frozen[1], b"damaged")
    async with connected(cloud) as clients:
        moves = [m async for m in getattr(Moves(clients), verb)()]
    kept = [move for move in moves if move.outcome is Outcome.KEPT]
    assert len(kept) == (2 if verb == "redrive" else 1)
    assert all("unreadable" in move.detail or "damaged" in move.detail for move in kept)
    assert len(names(cloud, "archived")) == 40 - len(kept)


async def test_only_the_letters_that_were_counted_are_moved(cloud: LocalCloud) -> None:
    for number in range(5):
        put_letter(cloud, number)
    async with connected(cloud) as clients:
        chosen = Chosen()
        for move in await redrive(clients, limits=Limits(is_dry_run=True)):
            chosen.add(move.letter.ref)
        for number in range(5, 25):
            put_letter(cloud, number)
        moves = await redrive(clients, LetterFilter(chosen=chosen))
    assert len(moves) == len(chosen) == 5
    assert len(names(cloud, "dead_letter")) == 20


async def test_a_letter_brought_back_can_be_sent_again(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    async with connected(cloud, HurriedClock()) as clients:
        await redrive(clients)
        asked = Moves(clients).unarchive(redriven=True)
        assert [m.outcome async for m in asked] == [Outcome.DONE]
        [move] = await redrive(clients)
    assert move.outcome is Outcome.DONE
    assert bodies(cloud) == ["body 1", "body 1"]
