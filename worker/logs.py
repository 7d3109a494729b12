"""Logging: structlog to standard error, for people on a terminal, as JSON lines elsewhere."""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import orjson
import structlog


def _json(fields: dict[str, Any], default: Callable[[Any], Any]) -> bytes:
    try:
        # Dataclasses as their repr, which hides the secrets that a field by field form would show.
        option = orjson.OPT_PASSTHROUGH_DATACLASS
        return orjson.dumps(fields, default=default, option=option)
    except TypeError:
        # Half a surrogate pair or a huge number: a log line must never stop the relay.
        return json.dumps(fields, default=default).encode()


def hear(library: str, say: Callable[[str], None]) -> None:
    """Hand the warnings and errors of a library's logger to `say`, as texts, and let no line go elsewhere.

    Stack traces are dropped: they quote what `say` may have to hide. So is an exception that is logged as
    such, because it is raised as well.
    """
    logger = logging.getLogger(library)
    logger.propagate = False
    logger.handlers = [_Heard(say)]


class _Heard(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        if not isinstance(record.msg, BaseException):
            self._say(record.getMessage())


class _Visible:
    """Shows control characters as escapes: a key must not write to somebody's terminal."""

    def __init__(self, renderer: Callable[[Any, str, structlog.typing.EventDict], str]) -> None:
        self._renderer = renderer

    def __call__(self, logger: Any, name: str, fields: structlog.typing.EventDict) -> str:
        for field, value in fields.items():
            # A stack trace has lines of its own; it quotes no key.
            if isinstance(value, str) and field != "exception":
                fields[field] = visible(value)
        return self._renderer(logger, name, fields)


def visible(text: str) -> str:
    """Return the text with everything that is not printable escaped, as Python writes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


LINES_MAX = 5_000
DRAIN_SECONDS_MAX = 1.0


class Lossy:
    """A text stream that neither blocks nor fails: lines that cannot be written are dropped and counted.

    A thread of its own writes to the file descriptor. A full disk, a file at its size limit, a reader that
    has left or one that does not read cost lines, never the relay. Works for bytes as well, as `buffer`.
    """

    def __init__(self, descriptor: int, *, lines_max: int = LINES_MAX) -> None:
        self.on_drop: Callable[[], None] = lambda: None
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(lines_max)
        self._is_idle = threading.Event()
        threading.Thread(target=self._run, name="write log lines", daemon=True).start()

    @property
    def buffer(self) -> Lossy:
        """The same stream, for bytes."""
        return self

    def isatty(self) -> bool:
        """Whether people read along."""
        return os.isatty(self._descriptor)

    def write(self, text: str | bytes) -> int:
        """Take one piece of text, or drop it if too many wait."""
        piece = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
        self._is_idle.clear()
        try:
            self._lines.put_nowait(piece)
        except queue.Full:
            self.on_drop()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes as it can."""

    def drain(self, seconds: float = DRAIN_SECONDS_MAX) -> None:
        """Wait until all is written, at most so long: at the end of the process."""
        end = time.monotonic() + seconds
        while not self._lines.empty() or not self._is_idle.is_set():
            if time.monotonic() > end:
                return
            self._is_idle.wait(0.01)

    def _run(self) -> None:
        while True:
            try:
                piece = self._lines.get(timeout=0.05)
            except queue.Empty:
                self._is_idle.set()
                continue
            try:
                while piece:
                    piece = piece[os.write(self._descriptor, piece) :]
            except OSError:
                self.on_drop()


def configure(log_format: str, level: str, stream: TextIO | Lossy | None = None) -> None:
    """Set up structlog for this process. `log_format` is auto, console or json."""
    out: Any = stream or sys.stderr
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    if is_console:
        renderer: Any = _Visible(structlog.dev.ConsoleRenderer(colors=out.isatty()))
        factory: Any = structlog.PrintLoggerFactory(out)
    else:
        renderer = structlog.processors.JSONRenderer(_json)
        factory = structlog.BytesLoggerFactory(out.buffer)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
