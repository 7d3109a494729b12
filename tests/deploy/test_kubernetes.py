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
    of_operators,
    overlay,
    pod,
    settings,
)
from worker import __version__
from worker.flow.share import START
from worker.settings import load_settings

VERSION = "1.37"
UNACKNOWLEDGED_MAX = 5000


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """What runs the relays."""
    return [each for each in overlay(request.param) if not of_operators(each)]


def operators(kind: str, manifests: list[Manifest] | None = None) -> list[Manifest]:
    """What is for people: the console's Deployment, or the template of Jobs, with their settings."""
    found = overlay("object") if manifests is None else manifests
    own = [
        each for each in found if of_operators(each) and each["kind"] in {kind, "ServiceAccount"}
    ]
    return [*own, of_kind(found, "ConfigMap")]


def sources() -> list[Path]:
    own = {"kustomization.yaml", "names.yaml"}  # kustomize's own
    return sorted(path for path in ROOT.rglob("*.yaml") if path.name not in own)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_holds_manifests_of_the_schema(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] in CUSTOM:
            assert conforms(manifest["spec"], CUSTOM[manifest["kind"]])
        elif not {"static-key", "routes"} & set(path.parts):  # a patch is only part of a manifest
            kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_built_manifest_is_of_the_schema(name: str) -> None:
    for manifest in overlay(name):
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
    assert "RELAY_MAX_IN_FLIGHT" not in settings(manifests)
    # What they may hold before they have heard of each other.
    assert (replicas + surge) * START < UNACKNOWLEDGED_MAX


def test_the_autoscaler_asks_for_a_metric_that_relays_show() -> None:
    spec = of_kind(overlay("keda"), "ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    assert promql.selected(trigger["metadata"]["query"]) <= promql.known()
    assert spec["minReplicaCount"] > 0, "with no relay nobody tells how much waits"


def mine(tmp_path: Path, *components: str, **more: object) -> list[Manifest]:
    """An overlay of one's own over base and components, with all else that is given."""
    # kustomize takes no absolute paths.
    root = Path(*[".."] * len(tmp_path.resolve().parts[1:]), *ROOT.resolve().parts[1:])
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "oms-relay",
        "resources": [str(root / "base")],
        "components": [str(root / "components" / each) for each in components],
        **more,
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return built(tmp_path)


def test_a_namespace_a_prefix_and_a_queue_of_ones_own_reach_the_autoscaler(tmp_path: Path) -> None:
    literals = [{"name": "oms-relay", "behavior": "merge", "literals": ["MNS_QUEUE=photos"]}]
    found = mine(
        tmp_path, "keda", namespace="media", namePrefix="photos-", configMapGenerator=literals
    )
    spec = of_kind(found, "ScaledObject")["spec"]
    (relay,) = (each for each in found if each["kind"] == "Deployment")
    assert spec["scaleTargetRef"]["name"] == relay["metadata"]["name"] == "photos-oms-relay"
    (trigger,) = spec["triggers"]
    matched = promql.matched(trigger["metadata"]["query"])
    assert {(name, value) for _, name, value in matched} == {
        ("namespace", "media"),
        ("queue", "photos"),
        ("state", "active"),
    }


def test_relays_stay_as_many_as_they_are_when_prometheus_is_lost() -> None:
    spec = of_kind(overlay("keda"), "ScaledObject")["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_operators_have_an_identity_of_their_own_and_the_relays_settings(kind: str) -> None:
    found = operators(kind)
    relay = of_kind([each for each in overlay("object") if not of_operators(each)], "Deployment")
    spec = pod(found)["spec"]
    account = of_kind(found, "ServiceAccount")
    assert spec["serviceAccountName"] == account["metadata"]["name"] == "oms-relay-operator"
    own = relay["spec"]["template"]["spec"]["serviceAccountName"]
    assert spec["serviceAccountName"] != own
    role = "pod-identity.alibabacloud.com/role-name"
    assert account["metadata"]["annotations"][role] == "oms-relay-operator"
    assert pod(found)["metadata"]["labels"]["pod-identity.alibabacloud.com/injection"] == "on"
    test_the_pod_is_restricted(found)
    test_secrets_come_as_files_that_are_mounted(found)
    test_the_image_is_of_this_version(found)
    selector = relay["spec"]["selector"]["matchLabels"].items()
    assert not selector <= pod(found)["metadata"]["labels"].items()


def test_a_job_is_only_a_template_and_is_tried_once() -> None:
    spec = of_kind(operators("CronJob"), "CronJob")["spec"]
    assert spec["suspend"] is True
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert container(operators("CronJob"))["args"] == ["doctor"]


def test_the_console_is_on_loopback_and_nothing_is_let_in() -> None:
    assert container(operators("Deployment"))["args"] == ["console"]
    (policy,) = (
        each for each in overlay("object") if each["kind"] == "NetworkPolicy" and of_operators(each)
    )
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]


def test_the_layouts_are_what_their_overlays_say() -> None:
    found = {
        name: of_kind(overlay(name), "ConfigMap")["data"]["RELAY_RECORD_LAYOUT"]
        for name in OVERLAYS
    }
    assert found == {"hpa": "object", "keda": "log", "log": "log", "object": "object"}


def test_the_role_is_asked_for_as_ack_reads_it(manifests: list[Manifest]) -> None:
    account = of_kind(manifests, "ServiceAccount")
    assert account["metadata"]["annotations"]["pod-identity.alibabacloud.com/role-name"]
    assert pod(manifests)["metadata"]["labels"]["pod-identity.alibabacloud.com/injection"] == "on"
    assert pod(manifests)["spec"]["serviceAccountName"] == account["metadata"]["name"]


def test_a_cluster_without_roles_takes_keys_from_secrets(tmp_path: Path) -> None:
    found = mine(tmp_path, "operators", "static-key")
    relays = [each for each in found if not of_operators(each)]
    parts = (relays, operators("Deployment", found), operators("CronJob", found))
    secrets = []
    for part in parts:
        assert "annotations" not in of_kind(part, "ServiceAccount")["metadata"]
        assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET_FILE" in settings(part)
        test_secrets_come_as_files_that_are_mounted(part)
        injection = pod(part)["metadata"]["labels"]["pod-identity.alibabacloud.com/injection"]
        assert injection == "off"
        volumes = {each["name"]: each for each in pod(part)["spec"]["volumes"]}
        secrets.append(volumes["alibaba"]["secret"]["secretName"])
    assert secrets == ["oms-relay-alibaba", *["oms-relay-operator-alibaba"] * 2]


def test_routes_come_from_a_config_map_and_make_settings(tmp_path: Path) -> None:
    manifests = mine(tmp_path, "routes")
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


def test_the_operators_have_the_file_of_routes_too(tmp_path: Path) -> None:
    found = mine(tmp_path, "operators", "routes")
    for kind in ("Deployment", "CronJob"):
        part = [each for each in found if of_operators(each) and each["kind"] == kind]
        (volume,) = [each for each in pod(part)["spec"]["volumes"] if each["name"] == "routes"]
        assert volume["configMap"]["name"].startswith("oms-relay-routes-")
        (mount,) = [each for each in container(part)["volumeMounts"] if each["name"] == "routes"]
        assert (mount["mountPath"], mount["readOnly"]) == ("/etc/oms-relay", True)
