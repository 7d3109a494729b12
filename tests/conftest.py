from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from localcloud.cloud import LocalCloud

LONG_SECONDS_MAX = 1800


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="run the long form of the tests that kill processes"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        for item in items:
            item.add_marker(pytest.mark.timeout(LONG_SECONDS_MAX))


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
async def cloud() -> AsyncIterator[LocalCloud]:
    """A local cloud that serves on free ports; the test prepares it."""
    async with LocalCloud(seed=1) as cloud:
        yield cloud


@pytest.fixture
def undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No .env of this directory counts, and what commands make of logging ends with the test."""
    monkeypatch.chdir(tmp_path)
    yield
    structlog.reset_defaults()
