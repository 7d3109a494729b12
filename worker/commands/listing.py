"""A listing: printed as it is read, up to `--limit`, as a table for people or as lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import typer
from rich.text import Text

from worker.commands import terminal
from worker.commands.terminal import Rows, console

T = TypeVar("T")


async def print_listing(
    items: AsyncGenerator[T],
    widths: Mapping[str, int],
    row: Callable[[T], Sequence[str | Text]],
    as_object: Callable[[T], Mapping[str, Any]],
    *,
    limit: int,
    as_json: bool,
    nothing: str,
) -> None:
    """Print each item, and say so where there are more than `limit` (0: all are printed); close `items`.

    `widths` are those of `Rows`; `nothing` is what people read where there is no item.
    """
    out, count = console(), 0
    rows = Rows(widths, out)
    async with aclosing(items):
        async for item in items:
            if limit and count == limit:
                rows.flush()
                more = f"There are more than {limit}: --limit 0 shows all, filters show fewer."
                typer.echo(more if as_json else f"\n{more}", err=as_json)
                return
            count += 1
            if as_json:
                terminal.line(as_object(item))
            else:
                rows.add(*row(item))
    rows.flush()
    if not count and not as_json:
        out.print(nothing)
