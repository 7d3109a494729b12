"""What has to happen before anything heavy is imported. Imports nothing of ours, and little else.

As process 1 of a container a program hears no signal that it has not asked for: the kernel drops a SIGTERM
that comes while the imports are under way, and the stop is lost. So the first thing is to ask for them.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

# prometheus_client chooses at import to keep its values in files of this folder; our registry cannot.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Leave with 0: nothing was received yet, so nothing is in hand."""
    os._exit(0)


def listen() -> None:
    """Let SIGTERM end the process with 0 until the relay takes over; where it is ignored it stays so."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)


def let_go() -> None:
    """Give SIGTERM its usual meaning back, as commands other than `run` have it."""
    if signal.getsignal(signal.SIGTERM) is _leave:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
