"""Runs relays that die at named points: each line of standard input is one, such as `before_post 2`.

The verbs are wrapped from outside, so production code has no hook for it. A point is reached before or
after a verb does its work on the outside world; the number says at which time it is deadly.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from worker import cli
from worker.clouds.mns import MnsClient
from worker.clouds.oms import OmsClient
from worker.clouds.oss import OssClient
from worker.flow import flow
from worker.flow.dedupe import Dedupe

KILLED = 137

Call = Callable[..., Any]
# The verb of a point, what carries it out, and which calls count.
VERBS: dict[str, tuple[Any, str, Callable[[tuple[Any, ...]], bool]]] = {
    "receive": (MnsClient, "receive", lambda _: True),
    "decode": (flow, "decode", lambda _: True),
    "dedupe": (Dedupe, "admit", lambda _: True),
    "post": (OmsClient, "post", lambda _: True),
    "record": (OssClient, "put", lambda given: "_object/" in given[2] or "/log/" in given[2]),
    "bury": (OssClient, "put", lambda given: "/dead_letter/" in given[2]),
    "delete": (MnsClient, "delete", lambda _: True),
    "renew": (MnsClient, "change_visibility", lambda _: True),
}
POINTS = tuple(f"{when}_{verb}" for verb in VERBS for when in ("before", "after"))


def arm(point: str, occurrence: int) -> None:
    """Make one point deadly at one time."""
    when, _, verb = point.partition("_")
    owner, name, counts = VERBS[verb]
    numbers = count(1)

    def reached(moment: str, given: tuple[Any, ...], found: object) -> None:
        # An empty poll is no receipt.
        is_empty = verb == "receive" and moment == "after" and not found
        if moment == when and counts(given) and not is_empty and next(numbers) == occurrence:
            os._exit(KILLED)

    really = getattr(owner, name)
    wrap = _around if verb in {"decode", "dedupe"} else _around_awaited
    setattr(owner, name, wrap(really, reached))


def _around(really: Call, reached: Call) -> Call:
    def wrapped(*given: Any, **named: Any) -> Any:
        reached("before", given, None)
        found = really(*given, **named)
        reached("after", given, found)
        return found

    return wrapped


def _around_awaited(really: Callable[..., Awaitable[Any]], reached: Call) -> Call:
    async def wrapped(*given: Any, **named: Any) -> Any:
        reached("before", given, None)
        found = await really(*given, **named)
        reached("after", given, found)
        return found

    return wrapped


def serve() -> None:
    """Run a relay for each point that standard input names, and tell how it ended."""
    for line in sys.stdin:
        point, occurrence = line.split()
        # A fork of what is imported already: starting Python anew takes most of a second.
        child = os.fork()
        if not child:
            arm(point, int(occurrence))
            sys.argv[1:] = ["run"]
            cli.main()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told = {
            "event": "the relay has ended",
            "level": "info",
            "point": line.strip(),
            "code": code,
        }
        sys.stderr.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    serve()
