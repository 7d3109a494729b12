"""One probe for all: who may ask OMS about the key, what the others hear, and what happens to those alone."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field

import pytest

from doubles.build import Heard, failure
from doubles.clock import EPOCH, QuickClock
from doubles.vendors import ModelStore
from worker.clouds.oms_signature import HuaweiCredentials, mark_of
from worker.errors import Blame, CallFailed, Failure
from worker.fleet.folder import FleetFolder
from worker.fleet.probe_right import SLOT_SECONDS, WAIT_SECONDS, ProbeRight
from worker.ledger.names import right_name
from worker.outages.breaker import Breaker, State
from worker.outages.limit import AdaptiveLimit
from worker.outages.retry import Backoff, Retry
from worker.outages.service import Pace, Service
from worker.ports import Stored

REFUSED = failure(Blame.CREDENTIALS, status=401, code="APIGW.0301", message="verify aksk")
SKEWED = failure(Blame.CREDENTIALS, status=401, code="APIGW.0301", message="signature expired")
BUSY = failure(Blame.PASSING, status=503)
DENIED = failure(Blame.SERVICE, service="oss", status=403, code="AccessDenied")


class Bucket(ModelStore):
    """A log bucket that all workers share."""

    async def get(self, bucket: str, key: str) -> Stored | None:
        self.play("get", (bucket, key))
        body = self.objects.get(key)
        return None if body is None else Stored(body)


@dataclass
class Oms:
    """What OMS says to each probe; nothing is a good answer."""

    says: Failure | None = None
    asked_by: list[str] = field(default_factory=list)


class Worker:
    def __init__(self, name: str, bucket: Bucket, oms: Oms, *, off_seconds: float = 0.0) -> None:
        self.clock = QuickClock()
        # EPOCH lies 200 s into a slot.
        self.clock.now = SLOT_SECONDS - EPOCH % SLOT_SECONDS + 100 + off_seconds
        self.name, self.oms, self.mark = name, oms, "k1"
        journal = Heard().journal
        self.oss, self.breaker = (
            Breaker("oss", self.clock, journal),
            Breaker("oms", self.clock, journal),
        )
        self.oss.state = State.CLOSED
        retry, pace = Retry(self.clock, Backoff(random.Random(0))), Pace(self.clock, None)
        service = Service(
            self.oss, AdaptiveLimit(4, 4), retry, pace, self.clock, journal, tells_breaker=False
        )
        self.right = ProbeRight(
            FleetFolder(bucket, bucket, service, "logs", "task"),
            self.ask,
            self.breaker,
            self.clock,
            mark=lambda: self.mark,
            worker=name,
        )

    async def ask(self) -> None:
        self.oms.asked_by.append(self.name)
        await asyncio.sleep(0)
        if self.oms.says is not None:
            raise CallFailed(self.oms.says)

    async def hears(self) -> Failure | None:
        """What its breaker is told."""
        try:
            await self.right.probe()
        except CallFailed as failed:
            self.breaker.open(failed.failure)
            return failed.failure
        self.breaker.failure = None
        return None


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def oms() -> Oms:
    return Oms()


def place(turn: int = 1, mark: str = "k1") -> str:
    slot = int((EPOCH + SLOT_SECONDS) // SLOT_SECONDS)
    return f"oms_source_record/task/fleet/{right_name(slot, mark, turn)}"


async def test_fifty_workers_with_a_wrong_key_make_one_refused_call(
    bucket: Bucket, oms: Oms
) -> None:
    oms.says = REFUSED
    workers = [Worker(f"w{n}", bucket, oms) for n in range(50)]
    heard = await asyncio.gather(*(each.hears() for each in workers))
    assert len(oms.asked_by) == 1
    assert all(each is not None and each.blame is Blame.CREDENTIALS for each in heard)
    assert {each.code for each in heard if each} == {"APIGW.0301"}
    assert any("asked for all" in each.message for each in heard if each)


async def test_fifty_workers_with_a_right_key_all_go_on_and_nothing_is_written_later(
    bucket: Bucket, oms: Oms
) -> None:
    workers = [Worker(f"w{n}", bucket, oms) for n in range(50)]
    assert not any(await asyncio.gather(*(each.hears() for each in workers)))
    puts = len(bucket.called("put"))
    assert puts == 51, "each tries to get the right, and one writes the verdict"
    assert sum(sum(each.clock.slept) for each in workers) <= 50 * 0.1, "nobody waits for long"
    assert not any(await asyncio.gather(*(each.hears() for each in workers)))
    oms.says = BUSY
    assert all(await asyncio.gather(*(each.hears() for each in workers)))
    assert len(bucket.called("put")) == puts, "a key that was good needs no right"


async def test_in_the_next_slot_one_asks_and_the_mended_key_frees_all(
    bucket: Bucket, oms: Oms
) -> None:
    oms.says = REFUSED
    workers = [Worker(f"w{n}", bucket, oms) for n in range(10)]
    for calls in (1, 2, 3):
        assert all(await asyncio.gather(*(each.hears() for each in workers)))
        assert len(oms.asked_by) == calls
        for each in workers:
            each.clock.now += SLOT_SECONDS
    oms.says = None
    assert not any(await asyncio.gather(*(each.hears() for each in workers)))


async def test_another_key_is_tried_at_once(bucket: Bucket, oms: Oms) -> None:
    oms.says = REFUSED
    workers = [Worker(f"w{n}", bucket, oms) for n in range(3)]
    await asyncio.gather(*(each.hears() for each in workers))
    oms.says = None
    for each in workers:
        each.mark = "k2"
    assert not any(await asyncio.gather(*(each.hears() for each in workers)))


@pytest.mark.parametrize("off_seconds", [-59.0, 59.0])
async def test_clocks_may_be_off_by_a_minute(bucket: Bucket, oms: Oms, off_seconds: float) -> None:
    oms.says = REFUSED
    workers = [Worker(f"w{n}", bucket, oms, off_seconds=off_seconds * (n % 2)) for n in range(20)]
    await asyncio.gather(*(each.hears() for each in workers))
    assert len(oms.asked_by) <= 2


async def test_a_clock_that_was_set_back_does_not_lead_to_the_old_refusal(
    bucket: Bucket, oms: Oms
) -> None:
    oms.says = REFUSED
    worker = Worker("w", bucket, oms)
    assert await worker.hears()
    worker.clock.now -= 10
    oms.says = None
    assert await worker.hears() is None


async def test_a_holder_that_died_is_replaced_once_in_a_slot(bucket: Bucket, oms: Oms) -> None:
    oms.says = REFUSED
    bucket.objects[place()] = json.dumps({"worker": "dead", "verdict": None}).encode()
    workers = [Worker(f"w{n}", bucket, oms) for n in range(10)]
    assert all(await asyncio.gather(*(each.hears() for each in workers)))
    assert len(oms.asked_by) == 1
    assert all(sum(each.clock.slept) >= WAIT_SECONDS for each in workers)


async def test_where_both_holders_died_it_waits_for_the_next_slot(bucket: Bucket, oms: Oms) -> None:
    for turn in (1, 2):
        bucket.objects[place(turn)] = json.dumps({"worker": "dead", "verdict": None}).encode()
    worker = Worker("w", bucket, oms)
    found = await worker.hears()
    assert found is not None
    assert (found.blame, oms.asked_by) == (Blame.PASSING, [])
    worker.clock.now += SLOT_SECONDS
    assert await worker.hears() is None


async def test_a_lost_answer_to_the_claim_costs_no_turn(bucket: Bucket, oms: Oms) -> None:
    worker = Worker("w", bucket, oms)
    bucket.objects[place()] = json.dumps({"worker": "w", "verdict": None}).encode()
    bucket.fail("put", BUSY)
    assert await worker.hears() is None
    assert json.loads(bucket.objects[place()])["verdict"] == "ok"


async def test_what_passes_is_no_verdict_and_the_holder_asks_again(
    bucket: Bucket, oms: Oms
) -> None:
    oms.says = BUSY
    holder, other = Worker("a", bucket, oms), Worker("b", bucket, oms)
    assert await holder.hears() == BUSY
    assert json.loads(bucket.objects[place()])["verdict"] is None
    assert await holder.hears() == BUSY
    oms.says = None
    assert await holder.hears() is None
    assert await other.hears() is None
    assert oms.asked_by == ["a", "a", "a", "b"]


async def test_a_machine_whose_own_clock_is_wrong_speaks_for_nobody_else(
    bucket: Bucket, oms: Oms
) -> None:
    oms.says = SKEWED
    assert await Worker("late", bucket, oms).hears() == SKEWED
    oms.says = None
    assert await Worker("b", bucket, oms).hears() is None


async def test_a_task_that_is_stopped_says_that_the_key_is_good(bucket: Bucket, oms: Oms) -> None:
    oms.says = failure(Blame.SERVICE, status=200, message="the sync task is STOPPED")
    assert await Worker("a", bucket, oms).hears() == oms.says
    assert json.loads(bucket.objects[place()])["verdict"] == "ok"


async def test_a_verdict_that_cannot_be_written_leaves_the_next_turn(
    bucket: Bucket, oms: Oms
) -> None:
    oms.says = REFUSED
    bucket.fail("put", None, DENIED)
    assert await Worker("a", bucket, oms).hears() == REFUSED
    assert await Worker("b", bucket, oms).hears() == REFUSED
    assert await Worker("c", bucket, oms).hears() is not None
    assert oms.asked_by == ["a", "b"]


@pytest.mark.parametrize("operation", ["put", "get"])
async def test_a_worker_alone_asks_ever_more_rarely(
    bucket: Bucket, oms: Oms, operation: str
) -> None:
    oms.says = REFUSED
    bucket.objects[place()] = b"{}"
    bucket.fail(operation, *([DENIED] * 100))
    worker, asked = Worker("w", bucket, oms), []
    for number in range(20):
        slot = int(worker.clock.wall() // SLOT_SECONDS)
        for name in (right_name(slot, "k1", 1), right_name(slot + 1, "k1", 1)):
            bucket.objects[f"oms_source_record/task/fleet/{name}"] = b"{}"
        before = len(oms.asked_by)
        assert await worker.hears() == REFUSED
        asked += [number] if len(oms.asked_by) > before else []
        worker.clock.now += SLOT_SECONDS
    assert asked == [0, 1, 3, 7, 15]
    worker.mark = "k2"
    oms.says = None
    assert await worker.hears() is None


async def test_a_worker_alone_whose_clock_is_set_right_asks_at_its_next_probe(
    bucket: Bucket, oms: Oms
) -> None:
    worker = Worker("w", bucket, oms)
    worker.oss.open(SKEWED)
    oms.says = SKEWED
    for _ in range(3):
        assert await worker.hears() == SKEWED
    assert len(oms.asked_by) == 3, "how far apart is for the breaker to say"


async def test_while_the_log_bucket_is_down_nothing_is_asked_of_it(
    bucket: Bucket, oms: Oms
) -> None:
    worker = Worker("w", bucket, oms)
    worker.oss.open(BUSY)
    assert await worker.hears() is None
    assert bucket.calls == []


async def test_a_key_that_changes_while_another_is_waited_for_is_tried_at_once(
    bucket: Bucket, oms: Oms
) -> None:
    bucket.objects[place()] = json.dumps({"worker": "dead", "verdict": None}).encode()
    worker = Worker("w", bucket, oms)
    marks = iter(["k1", "k2"])
    worker.right._mark = lambda: next(marks, "k2")
    found = await worker.hears()
    assert found is not None
    assert found.message == "the key has changed"
    assert await worker.hears() is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"worker": "a", "verdict": "refused"}'])
async def test_a_right_that_cannot_be_read_leaves_everybody_alone(
    bucket: Bucket, oms: Oms, body: bytes
) -> None:
    bucket.objects[place()] = body
    assert await Worker("w", bucket, oms).hears() is None
    assert oms.asked_by == ["w"]


def test_a_mark_tells_keys_apart_and_not_what_they_are() -> None:
    keys = [
        HuaweiCredentials("AK1", "secret"),
        HuaweiCredentials("AK1", "another"),
        HuaweiCredentials("AK2", "secret"),
        HuaweiCredentials("AK1", "secret", "token"),
    ]
    marks = {mark_of(each) for each in keys}
    assert len(marks) == 4
    assert mark_of(keys[0]) == mark_of(HuaweiCredentials("AK1", "secret"))
    assert all(len(each) == 12 and "AK" not in each for each in marks)
