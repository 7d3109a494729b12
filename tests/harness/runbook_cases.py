"""docs/runbook.md as data: its rows, and the cases of tests/runbook/ that try them.

A case is a test. It turns the fault on, gives what the commands print to `Incident.shows()`, which holds
it against the row, then mends the fault and demands that the relay recovers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import ModuleType
from typing import Any, TypeAlias

import pytest

from harness.dockerfile import ROOT
from localcloud.cloud import LocalCloud

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
# Rows that need a real cloud or real load.
UNTRIED = "†"
# What people do themselves, and no command prints: what they type, and settings that no case touches.
TYPED = re.compile(
    r"(dead|records|reconcile|doctor|status) ?|--|RELAY_|\*_FILE|MaxReceiveCount|ok$"
)

Change: TypeAlias = Callable[[LocalCloud], Any]


def nothing(_: LocalCloud) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Case:
    """How the case of a row begins. `row` is the first cell of the row, as it stands in the page.

    `settings` are the relay's and the commands'; `prepare` and `before` make the cloud as it is needed.
    With `follows` the relay follows every key to the destination, and is told after a second that it is late.
    """

    row: str
    before: Change = nothing
    settings: Mapping[str, str] = field(default_factory=dict)
    prepare: Mapping[str, Any] = field(default_factory=dict)
    follows: bool = False


def case(row: str, before: Change = nothing, **more: Any) -> pytest.MarkDecorator:
    """Mark a test as the case of this row; `more` are the other fields of a Case."""
    return pytest.mark.case(Case(row, before, **more))


def cases_of(module: ModuleType) -> list[Case]:
    """The cases among the tests of a module."""
    return [
        mark.args[0]
        for name, test in vars(module).items()
        if name.startswith("test_")
        for mark in getattr(test, "pytestmark", ())
        if mark.name == "case"
    ]


def rows() -> list[list[str]]:
    """The cells of every row of every table, without the heads."""
    lines = [line for line in RUNBOOK.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line, after in pairwise([*lines, ""])
        if not line.startswith("|---") and not after.startswith("|---")
    ]


def hold_against_row(row: str, printed: str) -> None:
    """Fail unless every word that the row promises, and every fix it names, was printed."""
    found = [cells for cells in rows() if cells[0] == row]
    assert found, f"docs/runbook.md has no row that begins with: {row}"
    _, _, to_do = found[0]
    for promised in _words(row):
        assert _is_printed(promised, printed), f"{promised}\n{printed}"
    for fix in _words(to_do):
        assert TYPED.match(fix) or _is_printed(fix, printed), f"{fix}\n{printed}"


def _words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _is_printed(promised: str, printed: str) -> bool:
    parts = (re.escape(" ".join(part.split())) for part in promised.split("..."))
    return re.search(r"\s*.*?\s*".join(parts), printed) is not None
