"""deploy/helm: the chart makes what kustomize makes, and refuses values that cannot work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from harness import promql
from harness.manifests import (
    CUSTOM,
    Manifest,
    conforms,
    container,
    of_kind,
    of_operators,
    overlay,
    pod,
    settings,
)
from worker import __version__
from worker.settings import load_settings

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "oms-relay"
VERSION = "1.37"
HELM = shutil.which("helm")
needs_helm = pytest.mark.skipif(not HELM, reason="helm is not installed")
REQUIRED = {
    "MNS_ENDPOINT": "https://1234567890123456.mns.cn-hangzhou.aliyuncs.com",
    "MNS_QUEUE": "oss-events",
    "OSS_ENDPOINT": "https://oss-cn-hangzhou-internal.aliyuncs.com",
    "LOG_BUCKET": "my-log-bucket",
    "SYNC_URL": "https://oms.cn-north-4.myhuaweicloud.com/v2/project-id/sync-tasks/task-id/events",
}
VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "cpu": {"autoscaling": {"by": "cpu"}},
    "queue": {"autoscaling": {"by": "queue"}, "monitoring": {"enabled": True}},
    "keys": {"alibaba": {"keySecret": "relays-key", "operatorKeySecret": "operators-key"}},
    "all": {
        "image": {"repository": "example/oms-relay", "pullSecrets": ["pull"]},
        "secrets": {"destination": "obs"},
        "operators": {"consoleSecret": "console"},
        "networkPolicy": {"egress": [{"ports": [{"port": 4318, "protocol": "TCP"}]}]},
        "podAnnotations": {"example.com/a": "b"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "relay", "operator": "Exists"}],
        "monitoring": {"enabled": True, "labels": {"release": "kps"}, "runbook": "https://x/"},
    },
}  # fmt: skip


def template(
    folder: Path, values: dict[str, Any], namespace: str = "oms-relay", release: str = "oms-relay"
) -> subprocess.CompletedProcess[str]:
    path = folder / "values.yaml"
    told = dict(values)
    told["settings"] = REQUIRED | told.get("settings", {})
    path.write_text(yaml.safe_dump(told))
    command = [
        str(HELM),
        "template",
        release,
        str(CHART),
        "--namespace",
        namespace,
        "-f",
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def made(folder: Path, values: dict[str, Any], **named: str) -> list[Manifest]:
    done = template(folder, values, **named)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def parts(manifests: list[Manifest]) -> dict[str, list[Manifest]]:
    """What belongs to the relays, to the console and to the template of Jobs, each with the settings."""
    config = of_kind(manifests, "ConfigMap")
    people = [each for each in manifests if of_operators(each)]
    return {
        "relay": [each for each in manifests if not of_operators(each)],
        "console": [*(each for each in people if each["kind"] == "Deployment"), config],
        "job": [*(each for each in people if each["kind"] == "CronJob"), config],
    }


@needs_helm
@pytest.mark.parametrize("name", VALUES)
def test_every_manifest_is_of_the_schema(name: str, tmp_path: Path) -> None:
    for manifest in made(tmp_path, VALUES[name]):
        if manifest["kind"] in CUSTOM:
            assert conforms(named(manifest["spec"]), CUSTOM[manifest["kind"]])
        else:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


@needs_helm
@pytest.mark.parametrize(
    ("name", "same"), [("default", "object"), ("cpu", "hpa"), ("queue", "keda")]
)
def test_it_makes_what_kustomize_makes(name: str, same: str, tmp_path: Path) -> None:
    ours, theirs = parts(made(tmp_path, VALUES[name])), parts(overlay(same))
    for part in ("relay", "console", "job"):
        assert comparable(container(ours[part])) == comparable(container(theirs[part]))
        one, other = (dict(pod(each[part])["spec"]) for each in (ours, theirs))
        for spec in (one, other):
            del spec["containers"]
            spec.pop("topologySpreadConstraints", None)
            spec["volumes"] = sorted(spec["volumes"], key=lambda each: str(each["name"]))
        assert one == other
    for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler", "ScaledObject", "PodMonitor"):
        found = [
            [named(each["spec"]) for each in part["relay"] if each["kind"] == kind]
            for part in (ours, theirs)
        ]
        assert found[0] == found[1], kind
    assert {each["kind"] for each in ours["relay"]} == {each["kind"] for each in theirs["relay"]}


def comparable(found: Manifest) -> Manifest:
    """A container whose lists have no order of their own, and whose settings are looked at elsewhere."""
    without = {key: value for key, value in found.items() if key != "envFrom"}
    without.setdefault("imagePullPolicy", "IfNotPresent")
    # The token of the console is an option of the chart, and optional in kustomize.
    env = [each for each in without["env"] if each["name"] != "RELAY_CONSOLE_TOKEN"]
    mounts = sorted(without["volumeMounts"], key=lambda each: str(each["name"]))
    return without | {"env": env, "volumeMounts": mounts}


def named(spec: Any) -> Any:
    """A spec without the label that only releases have."""
    text = json.dumps(spec).replace(', "app.kubernetes.io/instance": "oms-relay"', "")
    return json.loads(text.replace('"app.kubernetes.io/instance": "oms-relay", ', ""))


@needs_helm
@pytest.mark.parametrize("name", VALUES)
def test_its_settings_start_a_relay(name: str, tmp_path: Path) -> None:
    relay = parts(made(tmp_path, VALUES[name]))["relay"]
    environment = settings(relay)
    mounts = {each["mountPath"] for each in container(relay)["volumeMounts"]}
    for key, value in environment.items():
        if key.endswith("_FILE"):
            assert str(Path(value).parent) in mounts
            (tmp_path / key).write_text("a-secret\n")
            environment[key] = str(tmp_path / key)
    found = load_settings(environment, dotenv=None)
    grace = pod(relay)["spec"]["terminationGracePeriodSeconds"]
    assert grace >= found.shutdown_grace_seconds + 5
    assert container(relay)["ports"] == [{"name": "admin", "containerPort": found.admin_port}]


@needs_helm
def test_numbers_stay_what_they_are(tmp_path: Path) -> None:
    told = {"RELAY_ARRIVAL_RATIO": 0.01, "RELAY_ARRIVAL_SECONDS": 3_600_000, "RELAY_POLLERS": 8}
    data = of_kind(made(tmp_path, {"settings": told}), "ConfigMap")["data"]
    assert [data[name] for name in told] == ["0.01", "3600000", "8"]


@needs_helm
def test_two_releases_in_one_namespace_do_not_take_each_others_pods(tmp_path: Path) -> None:
    one, other = (
        made(tmp_path, VALUES["queue"], namespace="media", release=release)
        for release in ("photos", "orders")
    )
    names = {(each["kind"], each["metadata"]["name"]) for each in one}
    assert not names & {(each["kind"], each["metadata"]["name"]) for each in other}
    for manifests in (one, other):
        relay = parts(manifests)["relay"]
        selector = of_kind(relay, "Deployment")["spec"]["selector"]["matchLabels"]
        assert selector.items() <= pod(relay)["metadata"]["labels"].items()
    selectors = [
        of_kind(parts(each)["relay"], "Deployment")["spec"]["selector"] for each in (one, other)
    ]
    assert selectors[0] != selectors[1]
    spec = of_kind(one, "ScaledObject")["spec"]
    assert spec["scaleTargetRef"]["name"] == "photos-oms-relay"
    asked = promql.matched(spec["triggers"][0]["metadata"]["query"])
    assert {(name, value) for _, name, value in asked} == {
        ("namespace", "media"), ("queue", "oss-events"), ("state", "active"),
    }  # fmt: skip


@needs_helm
def test_keys_from_secrets_take_the_place_of_roles(tmp_path: Path) -> None:
    manifests = made(tmp_path, VALUES["keys"])
    for part, secret in (
        ("relay", "relays-key"),
        ("console", "operators-key"),
        ("job", "operators-key"),
    ):
        found = parts(manifests)[part]
        volumes = {each["name"]: each for each in pod(found)["spec"]["volumes"]}
        assert volumes["alibaba"]["secret"]["secretName"] == secret
        assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET_FILE" in settings(found)
        assert pod(found)["metadata"]["labels"]["pod-identity.alibabacloud.com/injection"] == "off"
    accounts = [each for each in manifests if each["kind"] == "ServiceAccount"]
    assert not any("annotations" in each["metadata"] for each in accounts)


@needs_helm
def test_all_that_can_be_said_is_heard(tmp_path: Path) -> None:
    manifests = made(tmp_path, VALUES["all"])
    relay, console = parts(manifests)["relay"], parts(manifests)["console"]
    assert container(relay)["image"] == f"example/oms-relay:{__version__}"
    assert settings(relay)["OBS_SK_FILE"] == "/run/secrets/destination/obs_sk"
    assert container(console)["env"][-1]["valueFrom"]["secretKeyRef"]["name"] == "console"
    assert of_kind(manifests, "PodMonitor")["metadata"]["labels"]["release"] == "kps"
    rules = of_kind(manifests, "PrometheusRule")
    assert rules["metadata"]["labels"]["release"] == "kps"
    urls = [rule["annotations"]["runbook_url"] for rule in rules["spec"]["groups"][0]["rules"]]
    assert all(url.removeprefix("https://x/").startswith("docs/runbook.md#") for url in urls)
    policy = of_kind(relay, "NetworkPolicy")["spec"]
    assert policy["egress"][-1] == {"ports": [{"port": 4318, "protocol": "TCP"}]}
    for spec in (pod(relay)["spec"], pod(console)["spec"]):
        assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
        assert spec["imagePullSecrets"] == [{"name": "pull"}]


@needs_helm
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"settings": {"MNS_QUEUE": ""}}, "MNS_QUEUE"),
        ({"settings": {"HW_SK": "in the clear"}}, "HW_SK"),
        ({"settings": {"RELAY_ADMIN_PORT": "9000"}}, "RELAY_ADMIN_PORT"),
        ({"replica": 3}, "replica"),
        ({"autoscaling": {"by": "magic"}}, "by"),
        ({"image": {"digest": "latest"}}, "digest"),
    ],
)
def test_values_that_cannot_work_are_refused(
    values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    done = template(tmp_path, values)
    assert done.returncode != 0
    assert said in done.stderr
    assert "in the clear" not in done.stderr


@needs_helm
def test_a_linter_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({"settings": REQUIRED}))
    command = [str(HELM), "lint", "--strict", str(CHART), "-f", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_every_value_that_is_used_has_a_default_and_every_default_is_known() -> None:
    """Without helm, too: what templates ask for stands in values.yaml, and the schema knows it."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    texts = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
    used = set(re.findall(r"\.Values\.([A-Za-z_.]+)", texts))
    for each in used:
        found: Any = values
        for name in each.split("."):
            assert name in found, each
            found = found[name]
    tops = {each.partition(".")[0] for each in used}
    assert tops == set(values)
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    for name, value in values.items():
        if "properties" in schema[name] and name != "settings":
            assert set(value) == set(schema[name]["properties"]), name


def test_the_chart_has_the_rules_that_everybody_has() -> None:
    assert (CHART / "files" / "alerts.yaml").resolve().parent.name == "observability"
