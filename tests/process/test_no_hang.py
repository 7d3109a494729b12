"""A unit test that hangs fails, whatever it hangs in, and the tests after it run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from harness.dockerfile import ROOT

CONFTEST = """
from harness import no_hang

no_hang.LIMIT_SECONDS = no_hang.GRACE_SECONDS = 1.0
pytest_runtest_protocol = no_hang.pytest_runtest_protocol
"""
TESTS = """
import asyncio

async def test_awaits_for_ever():
    await asyncio.Event().wait()

async def test_leaks_a_place():
    places = asyncio.Semaphore(1)
    await places.acquire()
    async with asyncio.TaskGroup() as group:
        group.create_task(places.acquire())

async def test_spins():
    while True:
        await asyncio.sleep(0)

async def test_will_not_be_cancelled():
    while True:
        try:
            await asyncio.Event().wait()
        except BaseException:
            pass

def test_ends():
    pass
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_hangs.py").write_text(TESTS)
    ours = ("-c", str(ROOT / "pyproject.toml"), "-o", f"pythonpath={ROOT / 'tests'}")
    command = [sys.executable, "-m", "pytest", *ours, f"--rootdir={folder}", *options, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_on_workers_every_test_that_hangs_fails_and_the_others_run(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "-n", "1")
    assert code == 1, printed
    assert "1 passed" in printed
    for name in re.findall(r"def (test_\w+)", TESTS):
        assert (f"FAILED test_hangs.py::{name} " in printed) is (name != "test_ends"), printed
    for name in ("test_awaits_for_ever", "test_leaks_a_place"):
        assert f"{name} - Failed: Timeout (>1.0s)" in printed
    assert "crashed while running 'test_hangs.py::test_will_not_be_cancelled'" in printed


def test_in_one_process_the_last_words_name_the_test_and_show_every_stack(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "-k", "will_not_be_cancelled")
    assert code == 1, printed
    assert "test_will_not_be_cancelled hangs: it did not end 1 s after its time-out" in printed
    assert "(most recent call first)" in printed
