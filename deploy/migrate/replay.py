"""Announce again what Huawei's function filed as failed: from `records failed --json` into the queue.

    oms-relay records failed --limit 0 --json | python deploy/migrate/replay.py --bucket my-photos

The function's failed records are empty; the relay's own have a reason and are left alone. Twice does no harm:
OMS skips what it has copied. A key that is gone from the source bucket fails at OMS, with no further effect.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from worker.commands import frame
from worker.events.encode import event_body
from worker.operate.connect import Clients
from worker.operate.log_bucket import side_by_side


def keys(lines: Iterable[str]) -> Iterator[str]:
    """Return the key of every record without a reason."""
    for line in lines:
        record = json.loads(line)
        if not record["reason"]:
            yield record["key"]


def main(
    bucket: Annotated[str, typer.Option(help="The source bucket.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the keys.")] = False,
) -> None:
    """Send one message for each key; settings are the relay's."""
    found = list(keys(sys.stdin))

    async def send(clients: Clients) -> int:
        settings = clients.settings

        async def announce(key: str) -> str:
            body = event_body(
                bucket,
                key,
                clients.clock.wall(),
                region=settings.oss_region,
                key_encoding=settings.key_encoding,
            )
            return await clients.patiently(lambda: clients.queue.send(body))

        return len([each async for each in side_by_side(found, announce)])

    if dry_run:
        typer.echo("\n".join(found))
        return
    typer.echo(f"{frame.run(send)} keys announced again")


if __name__ == "__main__":
    typer.run(main)
