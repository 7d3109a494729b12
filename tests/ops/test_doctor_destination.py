"""The doctor on the destination: what it takes to see that copies arrive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.ops import connected
from localcloud.cloud import LocalCloud
from localcloud.identity import HUAWEI
from worker.clock import SystemClock
from worker.operate.check import Check, CheckStatus
from worker.operate.doctor import examine
from worker.operate.network import Network


async def examined(cloud: LocalCloud, **settings: str) -> dict[str, Check]:
    named = cloud.settings(with_destination=True) | settings
    async with connected(cloud, settings=named) as clients:
        found = [each async for each in examine(clients, Network(SystemClock()))]
    wanted = ("obs", "oms.statistics")
    return {each.name: each for each in found if each.name.startswith(wanted)}


def verdicts(checks: dict[str, Check]) -> dict[str, str]:
    return {name: str(check.verdict) for name, check in checks.items()}


async def test_a_destination_that_can_be_looked_at_has_nothing_to_mend(cloud: LocalCloud) -> None:
    cloud.prepare()
    found = await examined(cloud)
    assert set(verdicts(found).values()) == {"ok"}
    assert set(found) == {
        *("obs.network", "obs.clock", "obs.bucket", "obs.list", "obs.read", "oms.statistics"),
    }
    assert "destination" in found["obs.bucket"].detail


async def test_without_an_endpoint_it_says_that_nobody_looks(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with connected(cloud) as clients:
        checks = [each async for each in examine(clients, Network(SystemClock()))]
    (found,) = [each for each in checks if each.name.startswith("obs")]
    assert found.verdict is CheckStatus.SKIPPED
    assert "OBS_ENDPOINT is not set" in found.detail


async def test_a_wrong_secret_is_used_once(cloud: LocalCloud) -> None:
    cloud.prepare()
    found = await examined(cloud, OBS_AK=HUAWEI.access_key, OBS_SK="wrong")
    assert found["obs.list"].verdict is CheckStatus.FAILURE
    assert found["obs.list"].detail.startswith("OBS_AK and OBS_SK (HW_AK and HW_SK where they are")
    assert found["obs.list"].fix.startswith("correct OBS_AK and OBS_SK")
    assert found["obs.read"].verdict is CheckStatus.SKIPPED
    signed = [call for call in cloud.obs.served if call.operation != "GetApiVersion"]
    assert len([call for call in signed if call.status == 403 and call.target != "/"]) == 1


async def test_a_missing_bucket_is_named(cloud: LocalCloud) -> None:
    cloud.prepare()
    del cloud.obs.buckets["destination"]
    found = await examined(cloud)
    assert found["obs.list"].verdict is CheckStatus.FAILURE
    assert "there is no bucket destination at" in found["obs.list"].fix
    assert found["obs.read"].verdict is CheckStatus.SKIPPED


async def test_another_bucket_than_the_tasks_is_a_failure(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.obs.create_bucket("another")
    found = await examined(cloud, OBS_BUCKET="another")
    assert found["obs.bucket"].verdict is CheckStatus.FAILURE
    assert "OBS_BUCKET is another, but it copies to destination" in found["obs.bucket"].detail


@pytest.mark.parametrize(
    ("right", "name"),
    [
        ("obs:bucket:ListBucket", "obs.list"),
        ("obs:object:GetObject", "obs.read"),
        ("oms:synctask:statistics", "oms.statistics"),
        ("obs:object:DeleteObject", "obs.delete"),
    ],
)
async def test_a_missing_right_is_named_and_no_failure(
    cloud: LocalCloud, right: str, name: str
) -> None:
    cloud.prepare()
    granted = {
        *("oms:synctask:get", "oms:synctask:statistics", "obs:bucket:ListBucket"),
        *("obs:object:GetObject", "obs:object:DeleteObject"),
    }
    cloud.huawei.add(replace(HUAWEI, allowed=tuple(granted - {right})))
    found = await examined(cloud, RELAY_DELETIONS="propagate")
    ill = {each: status for each, status in verdicts(found).items() if status != "ok"}
    assert ill == {name: "warning"}
    assert right in found[name].fix


async def test_a_task_that_may_not_be_read_leaves_the_bucket_unknown(cloud: LocalCloud) -> None:
    cloud.prepare()
    rights = ("oms:synctask:statistics", "obs:bucket:ListBucket", "obs:object:GetObject")
    cloud.huawei.add(replace(HUAWEI, allowed=rights))
    found = await examined(cloud)
    assert found["obs.bucket"].verdict is CheckStatus.WARNING
    assert found["obs.list"].verdict is CheckStatus.SKIPPED
    named = await examined(cloud, OBS_BUCKET="destination")
    assert named["obs.list"].verdict is CheckStatus.OK
    assert named["obs.bucket"].verdict is CheckStatus.WARNING
    assert "whether the sync task copies there is not known" in named["obs.bucket"].detail


async def test_the_doctor_deletes_nothing(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.obs.write("destination", "a", b"content")
    await examined(cloud, RELAY_DELETIONS="propagate")
    assert cloud.obs.keys("destination") == ["a"]
