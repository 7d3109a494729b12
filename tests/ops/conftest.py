from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from harness.ops import CommandLine, command_line


@pytest.fixture(autouse=True)
def _undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No .env of this directory counts, and what commands make of logging ends with the test."""
    monkeypatch.chdir(tmp_path)
    yield
    structlog.reset_defaults()


@pytest.fixture
def relayctl() -> Iterator[CommandLine]:
    with command_line() as line:
        yield line
