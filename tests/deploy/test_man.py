"""The manual page: man reads it without a complaint, and it says what the help of each command says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.dockerfile import ROOT
from harness.grammar import COMMANDS, examples, options
from worker import __version__


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, made as `make man` makes it."""
    made = tmp_path_factory.mktemp("man") / "oms-relay.1"
    command = [sys.executable, "-W", "error", "deploy/man/page.py"]
    with made.open("w") as out:
        subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "."}, stdout=out, check=True)
    return made


@pytest.fixture(scope="module")
def shown(page: Path) -> str:
    """What a reader sees, on lines as wide as they need."""
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("needs man and groff")
    width = {
        "PATH": "/usr/bin:/bin",
        "MANWIDTH": "1000",
        "LC_ALL": "C.UTF-8",
        "MAN_KEEP_FORMATTING": "",
    }
    command = ["man", "--warnings=w", "-l", str(page)]
    done = subprocess.run(command, env=width, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return re.sub(r" +", " ", re.sub(r".\x08|\x1b\[\d+m", "", done.stdout))


def test_it_has_every_command_every_option_and_every_example(shown: str) -> None:
    worker = COMMANDS["worker"]
    missing = [each for each in options(worker) if each not in shown]
    missing += [each for _, each in examples(worker, "oms-relay") if each not in shown]
    for name, command in worker.commands.items():
        below = getattr(command, "commands", {None: command})
        missing += [
            called
            for each in below
            if f"\n oms-relay {(called := f'{name} {each}' if each else name)}" not in shown
        ]
    assert missing == []


def test_it_names_the_program_and_its_version(shown: str) -> None:
    assert shown.startswith("OMS-RELAY(1) ")
    assert f"oms-relay {__version__}" in shown
    assert "\n oms-relay - relay Alibaba OSS change events" in shown


def test_every_exit_code_of_the_documents_is_on_it(shown: str) -> None:
    told = {
        code
        for name in ("cli.md", "operations.md")
        for codes in re.findall(
            r"^\| (\d+(?:, \d+)*) \|", (ROOT / "docs" / name).read_text(), re.MULTILINE
        )
        for code in codes.split(", ")
    }
    exits = shown.partition("EXIT STATUS")[2].partition("ENVIRONMENT")[0]
    assert told >= {"0", "1", "2", "3", "70", "130", "143"}
    assert told == set(re.findall(r"\b(\d+)\b", exits))
