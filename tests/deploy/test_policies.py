"""The policies of deploy/policies: enough for the work, and nothing that no call needs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness import account
from harness.ops import command_line, message_id, pulse, put_letter, put_object, put_pulse
from harness.policies import POLICIES, Right, actions, rights, used
from harness.relay import Running, relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import ALIBABA, HUAWEI
from localcloud.mns.message import Attributes

RELAY, OPERATOR, HUAWEI_POLICY = "ram-policy.json", "ram-policy-operator.json", "iam-policy.json"
DESTINATION = "iam-policy-destination.json"
OBJECTS = 200
OBJECTS_OF_DEMO = 3000
# Read one way or the other, these name two objects: only a look into the source bucket tells.
AMBIGUOUS = {"a+b.txt", "50%41.txt"}


def prepare(cloud: LocalCloud, *, is_slow: bool = False, objects: int = OBJECTS) -> set[str]:
    cloud.prepare(dead_letter_queue="dead-events", attributes=Attributes(visibility_timeout=2))
    cloud.mns.publish("dead-events", "left over")
    keys = {f"photos/{number}.jpg" for number in range(objects)} | AMBIGUOUS
    for key in keys:
        cloud.oss.put("source", key, key.encode())
    if is_slow:
        # For leases to fall due: renewals are part of the work.
        cloud.faults.add(
            Fault("oms", "CreateSyncEvents", action=Action.LATENCY, seconds=1.6, times=2)
        )
    return keys


def allow(cloud: LocalCloud, *, without: str = "", policy: str = RELAY) -> None:
    """Give both keys what the policies grant, and nothing else."""
    ram, iam = actions(rights(policy, cloud)), actions(rights(HUAWEI_POLICY, cloud))
    cloud.alibaba.add(replace(ALIBABA, allowed=tuple(each for each in ram if each != without)))
    cloud.huawei.add(replace(HUAWEI, allowed=tuple(each for each in iam if each != without)))


def granted(cloud: LocalCloud, policy: str = RELAY) -> list[Right]:
    return rights(policy, cloud) + rights(HUAWEI_POLICY, cloud)


async def finish(relay: Running, keys: set[str]) -> None:
    await relay.settle()
    await relay.until(
        lambda: account.dead_letters(relay.cloud, "receive-limit"), "the drained dead-letter queue"
    )
    account.check(relay.cloud, keys)


async def test_the_relay_needs_every_right_of_its_policies_and_no_other(
    cloud: LocalCloud, is_long: bool
) -> None:
    keys = prepare(cloud, is_slow=True, objects=OBJECTS_OF_DEMO if is_long else OBJECTS)
    allow(cloud)
    async with relaying(cloud) as relay:
        await finish(relay, keys)
        assert (await relay.ready())[0] == 200
    needed = set(used(cloud))
    for right in sorted(needed):
        assert any(grant.covers(right) for grant in granted(cloud)), f"not granted: {right}"
    for grant in granted(cloud):
        assert any(grant.covers(right) for right in needed), f"granted for nothing: {grant}"
    refused = [call for call in (*cloud.mns.served, *cloud.oss.served) if call.status == 403]
    assert not refused


async def test_looking_at_the_destination_needs_every_right_of_its_policy_and_no_other(
    cloud: LocalCloud,
) -> None:
    prepare(cloud)
    allow(cloud)
    looks = rights(DESTINATION, cloud)
    allowed = (*actions(rights(HUAWEI_POLICY, cloud)), *actions(looks))
    cloud.huawei.add(replace(HUAWEI, allowed=allowed))
    cloud.faults.add(Fault("oms", "CopyObject", Action.CUSTOM, name="copy_fails", times=1))
    named = cloud.settings(with_destination=True) | {"RELAY_ARRIVAL_RATIO": "1"}
    async with relaying(cloud, settings=named | {"RELAY_ARRIVAL_SECONDS": "1"}) as relay:
        await relay.until(lambda: relay.arrivals("resent"), "a failed copy to be announced again")
        await relay.until(lambda: relay.arrivals("arrived") > OBJECTS, "all to have arrived")
        calls = [*cloud.obs.served, *cloud.oms.served]
        needed = {right for right in used(cloud) if right.action in actions(looks)}
        assert not [call for call in calls if call.status == 403]
    for right in sorted(needed):
        assert any(grant.covers(right) for grant in looks), f"not granted: {right}"
    for grant in looks:
        assert any(grant.covers(right) for right in needed), f"granted for nothing: {grant}"


STOPPING = {
    "mns:ReceiveMessage": "mns",
    "mns:DeleteMessage": "mns-acks",
    "mns:ChangeMessageVisibility": "mns",
    "oss:PutObject": "oss",
    "oms:synctask:createEvent": "oms",
}
# Without these the relay works, and says in its log what it does instead.
DISPENSABLE = {"mns:GetQueueAttributes", "mns:PeekMessage", "oms:synctask:get"}


@pytest.mark.parametrize("action", STOPPING)
async def test_readyz_names_a_right_that_is_missing(cloud: LocalCloud, action: str) -> None:
    keys = prepare(cloud, is_slow=action == "mns:ChangeMessageVisibility")
    allow(cloud, without=action)
    async with relaying(cloud) as relay:
        told = await relay.not_ready(STOPPING[action])
        assert f"grant {action}" in told
        allow(cloud)
        relay.breaker(STOPPING[action]).probe_now()
        await finish(relay, keys)
    assert not account.log_objects(cloud, "failed_object")


@pytest.mark.parametrize("action", sorted(DISPENSABLE))
async def test_the_log_names_a_right_that_would_be_better_granted(
    cloud: LocalCloud, action: str
) -> None:
    keys = prepare(cloud)
    allow(cloud, without=action)
    async with relaying(cloud) as relay:
        await finish(relay, keys)
        told = f"grant {action.lower()}"
        lines = [*relay.logged("probe"), *relay.logged("depth")]
        assert any(told in f"{line['event']} {line.get('hint')}".lower() for line in lines)


async def test_without_a_look_into_the_source_bucket_both_readings_of_a_key_are_posted(
    cloud: LocalCloud,
) -> None:
    keys = prepare(cloud)
    allow(cloud, without="oss:GetObject")
    async with relaying(cloud) as relay:
        await finish(relay, keys)
    assert {"50%41.txt", "50A.txt", "a+b.txt", "a b.txt"} <= set(account.posted(cloud))


def test_every_right_of_the_relay_is_missed_by_a_test(cloud: LocalCloud) -> None:
    prepare(cloud)
    tested = {*STOPPING, *DISPENSABLE, "oss:GetObject"}
    assert set(actions(granted(cloud))) == tested


COMMANDS = [
    # First: what the doctor posts is not there, and a failed copy is red from then on.
    ("status",),
    ("doctor", "--post", "photos/1.jpg", "--receive"),
    ("dead", "groups"),
    ("dead", "list"),
    ("dead", "show", message_id(1)),
    ("dead", "redrive", "--yes", message_id(1)),
    ("dead", "archive", "--yes", "--reason", "known", message_id(2)),
    ("dead", "unarchive", "--yes", message_id(2)),
    ("records", "find", "photos/1.jpg"),
    ("records", "failed"),
    ("reconcile", "source"),
]


def test_the_commands_need_every_right_of_the_operators_policy_and_no_other() -> None:
    with command_line(dead_letter_queue="dead-events") as run:
        allow(run.cloud, policy=OPERATOR)
        for number in (1, 2):
            put_letter(run.cloud, number)
        put_object(run.cloud, "failed_object/photos/1.jpg", b"")
        put_pulse(run.cloud, pulse(1))
        for command in COMMANDS:
            result = run(*command)
            assert result.exit_code == 0, (command, result.output)
        needed = set(used(run.cloud))
        grants = granted(run.cloud, OPERATOR)
    for right in sorted(needed):
        assert any(grant.covers(right) for grant in grants), f"not granted: {right}"
    for grant in grants:
        assert any(grant.covers(right) for right in needed), f"granted for nothing: {grant}"


@pytest.mark.parametrize("name", [RELAY, OPERATOR, HUAWEI_POLICY, DESTINATION])
def test_policies_name_no_wildcard_action(name: str) -> None:
    document = json.loads((POLICIES / name).read_text())
    assert document["Version"] in {"1", "1.1"}
    for statement in document["Statement"]:
        assert all("*" not in action for action in statement["Action"])
        assert all(resource != "*" for resource in statement.get("Resource", []))


@pytest.mark.parametrize("name", [RELAY, OPERATOR, HUAWEI_POLICY, DESTINATION])
def test_every_granted_action_is_traced_to_its_call(cloud: LocalCloud, name: str) -> None:
    cloud.prepare(dead_letter_queue="dead-events")
    table = (POLICIES / "README.md").read_text()
    for action in actions(rights(name, cloud)):
        assert f"`{action}`" in table
