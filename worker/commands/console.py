"""`console`: the operators' web page."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands import frame
from worker.console.options import HOST, PORT, WORKER_URL, Options
from worker.observe import logs
from worker.operate.connect import Clients


def console(
    *,
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond loopback needs a token.")
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

    On loopback it asks for no password. Elsewhere it asks for the token in RELAY_CONSOLE_TOKEN_FILE or
    RELAY_CONSOLE_TOKEN, and does not start without one.

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
        token = settings.console_token
        options = Options(
            host,
            port,
            tuple(worker or (WORKER_URL,)),
            frozenset(each.lower() for each in name or ()),
            read_only,
            token.get_secret_value() if token else None,
        )
        await server.run(clients, options)

    frame.run(serve, ends_gently=True)
