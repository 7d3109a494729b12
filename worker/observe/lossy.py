"""Log lines on their way out: writing them neither blocks nor fails, whatever is behind the descriptor."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

LINES_MAX = 10_000
BYTES_MAX = 8 * 1024 * 1024
DRAIN_SECONDS_MAX = 1.0


def plain_gap(lines: int) -> str:
    """Return the line that stands where others are missing."""
    return f"{lines} log lines are missing here: they could not be written, or not in time"


class Lossy:
    """A text stream for whole lines: those that cannot be written are dropped and counted.

    A thread of its own writes to the descriptor. A full disk, a file at its size limit, a reader that has
    left, or one that does not read, costs lines, never the relay. Where lines are missing, one says how many,
    as `describe_gap` words it. Takes bytes as well, as `buffer`.
    """

    def __init__(
        self, descriptor: int, *, lines_max: int = LINES_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self.on_drop: Callable[[], None] = lambda: None
        self.describe_gap: Callable[[int], str] = plain_gap
        self._descriptor = descriptor
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        # How many lines are missing after those that wait; and before the next one that is written.
        self._missing_after = 0
        self._missing_before = 0
        self._is_torn = False
        self._is_writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="write log lines", daemon=True).start()

    @property
    def buffer(self) -> Lossy:
        """The same stream, for bytes."""
        return self

    def isatty(self) -> bool:
        """Whether people read along."""
        return os.isatty(self._descriptor)

    def write(self, text: str | bytes) -> int:
        """Take one line with its line break, or drop it if too many wait."""
        line = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
        with self._changed:
            is_full = len(self._lines) >= self._lines_max or self._bytes >= self._bytes_max
            if is_full:
                self._missing_after += 1
            else:
                if self._missing_after:
                    line = self._gap(self._missing_after) + line
                    self._missing_after = 0
                self._append(line)
        if is_full:
            self.on_drop()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes as it can."""

    def drain(self, seconds: float = DRAIN_SECONDS_MAX) -> None:
        """Wait until all is written, at most so long: at the end of the process."""
        with self._changed:
            if self._missing_after:
                self._append(self._gap(self._missing_after))
                self._missing_after = 0
            self._changed.wait_for(lambda: not self._lines and not self._is_writing, seconds)

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        self._changed.notify_all()

    def _gap(self, lines: int) -> bytes:
        return f"{self.describe_gap(lines)}\n".encode("utf-8", "backslashreplace")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
                self._bytes -= len(line)
                self._is_writing = True
            try:
                self._write(line)
            except OSError:
                self._missing_before += 1
                self.on_drop()

    def _write(self, line: bytes) -> None:
        before = b"\n" if self._is_torn else b""
        if self._missing_before:
            before += self._gap(self._missing_before)
        left = before + line
        while left:
            try:
                written = os.write(self._descriptor, left)
            except BlockingIOError:
                # Somebody made the descriptor, which processes may share, one that does not wait.
                select.select((), (self._descriptor,), ())
                continue
            # Half a line must not run into the next one.
            self._is_torn = written < len(left)
            left = left[written:]
        self._missing_before = 0
