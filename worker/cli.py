"""The commands: `python -m worker run` and those that operators use beside it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from worker import __version__, app, early, logs
from worker.commands import register
from worker.errors import Fatal
from worker.settings import load_settings

EXIT_TO_MEND = 2

commands = typer.Typer(
    name="oms-relay",
    help="Relay Alibaba OSS change events from an MNS queue to a Huawei OMS synchronization task.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"oms-relay {__version__}")
        raise typer.Exit


@commands.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Hold the options that stand before a command."""
    del version  # its callback has answered
    if context.invoked_subcommand != "run":
        early.let_go()


@commands.command()
def run() -> None:
    """Run the daemon until SIGTERM; settings come from the environment, *_FILE files and .env.

    The first signal stops taking and finishes what is in hand (exit code 0); a second one releases
    it and leaves at once.

    Examples:
        python -m worker run

        RELAY_LOG_FORMAT=json RELAY_POLLERS=8 python -m worker run

    """
    settings = load_settings()
    lines = logs.Lossy(sys.stderr.fileno())
    logs.configure(settings.log_format, settings.log_level, lines)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(app.run(settings, load_settings, lines))
    finally:
        lines.drain()
    raise typer.Exit(code)


register(commands)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop where it is installed; it takes about a third less CPU per call."""
    try:
        import uvloop  # noqa: PLC0415  absent on platforms it does not support
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    """Run a command; what the user has to mend is said in plain words, without a stack trace."""
    try:
        commands()
    except* Fatal as errors:
        for error in _flat(errors):
            typer.echo(f"oms-relay: {error}", err=True)
        sys.exit(EXIT_TO_MEND)


def _flat(group: BaseExceptionGroup[Fatal]) -> Iterator[Fatal]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
