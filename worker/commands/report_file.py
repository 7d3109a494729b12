"""A report of a run: a new file with one JSON object on each line, written as things happen."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from worker.errors import RelayError


class ReportUnwritable(RelayError):  # noqa: N818  the name says what it is
    """The report cannot be written, so what would stand in it is not done."""


class ReportFile:
    """Takes lines. Every method raises `ReportUnwritable`."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file

    def settle(self) -> int:
        """Let all lines reach the disk; return how many bytes the report has."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def cut(self, size: int) -> None:
        """Go back to the first so many bytes: what an interrupted comparison wrote later is told again."""
        try:
            if self._file.seek(0, os.SEEK_END) < size:
                raise ReportUnwritable(
                    f"the report {self._path} is shorter than it was when the comparison stopped: name the "
                    "one that belongs to its state"
                )
            self._file.truncate(size)
            self._file.seek(size)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def line(self, value: Mapping[str, Any], *, at_once: bool = False) -> None:
        """Write a line; `at_once` hands it to the system before anything else is done."""
        try:
            self._file.write(json.dumps(value) + "\n")
            if at_once:
                self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from error


@contextmanager
def report_file(path: Path | None, *, may_go_on: bool = False) -> Iterator[ReportFile | None]:
    """Make the file; None without a path. One that exists is never written over: it may tell of deletions.

    With `may_go_on` one that exists is opened, to be cut to what belongs to a state and gone on with.
    """
    if path is None:
        yield None
        return
    try:
        goes_on = may_go_on and path.exists()
        file = path.open("r+" if goes_on else "x", encoding="utf-8")
        file.seek(0, os.SEEK_END)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield ReportFile(path, file)
    finally:
        try:
            file.close()
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ReportUnwritable:
    return ReportUnwritable(
        f"the report {path} cannot be written: {error.strerror or error}. Name a new file, where there is "
        "room"
    )
