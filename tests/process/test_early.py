from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.processes import unmeasured

ROOT = Path(__file__).parents[2]
SIGNALS = [signal.SIGTERM, signal.SIGINT]


def kill(number: int) -> str:
    return f"import os; os.kill(os.getpid(), {number}); print('lived')"


# A shell lets its jobs in the background ignore Ctrl-C.
AS_IN_FRONT = ["env", "--default-signal=INT"]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Where coverage is measured, it hears signals itself.
    return subprocess.run(
        [*AS_IN_FRONT, sys.executable, "-c", code],
        cwd=ROOT,
        env={**unmeasured(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_comes_before_the_relay_is_up_ends_it_well(number: int) -> None:
    ended = python(
        "import sys; sys.argv = ['oms-relay', 'run']; "
        f"from worker.process import early; early.listen(); {kill(number)}"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_comes_while_another_command_is_loaded_does_not_count_as_done(
    number: int,
) -> None:
    ended = python(
        "import sys; sys.argv = ['oms-relay', 'doctor']; "
        f"from worker.process import early; early.listen(); {kill(number)}"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_other_commands_die_of_a_signal_as_usual(number: int) -> None:
    ended = python(
        f"from worker.process import early; early.listen(); early.let_go(); {kill(number)}"
    )
    assert ended.returncode == -number


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_on_purpose_stays_so(number: int) -> None:
    ignore = f"import signal; signal.signal({number}, signal.SIG_IGN)"
    ended = python(f"{ignore}; from worker.process import early; early.listen(); {kill(number)}")
    assert (ended.returncode, ended.stdout) == (0, "lived\n")


def test_no_file_or_connection_gets_the_number_of_a_stream_that_is_closed() -> None:
    code = (
        "import os; [os.close(each) for each in (0, 1, 2)]; from worker.process import early; "
        "early.fill_gaps(); ends = os.pipe(); os._exit(0 if min(ends) > 2 else 1)"
    )
    assert python(code).returncode == 0


UNSHARE = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_unshare(), reason="no right to make a process 1")
@pytest.mark.parametrize("number", SIGNALS)
def test_process_1_hears_a_signal_that_comes_with_its_start(number: int, tmp_path: Path) -> None:
    """The kernel drops a signal that process 1 has not asked for: sent again and again, one is heard."""
    process = subprocess.Popen(
        [*AS_IN_FRONT, *UNSHARE, "--kill-child", sys.executable, "-m", "worker", "run"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONPROFILEIMPORTTIME": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        # The first import after `early`: from here on a stop is heard, seconds before the relay is up.
        for line in process.stderr:
            if "typing_extensions" in line or "typer" in line or "asyncio" in line:
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), number)
        process.stderr.read()
    assert process.returncode == 0


def test_signals_are_heard_before_anything_heavy_is_imported() -> None:
    ended = python(
        "import sys, worker.__main__; print('typer' in sys.modules, 'aiohttp' in sys.modules)"
    )
    assert ended.stdout == "False False\n"


@pytest.mark.parametrize("folder", ["/nowhere", ""])
def test_a_folder_for_many_processes_metrics_is_not_ours(folder: str) -> None:
    code = (
        "import worker.__main__; from prometheus_client import CollectorRegistry; "
        "from worker.observe.metrics import Metrics; Metrics(CollectorRegistry()).received.inc(); print('ok')"
    )
    ended = python(code, PROMETHEUS_MULTIPROC_DIR=folder)
    assert (ended.returncode, ended.stdout) == (0, "ok\n"), ended.stderr
