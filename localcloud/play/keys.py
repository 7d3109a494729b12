"""Keys that are pressed, one by one, while everything else goes on."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

READ_BYTES_MAX = 64


@contextmanager
def keys(hear: Callable[[str], None]) -> Iterator[None]:
    """Give each key to `hear` as long as the context lasts; a terminal does not wait for Enter."""
    source, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def read() -> None:
        typed = os.read(source, READ_BYTES_MAX)
        if not typed:
            loop.remove_reader(source)
        for each in typed.decode(errors="ignore"):
            hear(each)

    with _at_once(source):
        try:
            loop.add_reader(source, read)
        except PermissionError:
            # A file, or /dev/null: it has no keys that could be pressed later.
            yield
            return
        try:
            yield
        finally:
            loop.remove_reader(source)


@contextmanager
def _at_once(source: int) -> Iterator[None]:
    """Let a terminal hand over each key at once, and not show it; afterwards it is as it was."""
    if not os.isatty(source):
        yield
        return
    before = termios.tcgetattr(source)
    tty.setcbreak(source)
    try:
        yield
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)
