"""Logging: structlog to standard error, for people on a terminal, as JSON lines elsewhere."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

import orjson
import structlog

from worker.observe.lossy import Lossy, plain_gap


def _json(fields: dict[str, Any], default: Callable[[Any], Any]) -> bytes:
    try:
        # Dataclasses as their repr, which hides the secrets that a field by field form would show.
        option = orjson.OPT_PASSTHROUGH_DATACLASS
        line = orjson.dumps(fields, default=default, option=option)
    except TypeError:
        # Half a surrogate pair or a huge number: a log line must never stop the relay.
        return json.dumps(fields, default=default).encode()
    text = line.decode()
    # What a terminal would obey: control characters beyond ASCII, and those that turn the direction.
    return line if text.isprintable() else "".join(map(_json_shown, text)).encode()


def _json_shown(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]


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
            if isinstance(value, str):
                # A stack trace has lines of its own.
                lines = value.split("\n") if field == "exception" else [value]
                fields[field] = "\n".join(map(visible, lines))
        return self._renderer(logger, name, fields)


def visible(text: str) -> str:
    """Return the text with everything that is not printable escaped, as Python writes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _json_gap(lines: int) -> str:
    return json.dumps({"level": "warning", "event": plain_gap(lines), "lines": lines})


def configure(
    log_format: str, level: str, stream: TextIO | Lossy | None = None, **always: str
) -> None:
    """Set up structlog for this process. `log_format` is auto, console or json; `always` is in every line."""

    def add_always(
        _: Any, __: str, fields: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**always, **fields}

    out: Any = stream or sys.stderr
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    if is_console:
        renderer: Any = _Visible(structlog.dev.ConsoleRenderer(colors=out.isatty()))
        # Each line in one piece, with its line break.
        factory: Any = structlog.WriteLoggerFactory(out)
    else:
        renderer = structlog.processors.JSONRenderer(_json)
        factory = structlog.BytesLoggerFactory(out.buffer)
        if isinstance(out, Lossy):
            out.describe_gap = _json_gap
    structlog.configure(
        processors=[
            add_always,
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
