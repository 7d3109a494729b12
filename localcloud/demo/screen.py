"""What the demo shows: a live table on a terminal, a plain line a second elsewhere, and the account."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from localcloud.demo.account import Line

LINE_SECONDS = 1.0
RATE_SECONDS = 3.0
PLAIN_WIDTH = 120
BAR_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Progress:
    """The numbers of one moment."""

    what: str
    steps: int
    written: int
    steps_done: int
    events: int
    visible: int
    in_hand: int
    deleted: int
    posts: int
    records: int
    dead_letters: int
    copied: int
    struck: int
    faults: int
    kills: int

    @property
    def left(self) -> int:
        """Messages in the queue, in anybody's hand or not."""
        return self.visible + self.in_hand


class Screen:
    """Shows progress as long as it is entered; `show` may be called as often as one likes."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._started_at = time.monotonic()
        self._told_at = 0.0
        self._rate = _Rate()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """How long this has been going on."""
        return time.monotonic() - self._started_at

    def say(self, text: str, style: str = "") -> None:
        """Print a line that stays; only a terminal wraps it."""
        is_long = not self.console.is_terminal
        self.console.print(text, style=style, markup=False, soft_wrap=is_long)

    def show(self, progress: Progress) -> None:
        """Show the numbers of this moment."""
        per_second = self._rate.of(self.seconds, progress.deleted)
        if self.console.is_terminal:
            self._live.update(_table(progress, self.seconds, per_second), refresh=True)
        elif self.seconds - self._told_at >= LINE_SECONDS:
            self._told_at = self.seconds
            self.say(_line(progress, self.seconds, per_second))

    def account(self, lines: Sequence[Line]) -> None:
        """Print the account as a table."""
        table = Table(box=box.SIMPLE_HEAD, title="Account", title_justify="left", pad_edge=False)
        table.add_column("")
        table.add_column("what", no_wrap=True)
        table.add_column("found", justify="right", no_wrap=True)
        table.add_column("must be", overflow="fold")
        for line in lines:
            mark, style = self._mark(line)
            must_be = Text(line.must_be)
            if line.is_right is False:
                must_be.append(f"\n{line.differs}", style="bold red")
            table.add_row(Text(mark, style=style), line.what, line.found, must_be)
        self.console.print(table)

    def _mark(self, line: Line) -> tuple[str, str]:
        is_plain = not self.console.encoding.lower().startswith("utf")
        if line.is_right is None:
            return (" " if is_plain else "·"), "dim"
        if line.is_right:
            return ("ok" if is_plain else "✓"), "green"
        return ("XX" if is_plain else "✗"), "bold red"


class _Rate:
    """Messages done per second over the last moments."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, at: float, done: int) -> float:
        self._seen.append((at, done))
        while len(self._seen) > 2 and at - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (done - before) / (at - since) if at > since else 0.0


def _table(now: Progress, seconds: float, per_second: float) -> Table:
    table = Table(
        box=box.ROUNDED, title=f"{now.what} ({seconds:.0f} s)", title_style="bold", min_width=64
    )
    table.add_column("where", style="cyan", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("number", justify="right", min_width=8, no_wrap=True)
    table.add_column("", min_width=BAR_WIDTH, no_wrap=True)
    for row in _rows(now, per_second):
        table.add_row(*row)
    return table


def _rows(now: Progress, per_second: float) -> Iterable[tuple[str, str, str, ProgressBar | str]]:
    yield "OSS, source", "objects written", f"{now.written:,}", _bar(now.steps_done, now.steps)
    yield "", "events announced", f"{now.events:,}", ""
    yield "MNS", "in queue", f"{now.left:,}", f"{now.in_hand:,} of them in hand"
    yield "", "messages deleted", f"{now.deleted:,}", _bar(now.deleted, max(now.steps, now.events))
    yield "", "objects/s", f"{per_second:,.0f}", ""
    yield "OMS", "posts accepted", f"{now.posts:,}", ""
    yield "", "objects copied", f"{now.copied:,}", ""
    yield "OSS, log", "records", f"{now.records:,}", ""
    yield "", "dead letters", f"{now.dead_letters:,}", ""
    if now.faults:
        yield "faults", "struck", f"{now.struck:,}", f"of at most {now.faults:,}"
    if now.kills:
        yield "", "relay killed", f"{now.kills:,}", "and started again"


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=done, width=BAR_WIDTH)


def _line(now: Progress, seconds: float, per_second: float) -> str:
    return (
        f"{seconds:5.1f} s  written {now.written:,}  events {now.events:,}  in queue {now.left:,}"
        f"  posts {now.posts:,}  records {now.records:,}  deleted {now.deleted:,}"
        f"  dead letters {now.dead_letters:,}  copied {now.copied:,}  {per_second:,.0f} objects/s"
    )
