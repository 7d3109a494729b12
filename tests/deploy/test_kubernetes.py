"""deploy/kubernetes: what kustomize builds is valid, restricted, and fits the relay and its settings."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from harness import promql
from harness.manifests import (
    CUSTOM,
    OVERLAYS,
    ROOT,
    Manifest,
    built,
    conforms,
    container,
    of_kind,
    overlay,
    pod,
    settings,
)
from worker import __version__
from worker.settings import load_settings

VERSION = "1.37"
UNACKNOWLEDGED_MAX = 5000


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return overlay(request.param)


def sources() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_holds_manifests_of_the_schema(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] in CUSTOM:
            assert conforms(manifest["spec"], CUSTOM[manifest["kind"]])
        elif not {"static-key", "routes"} & set(path.parts):  # a patch is only part of a manifest
            kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_every_built_manifest_is_of_the_schema(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        assert manifest["metadata"]["namespace"] == "oms-relay"
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_the_settings_of_every_overlay_start_a_relay(
    manifests: list[Manifest], tmp_path: Path
) -> None:
    environment = settings(manifests)
    for name in ("HW_AK_FILE", "HW_SK_FILE"):
        secret = tmp_path / name
        secret.write_text("secret\n")
        environment[name] = str(secret)
    found = load_settings(environment, dotenv=None)
    assert not [warning for warning in found.warnings if "RELAY_ADMIN_HOST" not in warning]
    grace = pod(manifests)["spec"]["terminationGracePeriodSeconds"]
    assert grace >= found.shutdown_grace_seconds + 5
    (port,) = container(manifests)["ports"]
    assert port == {"name": "admin", "containerPort": found.admin_port}


def test_secrets_come_as_files_that_are_mounted(manifests: list[Manifest]) -> None:
    mounts = {each["name"]: each for each in container(manifests)["volumeMounts"]}
    files = set()
    for volume in pod(manifests)["spec"]["volumes"]:
        if volume["name"] == "tmp":
            continue
        secret = volume["secret"]
        assert secret["defaultMode"] == 0o440
        assert mounts[volume["name"]]["readOnly"]
        files |= {
            f"{mounts[volume['name']]['mountPath']}/{each['path']}" for each in secret["items"]
        }
    found = {value for name, value in settings(manifests).items() if name.endswith("_FILE")}
    assert found == files
    assert "HW_SK" not in settings(manifests)


def test_the_pod_is_restricted(manifests: list[Manifest]) -> None:
    spec, relay = pod(manifests)["spec"], container(manifests)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert relay["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}} == {
        "secret",
        "emptyDir",
    }


def test_commands_may_write_temporary_files_and_only_those(manifests: list[Manifest]) -> None:
    """Without a folder to write in, `reconcile` ends at the first thousand keys of layout `log`."""
    (room,) = (volume for volume in pod(manifests)["spec"]["volumes"] if "emptyDir" in volume)
    assert room == {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}}
    writable = [each for each in container(manifests)["volumeMounts"] if not each.get("readOnly")]
    assert writable == [{"name": "tmp", "mountPath": "/tmp"}]


def test_probes_ask_what_the_admin_server_serves(manifests: list[Manifest]) -> None:
    relay = container(manifests)
    asked = {name: relay[name]["httpGet"] for name in relay if name.endswith("Probe")}
    assert asked == {
        "startupProbe": {"path": "/healthz", "port": "admin"},
        "livenessProbe": {"path": "/healthz", "port": "admin"},
        "readinessProbe": {"path": "/readyz", "port": "admin"},
    }


def test_resources_are_those_measured(manifests: list[Manifest]) -> None:
    assert container(manifests)["resources"] == {
        "requests": {"cpu": "250m", "memory": "160Mi"},
        "limits": {"memory": "384Mi"},
    }


def test_the_image_is_of_this_version(manifests: list[Manifest]) -> None:
    assert container(manifests)["image"] == f"oms-relay:{__version__}"


def test_selectors_find_the_pods_and_only_them(manifests: list[Manifest]) -> None:
    labels = pod(manifests)["metadata"]["labels"]
    wanted = {"matchLabels": {"app.kubernetes.io/name": "oms-relay"}}
    assert wanted["matchLabels"].items() <= labels.items()
    deployment, budget = of_kind(manifests, "Deployment"), of_kind(manifests, "PodDisruptionBudget")
    policy = of_kind(manifests, "NetworkPolicy")["spec"]
    spread = pod(manifests)["spec"]["topologySpreadConstraints"]
    found = [
        deployment["spec"]["selector"],
        budget["spec"]["selector"],
        policy["podSelector"],
        *(each["labelSelector"] for each in spread),
    ]
    assert all(each == wanted for each in found)


def test_the_network_lets_through_https_and_names_out_and_monitoring_in(
    manifests: list[Manifest],
) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    out = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert out == {("UDP", 53), ("TCP", 53), ("TCP", 443)}
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"port": "admin"}]
    (peer,) = ingress["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}


def test_the_fleet_stays_below_the_throttle_of_mns(manifests: list[Manifest]) -> None:
    kinds = {each["kind"]: each["spec"] for each in manifests if "spec" in each}
    deployment = kinds["Deployment"]
    if "HorizontalPodAutoscaler" in kinds:
        replicas = kinds["HorizontalPodAutoscaler"]["maxReplicas"]
    elif "ScaledObject" in kinds:
        replicas = kinds["ScaledObject"]["maxReplicaCount"]
    else:
        replicas = deployment["replicas"]
    # An autoscaler and a fixed number would undo each other at every rollout.
    assert ("replicas" in deployment) == (
        len(kinds.keys() & {"HorizontalPodAutoscaler", "ScaledObject"}) == 0
    )
    surge = deployment["strategy"]["rollingUpdate"]["maxSurge"]
    in_flight = int(settings(manifests)["RELAY_MAX_IN_FLIGHT"])
    assert (replicas + surge) * in_flight < UNACKNOWLEDGED_MAX


def test_the_autoscaler_asks_for_a_metric_that_relays_show() -> None:
    spec = of_kind(overlay("keda"), "ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    assert promql.selected(trigger["metadata"]["query"]) <= promql.known()
    assert spec["minReplicaCount"] > 0, "with no relay nobody tells how much waits"


def test_the_layouts_are_what_their_overlays_say() -> None:
    found = {name: settings(overlay(name))["RELAY_RECORD_LAYOUT"] for name in OVERLAYS}
    assert found == {"hpa": "object", "keda": "log", "log": "log", "object": "object"}


def test_the_role_is_asked_for_as_ack_reads_it(manifests: list[Manifest]) -> None:
    account = of_kind(manifests, "ServiceAccount")
    assert account["metadata"]["annotations"]["pod-identity.alibabacloud.com/role-name"]
    assert pod(manifests)["metadata"]["labels"]["pod-identity.alibabacloud.com/injection"] == "on"
    assert pod(manifests)["spec"]["serviceAccountName"] == account["metadata"]["name"]


def with_component(tmp_path: Path, name: str) -> list[Manifest]:
    """The base with one more component."""
    # kustomize takes no absolute paths.
    root = Path(*[".."] * len(tmp_path.resolve().parts[1:]), *ROOT.resolve().parts[1:])
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "oms-relay",
        "resources": [str(root / "base")],
        "components": [str(root / "components" / name)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return built(tmp_path)


def test_a_cluster_without_roles_takes_a_key_from_a_secret(tmp_path: Path) -> None:
    manifests = with_component(tmp_path, "static-key")
    assert "annotations" not in of_kind(manifests, "ServiceAccount")["metadata"]
    assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET_FILE" in settings(manifests)
    test_secrets_come_as_files_that_are_mounted(manifests)


def test_routes_come_from_a_config_map_and_make_settings(tmp_path: Path) -> None:
    manifests = with_component(tmp_path, "routes")
    maps = {
        each["metadata"]["name"]: each["data"] for each in manifests if each["kind"] == "ConfigMap"
    }
    (routes,) = [name for name in maps if name.startswith("oms-relay-routes-")]
    (shared,) = [data for name, data in maps.items() if name != routes]
    relay = container(manifests)
    (mount,) = [each for each in relay["volumeMounts"] if each["name"] == "routes"]
    volumes = {each["name"]: each for each in pod(manifests)["spec"]["volumes"]}
    assert volumes["routes"]["configMap"]["name"] == routes
    assert shared["RELAY_ROUTES"] == f"{mount['mountPath']}/routes.toml"
    path = tmp_path / "routes.toml"
    path.write_text(maps[routes]["routes.toml"])
    named = shared | {"RELAY_ROUTES": str(path), "HW_AK": "ak", "HW_SK": "sk"}
    found = load_settings(named, None)
    assert [each.route for each in found.routes] == ["films", "photos"]
