from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_SECONDS = 0.01


async def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Return once the condition holds; fail with `what` was waited for if that takes too long."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(TICK_SECONDS)
