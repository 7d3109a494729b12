"""Words that the shell completes, as it asks for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(sys.prefix) / "bin"
ENVIRONMENT = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def bash(script: str, **environment: str) -> str:
    command = ["bash", "--norc", "-euc", script]
    done = subprocess.run(
        command, env=ENVIRONMENT | environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def read_by_bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a shell reads at its start, as the program prints it."""
    script = tmp_path_factory.mktemp("completion") / "oms-relay.sh"
    script.write_text(bash("oms-relay", _OMS_RELAY_COMPLETE="source_bash"))
    return script


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["do"], ["doctor"]),
        (["dead", "re"], ["redrive"]),
        (["records", ""], ["find", "failed", "compact"]),
        (["doctor", "--po"], ["--post"]),
    ],
)
def test_a_tab_completes_commands_and_options(
    read_by_bash: Path, typed: list[str], completed: list[str]
) -> None:
    """The script is bash's own view: it is read, and its function is called as on a TAB."""
    words = " ".join(f"'{each}'" for each in ["oms-relay", *typed])
    printed = bash(
        f". '{read_by_bash}'\n"
        "complete -p oms-relay >/dev/null\n"
        f"COMP_WORDS=({words}) COMP_CWORD={len(typed)}\n"
        "_oms_relay_completion oms-relay\n"
        r'printf "%s\n" "${COMPREPLY[@]}"'
    )
    assert printed.split() == completed


def test_the_variable_is_all_that_a_shell_needs() -> None:
    asked = {"_OMS_RELAY_COMPLETE": "complete_bash", "COMP_WORDS": "oms-relay do"}
    assert bash("oms-relay", **asked, COMP_CWORD="1") == "doctor\n"


@pytest.mark.parametrize("program", ["oms-relay", "python -m worker"])
def test_it_is_installed_for_the_shell_that_asks(program: str, tmp_path: Path) -> None:
    # One more command, or bash would hand its process over and be gone when it is looked for.
    told = bash(f"{program} --install-completion; echo", HOME=str(tmp_path))
    assert told.startswith("bash completion installed in")
    script = tmp_path / ".bash_completions" / "oms-relay.sh"
    assert str(script) in (tmp_path / ".bashrc").read_text()
    assert script.read_text().strip() == bash(f"{program} --show-completion; echo").strip()
