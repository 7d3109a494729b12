from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.build import Heard, failure, message, service
from doubles.clock import EPOCH, QuickClock
from doubles.vendors import ModelStore
from worker.errors import Blame
from worker.flow.bury import DeadLetters
from worker.flow.lease import Refused
from worker.flow.record import Records
from worker.ledger.letter import (
    INDEX,
    KEYS_SHOWN_MAX,
    Cause,
    Entry,
    Ref,
    fingerprint,
    parse_index,
)


class Bench:
    def __init__(self) -> None:
        clock = QuickClock()
        self.store = ModelStore()
        journal = Heard().journal
        records = Records(self.store, service(clock, journal), "logs", "task", clock, journal)
        self.letters = DeadLetters(records, "worker-1", clock)

    @property
    def letter(self) -> bytes:
        """The one letter, beside its entry in the index."""
        (found,) = (body for name, body in self.store.objects.items() if "/dead_letter/" in name)
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_dead_letter_tells_the_whole_story(bench: Bench) -> None:
    rejected = [Refused("a.txt", failure(Blame.ITEM, status=400))]
    one = message("M1", "body", deliveries=7)
    assert await bench.letters.write(one, Cause.REJECTED, "no such key", rejected) is None
    name = "oms_source_record/task/dead_letter/rejected/2026-09-21/M1.json"
    assert json.loads(bench.store.objects[name]) == {
        "cause": "rejected",
        "error": "no such key",
        "keys": [{"key": "a.txt", "error": "oms Call answered 400"}],
        "message_id": "M1",
        "attempts": 7,
        "worker": "worker-1",
        "died_at": "2026-09-21T14:13:20.000+00:00",
        "enqueued_at": "2026-09-21T14:13:20.000+00:00",
        "body": "body",
    }


@given(st.text() | st.text(st.characters(categories=["Cs", "Cc", "Cn"])))
async def test_the_body_is_kept_byte_for_byte(body: str) -> None:
    bench = Bench()
    await bench.letters.write(message("M1", body), Cause.UNDECODABLE, "why")
    stored = bench.letter
    assert json.loads(stored)["body"] == body
    assert stored.isascii()


async def test_a_dead_letter_that_is_not_confirmed_says_so(bench: Bench) -> None:
    refusal = failure(Blame.SERVICE, status=403)
    bench.store.fail("put", refusal)
    assert await bench.letters.write(message(), Cause.UNDECODABLE, "why") == refusal


async def test_the_index_tells_the_group_and_the_time_of_death(bench: Bench) -> None:
    await bench.letters.write(message("M1"), Cause.REJECTED, "oms X answered 400 OMS.0064: 'a'")
    name = next(name for name in bench.store.objects if f"/{INDEX}/" in name)
    found = parse_index(name.removeprefix("oms_source_record/task/"))
    group = fingerprint("rejected", "oms X answered 400 OMS.0064: 'b'")
    assert found == ("rejected/2026-09-21/M1", Entry(group, EPOCH))
    assert bench.store.objects[name] == b""


async def test_a_letter_stands_although_its_entry_does_not(bench: Bench) -> None:
    bench.store.fail("put", None, failure(Blame.PASSING, status=503))
    assert await bench.letters.write(message(), Cause.UNDECODABLE, "why") is None
    assert len(bench.store.objects) == 1


async def test_keys_beyond_a_thousand_are_not_shown(bench: Bench) -> None:
    rejected = [Refused(str(n), failure(Blame.ITEM)) for n in range(KEYS_SHOWN_MAX + 5)]
    await bench.letters.write(message(), Cause.REJECTED, "why", rejected)
    stored = bench.letter
    assert len(json.loads(stored)["keys"]) == KEYS_SHOWN_MAX


def test_a_listing_of_names_alone_gives_the_groups() -> None:
    names = [Ref.of_death(cause, EPOCH, "M1").name for cause in Cause]
    assert [name.split("/")[1] for name in names] == [
        "undecodable",
        "rejected",
        "max-deliveries",
        "unrouted",
        "receive-limit",
        "not_arrived",
        "deletion_held",
    ]
