"""What holds for every unit test: one that waits for ever fails within a minute."""

from harness.no_hang import pytest_runtest_protocol

__all__ = ["pytest_runtest_protocol"]
