"""What has to happen before anything heavy is imported. Imports nothing of ours, and little else.

As process 1 of a container a program hears no signal that it has not asked for: the kernel drops a SIGTERM
that comes while the imports are under way, and the stop is lost. So the first thing is to ask for them.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

# prometheus_client chooses at import to keep its values in files of this folder; our registry cannot.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Leave `run` with 0: nothing was received yet, so nothing is in hand. No other command is done."""
    os._exit(0 if sys.argv[1:2] == ["run"] else 128 + number)


# What each signal means where nobody has said otherwise: a shell may have it ignored, and then it stays so.
_USUAL: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


def listen() -> None:
    """Let SIGTERM and SIGINT end the process at once until the relay takes over."""
    for number, usual in _USUAL.items():
        if signal.getsignal(number) is usual:
            signal.signal(number, _leave)


def let_go() -> None:
    """Give the signals their usual meaning back, as commands other than `run` have it."""
    for number, usual in _USUAL.items():
        if signal.getsignal(number) is _leave:
            signal.signal(number, usual)


def fill_gaps() -> None:
    """Put /dev/null where the process was started without a standard stream.

    Else the next file or connection would get its number, and log lines or an answer would go there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
