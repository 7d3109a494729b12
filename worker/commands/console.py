"""`console`: the operators' web page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Annotated

import structlog
import typer

from worker.commands import frame
from worker.console.options import (
    HOST,
    PORT,
    WORKER_URL,
    Options,
    fresh_token,
    kept_link,
    link,
)
from worker.observe import logs
from worker.operate.connect import Clients


def console(
    *,
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond loopback needs a token set.")
    ] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = PORT,
    worker: Annotated[
        list[str] | None,
        typer.Option(
            "--worker",
            metavar="URL",
            help=f"A worker's admin server; may be repeated (default: {WORKER_URL}).",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="A host name it answers to; may be repeated."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show everything, change nothing.")
    ] = False,
) -> None:
    """Serve the operators' web page: how things stand, dead letters, redrive, search. SIGTERM ends it.

    It asks for the token in RELAY_CONSOLE_TOKEN_FILE or RELAY_CONSOLE_TOKEN. Without one it makes one for
    this run and prints a link to open, which signs you in; elsewhere than on a terminal the link is in a file
    that only you can read, and the log says which. Beyond loopback it does not start without a token set.

    Examples:
        oms-relay console

        oms-relay console --worker http://10.0.0.5:8080 --worker http://10.0.0.6:8080

        RELAY_CONSOLE_TOKEN_FILE=/run/secrets/console oms-relay console --host 0.0.0.0 --name relay.example

    """
    # Here, so that the daemon, which is started by the same program, need not load what makes pages.
    from worker.console import server  # noqa: PLC0415

    async def serve(clients: Clients) -> None:
        settings = clients.settings
        logs.configure(settings.log_format, settings.log_level)
        known = settings.console_token
        token = known.get_secret_value() if known else fresh_token(host)
        options = Options(
            token,
            host,
            port,
            tuple(worker or (WORKER_URL,)),
            frozenset(each.lower() for each in name or ()),
            read_only,
        )
        await server.run(clients, options, nullcontext if known else partial(_telling, token))

    frame.run(serve, ends_gently=True)


@contextmanager
def _telling(token: str, url: str) -> Iterator[None]:
    """Let the operator in, and nobody who reads the log: on a terminal, or by a file of their own."""
    if sys.stderr.isatty():
        typer.echo(f"Open {link(url, token)}\nIt signs you in until the console stops.", err=True)
        yield
        return
    with kept_link(link(url, token)) as file:
        structlog.get_logger("console").info(
            "to sign in, open the link in this file; only its owner can read it",
            action="sign_in",
            file=str(file),
        )
        yield
