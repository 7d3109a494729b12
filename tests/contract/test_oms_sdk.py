"""OMS as the official client sees it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException, SdkException
from huaweicloudsdkoms.v2 import (
    CreateSyncEventsRequest,
    CreateSyncTaskReq,
    CreateSyncTaskRequest,
    DeleteSyncTaskRequest,
    ListSyncTasksRequest,
    ListSyncTaskStatisticRequest,
    OmsClient,
    ShowSyncTaskRequest,
    StartSyncTaskReq,
    StartSyncTaskRequest,
    StopSyncTaskRequest,
    SyncObjectReq,
)

from doubles.source import Source
from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import HUAWEI, Identities, Identity
from localcloud.obs import ObsService
from localcloud.oms import OmsService, Overwrite, RateLimit, Status, overload

PROJECT = "0123456789abcdef0123456789abcdef"
TASK = "31e9b7e6-6ffb-452f-9842-6ce354d99d75"
KEYS = StartSyncTaskReq(src_ak="a", src_sk="b", dst_ak="c", dst_sk="d")


class Cloud:
    """One OMS, its buckets, and its official client."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.identities = Identities(HUAWEI)
        faults = Faults(random.Random(1))
        self.source = Source()
        self.destination = ObsService(self.clock, faults, self.identities)
        self.oms = OmsService(
            self.clock, faults, self.identities, self.source.read, self.destination
        )
        self.oms.delay_seconds = 0.0
        self.oms.create_task(TASK, PROJECT, "src", "dst")

    def put(self, key: str, data: bytes) -> None:
        self.source.put("src", key, data, self.clock.now())

    async def call(
        self,
        operation: str,
        request: object,
        secret: str = HUAWEI.secret,
        ak: str = HUAWEI.access_key,
    ) -> Any:
        credentials = BasicCredentials(ak, secret, PROJECT)
        client = (
            OmsClient.new_builder()
            .with_credentials(credentials)
            .with_endpoint(self.oms.url)
            .build()
        )
        return await asyncio.to_thread(getattr(client, operation), request)

    async def post(self, *keys: str, task: str = TASK, **credentials: str) -> Any:
        body = SyncObjectReq(object_keys=list(keys))
        request = CreateSyncEventsRequest(sync_task_id=task, body=body)
        return await self.call("create_sync_events", request, **credentials)

    async def show(self) -> Any:
        request = ShowSyncTaskRequest(TASK, int(self.clock.now() * 1000))
        return await self.call("show_sync_task", request)

    async def refusal(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> SdkException:
        with pytest.raises(SdkException) as caught:
            await call(*args, **kwargs)
        return caught.value


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    cloud = Cloud()
    await cloud.oms.start()
    try:
        yield cloud
    finally:
        await cloud.oms.stop()


async def test_keys_are_accepted_copied_and_counted(cloud: Cloud) -> None:
    cloud.put("a/1.txt", b"one")
    cloud.put("目录/😀 +%41.txt", b"second")
    encoded = "%E7%9B%AE%E5%BD%95%2F%F0%9F%98%80%20%2B%2541.txt"
    response = await cloud.post("a%2F1.txt", encoded, "gone.txt")
    assert response.status_code == 200
    await cloud.oms.drained()
    assert cloud.destination.read("dst", "a/1.txt") is not None
    second = cloud.destination.read("dst", "目录/😀 +%41.txt")
    assert second is not None
    assert second.data == b"second"
    await cloud.post("a%2F1.txt")
    await cloud.oms.drained()
    shown = await cloud.show()
    assert shown.monthly_acceptance_request == 4
    assert shown.monthly_success_object == 2
    assert shown.monthly_failure_object == 1
    assert shown.monthly_skip_object == 1
    assert shown.monthly_size == 9


async def test_statistics_add_up(cloud: Cloud) -> None:
    cloud.put("a", b"12345")
    await cloud.post("a", "missing")
    await cloud.oms.drained()
    now = int(cloud.clock.now() * 1000)
    request = ListSyncTaskStatisticRequest(
        TASK, "REQUEST,SUCCESS,FAILURE,SKIP,SIZE", now - 3_600_000, now
    )
    response = await cloud.call("list_sync_task_statistic", request)
    sums = {
        series.data_type: sum(point.statistic_num for point in series.data)
        for series in response.statistic_datas
    }
    assert sums == {"REQUEST": 2, "SUCCESS": 1, "FAILURE": 1, "SKIP": 0, "SIZE": 5}
    assert response.statistic_time_type == "FIVE_MINUTES"


async def test_tasks_are_listed_by_status_and_page(cloud: Cloud) -> None:
    cloud.oms.create_task("second", PROJECT, "src", "dst").stop()
    cloud.oms.create_task("other-project", "p2", "src", "dst")
    everything = await cloud.call("list_sync_tasks", ListSyncTasksRequest())
    assert [task.sync_task_id for task in everything.tasks] == [TASK, "second"]
    stopped = await cloud.call("list_sync_tasks", ListSyncTasksRequest(status="STOPPED"))
    assert [task.sync_task_id for task in stopped.tasks] == ["second"]
    page = await cloud.call("list_sync_tasks", ListSyncTasksRequest(limit=1, offset=1))
    assert (page.count, [task.sync_task_id for task in page.tasks]) == (2, ["second"])


async def test_a_task_lives_from_creation_to_deletion(cloud: Cloud) -> None:
    request = CreateSyncTaskReq(
        src_region="cn-hangzhou",
        src_bucket="s",
        src_ak="a",
        src_sk="b",
        dst_region="cn-north-4",
        dst_bucket="d",
        dst_ak="c",
        dst_sk="d",
        description="nightly",
        enable_restore=True,
    )
    created = await cloud.call("create_sync_task", CreateSyncTaskRequest(body=request))
    task = cloud.oms.tasks[created.sync_task_id]
    assert (task.src_bucket, task.dst_bucket, task.description) == ("s", "d", "nightly")
    assert (task.enable_restore, task.status) == (True, Status.SYNCHRONIZING)
    delete = DeleteSyncTaskRequest(task.task_id)
    refused = await cloud.refusal(cloud.call, "delete_sync_task", delete)
    assert refused.error_code == "OMS.0063"
    await cloud.call("stop_sync_task", StopSyncTaskRequest(task.task_id))
    await cloud.call("delete_sync_task", delete)
    gone = await cloud.refusal(cloud.call, "delete_sync_task", delete)
    assert gone.status_code == 404
    assert task.task_id not in cloud.oms.tasks


@pytest.mark.parametrize(
    ("check", "shown"),
    [
        (None, "size_last_modified"),
        ("size_last_modified", "size_last_modified"),
        ("crc64", "crc64"),
        ("transmission", "no_check"),
    ],
)
async def test_a_task_is_created_with_its_consistency_check_and_shows_it(
    cloud: Cloud, check: str | None, shown: str
) -> None:
    request = CreateSyncTaskReq(
        src_region="r", src_bucket="s", src_ak="a", src_sk="b",
        dst_region="r", dst_bucket="d", dst_ak="c", dst_sk="d", consistency_check=check,
    )  # fmt: skip
    created = await cloud.call("create_sync_task", CreateSyncTaskRequest(body=request))
    show = ShowSyncTaskRequest(created.sync_task_id, int(cloud.clock.now() * 1000))
    found = await cloud.call("show_sync_task", show)
    assert found.consistency_check == shown
    assert found.object_overwrite_mode == "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE"


async def test_an_unknown_consistency_check_is_refused(cloud: Cloud) -> None:
    request = CreateSyncTaskReq(
        src_region="r", src_bucket="s", src_ak="a", src_sk="b",
        dst_region="r", dst_bucket="d", dst_ak="c", dst_sk="d", consistency_check="md5",
    )  # fmt: skip
    refused = await cloud.refusal(
        cloud.call, "create_sync_task", CreateSyncTaskRequest(body=request)
    )
    assert (refused.status_code, refused.error_code) == (400, "OMS.0064")


@pytest.mark.parametrize("mode", Overwrite)
async def test_the_overwrite_mode_is_shown_to_the_official_client(
    cloud: Cloud, mode: Overwrite
) -> None:
    cloud.oms.tasks[TASK].object_overwrite_mode = mode
    assert (await cloud.show()).object_overwrite_mode == mode.value


async def test_a_sixth_task_is_over_the_quota(cloud: Cloud) -> None:
    for number in range(4):
        cloud.oms.create_task(f"task-{number}", PROJECT, "src", "dst")
    request = CreateSyncTaskReq(
        src_region="r", src_bucket="s", src_ak="a", src_sk="b",
        dst_region="r", dst_bucket="d", dst_ak="c", dst_sk="d",
    )  # fmt: skip
    refused = await cloud.refusal(
        cloud.call, "create_sync_task", CreateSyncTaskRequest(body=request)
    )
    assert refused.error_code == "OMS.0077"


async def test_a_stopped_task_takes_no_keys_until_it_is_started(cloud: Cloud) -> None:
    await cloud.call("stop_sync_task", StopSyncTaskRequest(TASK))
    assert (await cloud.show()).status == "STOPPED"
    refused = await cloud.refusal(cloud.post, "a")
    assert (refused.status_code, refused.error_code) == (400, "OMS.0066")
    again = await cloud.refusal(cloud.call, "stop_sync_task", StopSyncTaskRequest(TASK))
    assert again.error_code == "OMS.0066"
    await cloud.call("start_sync_task", StartSyncTaskRequest(TASK, KEYS))
    await cloud.post("a")
    twice = await cloud.refusal(cloud.call, "start_sync_task", StartSyncTaskRequest(TASK, KEYS))
    assert twice.error_code == "OMS.0065"


async def test_a_start_needs_the_keys_of_both_buckets(cloud: Cloud) -> None:
    cloud.oms.tasks[TASK].stop()
    request = StartSyncTaskRequest(TASK, StartSyncTaskReq(src_ak="a", src_sk="b"))
    refused = await cloud.refusal(cloud.call, "start_sync_task", request)
    assert (refused.status_code, refused.error_code) == (400, "OMS.1004")
    assert cloud.oms.tasks[TASK].status is Status.STOPPED


async def test_an_unknown_task_is_not_found(cloud: Cloud) -> None:
    refused = await cloud.refusal(cloud.post, "a", task="00000000-0000-0000-0000-000000000000")
    assert isinstance(refused, ClientRequestException)
    assert (refused.status_code, refused.error_code) == (404, "OMS.1009")
    assert refused.error_msg == "No resources found."


async def test_the_number_of_keys_has_a_limit_that_can_be_raised(cloud: Cloud) -> None:
    await cloud.post(*[f"k{number}" for number in range(10)])
    refused = await cloud.refusal(cloud.post, *[f"k{number}" for number in range(11)])
    assert (refused.status_code, refused.error_code) == (400, "OMS.0064")
    cloud.oms.keys_per_call_max = 100
    await cloud.post(*[f"k{number}" for number in range(100)])
    assert [len(post.keys) for post in cloud.oms.posts] == [10, 100]
    assert (await cloud.refusal(cloud.post)).error_code == "OMS.0064"


async def test_one_rejected_key_refuses_its_whole_batch(cloud: Cloud) -> None:
    cloud.oms.reject = ("bad/*",)
    refused = await cloud.refusal(cloud.post, "good", "bad%2Fkey")
    assert (refused.status_code, refused.error_code) == (400, "OMS.0064")
    await cloud.post("good")
    assert [post.keys for post in cloud.oms.posts] == [["good"]]


async def test_a_wrong_secret_shows_the_canonical_request(cloud: Cloud) -> None:
    refused = await cloud.refusal(cloud.post, "a", secret="wrong")
    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    path = f"POST|/v2/{PROJECT}/sync-tasks/{TASK}/events/||content-type:"
    assert f"verify aksk signature fail,canonicalRequest:{path}" in refused.error_msg
    assert refused.request_id


async def test_an_unknown_key_does_not_exist(cloud: Cloud) -> None:
    refused = await cloud.refusal(cloud.post, "a", ak="NOBODY")
    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    assert "Get secretKey failed,ak:NOBODY,err:ak not exist" in refused.error_msg


@pytest.mark.parametrize("offset_seconds", [-930.0, 930.0])
async def test_a_clock_a_quarter_of_an_hour_off_is_refused(
    cloud: Cloud, offset_seconds: float
) -> None:
    cloud.clock.offset_seconds = offset_seconds
    refused = await cloud.refusal(cloud.post, "a")
    assert refused.status_code == 401
    assert "signature expired, signature time:" in refused.error_msg


async def test_a_clock_a_little_off_is_accepted(cloud: Cloud) -> None:
    cloud.clock.offset_seconds = 840.0
    await cloud.post("a")
    cloud.clock.offset_seconds = -840.0
    await cloud.post("a")


async def test_six_failures_lock_the_key_for_five_minutes() -> None:
    now = time.time()
    cloud = Cloud()
    cloud.clock = cloud.oms.clock = Clock(lambda: now)
    cloud.oms.gateway = type(cloud.oms.gateway)(cloud.clock, cloud.identities)
    await cloud.oms.start()
    try:
        for _ in range(6):
            refused = await cloud.refusal(cloud.post, "a", secret="wrong")
            assert "verify aksk signature fail" in refused.error_msg
        locked = await cloud.refusal(cloud.post, "a")
        assert (locked.status_code, locked.error_code) == (401, "APIGW.0301")
        assert "AK access failed to reach the limit,forbidden" in locked.error_msg
        cloud.clock.offset_seconds = 299.0
        assert "forbidden" in (await cloud.refusal(cloud.post, "a")).error_msg
        cloud.clock.offset_seconds = 300.0
        await cloud.post("a")
    finally:
        await cloud.oms.stop()


async def test_a_success_forgets_earlier_failures(cloud: Cloud) -> None:
    for _ in range(2):
        for _ in range(5):
            await cloud.refusal(cloud.post, "a", secret="wrong")
        await cloud.post("a")


async def test_the_lock_can_be_switched_off(cloud: Cloud) -> None:
    cloud.oms.gateway.locks_out = False
    for _ in range(8):
        await cloud.refusal(cloud.post, "a", secret="wrong")
    await cloud.post("a")


async def test_a_key_without_the_action_is_forbidden(cloud: Cloud) -> None:
    cloud.identities.add(Identity("READER", "s", allowed=("oms:synctask:get",)))
    refused = await cloud.refusal(cloud.post, "a", ak="READER", secret="s")
    assert (refused.status_code, refused.error_code) == (403, "APIGW.0302")
    assert "oms:synctask:createEvent" in refused.error_msg


async def test_overload_is_a_fault(cloud: Cloud) -> None:
    cloud.oms.faults.add(overload(times=1))
    refused = await cloud.refusal(cloud.post, "a")
    assert (refused.status_code, refused.error_code) == (503, "OMS.1001")
    await cloud.post("a")


async def test_calls_over_the_rate_limit_are_throttled(cloud: Cloud) -> None:
    cloud.oms.rate_limit = RateLimit(calls=1, seconds=60)
    await cloud.post("a")
    refused = await cloud.refusal(cloud.post, "a")
    assert refused.status_code == 429
    assert [served.status for served in cloud.oms.served] == [200, 429]
    cloud.clock.offset_seconds = 60.0
    await cloud.post("a")
