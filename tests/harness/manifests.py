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
# Fields and their types by the CRDs of KEDA (keda.sh_scaledobjects.yaml, 2026-08) and of the Prometheus
# operator 0.93 (monitoring.coreos.com_podmonitors.yaml, _prometheusrules.yaml), as far as these manifests use
# them; the trigger's metadata by KEDA's "Prometheus" scaler page, where all values are strings.
CUSTOM: dict[str, dict[str, Any]] = {
    "ScaledObject": {
        "scaleTargetRef": {"name": str},
        "pollingInterval": int,
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "fallback": {"failureThreshold": int, "replicas": int, "behavior": str},
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": int}}
            }
        },
        "triggers": [
            {
                "type": str,
                "metadata": {
                    "serverAddress": str,
                    "query": str,
                    "threshold": str,
                    "ignoreNullValues": str,
                },
            }
        ],
    },
    "PrometheusRule": {
        "groups": [
            {
                "name": str,
                "rules": [
                    {
                        "alert": str,
                        "expr": str,
                        "for": str,
                        "labels": {"severity": str},
                        "annotations": {"summary": str, "description": str, "runbook_url": str},
                    }
                ],
            }
        ]
    },
    "PodMonitor": {
        "selector": {"matchLabels": {"app.kubernetes.io/name": str}},
        "podMetricsEndpoints": [{"port": str, "path": str, "interval": str}],
    },
}


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


def of_operators(manifest: Manifest) -> bool:
    """Whether it is for people, and not for the relays."""
    labels = manifest["metadata"].get("labels") or {}
    return bool(labels.get("app.kubernetes.io/name") == "oms-relay-operator")


def pod(manifests: list[Manifest]) -> Manifest:
    """The template of the pods of the one Deployment, or else of the one CronJob."""
    kinds = {each["kind"] for each in manifests}
    if "Deployment" not in kinds:
        job: Manifest = of_kind(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
        return job
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
    own = {each["name"]: each["value"] for each in relay["env"] if "value" in each}
    return {**config["data"], **own}


def conforms(found: Any, wanted: Any) -> bool:
    """Whether a tree has no other fields and types than wanted."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in wanted and conforms(value, wanted[name]) for name, value in found.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and all(conforms(each, wanted[0]) for each in found)
    return isinstance(found, wanted)
