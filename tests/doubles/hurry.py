"""Time-outs that are over as soon as there is nothing else to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def hurried() -> Iterator[list[float]]:
    """Let every `asyncio.timeout` end at once; yields the list of what was asked for."""
    asked: list[float] = []
    patient = asyncio.timeout

    def at_once(seconds: float) -> asyncio.Timeout:
        asked.append(seconds)
        return patient(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "timeout", at_once)
        yield asked
