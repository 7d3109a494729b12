"""OMS on the wire: requests signed by the relay's signer, answers byte for byte."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from doubles.clock import until
from doubles.source import Source
from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults
from localcloud.identity import HUAWEI, Identities, Identity
from localcloud.obs import ObsService
from localcloud.oms import OmsService, RateLimit, Statistic
from localcloud.storage.stored import StoredObject
from worker.clouds.oms_signature import HuaweiCredentials, sign

PROJECT = "0123456789abcdef0123456789abcdef"
TASK = "31e9b7e6-6ffb-452f-9842-6ce354d99d75"
NOW = 1_767_323_045.0
KEY = HuaweiCredentials(HUAWEI.access_key, HUAWEI.secret)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        parsed: dict[str, str] = json.loads(self.body)
        return parsed


class Cloud:
    """One OMS at a fixed instant, its buckets, and a session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.clock = Clock(lambda: NOW)
        self.identities = Identities(HUAWEI)
        self.faults = Faults(random.Random(1))
        self.source = Source()
        self.destination = ObsService(self.clock, self.faults, self.identities)
        self.oms = OmsService(
            self.clock, self.faults, self.identities, self.source.read, self.destination
        )
        self.oms.delay_seconds = 0.0
        self.task = self.oms.create_task(TASK, PROJECT, "src", "dst")

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        wire_url = URL(url, encoded=True)
        async with self.session.request(method, wire_url, data=body, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def call(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        credentials: HuaweiCredentials = KEY,
        at: float = NOW,
    ) -> Answer:
        return await self.send(method, url, sign(method, url, JSON, body, credentials, at), body)

    async def post(self, *keys: object, credentials: HuaweiCredentials = KEY) -> Answer:
        body = json.dumps({"object_keys": keys}, ensure_ascii=False).encode()
        return await self.call("POST", self.oms.events_url(TASK), body, credentials)

    def put(self, key: str, data: bytes, at: float = NOW) -> None:
        self.source.put("src", key, data, at)

    def lists(self, kind: str) -> list[str]:
        found = []
        for key in self.destination.keys("dst", f"oms/sync_task/{TASK}/{kind}_object_lists/"):
            listed = self.destination.read("dst", key)
            assert listed is not None
            found.append(listed.data.decode())
        return found


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with aiohttp.ClientSession() as session:
        cloud = Cloud(session)
        await cloud.oms.start()
        try:
            yield cloud
        finally:
            await cloud.oms.stop()


async def test_accepted_keys_answer_200_with_an_empty_body(cloud: Cloud) -> None:
    answer = await cloud.post("a%2Fb", "c")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["X-Request-Id"]
    assert [(post.at, post.task_id, list(post.keys)) for post in cloud.oms.posts] == [
        (NOW, TASK, ["a/b", "c"])
    ]


@pytest.mark.parametrize(
    "key", ["plain", "a/b/c", "目录/文件 😀", "100%", "%41", "a+b", "a b", " ", "\t\x00\x7f", "é~"]
)
async def test_any_key_arrives_as_it_was_quoted(cloud: Cloud, key: str) -> None:
    assert (await cloud.post(quote(key, safe=""))).status == 200
    assert cloud.oms.posts[-1].keys == [key]


async def test_a_raw_key_arrives_too(cloud: Cloud) -> None:
    assert (await cloud.post("目录/文件 😀")).status == 200
    assert cloud.oms.posts[-1].keys == ["目录/文件 😀"]


async def test_a_bare_plus_is_a_plus_or_a_space(cloud: Cloud) -> None:
    await cloud.post("a+b%2Bc")
    cloud.oms.plus_is_space = True
    await cloud.post("a+b%2Bc")
    assert [post.keys for post in cloud.oms.posts] == [["a+b+c"], ["a b+c"]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "OMS.0067"),
        (b"object_keys", "OMS.0067"),
        (b"\xff", "OMS.0067"),
        (b"[" * 100_000, "OMS.0067"),
        (b"[]", "OMS.1010"),
        (b"{}", "OMS.1004"),
        (b'{"object_keys": null}', "OMS.1004"),
        (b'{"object_keys": "a"}', "OMS.1010"),
        (b'{"object_keys": [1]}', "OMS.1010"),
        (b'{"object_keys": []}', "OMS.0064"),
        (b'{"object_keys": [""]}', "OMS.0064"),
        (b'{"object_keys": ["%"]}', "OMS.0064"),
        (b'{"object_keys": ["%4"]}', "OMS.0064"),
        (b'{"object_keys": ["%zz"]}', "OMS.0064"),
        (b'{"object_keys": ["%FF"]}', "OMS.0064"),
        (b'{"object_keys": ["\\ud800"]}', "OMS.0064"),
        (b'{"object_keys": ["' + b"k" * 16_385 + b'"]}', "OMS.0064"),
    ],
)
async def test_a_bad_body_is_refused_for_good(cloud: Cloud, body: bytes, code: str) -> None:
    answer = await cloud.call("POST", cloud.oms.events_url(TASK), body)
    assert answer.status == 400
    assert answer.error["error_code"] == code
    assert "request_id" not in answer.error
    if code == "OMS.0064":
        assert answer.error["error_detail"] == "request parameter [object_keys] invalid."
    assert not cloud.oms.posts


async def test_a_body_over_12_mb_is_too_large(cloud: Cloud) -> None:
    body = io.BytesIO(b" " * (12 * 1024 * 1024 + 1))
    url = cloud.oms.events_url(TASK)
    headers = sign("POST", url, JSON, body.getvalue(), KEY, NOW)
    async with cloud.session.post(url, data=body, headers=headers) as response:
        answer = Answer(response.status, response.headers, await response.read())
    assert (answer.status, answer.error["error_code"]) == (413, "APIGW.0201")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", f"/v2/{PROJECT}/sync-tasks/{TASK}/events"),
        ("POST", f"/v2/{PROJECT}/sync-tasks/{TASK}/events/"),
        ("POST", f"/v1/{PROJECT}/sync-tasks/{TASK}/events"),
        ("POST", f"/v2/{PROJECT}/sync-tasks/{TASK}/pause"),
    ],
)
async def test_a_path_that_names_no_api_is_not_found(cloud: Cloud, method: str, path: str) -> None:
    answer = await cloud.call(method, cloud.oms.url + path)
    assert (answer.status, answer.error["error_code"]) == (404, "APIGW.0101")
    assert answer.error["request_id"] == answer.headers["X-Request-Id"]
    assert cloud.oms.served[-1].operation == "Unknown"


@pytest.mark.parametrize(
    ("task_id", "status", "code"),
    [("no such!", 400, "OMS.0054"), ("t" * 256, 400, "OMS.0054"), ("unknown", 404, "OMS.1009")],
)
async def test_a_wrong_task_id_is_told_apart_from_an_unknown_one(
    cloud: Cloud, task_id: str, status: int, code: str
) -> None:
    url = f"{cloud.oms.url}/v2/{PROJECT}/sync-tasks/{quote(task_id)}/events"
    answer = await cloud.call("POST", url, b"{}")
    assert (answer.status, answer.error["error_code"]) == (status, code)


async def test_a_task_of_another_project_is_not_found(cloud: Cloud) -> None:
    answer = await cloud.call("POST", f"{cloud.oms.url}/v2/p/sync-tasks/{TASK}/events", b"{}")
    assert answer.status == 404


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "OMS.1004"),
        ("?query_time=1767323045", "OMS.0064"),
        ("?query_time=soon", "OMS.0064"),
        ("?query_time=1767323045000", ""),
    ],
)
async def test_show_needs_a_query_time_in_milliseconds(cloud: Cloud, query: str, code: str) -> None:
    answer = await cloud.call("GET", f"{cloud.oms.url}/v2/{PROJECT}/sync-tasks/{TASK}{query}")
    assert (answer.status == 200) is not bool(code)
    assert answer.error.get("error_code", "") == code


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=10001", "status=PAUSED"])
async def test_lists_refuse_values_out_of_range(cloud: Cloud, query: str) -> None:
    answer = await cloud.call("GET", f"{cloud.oms.url}/v2/{PROJECT}/sync-tasks?{query}")
    assert (answer.status, answer.error["error_code"]) == (400, "OMS.0064")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("start_time=1767319445000&end_time=1767323045000", "OMS.1004"),
        ("data_type=SIZE&start_time=1767319445000", "OMS.1004"),
        ("data_type=SPEED&start_time=1767319445000&end_time=1767323045000", "OMS.0064"),
        ("data_type=SIZE&start_time=1767323045000&end_time=1767319445000", "OMS.0064"),
    ],
)
async def test_statistics_need_all_their_parameters(cloud: Cloud, query: str, code: str) -> None:
    url = f"{cloud.oms.url}/v2/{PROJECT}/sync-tasks/{TASK}/statistics?{query}"
    assert (await cloud.call("GET", url)).error["error_code"] == code


async def test_the_rate_limit_names_its_number_and_window(cloud: Cloud) -> None:
    cloud.oms.rate_limit = RateLimit(calls=2, seconds=5)
    assert [(await cloud.post("a")).status for _ in range(3)] == [200, 200, 429]
    refused = await cloud.post("a")
    assert refused.error["error_code"] == "APIGW.0308"
    assert refused.error["error_msg"] == (
        "The throttling threshold has been reached: "
        "policy user over ratelimit,limit:2,time:5 second"
    )
    assert refused.error["request_id"]
    assert "Retry-After" not in refused.headers
    cloud.oms.rate_limit.sends_retry_after = True
    assert (await cloud.post("a")).headers["Retry-After"] == "5"
    cloud.clock.offset_seconds = 5.0
    assert (await cloud.post("a")).status == 200


async def test_a_temporary_key_is_held_to_its_token(cloud: Cloud) -> None:
    cloud.identities.add(Identity("STS", "s", "token+/=="))
    assert (
        await cloud.post("a", credentials=HuaweiCredentials("STS", "s", "token+/=="))
    ).status == 200
    without = await cloud.post("a", credentials=HuaweiCredentials("STS", "s"))
    assert "ak not exist" in without.error["error_msg"]
    wrong = await cloud.post("a", credentials=HuaweiCredentials("STS", "s", "other"))
    assert wrong.error["error_msg"].endswith("decrypt token fail")


async def test_the_token_must_be_signed(cloud: Cloud) -> None:
    cloud.identities.add(Identity("STS", "s", "token"))
    url = cloud.oms.events_url(TASK)
    headers = sign("POST", url, JSON, b"{}", HuaweiCredentials("STS", "s"), NOW)
    answer = await cloud.send("POST", url, headers | {"X-Security-Token": "token"}, b"{}")
    assert answer.status == 401


async def test_a_call_without_a_signature_is_refused(cloud: Cloud) -> None:
    answer = await cloud.send("POST", cloud.oms.events_url(TASK), JSON, b"{}")
    assert answer.status == 401
    assert answer.error["error_msg"] == (
        "Incorrect IAM authentication information: x-auth-token not found"
    )
    assert answer.error["request_id"] == answer.headers["X-Request-Id"]


def tampered(name: str, old: str, new: str) -> dict[str, str]:
    return {"name": name, "old": old, "new": new}


@pytest.mark.parametrize(
    "change",
    [
        tampered("Authorization", "SDK-HMAC-SHA256", "V11-HMAC-SHA256"),
        tampered("Authorization", "Signature=", "Signature=0"),
        tampered("Authorization", "host;", ""),
        tampered("Authorization", "host;", "host;x-absent;"),
        tampered("X-Sdk-Date", "T", " "),
        tampered("X-Sdk-Date", "20260102", "20261302"),
        tampered("Content-Type", "json", "xml"),
    ],
)
async def test_a_tampered_header_is_refused(cloud: Cloud, change: dict[str, str]) -> None:
    url = cloud.oms.events_url(TASK)
    headers = sign("POST", url, JSON, b"{}", KEY, NOW)
    name = change["name"]
    headers[name] = headers[name].replace(change["old"], change["new"])
    assert (await cloud.send("POST", url, headers, b"{}")).status == 401


async def test_a_changed_body_or_target_is_refused_with_the_gateways_view(cloud: Cloud) -> None:
    url = cloud.oms.events_url(TASK)
    headers = sign("POST", url, JSON, b"{}", KEY, NOW)
    assert (await cloud.send("POST", url, headers, b"{ }")).status == 401
    answer = await cloud.send("POST", url + "?b=%C3%A9+/&a", headers, b"{}")
    echo = answer.error["error_msg"].partition("canonicalRequest:")[2].split("|")
    path = f"/v2/{PROJECT}/sync-tasks/{TASK}/events/"
    assert echo[:3] == ["POST", path, "a=&b=%C3%A9%2B%2F"]
    assert echo[3:6] == [
        "content-type:application/json",
        f"host:127.0.0.1:{cloud.oms.port}",
        "x-sdk-date:20260102T030405Z",
    ]


async def test_queries_and_odd_paths_verify(cloud: Cloud) -> None:
    url = f"{cloud.oms.url}/v2/{PROJECT}/sync-tasks?status=STOPPED&x=a%20b+%2F~&limit=5&x=%F0%9F"
    assert (await cloud.call("GET", url)).status == 200
    odd = f"{cloud.oms.url}/v2/p%20id/sync-tasks/a+b~c(d)@e-%C3%A9%2Fz/events"
    assert (await cloud.call("POST", odd, b"{}")).error["error_code"] == "OMS.0054"


@pytest.mark.parametrize(
    ("skew_seconds", "status"), [(900, 200), (901, 401), (-900, 200), (-901, 401)]
)
async def test_a_signature_holds_for_a_quarter_of_an_hour(
    cloud: Cloud, skew_seconds: int, status: int
) -> None:
    body = b'{"object_keys": ["a"]}'
    url = cloud.oms.events_url(TASK)
    answer = await cloud.call("POST", url, body, at=NOW + skew_seconds)
    assert answer.status == status
    assert answer.headers["Date"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    if status == 401:
        assert "signature expired" in answer.error["error_msg"]
        assert "server time:20260102T030405Z" in answer.error["error_msg"]


async def test_failures_of_unknown_keys_lock_nobody(cloud: Cloud) -> None:
    for _ in range(8):
        assert (await cloud.post("a", credentials=HuaweiCredentials("X", "s"))).status == 401
    assert (await cloud.post("a")).status == 200


async def test_an_operator_can_lift_a_lock(cloud: Cloud) -> None:
    for _ in range(7):
        refused = await cloud.post("a", credentials=HuaweiCredentials(KEY.access_key, "wrong"))
    assert "forbidden" in refused.error["error_msg"]
    cloud.oms.gateway.unlock()
    assert (await cloud.post("a")).status == 200


async def test_a_missing_object_is_listed_in_the_destination(cloud: Cloud) -> None:
    await cloud.post(quote("目录/gone 1", safe=""), "gone-2")
    await cloud.oms.drained()
    (listed,) = cloud.lists("failed")
    at, gone = "2026-01-02 11:04:05", "NoSuchKey\tThe specified key does not exist."
    assert listed.splitlines() == [
        f"{at}\t%E7%9B%AE%E5%BD%95%2Fgone%201\t目录/gone 1\t{gone}",
        f"{at}\tgone-2\tgone-2\t{gone}",
    ]
    assert cloud.task.monthly(Statistic.FAILURE, NOW) == 2


async def test_an_unchanged_object_is_skipped_and_listed(cloud: Cloud) -> None:
    cloud.put("a", b"123")
    await cloud.post("a")
    await cloud.post("a")
    await cloud.oms.drained()
    assert cloud.lists("skip") == ["2026-01-02 11:04:05\ta\t3\n"]
    cloud.put("a", b"321", at=NOW + 1)
    await cloud.post("a")
    await cloud.oms.drained()
    copy = cloud.destination.read("dst", "a")
    assert copy is not None
    assert (copy.data, copy.described.content_type, copy.modified_at) == (b"321", "text/plain", NOW)


async def test_the_object_is_read_when_it_is_copied_not_when_it_is_announced(cloud: Cloud) -> None:
    cloud.put("a", b"old")
    await cloud.oms.copier.stop()
    await cloud.post("a")
    cloud.put("a", b"newer")
    cloud.oms.copier.start()
    await cloud.oms.drained()
    copy = cloud.destination.read("dst", "a")
    assert copy is not None
    assert copy.data == b"newer"


@pytest.mark.parametrize(
    ("rule", "arrived"),
    [
        ({}, b"v1"),
        ({"consistency_check": "size_last_modified"}, b"v1"),
        ({"consistency_check": "transmission"}, b"v1"),
        ({"consistency_check": "crc64"}, b"v2"),
        ({"object_overwrite_mode": "NO_OVERWRITE"}, b"v1"),
        ({"object_overwrite_mode": "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE"}, b"v1"),
        ({"object_overwrite_mode": "CRC64_COMPARISON_OVERWRITE"}, b"v2"),
        ({"object_overwrite_mode": "FULL_OVERWRITE"}, b"v2"),
    ],
)
async def test_an_overwrite_of_equal_size_during_a_copy_arrives_where_the_task_does_not_go_by_time(
    cloud: Cloud, rule: dict[str, str], arrived: bytes
) -> None:
    cloud.oms.copy_seconds = 60.0
    created = await create(cloud, src_bucket="src", dst_bucket="dst", **rule)
    task = cloud.oms.tasks[json.loads(created.body)["sync_task_id"]]
    body = b'{"object_keys": ["a"]}'
    cloud.put("a", b"v1")
    await cloud.call("POST", cloud.oms.events_url(task.task_id), body)
    await until(lambda: cloud.source.reads == 1)
    cloud.clock.offset_seconds = 30.0
    cloud.put("a", b"v2", NOW + 30.0)
    await cloud.call("POST", cloud.oms.events_url(task.task_id), body)
    assert cloud.destination.read("dst", "a") is None
    cloud.clock.offset_seconds = 60.0
    await until(lambda: cloud.source.reads == 2)
    cloud.clock.offset_seconds = 120.0
    await cloud.oms.drained()
    copy = cloud.destination.read("dst", "a")
    assert copy is not None
    assert copy.data == arrived
    assert task.monthly(Statistic.SKIP, NOW) == (arrived == b"v1")


async def test_accepted_keys_survive_a_restart(cloud: Cloud) -> None:
    for key in "abc":
        cloud.put(key, b"1")
    await cloud.oms.copier.stop()
    await cloud.post("a")
    await cloud.post("b")
    await cloud.oms.stop()
    await cloud.oms.start()
    await cloud.oms.drained()
    assert cloud.oms.copier.accept(cloud.task, ["c"], 0.0)
    await asyncio.sleep(0)
    await cloud.oms.copier.stop()
    cloud.oms.copier.start()
    await cloud.oms.drained()
    assert [key for key in cloud.destination.keys("dst") if "/" not in key] == ["a", "b", "c"]
    assert cloud.task.monthly(Statistic.SUCCESS, NOW) == 3


async def test_waiting_for_copies_ends_when_copying_does(cloud: Cloud) -> None:
    cloud.oms.delay_seconds = 3600.0
    await cloud.post("a")
    waiting = asyncio.create_task(cloud.oms.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    await cloud.oms.copier.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        await waiting
    with pytest.raises(RuntimeError, match="not running"):
        await cloud.oms.drained()


async def test_a_copy_can_be_made_to_fail(cloud: Cloud) -> None:
    cloud.put("a", b"1")
    cloud.oms.faults.add(Fault("oms", "CopyObject", Action.CUSTOM, name="copy_fails", times=1))
    await cloud.post("a")
    await cloud.oms.drained()
    assert cloud.lists("failed")[0].endswith("\tRequestTimeout\tThe copy failed.\n")
    await cloud.post("a")
    await cloud.oms.drained()
    assert cloud.destination.read("dst", "a") is not None


async def test_too_many_waiting_copies_are_an_overload(cloud: Cloud) -> None:
    await cloud.oms.copier.stop()
    while cloud.oms.copier.accept(cloud.task, ["k"], 0.0):
        pass
    answer = await cloud.post("a")
    assert (answer.status, answer.error["error_code"]) == (503, "OMS.1001")
    assert cloud.task.monthly(Statistic.REQUEST, NOW) == 0


async def test_a_copier_that_breaks_says_so(cloud: Cloud) -> None:
    def broken(bucket: str, key: str) -> StoredObject | None:
        raise LookupError(f"{bucket}/{key}")

    service = OmsService(cloud.clock, cloud.faults, cloud.identities, broken, cloud.destination)
    service.copier.start()
    assert service.copier.accept(cloud.task, ["k"], 0.0)
    with pytest.raises(LookupError, match="src/k"):
        await service.drained()
    with pytest.raises(LookupError, match="src/k"):
        await service.copier.stop()


async def test_a_stopped_task_can_answer_otherwise(cloud: Cloud) -> None:
    cloud.task.stop()
    cloud.oms.stopped_refusal = (403, "OMS.9999", "stopped")
    answer = await cloud.post("a")
    assert (answer.status, answer.error) == (
        403,
        {"error_code": "OMS.9999", "error_msg": "stopped"},
    )


async def create(cloud: Cloud, **changes: Any) -> Answer:
    names = ("src_region", "src_bucket", "src_ak", "src_sk")
    fields: dict[str, Any] = {name: name for name in names}
    fields |= {name.replace("src", "dst"): name for name in names}
    body = json.dumps(fields | changes).encode()
    return await cloud.call("POST", f"{cloud.oms.url}/v2/{PROJECT}/sync-tasks", body)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"src_bucket": ""}, "OMS.0064"),
        ({"object_overwrite_mode": "SOMETIMES"}, "OMS.0064"),
        ({"object_overwrite_mode": 1}, "OMS.1010"),
        ({"src_bucket": 1}, "OMS.1010"),
        ({"enable_restore": "yes"}, "OMS.1010"),
        ({"description": "d" * 256}, "OMS.0064"),
        ({"description": "a&b"}, "OMS.0078"),
        ({"description": None}, ""),
    ],
)
async def test_a_new_task_is_checked(cloud: Cloud, changes: dict[str, Any], code: str) -> None:
    assert (await create(cloud, **changes)).error.get("error_code", "") == code
