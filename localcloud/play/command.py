"""The command line of the playground: `python -m localcloud play`."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from localcloud.demo.relay import RelayFailedError
from localcloud.demo.screen import Screen
from localcloud.play.run import Options, run

PORT_MAX = 65_535
HELP = """
Start the local cloud, a relay and its console, with steady traffic, and leave them running until Ctrl-C.

Prints where they are. A key turns a fault on for a while: 1 to 5, and c for none.

Nothing leaves 127.0.0.1, and nothing is kept.

Examples:

  python -m localcloud play                         five objects a second

  python -m localcloud play --rate 50               more of them

  python -m localcloud play --console-port 8081     the console at a known place
"""


def play(
    *,
    rate: Annotated[int, typer.Option(min=1, max=500, help="Objects written a second.")] = 5,
    fault_seconds: Annotated[
        int, typer.Option(min=1, max=3600, help="How long a fault lasts that a key turns on.")
    ] = 30,
    console_port: Annotated[
        int, typer.Option(min=0, max=PORT_MAX, help="0 takes a free port.")
    ] = 0,
) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; nothing is left then."""
    folder = Path(tempfile.mkdtemp(prefix="oms-relay-play-"))
    screen = Screen()
    try:
        asyncio.run(_until_signal(Options(rate, fault_seconds, console_port), screen, folder))
    except RelayFailedError as error:
        screen.say(str(error), "bold red")
        screen.say(f"The logs are in {folder}.")
        raise typer.Exit(1) from None
    shutil.rmtree(folder)
    screen.say("Stopped: nothing is left running.")


async def _until_signal(options: Options, screen: Screen, folder: Path) -> None:
    """Run; the first signal ends it in order, later ones change nothing."""
    running = asyncio.create_task(run(options, screen, folder), name="play")
    is_told = asyncio.Event()

    def hear() -> None:
        if not is_told.is_set():
            running.cancel()
        is_told.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, hear)
    try:
        await running
    except asyncio.CancelledError:
        if not is_told.is_set():
            raise
