"""Logging: structlog to standard error, for people on a terminal, as JSON lines elsewhere."""

from __future__ import annotations

import json
import logging
import sys
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


def configure(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Set up structlog for this process. `log_format` is auto, console or json."""
    out = stream or sys.stderr
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    if is_console:
        renderer: Any = structlog.dev.ConsoleRenderer(colors=out.isatty())
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
