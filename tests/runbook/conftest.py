from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.incident import Incident, beginning
from harness.runbook_cases import Case
from worker.operate import status


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(Case): which row of docs/runbook.md this test tries")


@pytest.fixture(autouse=True)
def _undisturbed(undisturbed: None) -> None:
    """All that is typed here is typed in a directory of its own."""


@pytest.fixture
def incident(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Incident]:
    """The cloud and the relay of the test's `@case`. The test has to call `shows()`, once."""
    mark = request.node.get_closest_marker("case")
    assert mark is not None, "say with @case which row of docs/runbook.md this test tries"
    (case,) = mark.args
    assert isinstance(case, Case)
    monkeypatch.setattr(status, "RATE_SECONDS", 0.02)
    with beginning(case) as begun:
        yield begun
    assert begun.shown == 1, "a case holds what is printed against its row, once"
