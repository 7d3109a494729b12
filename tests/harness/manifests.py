"""The manifests of deploy/kubernetes as kustomize builds them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (ROOT / "overlays").iterdir())
Manifest = dict[str, Any]


@cache
def _builder() -> tuple[str, ...] | None:
    if shutil.which("kustomize"):
        return ("kustomize", "build")
    return ("kubectl", "kustomize") if shutil.which("kubectl") else None


@cache
def _text(directory: Path) -> str:
    command = _builder()
    if command is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    options = ("--load-restrictor", "LoadRestrictionsNone")
    done = subprocess.run(
        [*command, *options, str(directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(directory: Path) -> list[Manifest]:
    """Every manifest of a kustomization."""
    return [each for each in yaml.safe_load_all(_text(directory)) if each]


def overlay(name: str) -> list[Manifest]:
    return built(ROOT / "overlays" / name)


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    """The one manifest of a kind."""
    (found,) = (each for each in manifests if each["kind"] == kind)
    return found


def pod(manifests: list[Manifest]) -> Manifest:
    template: Manifest = of_kind(manifests, "Deployment")["spec"]["template"]
    return template


def container(manifests: list[Manifest]) -> Manifest:
    (found,) = pod(manifests)["spec"]["containers"]
    return dict(found)


def settings(manifests: list[Manifest]) -> dict[str, str]:
    """The environment of the relay, secrets as the paths of their files."""
    config = of_kind(manifests, "ConfigMap")
    relay = container(manifests)
    assert relay["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    return {**config["data"], **{each["name"]: each["value"] for each in relay["env"]}}
