"""The unit of deploy/systemd, read as systemd reads it, as far as the tests need."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = ROOT / "oms-relay@.service"


def directives(path: Path = UNIT) -> dict[str, list[str]]:
    """Every directive with its values, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text().splitlines():
        name, is_directive, value = line.partition("=")
        if is_directive and not line.startswith(("#", "[")):
            found[name].append(value)
    return found


def credentials(path: Path = UNIT) -> dict[str, str]:
    """Where each credential is loaded from."""
    return dict(each.split(":", 1) for each in directives(path)["LoadCredential"])


def environment(path: Path = UNIT, *, instance: int = 1, directory: str = "%d") -> dict[str, str]:
    """The environment that a unit sets, for one instance and its directory of credentials."""
    pairs = (each.strip('"').split("=", 1) for each in directives(path)["Environment"])
    return {
        name: value.replace("%i", str(instance)).replace("%d", directory) for name, value in pairs
    }


def seconds(name: str) -> int:
    (value,) = directives()[name]
    return int(value)
