"""The four services as one cloud: wired to each other, and steered through the admin API."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import aiohttp
import oss2
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkoms.v2 import CreateSyncEventsRequest, OmsClient, SyncObjectReq

from localcloud.cloud import PROJECT_ID, LocalCloud, Ports
from localcloud.identity import ALIBABA, HUAWEI
from localcloud.mns import DeadLetterPolicy, MnsError
from localcloud.mns.service import authorise
from localcloud.oms import Consistency
from worker.settings import load_settings

Ask = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def cloud() -> AsyncIterator[LocalCloud]:
    async with LocalCloud() as cloud:
        cloud.oms.delay_seconds = 0.0
        cloud.prepare()
        yield cloud


@pytest.fixture
async def ask(cloud: LocalCloud) -> AsyncIterator[Ask]:
    """Ask the admin API; answers are JSON, or bytes where they are not."""
    async with aiohttp.ClientSession(cloud.admin.url) as session:

        async def call(method: str, path: str, body: object = None) -> tuple[int, Any]:
            data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            async with session.request(method, path, data=data) as response:
                is_json = response.content_type == "application/json"
                return response.status, await (response.json() if is_json else response.read())

        yield call


def put(settings: dict[str, str], key: str, data: bytes) -> None:
    auth = oss2.AuthV4(
        settings["ALIBABA_CLOUD_ACCESS_KEY_ID"], settings["ALIBABA_CLOUD_ACCESS_KEY_SECRET"]
    )
    bucket = oss2.Bucket(auth, settings["OSS_ENDPOINT"], "source", region=settings["OSS_REGION"])
    bucket.put_object(key, data)
    bucket.session.session.close()


def post(settings: dict[str, str], endpoint: str, task_id: str, key: str) -> None:
    credentials = BasicCredentials(settings["HW_AK"], settings["HW_SK"], PROJECT_ID)
    client = OmsClient.new_builder().with_credentials(credentials).with_endpoint(endpoint).build()
    request = CreateSyncEventsRequest(task_id, SyncObjectReq(object_keys=[key]))
    client.create_sync_events(request)


@pytest.mark.parametrize(
    ("check", "arrived"), [(Consistency.CRC64, b"v2"), (Consistency.SIZE_LAST_MODIFIED, b"v1")]
)
async def test_what_is_prepared_compares_contents_unless_told_otherwise(
    check: Consistency, arrived: bytes
) -> None:
    async with LocalCloud() as cloud:
        cloud.prepare() if check is Consistency.CRC64 else cloud.prepare(consistency_check=check)
        (task,) = cloud.oms.tasks.values()
        cloud.oss.put("source", "a", b"v1")
        # As if the copy of v1 had taken until after v2 was written.
        cloud.obs.clock.offset_seconds = 60.0
        cloud.oms.copier.accept(task, ["a"], 0.0)
        await cloud.oms.drained()
        cloud.oss.put("source", "a", b"v2")
        cloud.oms.copier.accept(task, ["a"], 0.0)
        await cloud.oms.drained()
        copied = cloud.obs.read("destination", "a")
    assert copied is not None
    assert copied.data == arrived


async def test_a_put_is_announced_in_the_queue_and_a_post_is_copied(cloud: LocalCloud) -> None:
    settings = cloud.settings()
    assert cloud.prepared is not None
    await asyncio.to_thread(put, settings, "a/b.txt", b"content")
    queue = cloud.mns.queue(settings["MNS_QUEUE"])
    [message] = queue.receive(16, cloud.mns.store.now_ms())
    [event] = json.loads(base64.b64decode(message.body, validate=True))["events"]
    assert event["oss"]["object"]["key"] == "a/b.txt"
    task_id = cloud.prepared.task_id
    await asyncio.to_thread(post, settings, cloud.oms.url, task_id, "a%2Fb.txt")
    await cloud.oms.drained()
    copied = cloud.obs.read("destination", "a/b.txt")
    assert copied is not None
    assert copied.data == b"content"


async def test_the_settings_are_those_of_a_relay(cloud: LocalCloud) -> None:
    settings = load_settings(cloud.settings(), None)
    assert settings.mns_endpoint == cloud.mns.url
    assert settings.sync_task.endpoint == cloud.oms.url
    assert settings.warnings == ()


async def test_a_dead_letter_queue_is_prepared_on_request(cloud: LocalCloud) -> None:
    cloud.prepare(queue="other", dead_letter_queue="dead", max_receive_count=3)
    assert cloud.settings()["MNS_DEAD_LETTER_QUEUE"] == "dead"
    assert cloud.mns.queue("other").dead_letter == DeadLetterPolicy("dead", 3)


async def test_nothing_prepared_is_said_so() -> None:
    async with LocalCloud() as cloud:
        with pytest.raises(RuntimeError, match="prepare"):
            cloud.settings()


async def test_an_event_for_a_missing_queue_is_lost_and_the_object_is_not(
    cloud: LocalCloud,
) -> None:
    cloud.mns.store.delete("oss-events")
    cloud.oss.put("source", "a", b"x")
    assert cloud.events_lost == 1
    assert cloud.oss.read("source", "a") is not None


async def test_the_same_seed_gives_the_same_ids() -> None:
    def ids(seed: int) -> list[str]:
        cloud = LocalCloud(seed)
        cloud.prepare()
        return [cloud.mns.publish("oss-events", "x") for _ in range(3)]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


async def test_a_port_in_use_stops_the_whole_cloud() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cloud = LocalCloud()
        with pytest.raises(OSError, match="address already in use"):
            await cloud.start(Ports(oms=taken.getsockname()[1]))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(cloud.mns.url)


async def test_a_cloud_can_be_stopped_and_started_with_its_contents(cloud: LocalCloud) -> None:
    cloud.oss.put("source", "a", b"x")
    port = cloud.mns.port
    for _ in range(3):
        await cloud.stop()
        await cloud.start(Ports(mns=port))
    assert cloud.mns.port == port
    assert cloud.mns.queue("oss-events").counts(cloud.mns.store.now_ms()).active == 1


async def test_clocks_are_set_one_by_one(cloud: LocalCloud, ask: Ask) -> None:
    body = {"service": "mns", "offset_seconds": 3600}
    assert await ask("POST", "/clock", body) == (200, {"mns": 3600, "oss": 0, "oms": 0, "obs": 0})
    assert cloud.mns.clock.now() - cloud.oss.clock.now() > 3599
    await ask("POST", "/clock", {"service": "*", "offset_seconds": -1})
    assert (await ask("GET", "/state"))[1]["clocks"] == {"mns": -1, "oss": -1, "oms": -1, "obs": -1}


async def test_faults_are_added_shown_and_lifted(cloud: LocalCloud, ask: Ask) -> None:
    status, fault = await ask("POST", "/faults", {"service": "oms", "status": 429, "times": 2})
    assert (status, fault["action"], fault["operation"]) == (201, "status", "*")
    assert (await ask("GET", "/faults"))[1] == {"faults": [fault]}
    assert cloud.faults.pick("oms", "CreateSyncEvents") is not None
    assert (await ask("GET", "/state"))[1]["faults"][0]["times"] == 1
    assert await ask("DELETE", "/faults") == (204, b"")
    assert (await ask("GET", "/faults"))[1] == {"faults": []}


async def test_a_fault_for_everything_spares_the_admin_api(cloud: LocalCloud, ask: Ask) -> None:
    await ask("POST", "/faults", {"action": "cut_before"})
    assert (await ask("GET", "/state"))[0] == 200
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(cloud.mns.url)


async def test_messages_are_published_as_they_are(cloud: LocalCloud, ask: Ask) -> None:
    status, told = await ask(
        "POST", "/queues/oss-events/messages", b" {not json, n\xc3\xb6t base64"
    )
    [message] = cloud.mns.queue("oss-events").peek(1, cloud.mns.store.now_ms())
    assert (status, told["message_id"]) == (201, message.id)
    assert message.body == " {not json, nöt base64"


async def test_switches_are_set_one_by_one(cloud: LocalCloud, ask: Ask) -> None:
    status, told = await ask("POST", "/switches", {"short_batches": True, "in_flight_max": 9})
    assert (status, told["short_batches"], told["long_polls_max"]) == (200, True, 100)
    assert cloud.mns.behaviour.in_flight_max == 9


async def test_copies_are_troubled_from_outside(cloud: LocalCloud, ask: Ask) -> None:
    wanted = {"lose_share": 0.5, "lists_after_seconds": None, "list_separator": ","}
    status, told = await ask("POST", "/switches/oms", wanted)
    assert (status, told["lose_share"], told["fail_share"]) == (200, 0.5, 0.0)
    copying = cloud.oms.copying
    assert (copying.lose_share, copying.lists_after_seconds) == (0.5, None)
    await ask("POST", "/switches/oms", {"copy_seconds": 5})
    assert (cloud.oms.copier.copy_seconds, copying.lose_share) == (5, 0.5)


async def test_obs_is_switched_from_outside(cloud: LocalCloud, ask: Ask) -> None:
    status, told = await ask("POST", "/switches/obs", {"crc64_header": ""})
    assert (status, told["crc64_header"], told["takes_path_style"]) == (200, "", True)
    assert cloud.obs.behaviour.crc64_header == ""


async def test_copies_are_planted_and_removed(cloud: LocalCloud, ask: Ask) -> None:
    assert (await ask("PUT", "/copies/destination/dir/%C3%A4%20b/", b"data"))[0] == 201
    assert await ask("GET", "/copies/destination/dir/%C3%A4%20b/") == (200, b"data")
    assert (await ask("GET", "/state"))[1]["copies"] == {"destination": 1}
    assert await ask("DELETE", "/copies/destination/dir/%C3%A4%20b/") == (204, b"")
    assert cloud.obs.keys("destination") == []


async def test_the_relay_is_told_of_the_destination_on_request(cloud: LocalCloud) -> None:
    assert "OBS_ENDPOINT" not in cloud.settings()
    assert cloud.settings(with_destination=True)["OBS_ENDPOINT"] == cloud.obs.url


async def test_a_dead_letter_policy_is_set_from_outside(cloud: LocalCloud, ask: Ask) -> None:
    cloud.mns.create_queue("dead")
    policy = {"target": "dead", "max_receive_count": 3}
    assert await ask("PUT", "/queues/oss-events/dead-letter", policy) == (200, policy)
    assert cloud.mns.queue("oss-events").dead_letter == DeadLetterPolicy("dead", 3)


async def test_objects_are_stored_read_and_removed(cloud: LocalCloud, ask: Ask) -> None:
    assert (await ask("PUT", "/objects/source/dir/%C3%A4%20b/", b"data"))[0] == 201
    assert cloud.oss.read("source", "dir/ä b/") is not None
    assert (await ask("GET", "/objects/source/dir/%C3%A4%20b/"))[1] == b"data"
    state = (await ask("GET", "/state"))[1]
    assert state["buckets"] == {"source": 1, "relay-log": 0}
    assert state["queues"]["oss-events"] == {"active": 1, "inactive": 0, "delayed": 0}
    assert await ask("DELETE", "/objects/source/dir/%C3%A4%20b/") == (204, b"")
    assert (await ask("GET", "/objects/source/dir/%C3%A4%20b/"))[0] == 404


async def test_tasks_are_stopped_and_started_and_copies_read(cloud: LocalCloud, ask: Ask) -> None:
    assert cloud.prepared is not None
    path = f"/tasks/{cloud.prepared.task_id}/status"
    for status in ("STOPPED", "STOPPED", "SYNCHRONIZING"):
        assert await ask("POST", path, {"status": status}) == (200, {"status": status})
    assert (await ask("GET", "/copies/destination/a"))[0] == 404
    cloud.oss.put("source", "a", b"x")
    sent = partial(post, cloud.settings(), cloud.oms.url, cloud.prepared.task_id, "a")
    await asyncio.to_thread(sent)
    await cloud.oms.drained()
    assert await ask("GET", "/copies/destination/a") == (200, b"x")
    state = (await ask("GET", "/state"))[1]
    assert state["calls"]["oms"] == {"CreateSyncEvents": {"200": 1}}
    assert state["copies"] == {"destination": 1}
    assert state["tasks"][cloud.prepared.task_id]["monthly_success_object"] == 1


async def test_rights_are_denied_and_secrets_changed(cloud: LocalCloud, ask: Ask) -> None:
    assert cloud.prepared is not None
    send = partial(post, cloud.settings(), cloud.oms.url, cloud.prepared.task_id, "a")
    denied = {"cloud": "huawei", "denied": ["oms:synctask:createEvent"]}
    shown = {HUAWEI.access_key: {"denied": denied["denied"]}}
    assert await ask("POST", "/keys", denied) == (200, shown)
    with pytest.raises(ClientRequestException, match=r"oms:synctask:createEvent is not granted"):
        await asyncio.to_thread(send)
    await ask("POST", "/keys", {"cloud": "huawei", "denied": [], "secret": "another"})
    with pytest.raises(ClientRequestException, match="verify aksk signature fail"):
        await asyncio.to_thread(send)
    await ask("POST", "/keys", {"cloud": "huawei", "secret": HUAWEI.secret})
    await asyncio.to_thread(send)


@pytest.mark.parametrize("denied", ["mns:DeleteMessage", "mns:BatchDeleteMessage"])
def test_a_batch_call_is_denied_under_either_name(denied: str) -> None:
    with pytest.raises(MnsError, match="AccessDenied"):
        authorise(replace(ALIBABA, denied=(denied,)), "BatchDeleteMessage")
    authorise(replace(ALIBABA, denied=(denied,)), "BatchReceiveMessage")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("GET", "/nowhere", None, 404, "GET    /state"),
        ("PUT", "/state", None, 404, "GET    /state"),
        ("POST", "/clock", b"{", 400, "offset_seconds"),
        ("POST", "/clock", {"service": "sqs", "offset_seconds": 1}, 400, "oms"),
        ("POST", "/clock", {"service": "mns"}, 400, "offset_seconds"),
        ("POST", "/keys", {"cloud": "tencent"}, 400, "huawei"),
        ("POST", "/keys", {"cloud": "huawei", "allowed": []}, 400, "allowed"),
        ("POST", "/faults", {"action": "explode"}, 400, "cut_before"),
        ("POST", "/faults", {"actoin": "status"}, 400, "actoin"),
        ("POST", "/faults", {"status": 42}, 400, "between 200 and 599"),
        ("POST", "/faults", {"probability": 2}, 400, "between 0 and 1"),
        ("POST", "/faults", {"seconds": -1}, 400, "seconds must be 0 or more"),
        ("POST", "/faults", {"times": 0}, 400, "1 or more"),
        ("POST", "/faults", {"action": "custom"}, 400, "needs a name"),
        ("POST", "/switches", {"short_batch": True}, 400, "short_batches"),
        ("POST", "/switches", {"wait_share_min": 2}, 400, "between 0 and 1"),
        ("POST", "/switches", {"long_polls_max": -1}, 400, "0 or more"),
        ("POST", "/switches", {"in_flight_max": 0}, 400, "no throttle"),
        ("POST", "/switches", b"[]", 400, "short_batches"),
        ("POST", "/switches/sqs", {}, 404, "/switches/obs"),
        ("POST", "/switches/oms", {"lose_share": 2}, 400, "between 0 and 1"),
        ("POST", "/switches/oms", {"lost_share": 0.5}, 400, "lose_share"),
        ("POST", "/switches/obs", {"crc64_header": "x"}, 400, "x-obs-hash-crc64ecma"),
        ("PUT", "/copies/nowhere/a", b"x", 404, "destination"),
        ("PUT", "/copies/destination", b"x", 404, "/copies/<bucket>/<key>"),
        ("PUT", "/copies/destination/" + "n" * 1025, b"x", 400, "1024"),
        ("DELETE", "/copies/nowhere/a", None, 404, "destination"),
        ("PUT", "/queues/oss-events", {}, 404, "/queues/<name>/dead-letter"),
        ("PUT", "/queues/oss-events/dead-letter", {"target": "x"}, 400, "max_receive_count"),
        (
            "PUT",
            "/queues/oss-events/dead-letter",
            {"target": "oss-events", "max_receive_count": 1},
            400,
            "its own dead-letter queue",
        ),
        (
            "PUT",
            "/queues/oss-events/dead-letter",
            {"target": "nowhere", "max_receive_count": 1},
            404,
            "no such queue",
        ),
        (
            "PUT",
            "/queues/nowhere/dead-letter",
            {"target": "oss-events", "max_receive_count": 0},
            400,
            "1 or more",
        ),
        (
            "PUT",
            "/queues/nowhere/dead-letter",
            {"target": "oss-events", "max_receive_count": 1},
            404,
            "not exist",
        ),
        ("POST", "/queues/oss-events", b"x", 404, "/queues/<name>/messages"),
        ("POST", "/queues/nowhere/messages", b"x", 404, "oss-events"),
        ("POST", "/queues/oss-events/messages", b"\xff", 400, "UTF-8"),
        ("POST", "/queues/oss-events/messages", b"\x00", 400, "XML text"),
        ("POST", "/tasks/none/status", {"status": "STOPPED"}, 404, "5f0e8c6a"),
        ("POST", "/tasks/none", {"status": "STOPPED"}, 404, "/tasks/<id>/status"),
        ("PUT", "/objects/nowhere/a", b"x", 404, "relay-log"),
        ("PUT", "/objects/source", b"x", 404, "/objects/<bucket>/<key>"),
        ("PUT", "/objects/source/%2Fa", b"x", 400, "1023"),
    ],
)
async def test_bad_input_is_answered_with_what_is_accepted(
    ask: Ask, method: str, path: str, body: object, status: int, told: str
) -> None:
    answered, problem = await ask(method, path, body)
    assert answered == status
    assert set(problem) == {"error", "accepted"}
    assert told in json.dumps(problem)


async def test_a_task_status_that_does_not_exist_is_refused(cloud: LocalCloud, ask: Ask) -> None:
    assert cloud.prepared is not None
    path = f"/tasks/{cloud.prepared.task_id}/status"
    status, problem = await ask("POST", path, {"status": "PAUSED"})
    assert (status, problem["accepted"]) == (400, {"status": ["SYNCHRONIZING", "STOPPED"]})
