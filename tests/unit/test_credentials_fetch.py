"""A fetch that hangs: it runs beside the relay, once, and keeps nobody from leaving."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from doubles.build import Heard
from doubles.clock import QuickClock, until
from doubles.hurry import hurried
from worker.clouds.credentials import Credentials

PATIENCE_SECONDS = 10.0


class Slow:
    """Gives the number of the call; calls after the first one hang until they are let go."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.ended = 0
        self.may_end = threading.Event()

    def __call__(self) -> int:
        self.threads.append(threading.current_thread())
        number = len(self.threads)
        if number > 1:
            self.may_end.wait(PATIENCE_SECONDS)
        self.ended += 1
        return number

    @contextmanager
    def let_go_at_last(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.may_end.set()
            for thread in self.threads:
                thread.join()


def test_a_fetch_that_hangs_does_not_keep_the_process() -> None:
    slow = Slow()

    async def relay() -> None:
        credentials = Credentials(slow, QuickClock(), Heard().journal)
        assert await credentials.refresh()
        with hurried():
            assert not await credentials.refresh()

    # Let go after the loop was closed, which must not make a noise either.
    with slow.let_go_at_last():
        asyncio.run(relay())
        assert slow.ended == 1
        assert [thread.daemon for thread in slow.threads] == [True, True]


async def test_a_fetch_that_hangs_is_waited_for_again_and_not_doubled() -> None:
    slow, heard = Slow(), Heard()
    credentials = Credentials(slow, QuickClock(), heard.journal)
    await credentials.refresh()
    with slow.let_go_at_last():
        with hurried():
            assert [await credentials.refresh() for _ in range(3)] == [False] * 3
        assert len(slow.threads) == 2
        assert credentials.current() == 1
        assert [line["why"] for line in heard.lines] == ["TimeoutError"] * 3
        slow.may_end.set()
        assert await credentials.refresh()
        assert credentials.current() == 2
        assert await credentials.refresh()
        assert credentials.current() == 3


async def test_who_waits_for_a_fetch_can_be_cancelled() -> None:
    slow = Slow()
    credentials = Credentials(slow, QuickClock(), Heard().journal)
    await credentials.refresh()
    with slow.let_go_at_last():
        task = asyncio.create_task(credentials.refresh())
        await until(lambda: len(slow.threads) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
