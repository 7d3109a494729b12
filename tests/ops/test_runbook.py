"""docs/runbook.md, row by row: with the fault on, the commands print the words that the row promises."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import yaml

from harness import trials_of_messages, trials_of_processes, trials_of_services
from harness.dockerfile import ROOT
from harness.night import night
from harness.trials import TRIALS
from worker.operate import status

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ALERTS = ROOT / "deploy" / "observability" / "alerts.yaml"
UNTRIED = "†"
MODULES = (trials_of_messages, trials_of_processes, trials_of_services)
# What people do themselves, and no command prints: what they type, and settings that the trials do not touch.
TYPED = re.compile(
    r"(dead|records|reconcile|doctor|status) ?|--|RELAY_|\*_FILE|MaxReceiveCount|ok$"
)


def rows() -> list[list[str]]:
    """The cells of every row of every table, without the heads."""
    lines = [line for line in RUNBOOK.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line, after in pairwise([*lines, ""])
        if not line.startswith("|---") and not after.startswith("|---")
    ]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def is_printed(promised: str, printed: str) -> bool:
    parts = (re.escape(" ".join(part.split())) for part in promised.split("..."))
    return re.search(r"\s*.*?\s*".join(parts), printed) is not None


ROWS = {cells[0]: cells for cells in rows()}
TRIED = [first for first in ROWS if not first.startswith(UNTRIED)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "RATE_SECONDS", 0.02)


@pytest.mark.parametrize("row", TRIED)
def test_what_a_row_promises_is_what_is_printed(row: str) -> None:
    assert row in TRIALS, "no trial: add one to tests/harness/trials_of_*.py, or mark the row"
    trial = TRIALS[row]
    _, _, to_do = ROWS[row]
    with night(trial) as here:
        tried = trial.tried(here)
        printed = next(tried)
        for promised in words(row):
            assert is_printed(promised, printed), f"{promised}\n{printed}"
        for fix in words(to_do):
            assert TYPED.match(fix) or is_printed(fix, printed), f"{fix}\n{printed}"
        assert next(tried, None) is None


def test_rows_are_told_apart_and_no_trial_is_left_over() -> None:
    assert len(rows()) == len(ROWS) > 30
    assert sorted(TRIALS) == sorted(TRIED)


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert all(len(cells) == 3 and all(cells) for cells in ROWS.values())


def test_every_alert_is_in_the_runbook_and_every_alert_of_the_runbook_exists() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = {rule["alert"] for rule in group["rules"]}
    told = re.findall(r"`(OmsRelay\w+)`", RUNBOOK)
    assert sorted(told) == sorted(alerts)


def test_every_alert_leads_to_its_section() -> None:
    readme = (ALERTS.parent / "README.md").read_text()
    links = dict(re.findall(r"\[(OmsRelay\w+)\]\(\.\./\.\./docs/runbook\.md#([\w-]+)\)", readme))
    told: dict[str, str] = {}
    for section in RUNBOOK.split("\n## ")[1:]:
        heading = section.partition("\n")[0].lower()
        anchor = re.sub(r"[^\w -]", "", heading).replace(" ", "-")
        told |= dict.fromkeys(re.findall(r"`(OmsRelay\w+)`", section), anchor)
    assert links == told
