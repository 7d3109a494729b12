from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILL = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); print('lived')"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Where coverage is measured, it hears signals itself.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_signal_that_comes_before_the_relay_is_up_ends_it_well() -> None:
    ended = python(f"from worker import early; early.listen(); {KILL}")
    assert (ended.returncode, ended.stdout) == (0, "")


def test_other_commands_die_of_a_signal_as_usual() -> None:
    ended = python(f"from worker import early; early.listen(); early.let_go(); {KILL}")
    assert ended.returncode == -signal.SIGTERM


def test_a_signal_that_is_ignored_on_purpose_stays_so() -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    ended = python(f"{ignore}; from worker import early; early.listen(); {KILL}")
    assert (ended.returncode, ended.stdout) == (0, "lived\n")


def test_signals_are_heard_before_anything_heavy_is_imported() -> None:
    ended = python(
        "import sys, worker.__main__; print('typer' in sys.modules, 'aiohttp' in sys.modules)"
    )
    assert ended.stdout == "False False\n"


@pytest.mark.parametrize("folder", ["/nowhere", ""])
def test_a_folder_for_many_processes_metrics_is_not_ours(folder: str) -> None:
    code = (
        "import worker.__main__; from prometheus_client import CollectorRegistry; "
        "from worker.metrics import Metrics; Metrics(CollectorRegistry()).received.inc(); print('ok')"
    )
    ended = python(code, PROMETHEUS_MULTIPROC_DIR=folder)
    assert (ended.returncode, ended.stdout) == (0, "ok\n"), ended.stderr
