"""How a row of docs/runbook.md is tried: a function that yields what was printed with the fault on.

What follows its `yield` mends the fault, and demands that the relay recovers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from harness.night import Night
from localcloud.cloud import LocalCloud

Tried: TypeAlias = Callable[[Night], Iterator[str]]
Change: TypeAlias = Callable[[LocalCloud], Any]


def nothing(_: LocalCloud) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Trial:
    """`settings` are the relay's and the commands'; `prepare` and `before` make the cloud as it is needed."""

    tried: Tried
    settings: Mapping[str, str] = field(default_factory=dict)
    prepare: Mapping[str, Any] = field(default_factory=dict)
    before: Change = nothing


# By the first cell of the row.
TRIALS: dict[str, Trial] = {}


def tries(row: str, before: Change = nothing, **more: Any) -> Callable[[Tried], Tried]:
    """Take the function as the trial of this row; `more` are the other fields of a Trial."""

    def keep(tried: Tried) -> Tried:
        assert row not in TRIALS
        TRIALS[row] = Trial(tried, before=before, **more)
        return tried

    return keep
