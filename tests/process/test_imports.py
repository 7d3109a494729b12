"""What the program loads: the vendors' packages only where one of them has something to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.dockerfile import ROOT

VENDORS = {"oss2", "mns", "alibabacloud_credentials", "aliyunsdkcore", "requests"}
TELL = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
WORKS = """
import asyncio, sys
from harness.relay import relaying
from localcloud.cloud import LocalCloud

async def work():
    async with LocalCloud(seed=1) as cloud:
        cloud.prepare()
        cloud.oss.put("source", "a.txt", b"a")
        async with relaying(cloud) as relay:
            await relay.settle()
            assert relay.metric("messages_deleted") == 1

asyncio.run(work())
"""


def loaded(program: str, **environ: str) -> set[str]:
    """The vendors' packages that a fresh interpreter has loaded at the end of a program."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}\n{TELL}"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return VENDORS & set(ran.stdout.split())


@pytest.mark.parametrize("module", ["worker.cli", "worker.process.app", "worker.console.server"])
def test_the_program_is_loaded_without_the_vendors_packages(module: str) -> None:
    assert loaded(f"import {module}") == set()


def test_a_relay_that_meets_no_failure_loads_what_signs_its_calls_to_mns_and_no_more() -> None:
    assert loaded(WORKS) == {"mns"}
