"""The command line of the local cloud: `python -m localcloud`."""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from localcloud.cloud import LocalCloud, Ports
from localcloud.demo import command as demo
from localcloud.play import command as play

PORT_MAX = 65_535
EXAMPLES = """
Serve Alibaba MNS, Alibaba OSS, Huawei OMS and Huawei OBS on 127.0.0.1 until Ctrl-C.

Prints the environment that a relay needs. Nothing is kept on disk.

Examples:

  python -m localcloud                      serve on free ports

  python -m localcloud --admin-port 9000    with the admin API at a known place

  python -m localcloud --json               one line of JSON, for scripts

  curl 127.0.0.1:9000/state                 look inside (the admin API)

  python -m localcloud demo                 the whole job, start to end

  python -m localcloud play                 the same, until Ctrl-C, with a console and faults by key
"""

app = typer.Typer(add_completion=False)
Port = Annotated[int, typer.Option(min=0, max=PORT_MAX, help="0 takes a free port.")]


@app.callback(invoke_without_command=True, help=EXAMPLES)
def serve(
    context: typer.Context,
    *,
    mns_port: Port = 0,
    oss_port: Port = 0,
    oms_port: Port = 0,
    obs_port: Port = 0,
    admin_port: Port = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same ids, handles and luck.")] = 0,
    prepare: Annotated[
        bool, typer.Option(help="Make queue, buckets, event rule and sync task first.")
    ] = True,
    with_destination: Annotated[
        bool,
        typer.Option("--with-destination", help="Also name OBS_ENDPOINT, to look what arrived."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON instead of NAME=value lines.")
    ] = False,
) -> None:
    """Serve, unless a subcommand is asked for."""
    if context.invoked_subcommand is not None:
        return
    ports = Ports(mns_port, oss_port, oms_port, admin_port, obs_port)
    shown = Shown(as_json, with_destination)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(LocalCloud(seed), ports, shown, is_prepared=prepare))
    except OSError as error:
        typer.echo(f"Nothing is served: {error.strerror or error}. Choose other ports.", err=True)
        raise typer.Exit(1) from error


app.command(help=demo.HELP)(demo.demo)
app.command(help=play.HELP)(play.play)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Take uvloop where it installs: benchmarks should find the relay's limits, not these."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@dataclass(frozen=True, slots=True)
class Shown:
    """How the addresses are told, and whether the relay is told of OBS."""

    as_json: bool
    with_destination: bool


async def _serve(cloud: LocalCloud, ports: Ports, shown: Shown, *, is_prepared: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await cloud.start(ports)
    try:
        if is_prepared:
            cloud.prepare()
        sys.stdout.write(_announcement(cloud, shown))
        sys.stdout.flush()
        await stop.wait()
    finally:
        await cloud.stop()


def _announcement(cloud: LocalCloud, shown: Shown) -> str:
    """Say where everything is: as JSON on one line, or as lines for a shell or an .env file."""
    addresses = {
        "MNS_ENDPOINT": cloud.mns.url,
        "OSS_ENDPOINT": cloud.oss.url,
        "OMS_ENDPOINT": cloud.oms.url,
    }
    if cloud.prepared is None:
        named = addresses | ({"OBS_ENDPOINT": cloud.obs.url} if shown.with_destination else {})
    else:
        named = cloud.settings(with_destination=shown.with_destination)
    named = {**named, "LOCALCLOUD_OBS": cloud.obs.url, "LOCALCLOUD_ADMIN": cloud.admin.url}
    if shown.as_json:
        return json.dumps(named) + "\n"
    lines = [f"{name}={value}" for name, value in named.items()]
    told = "# The local cloud is ready. Ctrl-C stops it; GET LOCALCLOUD_ADMIN/state looks inside."
    return "\n".join([told, *lines]) + "\n"


if __name__ == "__main__":
    app(prog_name="python -m localcloud")
