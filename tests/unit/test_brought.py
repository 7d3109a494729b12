from __future__ import annotations

import pytest

from doubles.build import message
from harness.ops import oss_event
from worker.operate.brought import BUCKETS_SHOWN_MAX, Brought, brought


def test_a_message_is_foreign_if_one_of_its_events_is() -> None:
    mixed = oss_event("mine", "a")
    bodies = [
        mixed,
        oss_event("theirs", "a", "b"),
        oss_event("theirs", "c"),
        oss_event("more", "a"),
    ]
    found = brought([message(body=body) for body in bodies], "mine")
    assert found == Brought("mine", 4, 0, 3, ("theirs", "more"))
    assert found.text == "3 of 4 peeked bring events of theirs, more; the task copies mine"


def test_what_cannot_be_read_proves_nothing() -> None:
    assert (
        brought([message(body="hello")], "mine").text == "unknown: no visible message can be read"
    )
    assert brought([], "mine").text == "unknown: no message is visible"
    found = brought([message(body="hello"), message(body=oss_event("mine", "a"))], "mine")
    assert found.text == "2 peeked, none with events of another bucket than mine"


def test_without_a_source_nothing_is_foreign_and_nothing_is_known() -> None:
    found = brought([message(body=oss_event("theirs", "a"))], "")
    assert (found.foreign, found.is_known) == (0, False)
    assert found.text == "unknown: the task does not tell which bucket it copies"


@pytest.mark.parametrize("more", [0, 1, 300])
def test_many_buckets_are_told_by_the_first_few(more: int) -> None:
    names = [f"b-{number}" for number in range(BUCKETS_SHOWN_MAX + more)]
    found = brought([message(body=oss_event(name, "a")) for name in names], "mine")
    assert ("b-4; the" in found.text) is (more == 0)
    assert (f"b-4 and {more} more; the" in found.text) is (more > 0)
    assert len(found.text) < 110


def test_a_name_that_is_no_bucket_name_is_never_repeated() -> None:
    body = oss_event("x\x1b[31m\nfake line", "a")
    assert brought([message(body=body)], "mine").text == "unknown: no visible message can be read"
