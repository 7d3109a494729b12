"""The commands: `oms-relay run` and those that operators use beside it."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from worker import __version__
from worker.commands import frame, register
from worker.commands.frame import EXIT_FAILED, EXIT_TO_MEND, loop_factory
from worker.errors import Fatal
from worker.observe import logs
from worker.observe.lossy import Lossy
from worker.process import app, early

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
E = TypeVar("E", bound=BaseException)

commands = typer.Typer(
    name="oms-relay",
    help="Relay Alibaba OSS change events from an MNS queue to a Huawei OMS synchronization task.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Take settings from this file instead of .env in the working directory.",
        ),
    ] = None,
) -> None:
    """Hold the options that stand before a command."""
    del version  # its callback has answered
    frame.ENV_FILE.set(env_file or Path(".env"))
    if context.invoked_subcommand != "run":
        early.let_go()


@commands.command()
def run() -> None:
    """Run the daemon until SIGTERM; settings come from the environment, *_FILE files and .env.

    The first signal stops taking and finishes what is in hand (exit code 0); a second one releases
    it and leaves at once.

    Examples:
        oms-relay run

        RELAY_LOG_FORMAT=json RELAY_POLLERS=8 oms-relay run

    """
    load = frame.reading()
    settings = load()
    lines = Lossy(sys.stderr.fileno())
    logs.configure(settings.log_format, settings.log_level, lines, worker=app.WORKER)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(app.run(settings, load, lines))
    finally:
        lines.drain()
    raise typer.Exit(code)


register(commands)


def main() -> None:
    """Run a command; what the user has to mend is said in plain words, without a stack trace."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a pipe of another encoding shows what it cannot as escapes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            commands(prog_name="oms-relay")
        finally:
            # Here, where it can be said that it failed, and not while the interpreter ends.
            sys.stdout.flush()
    except* Fatal as errors:
        _end("\n".join(f"oms-relay: {error}" for error in _flat(errors)), EXIT_TO_MEND)
    except* BrokenPipeError:
        # Whoever read has seen enough, as `head` does.
        _end("", EXIT_FAILED)
    except* OSError as errors:
        if not any(error.errno in _FULL for error in _flat(errors)):
            raise
        why = "; ".join(str(error) for error in _flat(errors))
        _end(f"oms-relay: the output is not complete, it cannot be written: {why}", EXIT_FAILED)


def _end(text: str, code: int) -> NoReturn:
    """Say why, where it can be said, and leave with this code whatever becomes of the text."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is sys.stderr and text:
                typer.echo(text, err=True)
            stream.flush()
        except OSError:
            # What is left in the stream would fail once more at the end, and change the exit code.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _flat(group: BaseExceptionGroup[E]) -> Iterator[E]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
