"""Which bucket the copies are in: what the task says counts, and OBS_BUCKET where nobody contradicts it."""

from __future__ import annotations

import pytest

from worker.arrival.bucket import Ground, destination_of
from worker.flow.source import Source
from worker.ports import TaskState

SAYS = TaskState("SYNCHRONIZING", {"src_bucket": "films", "dst_bucket": "copies"})
SILENT = TaskState("SYNCHRONIZING", {"src_bucket": "films"})


@pytest.mark.parametrize(
    ("named", "task", "is_unreadable", "name", "ground"),
    [
        ("", SAYS, False, "copies", Ground.TASK),
        ("copies", SAYS, False, "copies", Ground.TASK),
        ("another", SAYS, False, "another", Ground.AGAINST_TASK),
        ("another", SAYS, True, "another", Ground.AGAINST_TASK),
        ("copies", SILENT, False, "copies", Ground.SETTING),
        ("copies", None, True, "copies", Ground.SETTING),
        # The task may still be read, and say otherwise.
        ("copies", None, False, "", Ground.NONE),
        ("", SILENT, False, "", Ground.NONE),
        ("", None, True, "", Ground.NONE),
    ],
)
def test_what_the_task_says_counts_before_what_is_set(
    named: str, task: TaskState | None, is_unreadable: bool, name: str, ground: Ground
) -> None:
    found = destination_of(named, task, is_unreadable=is_unreadable)
    assert (found.name, found.ground) == (name, ground)
    assert found.may_be_followed is (ground in (Ground.TASK, Ground.SETTING))
    assert bool(found.doubt) is (ground is not Ground.TASK)


def test_a_task_that_may_not_be_read_any_more_still_counts() -> None:
    source = Source()
    source.learn(SAYS)
    source.learn(None)
    assert (source.is_unreadable, source.task, source.bucket) == (False, SAYS, "films")


def test_without_the_task_the_source_is_the_only_bucket_whose_events_come() -> None:
    source = Source()
    source.learn(None)
    assert (source.is_unreadable, source.likely_bucket, source.has_several) == (True, "", False)
    for _ in range(2):
        source.hear("films")
    assert (source.likely_bucket, source.has_several) == ("films", False)
    source.hear("songs")
    source.hear("films")
    assert (source.likely_bucket, source.has_several) == ("", True)
    source.learn(SAYS)
    assert (source.likely_bucket, source.has_several) == ("films", False)


def test_what_the_task_says_is_not_changed_by_events() -> None:
    source = Source()
    source.learn(SAYS)
    source.hear("songs")
    assert source.likely_bucket == "films"
