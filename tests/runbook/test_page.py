"""The page as a whole: its rows have cases, its alerts exist, and every alert leads to its section."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import yaml

from harness.dockerfile import ROOT
from harness.runbook_cases import RUNBOOK, UNTRIED, cases_of, rows

ALERTS = ROOT / "deploy" / "observability" / "alerts.yaml"
MODULES = [path.stem for path in sorted(Path(__file__).parent.glob("test_*.py"))]


def test_rows_are_told_apart() -> None:
    firsts = [cells[0] for cells in rows()]
    assert len(firsts) == len(set(firsts)) > 30


def test_every_row_has_one_case_and_every_case_has_a_row() -> None:
    tried = [case.row for name in MODULES for case in cases_of(import_module(f"runbook.{name}"))]
    wanted = [cells[0] for cells in rows() if not cells[0].startswith(UNTRIED)]
    assert sorted(tried) == sorted(wanted)


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert all(len(cells) == 3 and all(cells) for cells in rows())


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
