from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.build import Heard, event, failure, held
from doubles.clock import settle
from doubles.hurry import hurried
from worker.flow.dedupe import Change, Dedupe, identity


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def dedupe(heard: Heard) -> Dedupe:
    return Dedupe(heard.journal)


async def take(dedupe: Dedupe, keys_max: int = 10) -> list[Change]:
    with hurried():
        return await dedupe.batch(keys_max, 0.02)


OTHER: list[dict[str, Any]] = [
    {"request_id": "R2"},
    {"name": "ObjectCreated:PostObject"},
    {"bucket": "music"},
    {"time": "2026-09-25T00:00:00.001Z"},
    {"etag": "E2"},
]


@pytest.mark.parametrize("other", OTHER)
def test_an_event_that_differs_in_anything_is_another_event(other: dict[str, Any]) -> None:
    assert identity("M1", 0, event(), "a") != identity("M1", 0, event(**other), "a")


def test_one_event_under_two_readings_of_its_key_is_two() -> None:
    assert identity("M1", 0, event(), "a b") != identity("M1", 0, event(), "a+b")


def test_an_event_published_twice_is_the_same_event() -> None:
    assert identity("M1", 0, event(), "a") == identity("M2", 3, event(), "a")


def test_without_a_request_id_only_the_message_can_vouch() -> None:
    bare = event(request_id="")
    assert identity("M1", 0, bare, "a") == identity("M1", 0, bare, "a")
    assert identity("M1", 0, bare, "a") != identity("M2", 0, bare, "a")
    assert identity("M1", 0, bare, "a") != identity("M1", 1, bare, "a")


@given(st.text(), st.text(), st.text(), st.text())
def test_facts_do_not_run_into_each_other(bucket: str, key: str, time: str, etag: str) -> None:
    one = identity("M", 0, event(bucket=bucket, time=time, etag=etag), key)
    two = identity("M", 0, event(bucket=bucket + key, time=time, etag=etag), "")
    assert (one == two) == (key == "")


async def test_messages_of_a_key_that_waits_share_one_post(dedupe: Dedupe, heard: Heard) -> None:
    first, second = held("M1"), held("M2")
    assert dedupe.admit(first, [(event(request_id="R1"), "a")])
    assert dedupe.admit(second, [(event(request_id="R2"), "a")])
    (change,) = await take(dedupe)
    assert dedupe.settle(change, undone=None, rejected=None) == [first, second]
    assert heard.count("keys_merged_total") == 1


async def test_an_event_after_its_key_was_taken_is_posted_again(dedupe: Dedupe) -> None:
    dedupe.admit(held("M1"), [(event(request_id="R1"), "a")])
    taken = await take(dedupe)
    dedupe.admit(held("M2"), [(event(request_id="R2"), "a")])
    again = await take(dedupe)
    assert [change.key for change in taken + again] == ["a", "a"]
    assert again[0].newest.held.message.message_id == "M2"


async def test_a_redelivered_event_whose_record_is_confirmed_is_not_posted_again(
    dedupe: Dedupe, heard: Heard
) -> None:
    dedupe.admit(held("M1"), [(event(), "a")])
    (change,) = await take(dedupe)
    dedupe.settle(change, undone=None, rejected=None)
    assert not dedupe.admit(held("M1", deliveries=2), [(event(), "a")])
    assert len(dedupe) == 0
    assert heard.count("events_repeated_total") == 1


@pytest.mark.parametrize(
    ("undone", "rejected"), [(failure(), None), (None, failure()), (failure(), failure())]
)
async def test_without_a_confirmed_success_the_event_is_posted_again(
    dedupe: Dedupe, undone: Any, rejected: Any
) -> None:
    dedupe.admit(held("M1"), [(event(), "a")])
    (change,) = await take(dedupe)
    (finished,) = dedupe.settle(change, undone=undone, rejected=rejected)
    assert (finished.undone and finished.undone.failure) == undone
    assert finished.rejected == (() if undone else (("a", rejected, ""),))
    assert dedupe.admit(held("M1", deliveries=2), [(event(), "a")])


async def test_a_message_finishes_with_the_last_of_its_changes(dedupe: Dedupe) -> None:
    several = held("M1")
    dedupe.admit(several, [(event("a"), "a"), (event("b"), "b"), (event("a", etag="E2"), "a")])
    assert (several.keys, several.first_key, several.pending) == (3, "a", 3)
    a, b = await take(dedupe)
    assert dedupe.settle(a, undone=None, rejected=None) == []
    assert dedupe.settle(b, undone=None, rejected=failure()) == [several]


async def test_changes_leave_in_the_order_they_came(dedupe: Dedupe) -> None:
    for key in "cab":
        dedupe.admit(held(key), [(event(key, request_id=key), key)])
    assert [change.key for change in await take(dedupe, 2)] == ["c", "a"]
    assert [change.key for change in await take(dedupe, 2)] == ["b"]


async def test_a_batch_lingers_for_company_and_leaves_when_full(dedupe: Dedupe) -> None:
    batch = asyncio.create_task(dedupe.batch(3, 3600.0))
    for key in "abc":
        await settle()
        assert not batch.done()
        dedupe.admit(held(key), [(event(key, request_id=key), key)])
    assert len(await batch) == 3


async def test_a_batch_that_never_fills_leaves_after_its_linger(dedupe: Dedupe) -> None:
    with hurried() as asked:
        batch = asyncio.create_task(dedupe.batch(3, 0.02))
        await settle()
        assert asked == []
        dedupe.admit(held(), [(event(), "a")])
        assert len(await batch) == 1
    assert asked == [0.02]


async def test_closing_lets_batches_leave_at_once_and_ends_them(dedupe: Dedupe) -> None:
    lingering = asyncio.create_task(dedupe.batch(3, 3600.0))
    dedupe.admit(held(), [(event(), "a")])
    await settle()
    dedupe.close()
    assert len(await lingering) == 1
    dedupe.admit(held("M2"), [(event(request_id="R2"), "b")])
    assert len(await dedupe.batch(3, 3600.0)) == 1
    assert await dedupe.batch(3, 3600.0) == []


async def test_closing_ends_a_batch_that_waits_for_a_first_key(dedupe: Dedupe) -> None:
    waiting = asyncio.create_task(dedupe.batch(3, 3600.0))
    await settle()
    dedupe.close()
    assert await waiting == []


def test_what_an_operator_sends_again_is_known_by_that_intent() -> None:
    first = identity("M1", 0, event(), "a", "L-1")
    assert first == identity("M2", 0, event(), "a", "L-1")
    assert first != identity("M1", 0, event(), "a")
    assert first != identity("M1", 0, event(), "a", "L-2")
    assert first != identity("M1", 1, event(), "a", "L-1")
