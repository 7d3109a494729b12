"""How commands print: tables as wide as the terminal for people, lines of JSON for machines.

Elsewhere than on a terminal everything is plain, for `grep` and files: one line for each row, however long,
no colours, no frames, no moving bars.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from worker.observe.logs import visible

ROWS_AT_ONCE = 50
STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red", "skipped": "dim"}


def console(*, is_error: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    stream = sys.stderr if is_error else sys.stdout
    return Console(
        file=stream, highlight=False, markup=False, emoji=False, soft_wrap=not stream.isatty()
    )


def row_printed(out: Console, widths: Sequence[int], cells: Sequence[str | Text]) -> None:
    """Print one row; the last column takes what is left, over several lines on a terminal."""
    if not out.is_terminal:
        out.print(plain_row(widths, cells), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 1))
    for width in widths:
        grid.add_column(width=width)
    grid.add_column(overflow="fold")
    grid.add_row(*cells)
    out.print(grid)


def plain_row(widths: Sequence[int], cells: Sequence[str | Text], gap: str = " ") -> str:
    """Return a row as one line: columns apart by the gap at least, nothing behind the last one."""
    texts = [", ".join(str(each).rstrip().split("\n")) for each in cells]
    padded = [f"{text:<{width}}" for text, width in zip(texts, widths, strict=False)]
    return gap.join([*padded, *texts[len(padded) :]]).rstrip()


def shown(text: str) -> str:
    r"""Return `text` on one line, with what does not print written as an escape such as `\x07`."""
    return visible(text)


def time_shown(iso: str) -> str:
    """Return an ISO 8601 time as `2026-09-22 10:00:00` in UTC, or the text as it is."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return iso


def span(seconds: float) -> str:
    """Return a length of time in its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`."""
    whole = max(0, round(seconds))
    units = ((whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"))
    parts = [f"{number} {unit}" for number, unit in (*units, (whole % 60, "s")) if number]
    return " ".join(parts[:2]) or "0 s"


def size(count: int) -> str:
    """Return a number of bytes in the largest unit that fits: `12 B`, `1.5 KiB`, `20.1 GiB`."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}" if value != count else f"{count} B"


def line(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line; any text survives, half a surrogate pair too."""
    sys.stdout.write(json.dumps(value) + "\n")


class Rows:
    """A table that is printed as its rows come, fifty at a time, so that it may be of any length.

    `widths` has the width of each column; 0 stands for what is left, and may break over several lines.
    """

    def __init__(self, widths: Mapping[str, int], out: Console) -> None:
        self._widths = widths
        self._out = out
        self._waiting: list[Sequence[str | Text]] = []
        self._is_headed = False

    def add(self, *cells: str | Text) -> None:
        """Add a row; it is printed soon."""
        self._waiting.append(cells)
        if len(self._waiting) >= ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Print what waits."""
        if not self._waiting:
            return
        if not self._out.is_terminal:
            self._flush_plain()
            return
        table = Table(box=None, pad_edge=False, show_header=not self._is_headed, expand=True)
        for name, width in self._widths.items():
            if width:
                table.add_column(name, width=width, overflow="fold", header_style="bold")
            else:
                table.add_column(name, ratio=1, overflow="fold", header_style="bold")
        for cells in self._waiting:
            table.add_row(*(Text(shown(each)) if isinstance(each, str) else each for each in cells))
        self._out.print(table)
        self._waiting, self._is_headed = [], True

    def _flush_plain(self) -> None:
        widths = [width for width in self._widths.values() if width]
        heads = [] if self._is_headed else [tuple(self._widths)]
        for cells in (*heads, *self._waiting):
            shown_cells = [shown(each) if isinstance(each, str) else each for each in cells]
            self._out.print(plain_row(widths, shown_cells, "  "), soft_wrap=True)
        self._waiting, self._is_headed = [], True


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Progress | None]:
    """Show a bar on a terminal while the context lasts; None elsewhere. It has one task, `tasks[0]`."""
    out = console(is_error=True)
    if not out.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as shown_progress:
        shown_progress.add_task(title, total=total)
        yield shown_progress
