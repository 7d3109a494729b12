"""deploy/terraform: what is referenced is declared, arguments are the providers' own, policies are whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import hcl2
import pytest

from worker.events.decode import classify
from worker.events.event import Kind
from worker.settings import load_settings

TERRAFORM = shutil.which("terraform")
needs_terraform = pytest.mark.skipif(not TERRAFORM, reason="terraform is not installed")
ROOT = Path(__file__).parents[2] / "deploy" / "terraform"
MODULES = ["alibaba", "huawei"]
REFERENCE = re.compile(r"(?<![\w.])(var|local|data\.\w+|alicloud_\w+|huaweicloud_\w+)\.(\w+)")
# Arguments and blocks by the schemas of the providers: aliyun/alicloud 1.289, huaweicloud/huaweicloud 1.97.
ARGUMENTS = {
    "alicloud_message_service_queue": {
        "queue_name", "message_retention_period", "visibility_timeout", "polling_wait_seconds",
        "delay_seconds", "maximum_message_size", "logging_enabled", "queue_type", "tags",
        "dlq_policy",
    },
    "alicloud_message_service_event_rule": {
        "rule_name", "event_types", "match_rules", "endpoint", "delivery_mode",
    },
    "alicloud_oss_bucket": {"bucket", "storage_class", "lifecycle_rule", "lifecycle", "dynamic"},
    "alicloud_oss_bucket_public_access_block": {"bucket", "block_public_access"},
    "alicloud_ram_policy": {"policy_name", "policy_document", "description", "force", "tags"},
    "alicloud_ram_role": {
        "role_name", "assume_role_policy_document", "description", "tags", "for_each",
    },
    "alicloud_ram_role_policy_attachment": {"role_name", "policy_name", "policy_type", "for_each"},
    "alicloud_ram_user_policy_attachment": {"user_name", "policy_name", "policy_type", "for_each"},
    "huaweicloud_oms_migration_sync_task": {
        "region", "description", "src_cloud_type", "src_region", "src_bucket", "src_ak", "src_sk",
        "dst_bucket", "dst_ak", "dst_sk", "enable_metadata_migration", "enable_restore",
        "enable_kms", "app_id", "source_cdn", "consistency_check", "action",
    },
    "huaweicloud_identity_role": {"name", "description", "type", "policy"},
    "huaweicloud_identity_group_role_assignment": {
        "group_id", "role_id", "project_id", "domain_id", "enterprise_project_id", "count",
    },
}  # fmt: skip
BLOCKS = {
    "dlq_policy": {"enabled", "dead_letter_target_queue", "max_receive_count"},
    "endpoint": {"endpoint_type", "endpoint_value"},
    "match_rules": {"match_state", "prefix", "suffix", "name"},
    "lifecycle_rule": {"id", "prefix", "enabled", "expiration"},
    "expiration": {"days"},
}
MARKS = {"__is_block__", "__comments__", "__inline_comments__"}


def plain(found: Any) -> Any:
    """The tree without the parser's marks and quotes."""
    if isinstance(found, dict):
        return {plain(k): plain(v) for k, v in found.items() if k not in MARKS}
    if isinstance(found, list):
        return [plain(each) for each in found]
    return found.strip('"') if isinstance(found, str) else found


def blocks(module: str, kind: str) -> Iterator[tuple[str, Any]]:
    """Every block of a kind with its labels, joined by dots."""
    for path in sorted((ROOT / module).glob("*.tf")):
        with path.open() as file:
            tree = plain(hcl2.load(file))
        for block in tree.get(kind, []):
            yield from _named(block, 2 if kind in {"resource", "data"} else 1)


def _named(block: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for name, body in block.items():
        if depth == 1:
            yield name, body
        else:
            yield from ((f"{name}.{rest}", each) for rest, each in _named(body, depth - 1))


def text(module: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / module).glob("*.tf")))


def referenced(module: str) -> set[str]:
    code = re.sub(r"^\s*#.*$", "", text(module), flags=re.MULTILINE)
    return {f"{kind}.{name}" for kind, name in REFERENCE.findall(code)}


@pytest.mark.parametrize("module", MODULES)
def test_everything_referenced_is_declared_and_used(module: str) -> None:
    variables = {f"var.{name}" for name, _ in blocks(module, "variable")}
    local = {f"local.{name}" for name, _ in blocks(module, "locals")}
    resources = {name for name, _ in blocks(module, "resource")}
    data = {f"data.{name}" for name, _ in blocks(module, "data")}
    found = referenced(module)
    assert found <= variables | local | resources | data
    assert variables <= found, "declared and never used"


@pytest.mark.parametrize("module", MODULES)
def test_arguments_are_those_of_the_providers(module: str) -> None:
    for name, body in blocks(module, "resource"):
        kind = name.partition(".")[0]
        assert set(body) <= ARGUMENTS[kind], name
        for block, arguments in BLOCKS.items():
            for each in _all(body, block):
                # Of a dynamic block its content is what the provider sees.
                for seen in _dicts(each.get("content", each)):
                    assert set(seen) <= arguments, f"{name} {block}"


def _all(body: Any, name: str) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict):
        for key, value in body.items():
            if key == name:
                yield from _dicts(value)
            else:
                yield from _all(value, name)
    elif isinstance(body, list):
        for each in body:
            yield from _all(each, name)


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _dicts(each)


@pytest.mark.parametrize("module", MODULES)
def test_variables_are_described_and_secrets_are_marked(module: str) -> None:
    for name, body in blocks(module, "variable"):
        assert body["description"]
        assert body["type"]
        assert body.get("sensitive", False) == name.endswith("_key")


@pytest.mark.parametrize("module", MODULES)
def test_providers_are_named_with_their_versions(module: str) -> None:
    found = dict(re.findall(r'source\s*=\s*"([^"]+)"[^}]*?version\s*=\s*"([^"]+)"', text(module)))
    wanted = {"alibaba": "aliyun/alicloud", "huawei": "huaweicloud/huaweicloud"}[module]
    assert set(found) == {wanted}
    assert found[wanted].endswith("< 2")


def listed(name: str) -> set[str]:
    """A list of events among the locals."""
    return set(dict(blocks("alibaba", "locals"))[name])


def test_the_rule_and_the_guide_announce_the_same_events() -> None:
    guide = (ROOT.parents[1] / "docs" / "setup.md").read_text()
    section = guide.partition("## 3. Event rule")[2].partition("## 4.")[0]
    chosen, _, removed = section.partition("| not `ObjectCreated:*`")
    named = set(re.findall(r"`(Object\w+:\w+)`", chosen))
    assert listed("changes") == named
    assert listed("deletions") == set(re.findall(r"`(ObjectRemoved:\w+)`", removed))


def test_what_is_announced_is_what_a_relay_posts() -> None:
    for event in listed("changes"):
        assert classify(event).is_change, event
    for event in listed("deletions"):
        assert classify(event) is Kind.REMOVED
    # Each part of a multipart upload would be an event of its own.
    assert not any(re.search(r"\*|Part|Initiate", event) for event in listed("changes"))


def test_policies_are_filled_in_whole() -> None:
    calls = re.findall(r'templatefile\("\$\{path\.module\}/([^"]+)", \{([^}]*)\}', text("alibaba"))
    assert len(calls) == 2
    for name, arguments in calls:
        policy = (ROOT / "alibaba" / name).read_text()
        names = set(re.findall(r"^\s*(\w+)\s*=", arguments, re.MULTILINE))
        assert names == set(Template(policy).get_identifiers())
    (policy,) = re.findall(r'file\("\$\{path\.module\}/([^"]+)"', text("huawei"))
    assert (ROOT / "huawei" / policy).exists()


def test_the_outputs_of_both_are_the_settings_of_a_relay() -> None:
    found: dict[str, str] = {"HW_AK": "ak", "HW_SK": "sk"}
    for module in MODULES:
        found |= dict(blocks(module, "output"))["environment"]["value"]
    filled = {
        "${data.alicloud_account.current.id}": "1234567890123456",
        "${var.region}": "cn-hangzhou",
        "${var.project_id}": "project",
        "${huaweicloud_oms_migration_sync_task.this.id}": "task",
        "${alicloud_message_service_queue.events.queue_name}": "oss-events",
        "${alicloud_message_service_queue.dead.queue_name}": "oss-events-dead",
        "${alicloud_oss_bucket.log.bucket}": "my-log",
    }
    for name, value in found.items():
        for reference, meant in filled.items():
            found[name] = found[name].replace(reference, meant)
        assert "${" not in found[name], value
    assert not load_settings(found, dotenv=None).warnings


def test_only_records_of_accepted_keys_and_what_workers_tell_expire() -> None:
    rules = dict(blocks("alibaba", "resource"))["alicloud_oss_bucket.log"]["lifecycle_rule"]
    prefixes = {rule["prefix"] for rule in rules}
    assert prefixes == {
        f"${{local.records}}/{folder}/" for folder in ("success_object", "log", "fleet")
    }
    assert 'for_each = ["arrival", "deletions"]' in text("alibaba")
    assert "force_destroy" not in text("alibaba")


@pytest.mark.parametrize("module", MODULES)
def test_the_example_has_a_value_for_every_variable_that_needs_one(module: str) -> None:
    with (ROOT / module / "terraform.tfvars.example").open() as file:
        given = {name for name in hcl2.load(file) if name not in MARKS}
    variables = dict(blocks(module, "variable"))
    assert given <= set(variables)
    needed = {name for name, body in variables.items() if "default" not in body}
    secret = {name for name, body in variables.items() if body.get("sensitive")}
    assert needed - given == secret
    example = (ROOT / module / "terraform.tfvars.example").read_text()
    assert all(f"TF_VAR_{name}" in example for name in secret)


def terraform(*arguments: str, cwd: Path, seconds: float = 100) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(cwd), "CHECKPOINT_DISABLE": "1"}
    return subprocess.run(
        [str(TERRAFORM), *arguments],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@needs_terraform
def test_the_files_are_written_as_terraform_writes_them() -> None:
    done = terraform("fmt", "-check", "-recursive", "-diff", cwd=ROOT)
    assert done.returncode == 0, done.stdout


@needs_terraform
@pytest.mark.parametrize("module", MODULES)
def test_terraform_itself_finds_them_valid_and_its_tests_pass(
    module: str, tmp_path: Path, is_long: bool
) -> None:
    if not is_long:
        pytest.skip("fetches the providers: only with --long")
    for folder in ("terraform", "policies"):
        shutil.copytree(ROOT.parent / folder, tmp_path / folder)
    place = tmp_path / "terraform" / module
    begun = terraform("init", "-backend=false", "-input=false", "-no-color", cwd=place)
    if begun.returncode:
        pytest.skip("the providers cannot be had here")
    for command in (("validate", "-no-color"), ("test", "-no-color")):
        done = terraform(*command, cwd=place)
        assert done.returncode == 0, done.stdout + done.stderr
