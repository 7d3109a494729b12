"""What every command has around it: settings, clients, signals, and words instead of stack traces.

Exit codes: 0 done; 1 something failed, or a check did; 2 the settings or the arguments cannot be used;
3 nothing was found; 4 nothing is wrong, and not all was looked at; 130 stopped by Ctrl-C before the end.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import typer

from worker.advice import told_of
from worker.clock import SystemClock
from worker.config.routes_file import UNROUTED
from worker.errors import CallFailed, Fatal, RelayError
from worker.observe import logs
from worker.operate.connect import Clients, connect
from worker.operate.parse_time import UNIT_SECONDS, parse_time
from worker.settings import Settings, load_settings

T = TypeVar("T")
# What --env-file names; beside the environment it is where settings come from.
ENV_FILE: ContextVar[Path] = ContextVar("ENV_FILE", default=Path(".env"))

RATE_MIN, RATE_MAX = 1 / 3600, 10_000.0

# `timeout` and terminals send a signal to the process and to its group: two at once are one.
SAME_SECONDS = 0.2
EXIT_FAILED = 1
EXIT_TO_MEND = 2
EXIT_NOTHING_FOUND = 3
EXIT_NOT_ALL = 4
EXIT_STOPPED = 130


_ROUTE: ContextVar[str] = ContextVar("route", default="")


@contextmanager
def on_route(name: str) -> Iterator[None]:
    """Let what `run` runs meanwhile see the clients of this route; an empty name chooses none."""
    token = _ROUTE.set(name)
    try:
        yield
    finally:
        _ROUTE.reset(token)


def run(
    main: Callable[[Clients], Awaitable[T]], *, ends_gently: bool = False, saying: str = ""
) -> T:
    """Run `main` on clients of the settings and return its answer; expected faults end in a plain sentence.

    Ctrl-C cancels. With `ends_gently` the first one sets `Clients.stop` instead, so that what is in hand is
    finished, `saying` so, and the second one cancels. Raises `typer.Exit` after having said why.
    """
    settings = read_settings()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_connected(settings, main, ends_gently=ends_gently, saying=saying))
    except Fatal as error:
        stop_because(str(error), EXIT_TO_MEND)
    except CallFailed as failed:
        stop_because(told(failed), EXIT_FAILED)
    except RelayError as error:
        stop_because(str(error), EXIT_TO_MEND)
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise typer.Exit(EXIT_STOPPED) from None


def reading() -> Callable[[], Settings]:
    """Return what reads the settings, now and again."""
    return partial(load_settings, dotenv=ENV_FILE.get())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop where it is installed; it takes about a third less CPU per call."""
    try:
        import uvloop  # noqa: PLC0415  absent on platforms it does not support
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def read_settings() -> Settings:
    """Read the settings, or say all that is wrong with them and exit with 2."""
    try:
        settings = reading()()
    except Fatal as error:
        stop_because(str(error), EXIT_TO_MEND)
    logs.configure("auto", "warning")
    return settings


def chosen_settings() -> Settings:
    """Read the settings of the chosen route, or exit with 2."""
    name, settings = _ROUTE.get(), read_settings()
    try:
        return settings.of_route(name) if name else settings
    except Fatal as error:
        stop_because(str(error), EXIT_TO_MEND)


def require_own_part(bucket: str, key: str) -> None:
    """Exit with 2 unless the chosen route takes all keys of the bucket that begin so; one route takes all.

    What another route takes would be found missing here, and announced or deleted for nothing.
    """
    settings, chosen = read_settings(), chosen_settings()
    name, why = chosen.route, ""
    if not name:
        return
    if name == UNROUTED:
        stop_because("what no route takes is compared with nothing. Name a route.", EXIT_TO_MEND)
    if bucket != chosen.bucket:
        why = f"its bucket is {chosen.bucket}. Name that one"
    elif not key.startswith(chosen.prefix):
        why = f"it takes the keys that begin with {chosen.prefix}. Add --key {chosen.prefix}"
    for each in settings.routes:
        is_part = each.prefix.startswith(key) and len(each.prefix) > len(chosen.prefix)
        if each.bucket == bucket and is_part and not why:
            why = (
                f"keys that begin with {each.prefix} go by route {each.route}. Compare those with "
                f"--route {each.route} --key {each.prefix}, and here a part with --key that has none of them"
            )
    if why:
        stop_because(
            f"{bucket}, keys {key or 'of any name'}, is not all of route {name}: {why}. Nothing was done.",
            EXIT_TO_MEND,
        )


def told(failed: CallFailed) -> str:
    """Say what happened and what to do next."""
    what, step = told_of(failed.failure)
    return f"{what.removesuffix('.')}. Next: {step}."


def require_somebody(command: str) -> None:
    """Exit with 2 if nobody is at a terminal to answer what `command` asks before it acts."""
    if not sys.stdin.isatty():
        stop_because(
            f"`{command}` asks before it acts, and nobody is there to answer. "
            "Nothing was done. Look with --dry-run, then act with --yes.",
            EXIT_TO_MEND,
        )


def stop_because(why: str, code: int) -> NoReturn:
    """Say why on standard error and exit."""
    typer.echo(f"oms-relay: {why}", err=True)
    raise typer.Exit(code)


async def _connected(
    settings: Settings,
    main: Callable[[Clients], Awaitable[T]],
    *,
    ends_gently: bool,
    saying: str,
) -> T:
    async with connect(settings, reload=reading()) as opened:
        route = _ROUTE.get()
        clients = opened.of_route(route) if route else opened
        task = asyncio.ensure_future(main(clients))
        loop = asyncio.get_running_loop()
        heard_at = 0.0

        def hear() -> None:
            nonlocal heard_at
            if ends_gently and clients.stop.is_set() and loop.time() - heard_at < SAME_SECONDS:
                return
            if ends_gently and not clients.stop.is_set():
                heard_at = loop.time()
                clients.stop.set()
                typer.echo(saying, nl=bool(saying), err=True)
            else:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, hear)
        try:
            return await task
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def time_option(text: str) -> float:
    """Read `90s`, `15m`, `24h`, `7d` (so long ago) or an ISO 8601 time (UTC unless it says otherwise)."""
    try:
        return parse_time(text, SystemClock.wall())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def rate(text: str) -> float:
    """Read `5/s`, `300/m` or a plain number of letters a second: one an hour to 10,000 a second."""
    match = re.fullmatch(r"(\d{1,8}(?:\.\d{1,6})?)(?:/([smh]))?", text.strip())
    per_second = float(match[1]) / UNIT_SECONDS[match[2] or "s"] if match else 0.0
    if not RATE_MIN <= per_second <= RATE_MAX:
        raise typer.BadParameter(
            f"{text!r} is no rate such as 5/s, 300/m or 0.5, from 1/h to 10000/s"
        )
    return per_second
