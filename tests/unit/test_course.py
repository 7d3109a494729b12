"""How far a long run has come: what is known is said, and nothing else."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from doubles.clock import QuickClock
from worker.commands.course import Course, said
from worker.commands.terminal import size


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (0, "1000 objects, 100/s, at photos/a\\x07.jpg"),
        (4000, "1000 of about 4000 objects, 100/s, about 30 s left, at photos/a\\x07.jpg"),
        (900, "1000 of about 900 objects, 100/s, at photos/a\\x07.jpg"),
    ],
)
def test_the_time_left_is_said_only_where_the_number_is_known(expected: int, text: str) -> None:
    assert said(1000, 10.0, "photos/a\x07.jpg", expected) == text


def test_a_long_name_is_cut_to_the_room_there_is_and_no_time_is_no_rate() -> None:
    cut = said(0, 0.0, "x" * 100, room=60)
    assert cut == f"0 objects, 0/s, at {'x' * 40}…"
    assert len(cut) == 60
    assert said(0, 0.0, "x" * 100, room=20) == "0 objects, 0/s"


def test_elsewhere_than_on_a_terminal_there_is_a_line_a_minute() -> None:
    clock, out = QuickClock(), io.StringIO()
    course = Course(clock, Console(file=out, width=100))
    for count in range(1, 181):
        clock.now = float(count)
        course.advance(count, "a")
    assert out.getvalue().splitlines() == [
        f"{count} objects, 1/s, at a" for count in (60, 120, 180)
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (3 << 50, "3.0 PiB")],
)
def test_bytes_are_said_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert size(count) == text
