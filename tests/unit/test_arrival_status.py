from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from worker.advice import Cause
from worker.arrival.history import ArrivalSpan
from worker.commands.status import BAD, _lines, _verdict, needs_you
from worker.operate.arrival import Sight, Told, arrival_of, percent, told_from
from worker.operate.levels import levels_of
from worker.operate.status import Status, TaskStatus
from worker.operate.workers import Sample, WorkerStatus

GOOD = ArrivalSpan(10_000, 1, 2, 0, 8.0, 41.0, 3600.0)
TOLD = Told(GOOD, replace(GOOD, in_time=20_000), 900.0, 3, 120)
WELL = Sample(
    "http://w",
    1.0,
    is_ready=True,
    announced=12,
    accepted=11,
    arrived=5,
    proved=4,
    arrival=TOLD,
)
TASK = TaskStatus("SYNCHRONIZING", 12, 9, 0, 1)


def status(*samples: Sample, is_set: bool = True, task: TaskStatus | None = TASK) -> Status:
    workers = tuple(WorkerStatus(each, None) for each in samples)
    return Status(0.0, None, None, {}, task, workers, is_destination_set=is_set)


def lines(found: Status) -> dict[str, tuple[str, str]]:
    """The lines by name; those without a name by the words they begin with."""
    return {name or text[:9]: (text, style) for name, text, style in _lines(found)}


def test_what_a_worker_tells_is_read_and_what_it_does_not_tell_is_none() -> None:
    span = GOOD.as_object()
    told = {"1h": span, "24h": span, "promised_seconds": 900, "pending": 3}
    found = told_from({"arrival": {**told, "copy_backlog": None, "cause": None}})
    assert found == Told(GOOD, GOOD, 900.0, 3, None)
    assert told_from({}) is None
    with pytest.raises(LookupError):
        told_from({"arrival": {}})


def test_workers_are_taken_together() -> None:
    cause = Cause("why", None, "do that")
    other = replace(TOLD, copy_backlog=None, pending=1, cause=cause)
    found = arrival_of([TOLD, None, other, other], is_set=False)
    assert (found.sight, found.pending, found.copy_backlog) == (Sight.SEEN, 5, 120)
    assert found.hour is not None
    assert found.hour.followed == 30_003
    assert found.causes == (cause,)
    assert found.as_object()["causes"] == [{"what": "why", "advice": None, "next": "do that"}]


def test_the_backlog_tells_its_age_and_is_never_less_than_what_the_task_owes() -> None:
    old = replace(TOLD, copy_backlog=0, copy_backlog_seconds=240.0)
    found = lines(status(replace(WELL, arrival=old), task=replace(TASK, accepted=10)))
    assert found["copy backlog"][0] == (
        "0 objects at most, by OMS's statistics of the last day, read 4 min ago"
    )
    owing = TaskStatus("SYNCHRONIZING", 84, 4, 0, 0)
    found = lines(status(replace(WELL, arrival=old), task=owing))
    assert found["copy backlog"][0] == ("80 objects at most, by the task's counters of this month")
    unread = replace(TOLD, copy_backlog=None)
    assert arrival_of([unread], is_set=True, owed=80).copy_backlog is None
    assert old.aged(30.0).copy_backlog_seconds == 270.0


def test_nobody_looks_or_nobody_tells() -> None:
    assert arrival_of([None], is_set=False).sight is Sight.OFF
    unknown = arrival_of([], is_set=True)
    assert unknown.sight is Sight.UNKNOWN
    assert unknown.as_object()["1h"] is None


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert [percent(each) for each in (1.0, 0.99999, 0.999, 0.0)] == [
        "100%", "99.99%", "99.90%", "0.00%",
    ]  # fmt: skip


def test_levels_are_summed_and_unknown_where_nobody_tells_them() -> None:
    alone = replace(WELL, arrival=None)
    both = levels_of([WELL, alone, Sample("u", 1.0, "refused")], 10)
    assert (both.announced, both.recorded, both.done, both.arrived) == (24, 22, 10, 5)
    none = levels_of([Sample("u", 1.0, "refused")], None)
    assert (none.announced, none.recorded, none.arrived, none.proved) == (None, None, None, None)
    assert levels_of([alone], 1).arrived is None


def test_arrival_is_told_in_plain_lines() -> None:
    found = lines(status(WELL))
    assert found["levels"][0].startswith("announced 12 events, recorded 11 keys")
    assert found["levels"][0].endswith("done 10 objects (OMS, this month)")
    assert found["arrived 5"] == (
        "arrived 5 of the followed keys, proved 4 of these; 3 on the way",
        "",
    )
    assert found["arrival"] == (
        "last hour: 99.99% within 15 min (10000 of 10001), p50 8.0 s, p99 41.0 s",
        "green",
    )
    assert found["copy backlog"][0].startswith("120 objects at most")
    assert "failed copies" not in found


@pytest.mark.parametrize(
    ("samples", "is_set", "text"),
    [
        ([], False, "not looked at (set OBS_ENDPOINT)"),
        ([replace(WELL, arrival=None)], False, "not looked at (set OBS_ENDPOINT)"),
        ([], True, "unknown: no worker tells it"),
        ([Sample("u", 1.0, "refused")], True, "unknown: no worker answers"),
        ([replace(WELL, arrival=None)], True, "unknown: no worker looks"),
    ],
)
def test_what_is_not_known_is_never_green(samples: list[Sample], is_set: bool, text: str) -> None:
    told, style = lines(status(*samples, is_set=is_set))["arrival"]
    assert told.startswith(text)
    assert style == "magenta"


@pytest.mark.parametrize(
    ("span", "text", "style"),
    [
        (ArrivalSpan(), "unknown: no followed key was due", "magenta"),
        (ArrivalSpan(998, 2), "99.80% within 15 min (998 of 1000)", BAD),
        (ArrivalSpan(5, 0), "100% within 15 min (5 of 5)", "green"),
        (ArrivalSpan(5, unknown=5), "50.00% within 15 min (5 of 10, 5 unknown)", "magenta"),
        (ArrivalSpan(unknown=5), "0.00% within 15 min (0 of 5, 5 unknown)", "magenta"),
        (ArrivalSpan(9, 1, unknown=5), "60.00% within 15 min (9 of 15, 5 unknown)", BAD),
        (ArrivalSpan(9999, unknown=1), "99.99% within 15 min (9999 of 10000, 1 unknown)", "green"),
    ],
)
def test_the_share_has_the_colour_it_deserves(span: ArrivalSpan, text: str, style: str) -> None:
    told = replace(TOLD, hour=span, copy_backlog=None)
    found = lines(status(replace(WELL, arrival=told)))
    assert found["arrival"] == (f"last hour: {text}", style)
    assert found["copy backlog"] == ("unknown: OMS's statistics were not read", "magenta")


@pytest.mark.parametrize("kept", [0, 998])
def test_a_promise_that_is_broken_now_needs_somebody(kept: int) -> None:
    told = replace(TOLD, hour=ArrivalSpan(kept, 44))
    found = status(replace(WELL, arrival=told))
    assert "arrival" in needs_you(found)
    assert _verdict(found)[1].startswith("needs you: arrival")


def test_a_promise_that_was_broken_and_is_kept_again_needs_nobody() -> None:
    told = replace(TOLD, day=ArrivalSpan(0, 44))
    found = status(replace(WELL, arrival=told))
    assert needs_you(found) == []
    assert ("", "last day: 0.00% within 15 min (0 of 44)", "yellow") in _lines(found)


def test_given_up_keys_and_a_destination_that_cannot_be_seen_are_red() -> None:
    day = replace(TOLD.day, given_up=2)
    told = replace(TOLD, day=day, cause=Cause("obs refused", None, "grant it"))
    found = lines(status(replace(WELL, arrival=told)))
    assert ("last day: 1 late, 2 resent, 2 given up", "bold red") in found.values()
    assert found["the desti"] == (
        "the destination cannot be looked at: obs refused; grant it",
        "red",
    )


@pytest.mark.parametrize(
    ("sample", "is_set", "next_step"),
    [
        ({}, False, "a relay announces again what OMS lists as failed"),
        ({"arrival": None}, False, "nothing announces them again"),
        ({"arrival": None}, True, "whether a relay announces them again is not known"),
    ],
)
def test_failed_copies_are_red_with_the_next_step(
    sample: dict[str, Any], is_set: bool, next_step: str
) -> None:
    failing = replace(TASK, failed=270)
    text, style = lines(status(replace(WELL, **sample), is_set=is_set, task=failing))[
        "failed copies"
    ]
    assert text.startswith("270 this month: OMS accepted them and could not copy them")
    assert next_step in text
    assert "Next: " in text
    assert style == "bold red"
