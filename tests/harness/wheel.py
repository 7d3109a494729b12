"""The wheel: built from what belongs to the tree, and installed where nothing else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pathspec import GitIgnoreSpec

from harness.dockerfile import ROOT

PIN = re.compile(
    r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==([^ ;\\]+)(?: ; ([^\\]+?))? ?\\?$", re.MULTILINE
)
UNREACHABLE = ("error sending request", "dns error", "tcp connect error", "timed out")


def belonging() -> Iterator[str]:
    """Every file of the tree that .gitignore lets in, as a path from the root."""
    ignored = GitIgnoreSpec.from_lines([*(ROOT / ".gitignore").read_text().splitlines(), ".git/"])
    for folder, folders, names in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not ignored.match_file(f"{here / name}/")]
        yield from (str(here / name) for name in names if not ignored.match_file(str(here / name)))


def build(folder: Path) -> Path:
    """Build the wheel from a copy of the tree, so that no cache and no earlier build gets in."""
    source = folder / "source"
    for name in belonging():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    _run(folder, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist")
    (wheel,) = (folder / "dist").iterdir()
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment of the wheel and what constraints-runtime.txt pins; return its `bin`."""
    uv, environment = Path(sys.executable).parent / "uv", folder / "environment"
    assert uv.exists(), "run make setup"
    _run(folder, uv, "venv", "--quiet", "--no-project", "--python", sys.executable, environment)
    into = (uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python")
    pinned = ("--require-hashes", "--build-constraints", "constraints-build.txt")
    _run(folder, *into, *pinned, "-r", "constraints-runtime.txt")
    # What the pins lack would be missing here, not fetched.
    _run(folder, *into, "--no-deps", wheel)
    _run(folder, uv, "pip", "check", "--quiet", "--python", environment / "bin" / "python")
    return environment / "bin"


def pins(name: str) -> set[tuple[str, str, str]]:
    """Package, version and marker of every pin in a file of constraints."""
    return set(PIN.findall((ROOT / name).read_text()))


def wanted() -> set[str]:
    """The names that an environment of the relay holds on Linux."""
    found = pins("constraints-runtime.txt")
    return {name for name, _, marker in found if "== 'win32'" not in marker} | {"oms-relay"}


def installed(python: Path) -> set[str]:
    """The names of what an environment does hold."""
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps([d.metadata['Name'] for d in m.distributions()]))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in json.loads(done.stdout)}


def _run(folder: Path, *command: str | Path) -> None:
    source = folder / "source"
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode and any(each in done.stderr for each in UNREACHABLE):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
