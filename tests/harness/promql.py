"""What a PromQL query asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser

from worker.metrics import metrics_table

_PARTS = ("expr", "lhs", "rhs", "vector_selector", "args")
_SUFFIXES = ("_bucket", "_count", "_sum")


def selected(query: str) -> set[str]:
    """The names of all metrics in a query. Raises ValueError if it is none."""
    return {str(each.name) for each in _walk(promql_parser.parse(query)) if hasattr(each, "name")}


def known() -> set[str]:
    """The names of all metrics and series of the relay."""
    names = set()
    for row in metrics_table().splitlines()[2:]:
        name, kind = (cell.strip(" `") for cell in row.split("|")[1:3])
        suffixes = _SUFFIXES if kind == "histogram" else ("",)
        names |= {name + suffix for suffix in suffixes}
    return names


def _walk(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in _PARTS:
        found = getattr(node, part, None)
        for each in found if isinstance(found, list) else [found]:
            if each is not None:
                yield from _walk(each)
