"""The command line of the demo."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from localcloud.demo.relay import RelayFailedError
from localcloud.demo.run import Options, run
from localcloud.demo.screen import Screen

OBJECTS_MAX = 100_000
HELP = """
Run the whole job on this machine: objects in, events out, the relay between, an account at the end.

Nothing leaves 127.0.0.1. The exit code is 0 only if every line of the account adds up.

Examples:

  python -m localcloud demo                    3,000 objects, with faults

  python -m localcloud demo --kill             also kill -9 the relay

  python -m localcloud demo --objects 20000 --seed 7

  python -m localcloud demo --no-faults        the fair-weather run
"""


def demo(
    *,
    objects: Annotated[
        int, typer.Option(min=1, max=OBJECTS_MAX, help="How many objects are written.")
    ] = 3000,
    seed: Annotated[int, typer.Option(help="Same seed, same objects and same faults.")] = 1,
    faults: Annotated[
        bool,
        typer.Option(
            help="503s, lost answers, delays, duplicates, refused keys, a broken message."
        ),
    ] = True,
    kill: Annotated[
        bool,
        typer.Option(
            "--kill", help="Also kill -9 the relay, up to three times, and start another."
        ),
    ] = False,
) -> None:
    """Run it, and end with its verdict."""
    folder = Path(tempfile.mkdtemp(prefix="oms-relay-demo-"))
    screen = Screen()
    try:
        is_right = asyncio.run(_until_signal(Options(objects, seed, faults, kill), screen, folder))
    except RelayFailedError as error:
        screen.say(str(error), "bold red")
        is_right = False
    except _Stopped as stopped:
        shutil.rmtree(folder)
        screen.say("Stopped, and the relay too: nothing is left running.")
        raise typer.Exit(128 + stopped.number) from None
    if is_right:
        shutil.rmtree(folder)
        return
    screen.say(f"The relay's log is in {folder / 'relay.log'}.")
    raise typer.Exit(1)


class _Stopped(Exception):  # noqa: N818  a wish of the user's, not an error
    """SIGINT or SIGTERM came; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


async def _until_signal(options: Options, screen: Screen, folder: Path) -> bool:
    """Run; the first SIGINT or SIGTERM ends it in order, later ones change nothing."""
    running = asyncio.create_task(run(options, screen, folder), name="demo")
    heard: list[int] = []

    def hear(number: int) -> None:
        if not heard:
            running.cancel()
        heard.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear, number)
    try:
        return await running
    except asyncio.CancelledError:
        raise _Stopped(heard[0]) from None
