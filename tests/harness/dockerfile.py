"""The Dockerfile of deploy/container, taken apart, and its RUN steps carried out without an engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
OURS = re.compile(r"(?<![\w/.])/(build|wheels|opt/relay|own|program|src)(?![\w-])")


@dataclass(frozen=True)
class Step:
    """One instruction; `stage` counts from 0."""

    stage: int
    name: str
    rest: str


def steps() -> Iterator[Step]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    stage = -1
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            stage += name == "FROM"
            yield Step(stage, name, rest.strip())


def of(name: str) -> list[Step]:
    return [step for step in steps() if step.name == name]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last pattern that matches decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        is_exception = pattern.startswith("!")
        pattern = pattern.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        ways = [path, *parts, *("/".join(parts[:count]) for count in range(1, len(parts)))]
        if any(fnmatch(way, pattern) for way in ways):
            sent = is_exception
    return sent


def replay(root: Path) -> None:
    """Carry out all stages under a folder that stands for `/`; of the last one what it copies from others."""
    source = root / "src"
    source.mkdir()
    last = max(step.stage for step in steps())
    for step in steps():
        if step.stage < last and step.name == "COPY":
            _copy(step.rest.split(), source)
        elif step.stage < last and step.name == "RUN":
            _run(step.rest, root)
        elif step.name == "COPY" and "--from" in step.rest:
            _, made, place = step.rest.split()
            if made != place:
                made, place = (str(root / each.removeprefix("/")) for each in (made, place))
                shutil.copytree(made, place, symlinks=True, dirs_exist_ok=True)


def _copy(words: list[str], source: Path) -> None:
    *names, target = words
    for name in names:
        to = source / target / (name if target == "./" else "")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, to)


def _run(command: str, root: Path) -> None:
    command = OURS.sub(lambda found: f"{root}{found[0]}", command)
    base = Path(sys.base_prefix) / "bin"
    environment = {"PATH": f"{base}:/usr/bin:/bin", "HOME": str(root), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=root / "src",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
