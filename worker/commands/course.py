"""How far a long run has come, on standard error: a line that moves on a terminal, else a line a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.text import Text

from worker.clock import Clock
from worker.commands.terminal import console, shown, span

LINE_SECONDS = 60.0
MOVE_SECONDS = 0.5
POSITION_CHARS_MIN = 10


class Course:
    """Counts objects. Nothing is said of the time left unless it was said how many there are."""

    def __init__(self, clock: Clock, out: Console, expected: int = 0) -> None:
        self._clock = clock
        self._out = out
        self._expected = expected
        self._began_at = self._told_at = clock.monotonic()
        self._count = 0
        self.status: Status | None = None

    def say(self, sentence: str) -> None:
        """Print a sentence of its own above the line that moves."""
        self._out.print(sentence)

    def advance(self, count: int, position: str) -> None:
        """So many objects are done by now, up to this name."""
        self._count = count
        now = self._clock.monotonic()
        if now - self._told_at < (MOVE_SECONDS if self.status else LINE_SECONDS):
            return
        self._told_at = now
        room = self._out.width - len("⠋ ")
        text = said(self._count, now - self._began_at, position, self._expected, room)
        if self.status:
            self.status.update(Text(text))
        else:
            self._out.print(text)


def said(count: int, seconds: float, position: str, expected: int = 0, room: int = 100) -> str:
    """Return how far it has come, in one line of so many characters."""
    rate = count / seconds if seconds > 0 else 0.0
    of = f" of about {expected}" if expected else ""
    parts = [f"{count}{of} objects", f"{rate:.0f}/s"]
    if expected > count and rate:
        parts.append(f"about {span((expected - count) / rate)} left")
    text, name = ", ".join(parts), shown(position)
    left = room - len(text) - len(", at ")
    if not name or left < POSITION_CHARS_MIN:
        return text
    return f"{text}, at {name if len(name) <= left else f'{name[: left - 1]}…'}"


@contextmanager
def course(clock: Clock, expected: int = 0, *, may_move: bool = True) -> Iterator[Course]:
    """Show how far it has come while the context lasts; what prints rows meanwhile may not let it move."""
    out = console(is_error=True)
    found = Course(clock, out, expected)
    if not (out.is_terminal and may_move):
        yield found
        return
    with out.status(Text("reading the first pages")) as found.status:
        yield found
