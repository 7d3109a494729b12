"""A hook for the conftest of a folder whose tests end at once: one that hangs fails within a minute.

First pytest-timeout raises in the test, which then fails like any other. Where asyncio swallows that, or
a task will not be cancelled, the process ends a little later, with the stack of every thread. pytest-xdist
counts the test as failed, and starts another worker for the rest.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Generator

import pytest

# A busy machine may give a test a tenth of a core: the slowest takes 6 s of one.
LIMIT_SECONDS = 60.0
GRACE_SECONDS = 30.0


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test, with its fixtures, under both limits."""
    item.add_marker(pytest.mark.timeout(LIMIT_SECONDS), append=False)
    timer = threading.Timer(LIMIT_SECONDS + GRACE_SECONDS, _give_up, (item,))
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()


def _give_up(item: pytest.Item) -> None:
    capture = item.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    print(  # noqa: T201  a report to whoever runs the tests
        f"\n{item.nodeid} hangs: it did not end {GRACE_SECONDS:.0f} s after its time-out of"
        f" {LIMIT_SECONDS:.0f} s. The stacks of all threads follow.",
        file=sys.stderr,
    )
    faulthandler.dump_traceback(sys.stderr)
    sys.stderr.flush()
    os._exit(1)
