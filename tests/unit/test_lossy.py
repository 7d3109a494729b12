from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.observe.lossy import Lossy, plain_gap

GOOD = b"a line\n"
LONG = b"x" * 69_999 + b"\n"


class Place:
    """A descriptor whose place behind it a test can change, and a stream that writes there."""

    def __init__(self, **bounds: int) -> None:
        self.read, self.descriptor = os.pipe()
        self.dropped = 0
        self.lines = Lossy(self.descriptor, **bounds)
        self.lines.on_drop = self._count

    def _count(self) -> None:
        self.dropped += 1

    def becomes(self, path: Path | str) -> None:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, self.descriptor)
        os.close(opened)

    def write(self, *lines: bytes) -> None:
        for line in lines:
            self.lines.write(line)
        self.lines.drain(30.0)

    def get_stuck(self) -> None:
        """Let the writer hang in the middle of a line that no pipe holds as a whole."""
        self.lines.write(LONG)
        while self.lines._lines:
            pass

    def received(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += os.read(self.read, size - len(found))
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.lines.drain(30.0)
    os.close(made.read)
    os.close(made.descriptor)


def test_lines_come_out_in_their_order(place: Place) -> None:
    lines = [f"line {number}\n".encode() for number in range(1000)]
    place.write(*lines)
    assert place.received(sum(map(len, lines))) == b"".join(lines)
    assert place.dropped == 0


def test_text_that_is_no_unicode_is_written_as_an_escape(place: Place) -> None:
    place.lines.write("half a pair \udcff\n")
    assert place.received(19) == b"half a pair \\udcff\n"


@pytest.mark.parametrize("bounds", [{"lines_max": 10}, {"bytes_max": 10 * 70_000}])
def test_too_many_lines_are_dropped_and_their_gap_is_told(bounds: dict[str, int]) -> None:
    place = Place(**bounds)
    place.get_stuck()
    for _ in range(15):
        place.lines.write(LONG)
    assert place.dropped == 5
    assert place.received(11 * 70_000) == 11 * LONG
    place.lines.write(GOOD)
    gap = f"{plain_gap(5)}\n".encode()
    assert place.received(len(gap + GOOD)) == gap + GOOD


def test_a_gap_at_the_end_is_told_as_well() -> None:
    place = Place(lines_max=1)
    place.get_stuck()
    place.lines.write(LONG)
    place.lines.write(GOOD)
    place.received(2 * 70_000)
    place.lines.drain(30.0)
    assert place.received(len(plain_gap(1)) + 1) == f"{plain_gap(1)}\n".encode()


def test_lines_that_cannot_be_written_are_counted_and_their_gap_is_told(
    place: Place, tmp_path: Path
) -> None:
    place.becomes("/dev/full")
    place.write(GOOD, GOOD, GOOD)
    assert place.dropped == 3
    place.becomes(tmp_path / "log")
    place.write(GOOD, GOOD)
    assert (tmp_path / "log").read_bytes() == plain_gap(3).encode() + b"\n" + GOOD + GOOD


def test_half_a_line_does_not_run_into_the_next_one(place: Place, tmp_path: Path) -> None:
    os.set_blocking(place.descriptor, False)
    place.lines.write(b"x" * 100_000 + b"\n")
    place.received(4096)
    place.becomes("/dev/full")
    # The writer finds a place that takes nothing, after it has written part of the line.
    os.read(place.read, 65_536)
    place.lines.drain(30.0)
    assert place.dropped == 1
    place.becomes(tmp_path / "log")
    place.write(GOOD)
    assert (tmp_path / "log").read_bytes() == b"\n" + plain_gap(1).encode() + b"\n" + GOOD


def test_a_descriptor_that_does_not_wait_loses_nothing(place: Place) -> None:
    os.set_blocking(place.descriptor, False)
    lines = [b"x" * 50_000 + b"\n"] * 20
    for line in lines:
        place.lines.write(line)
    assert place.received(20 * 50_001) == b"".join(lines)
    assert place.dropped == 0


def test_a_reader_that_left_costs_lines_only(place: Place) -> None:
    reader = os.dup(place.read)
    os.dup2(os.open(os.devnull, os.O_RDONLY), place.read)
    os.close(reader)
    place.write(GOOD, GOOD)
    assert place.dropped == 2
