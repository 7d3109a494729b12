"""A report of a run: a new file with one JSON object on each line, written as things happen."""

from __future__ import annotations

import json
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

    def line(self, value: Mapping[str, Any], *, at_once: bool = False) -> None:
        """Write a line; `at_once` hands it to the system before anything else is done."""
        try:
            self._file.write(json.dumps(value) + "\n")
            if at_once:
                self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from error


@contextmanager
def report_file(path: Path | None) -> Iterator[ReportFile | None]:
    """Make the file; None without a path. One that exists is never written over: it may tell of deletions."""
    if path is None:
        yield None
        return
    try:
        file = path.open("x", encoding="utf-8")
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
