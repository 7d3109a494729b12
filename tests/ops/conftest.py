from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.ops import CommandLine, command_line


@pytest.fixture(autouse=True)
def _undisturbed(undisturbed: None) -> None:
    """All that is typed here is typed in a directory of its own."""


@pytest.fixture
def relayctl() -> Iterator[CommandLine]:
    with command_line() as line:
        yield line
