"""What CI runs: one script, everywhere the same, on every Python that the project names."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from harness.dockerfile import ROOT

SCRIPT = ROOT / ".ci" / "run"
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
(JOB,) = WORKFLOW["jobs"].values()


def pythons() -> list[str]:
    """The versions that the project's classifiers name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [re.fullmatch(r".* :: Python :: (3\.\d+)", each) for each in project["classifiers"]]
    return [each[1] for each in found if each]


def test_the_workflow_runs_the_script_and_nothing_else() -> None:
    commands = [step["run"] for step in JOB["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert os.access(SCRIPT, os.X_OK)


def test_it_runs_on_every_python_that_the_project_names() -> None:
    assert JOB["strategy"]["matrix"]["python"] == pythons()
    assert "3.14" in pythons()
    tried = re.search(r"for each in (.*?);", (ROOT / "Makefile").read_text())
    assert tried
    assert {f"python{each}" for each in pythons()} <= set(tried[1].split())


def test_it_may_only_read_and_takes_only_what_is_pinned() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    taken = [step["uses"] for step in JOB["steps"] if "uses" in step]
    assert taken
    assert all(re.search("@[0-9a-f]{40}$", each) for each in taken)
    assert JOB["steps"][0]["with"] == {"persist-credentials": False}
    assert JOB["timeout-minutes"] <= 90


@pytest.mark.parametrize("path", [SCRIPT, ROOT / "deploy/systemd/install.sh"], ids=str)
def test_scripts_are_shell(path: Any) -> None:
    shell = path.read_text().splitlines()[0].removeprefix("#!").split()[-1]
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_program_that_tests_skip_without_is_installed_by_ci_or_left_out_knowingly() -> None:
    """A skipped test proves nothing: what CI can have, it gets."""
    sought = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'shutil\.which\("([a-z-]+)"\)', path.read_text())
    }
    text = SCRIPT.read_text()
    left_out = {
        "terraform": "no package has it",
        "kustomize": "kubectl has it",
        "bash": "it runs this",
    }
    for name in sought:
        assert name in left_out or re.search(rf"needs {name} |/{name}\"?$", text, re.MULTILINE), (
            name
        )
