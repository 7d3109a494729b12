"""What a PromQL query asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser

from worker.errors import Blame, Outcome
from worker.observe.metrics import ARRIVAL_BUCKETS_SECONDS, ARRIVALS, DELETIONS, ENDS, metrics_table

_PARTS = ("expr", "lhs", "rhs", "vector_selector", "args")
_SUFFIXES = ("_bucket", "_count", "_sum")


def selected(query: str) -> set[str]:
    """The names of all metrics in a query. Raises ValueError if it is none."""
    return {str(each.name) for each in _walk(promql_parser.parse(query)) if hasattr(each, "name")}


def matched(query: str) -> set[tuple[str, str, str]]:
    """Every metric that is asked for with a certain label and value."""
    return {
        (str(each.name), matcher.name, value)
        for each in _walk(promql_parser.parse(query))
        for matcher in each.matchers.matchers
        for value in matcher.value.split("|")
    }


def known() -> set[str]:
    """The names of all metrics and series of the relay."""
    return set(labels())


def labels() -> dict[str, set[str]]:
    """The labels of every series of the relay."""
    found = {}
    for row in metrics_table().splitlines()[2:]:
        name, kind, names = (cell.strip(" `") for cell in row.split("|")[1:4])
        own = set(re.findall(r"\w+", names))
        for suffix in _SUFFIXES if kind == "histogram" else ("",):
            found[name + suffix] = own | ({"le"} if suffix == "_bucket" else set())
    return found


def values(label: str) -> set[str]:
    """The values that a label can have."""
    return {
        "origin": {"live", "resent"},
        "end": set(ENDS),
        "state": {"active", "inactive", "delayed"},
        "result": {"ok", "renewed", "failed", "lost", *Blame},
        "outcome": {*Outcome, *ARRIVALS, *DELETIONS},
        "le": {str(float(each)) for each in ARRIVAL_BUCKETS_SECONDS},
        "service": {"mns", "mns-acks", "oss", "oms", "obs"},
        # Empty: of what all routes share, and where there is only one.
        "route": {""},
        "operation": {"BatchReceiveMessage", "BatchDeleteMessage", "CreateSyncEvents", "PutObject"},
    }[label]


def _walk(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in _PARTS:
        found = getattr(node, part, None)
        for each in found if isinstance(found, list) else [found]:
            if each is not None:
                yield from _walk(each)
