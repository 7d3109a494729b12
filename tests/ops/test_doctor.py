from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.ops import bodies, calls, connected, objects, oss_event
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import ALIBABA, HUAWEI, Identity
from localcloud.mns import Attributes
from localcloud.oms.task import Consistency, Overwrite, Statistic
from worker.clock import SystemClock
from worker.operate.check import Check, CheckStatus, ServiceProber
from worker.operate.doctor import DoctorOptions, Task, examine, task_checks
from worker.operate.network import Network
from worker.settings import load_settings

ALLOWED = {
    *("mns:GetQueueAttributes", "mns:PeekMessage", "mns:ReceiveMessage", "mns:DeleteMessage"),
    *("mns:ChangeMessageVisibility", "oss:PutObject", "oss:GetObject", "oss:ListObjects"),
    "oss:DeleteObject",
}


async def examined(
    cloud: LocalCloud, options: DoctorOptions | None = None, settings: dict[str, str] | None = None
) -> dict[str, Check]:
    async with connected(cloud, settings=settings) as clients:
        checks = [each async for each in examine(clients, Network(SystemClock()), options)]
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.fix for check in checks if check.verdict is CheckStatus.FAILURE)
    return {check.name: check for check in checks}


def ill(checks: dict[str, Check]) -> dict[str, CheckStatus]:
    """What is neither ok nor skipped."""
    fine = (CheckStatus.OK, CheckStatus.SKIPPED)
    return {name: check.verdict for name, check in checks.items() if check.verdict not in fine}


def skipped(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.verdict is CheckStatus.SKIPPED}


def refused(cloud: LocalCloud, service: str) -> int:
    """Signed calls that were answered 401 or 403."""
    counts = {"mns": cloud.mns, "oss": cloud.oss, "oms": cloud.oms}[service].counts
    unsigned = {"Unknown", "UnknownOperation"}
    return sum(
        n for (name, code), n in counts.items() if code in (401, 403) and name not in unsigned
    )


async def test_a_sound_relay_has_nothing_to_mend_and_nothing_is_changed(cloud: LocalCloud) -> None:
    cloud.prepare(dead_letter_queue="dead")
    checks = await examined(cloud)
    assert ill(checks) == {}
    assert skipped(checks) == {"mns.events", "oms.post", "obs"}
    assert checks["mns.events"].detail == "unknown: no message is visible"
    assert {"mns.dead_letter_queue.delete", "oss.source", "oms.month"} <= checks.keys()
    assert "from Aliyun cn-hangzhou source to cn-north-4 destination" in checks["oms.task"].detail
    assert objects(cloud) == {}
    assert cloud.oms.posts_accepted == 0
    assert all(not each.fix for each in checks.values())


@pytest.mark.parametrize(
    ("name", "told"),
    [("HW_SK", "the environment or .env"), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "files")],
)
async def test_it_says_where_the_alibaba_key_comes_from(
    cloud: LocalCloud, tmp_path: Path, name: str, told: str
) -> None:
    cloud.prepare()
    (tmp_path / name).write_text(cloud.settings()[name])
    settings = {name: "", f"{name}_FILE": str(tmp_path / name)}
    checks = await examined(cloud, settings=settings)
    assert ill(checks) == {}
    assert checks["settings"].detail.endswith(f"the Alibaba key comes from {told}")


async def test_a_wrong_alibaba_secret_is_sent_once_and_never_again(cloud: LocalCloud) -> None:
    cloud.prepare(dead_letter_queue="dead")
    checks = await examined(cloud, settings={"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"})
    assert ill(checks) == {"mns.queue": CheckStatus.FAILURE}
    why = "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not the secret of this key (mns GetQueueAttributes answered"
    assert checks["mns.queue"].detail.startswith(why)
    assert checks["mns.queue"].fix == "correct ALIBABA_CLOUD_ACCESS_KEY_SECRET"
    assert refused(cloud, "mns") + refused(cloud, "oss") == 1
    assert calls(cloud, "mns") + calls(cloud, "oss") == 1
    assert "refused this key" in checks["oss.write"].detail
    assert checks["oms.task"].verdict is CheckStatus.OK


async def test_a_wrong_huawei_secret_is_sent_once_and_never_again(cloud: LocalCloud) -> None:
    cloud.prepare()
    checks = await examined(cloud, DoctorOptions(key="a"), settings={"HW_SK": "wrong"})
    assert ill(checks) == {"oms.task": CheckStatus.FAILURE}
    why = "HW_AK and HW_SK are not a pair, or the key is disabled (oms ShowSyncTask answered 401"
    assert checks["oms.task"].detail.startswith(why)
    assert "canonicalRequest" not in checks["oms.task"].detail
    assert checks["oms.task"].fix.startswith("correct HW_AK and HW_SK. More than 5")
    assert (refused(cloud, "oms"), calls(cloud, "oms")) == (1, 1)
    assert "oms.post" in skipped(checks)
    assert checks["oss.delete"].verdict is CheckStatus.OK


async def test_an_unknown_access_key_is_named(cloud: LocalCloud) -> None:
    cloud.prepare()
    checks = await examined(cloud, settings={"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAInobody"})
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID names no enabled key" in checks["mns.queue"].detail
    assert "LTAInobody" not in checks["mns.queue"].detail
    assert refused(cloud, "mns") + refused(cloud, "oss") == 1


@pytest.mark.parametrize(
    ("action", "name", "verdict", "fix"),
    [
        (
            "mns:GetQueueAttributes",
            "mns.queue",
            CheckStatus.WARNING,
            "grant mns:GetQueueAttributes on acs:mns:*:*:/queues/oss-events to",
        ),
        (
            "mns:PeekMessage",
            "mns.peek",
            CheckStatus.WARNING,
            "grant mns:PeekMessage on acs:mns:*:*:/queues/oss-events/messages to",
        ),
        ("mns:ReceiveMessage", "mns.receive", CheckStatus.FAILURE, "grant mns:ReceiveMessage on"),
        ("mns:DeleteMessage", "mns.delete", CheckStatus.FAILURE, "grant mns:DeleteMessage on"),
        (
            "mns:ChangeMessageVisibility",
            "mns.renew",
            CheckStatus.FAILURE,
            "grant mns:ChangeMessageVisibility on",
        ),
        (
            "oss:PutObject",
            "oss.write",
            CheckStatus.FAILURE,
            "grant oss:PutObject on acs:oss:*:*:relay-log/oms_source_record/* to",
        ),
        ("oss:GetObject", "oss.read", CheckStatus.WARNING, "grant oss:GetObject on"),
        (
            "oss:ListObjects",
            "oss.list",
            CheckStatus.WARNING,
            "oss:ListObjects on acs:oss:*:*:relay-log to",
        ),
        ("oss:DeleteObject", "oss.delete", CheckStatus.WARNING, "grant oss:DeleteObject on"),
    ],
)
async def test_a_missing_right_is_named(
    cloud: LocalCloud, action: str, name: str, verdict: CheckStatus, fix: str
) -> None:
    cloud.prepare()
    rights = tuple(ALLOWED - {action})
    cloud.alibaba.add(Identity(ALIBABA.access_key, ALIBABA.secret, allowed=rights))
    checks = await examined(cloud, DoctorOptions(may_receive=True))
    found = ill(checks)
    if action == "oss:GetObject":
        assert found.pop("oss.source") is CheckStatus.WARNING
        assert found.pop("oss.fleet") is CheckStatus.WARNING
        assert "hears no `oms-relay pause`" in checks["oss.fleet"].detail
        assert "oss:GetObject on acs:oss:*:*:source/*" in checks["oss.source"].fix
    assert found == {name: verdict}
    assert fix in checks[name].fix


async def test_a_missing_right_at_oms_is_named(cloud: LocalCloud) -> None:
    cloud.prepare()
    only = ("oms:synctask:createEvent",)
    cloud.huawei.add(Identity(HUAWEI.access_key, HUAWEI.secret, allowed=only))
    checks = await examined(cloud)
    assert ill(checks) == {"oms.task": CheckStatus.WARNING}
    assert "the relay works without this right" in checks["oms.task"].detail
    assert "grant oms:synctask:get" in checks["oms.task"].fix
    cloud.huawei.add(Identity(HUAWEI.access_key, HUAWEI.secret, allowed=("oms:synctask:get",)))
    checks = await examined(cloud, DoctorOptions(key="a"))
    assert ill(checks) == {"oms.post": CheckStatus.FAILURE}
    assert "grant oms:synctask:createEvent" in checks["oms.post"].fix


@pytest.mark.parametrize(
    ("settings", "name", "fix"),
    [
        ({"MNS_QUEUE": "nowhere"}, "mns.queue", "create the queue nowhere"),
        ({"MNS_DEAD_LETTER_QUEUE": "nowhere"}, "mns.dead_letter_queue.queue", "the queue nowhere"),
        ({"LOG_BUCKET": "nowhere"}, "oss.write", "create the bucket nowhere in cn-hangzhou"),
        ({"OSS_REGION": "cn-beijing"}, "oss.write", "correct OSS_REGION"),
    ],
)
async def test_what_does_not_exist_is_named_and_asked_once(
    cloud: LocalCloud, settings: dict[str, str], name: str, fix: str
) -> None:
    cloud.prepare()
    checks = await examined(cloud, settings=settings)
    assert checks[name].verdict is CheckStatus.FAILURE
    assert fix in checks[name].fix
    assert [each for each, verdict in ill(checks).items() if verdict is CheckStatus.FAILURE] == [
        name
    ]


async def test_an_unknown_task_sends_to_the_console(cloud: LocalCloud) -> None:
    cloud.prepare()
    url = cloud.settings()["SYNC_URL"].replace("5f0e8c6a", "00000000")
    checks = await examined(cloud, DoctorOptions(key="a"), settings={"SYNC_URL": url})
    assert ill(checks) == {"oms.task": CheckStatus.FAILURE}
    assert "copy SYNC_URL" in checks["oms.task"].fix
    assert "oms.post" in skipped(checks)


async def test_a_stopped_task_has_to_be_started(cloud: LocalCloud) -> None:
    cloud.prepare()
    next(iter(cloud.oms.tasks.values())).stop()
    checks = await examined(cloud)
    assert ill(checks) == {"oms.task": CheckStatus.FAILURE}
    assert "STOPPED" in checks["oms.task"].detail
    assert "start the task" in checks["oms.task"].fix


@pytest.mark.parametrize("service", ["mns", "oss", "oms"])
@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_clock_that_is_off_is_told_before_any_key_is_refused(
    cloud: LocalCloud, service: str, seconds: int
) -> None:
    cloud.prepare()
    {"mns": cloud.mns, "oss": cloud.oss, "oms": cloud.oms}[service].clock.offset_seconds = seconds
    checks = await examined(cloud)
    assert ill(checks) == {f"{service}.clock": CheckStatus.FAILURE}
    assert "sudo chronyc makestep" in checks[f"{service}.clock"].fix
    assert ("behind" if seconds > 0 else "ahead of") in checks[f"{service}.clock"].detail
    assert calls(cloud, service) == 0


async def test_a_clock_that_drifts_is_a_warning(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oms.clock.offset_seconds = 120
    assert ill(await examined(cloud)) == {"oms.clock": CheckStatus.WARNING}


async def test_a_missing_date_is_a_warning(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oms", "Unknown", Action.STATUS, 200, headers={"Date": "soon"}))
    assert ill(await examined(cloud)) == {"oms.clock": CheckStatus.WARNING}


async def test_the_log_bucket_must_not_be_the_source_bucket(cloud: LocalCloud) -> None:
    cloud.prepare()
    checks = await examined(cloud, settings={"LOG_BUCKET": "source"})
    assert ill(checks) == {"oms.log_bucket": CheckStatus.FAILURE}
    assert "set LOG_BUCKET to another bucket" in checks["oms.log_bucket"].fix
    assert "announce itself" in checks["oss.write"].detail
    assert (calls(cloud, "oss"), bodies(cloud)) == (0, [])


async def test_another_region_and_another_cloud_are_told(cloud: LocalCloud) -> None:
    cloud.prepare()
    task = next(iter(cloud.oms.tasks.values()))
    task.src_region = "cn-shanghai"
    checks = await examined(cloud)
    assert ill(checks) == {"oms.region": CheckStatus.WARNING}
    assert "the log bucket is in cn-hangzhou" in checks["oms.region"].detail
    task.src_cloud_type = "Tencent"
    assert ill(await examined(cloud)) == {"oms.source": CheckStatus.FAILURE}


@pytest.mark.parametrize(
    ("mode", "check", "verdict", "told"),
    [
        (
            Overwrite.SIZE_LAST_MODIFIED,
            Consistency.SIZE_LAST_MODIFIED,
            CheckStatus.WARNING,
            "skips an overwrite of equal size",
        ),
        (
            Overwrite.SIZE_LAST_MODIFIED,
            Consistency.TRANSMISSION,
            CheckStatus.WARNING,
            "skips an overwrite of equal size",
        ),
        (Overwrite.SIZE_LAST_MODIFIED, Consistency.CRC64, CheckStatus.OK, "overwrites are copied"),
        (Overwrite.CRC64, Consistency.SIZE_LAST_MODIFIED, CheckStatus.OK, "overwrites are copied"),
        (Overwrite.FULL, Consistency.SIZE_LAST_MODIFIED, CheckStatus.OK, "overwrites are copied"),
        (Overwrite.NO_OVERWRITE, Consistency.CRC64, CheckStatus.FAILURE, "never overwrites"),
    ],
)
async def test_what_the_task_does_with_overwrites_is_judged(
    cloud: LocalCloud, mode: Overwrite, check: Consistency, verdict: CheckStatus, told: str
) -> None:
    cloud.prepare(consistency_check=check)
    next(iter(cloud.oms.tasks.values())).object_overwrite_mode = mode
    checks = await examined(cloud)
    found = checks["oms.overwrites"]
    assert (found.verdict, ill(checks).keys() - {"oms.overwrites"}) == (verdict, set())
    assert told in found.detail
    assert ("consistency check CRC64" in found.fix) is (verdict is not CheckStatus.OK)


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"consistency_check": "crc64"},
        {"object_overwrite_mode": "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE"},
        {"object_overwrite_mode": "SOMETIMES", "consistency_check": "crc64"},
        {"object_overwrite_mode": None, "consistency_check": None},
    ],
)
async def test_a_task_that_does_not_tell_how_it_overwrites_is_no_green_line(
    cloud: LocalCloud, details: dict[str, Any]
) -> None:
    cloud.prepare()
    show(cloud, src_bucket="source", src_region="cn-hangzhou", **details)
    checks = await examined(cloud)
    assert ill(checks) == {"oms.overwrites": CheckStatus.WARNING}
    assert checks["oms.overwrites"].detail.startswith("unknown: ")


async def test_what_the_task_does_not_tell_is_unknown(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.put("source", "a", b"a")
    show(cloud, object_overwrite_mode="FULL_OVERWRITE")
    checks = await examined(cloud)
    for name in ("mns.events", "oms.log_bucket", "oms.region"):
        assert checks[name].verdict is CheckStatus.SKIPPED
        assert checks[name].detail.startswith("unknown: the task does not tell")


def show(cloud: LocalCloud, **details: Any) -> None:
    """Let the task tell only this of itself."""
    body = json.dumps({"status": "SYNCHRONIZING", **details})
    cloud.faults.add(
        Fault("oms", "ShowSyncTask", status=200, body=body, content_type="application/json")
    )


async def test_events_of_other_buckets_are_told_with_their_names(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.put("source", "a", b"a")
    checks = await examined(cloud)
    assert checks["mns.events"].verdict is CheckStatus.OK
    for body in (oss_event("other", "a", "b"), oss_event("third", "a"), "hello"):
        cloud.mns.publish("oss-events", body)
    checks = await examined(cloud)
    assert ill(checks) == {"mns.events": CheckStatus.WARNING}
    told = "2 of 4 peeked bring events of other, third; the task copies source"
    assert checks["mns.events"].detail == told
    assert "narrow the event rule" in checks["mns.events"].fix
    assert len(bodies(cloud)) == 4


async def test_without_a_peek_the_buckets_are_unknown(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.mns.publish("oss-events", oss_event("other", "a"))
    cloud.alibaba.add(replace(ALIBABA, denied=("mns:PeekMessage",)))
    checks = await examined(cloud)
    assert checks["mns.events"].verdict is CheckStatus.SKIPPED
    assert checks["mns.events"].detail == "unknown: the queue could not be peeked at"


async def test_counters_that_read_0_while_messages_wait_are_unknown(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.mns.behaviour.counters_read_zero = True
    checks = await examined(cloud)
    assert "0 visible, 0 in hand, 0 delayed" in checks["mns.queue"].detail
    cloud.oss.put("source", "a", b"a")
    checks = await examined(cloud)
    assert "how many wait is unknown: MNS's counters all read 0" in checks["mns.queue"].detail


@pytest.mark.parametrize(
    ("endpoint", "verdict", "told"),
    [
        (
            "https://1.mns.cn-hangzhou.aliyuncs.com",
            CheckStatus.OK,
            "source, queue and log bucket are",
        ),
        (
            "https://cn-hangzhou.mns.aliyuncs.com",
            CheckStatus.OK,
            "source, queue and log bucket are",
        ),
        (
            "https://cn-shanghai.mns.aliyuncs.com",
            CheckStatus.WARNING,
            "the queue is in cn-shanghai",
        ),
        ("https://queue.example", CheckStatus.OK, "does not tell the queue's region"),
    ],
)
async def test_the_region_of_the_queue_is_read_from_either_form_of_its_host(
    cloud: LocalCloud, endpoint: str, verdict: CheckStatus, told: str
) -> None:
    cloud.prepare()
    found = load_settings(cloud.settings() | {"MNS_ENDPOINT": endpoint}, dotenv=None)
    async with connected(cloud) as clients:
        prober = ServiceProber(replace(clients, settings=found))
        checks = {each.name: each async for each in task_checks(prober, Task())}
    assert checks["oms.region"].verdict is verdict
    assert told in checks["oms.region"].detail


async def test_failures_of_the_month_are_told(cloud: LocalCloud) -> None:
    cloud.prepare()
    next(iter(cloud.oms.tasks.values())).count(Statistic.FAILURE, 3, cloud.oms.clock.now())
    checks = await examined(cloud)
    assert ill(checks) == {"oms.month": CheckStatus.WARNING}
    assert "3 failed" in checks["oms.month"].detail


@pytest.mark.parametrize(
    ("attributes", "fix"),
    [
        (Attributes(visibility_timeout=5), "VisibilityTimeout"),
        (Attributes(visibility_timeout=7200), "VisibilityTimeout"),
        (Attributes(message_retention_period=3600), "MessageRetentionPeriod"),
    ],
)
async def test_a_queue_that_is_set_up_badly_is_a_warning(
    cloud: LocalCloud, attributes: Attributes, fix: str
) -> None:
    cloud.prepare(attributes=attributes)
    checks = await examined(cloud)
    assert ill(checks) == {"mns.queue": CheckStatus.WARNING}
    assert fix in checks["mns.queue"].fix


async def test_a_waiting_message_is_received_on_request_only_and_given_back(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    cloud.mns.publish("oss-events", "hello")
    checks = await examined(cloud)
    assert "--receive" in checks["mns.receive"].detail
    assert skipped(checks) == {"mns.receive", "mns.events", "oms.post", "obs"}
    assert checks["mns.events"].detail == "unknown: no visible message can be read"
    assert calls(cloud, "mns", "BatchReceiveMessage") == 0
    checks = await examined(cloud, DoctorOptions(may_receive=True))
    assert checks["mns.receive"].verdict is CheckStatus.OK
    assert "given back" in checks["mns.receive"].detail
    cloud.mns.clock.offset_seconds = 1.1
    assert bodies(cloud) == ["hello"]


async def test_where_nobody_may_peek_no_message_is_claimed_to_wait(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.alibaba.add(replace(ALIBABA, denied=("mns:PeekMessage",)))
    checks = await examined(cloud)
    assert checks["mns.receive"].detail.startswith("not tried: messages may wait")


async def test_a_key_is_posted_on_request_only(cloud: LocalCloud) -> None:
    cloud.prepare()
    checks = await examined(cloud, DoctorOptions(key="猫/😀\x01.jpg"))
    assert checks["oms.post"].verdict is CheckStatus.OK
    assert [list(post.keys) for post in cloud.oms.posts] == [["猫/😀\x01.jpg"]]


@pytest.mark.parametrize("name", ["MNS_ENDPOINT", "OSS_ENDPOINT", "SYNC_URL"])
async def test_a_port_that_nobody_serves_is_told_and_the_others_are_checked(
    cloud: LocalCloud, name: str
) -> None:
    cloud.prepare()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        if name == "SYNC_URL":
            url += "/v2/p/sync-tasks/t/events"
        checks = await examined(cloud, settings={name: url})
    service = "oms" if name == "SYNC_URL" else name[:3].lower()
    assert ill(checks) == {f"{service}.network": CheckStatus.FAILURE}
    assert "open outgoing TCP" in checks[f"{service}.network"].fix
    others = {"mns.queue", "oss.write", "oms.task"} - {
        each for each in checks if each.startswith(f"{service}.")
    }
    assert all(checks[each].verdict is CheckStatus.OK for each in others)


async def test_a_name_that_does_not_resolve_is_told(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()

    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", getaddrinfo)
    checks = await examined(cloud)
    assert ill(checks) == {f"{each}.network": CheckStatus.FAILURE for each in ("mns", "oss", "oms")}
    assert "cannot be resolved" in checks["oss.network"].detail
    assert "DNS" in checks["oss.network"].fix


@pytest.mark.parametrize("action", [Action.CUT_BEFORE, Action.CUT_AFTER])
async def test_a_call_without_an_answer_is_not_repeated(cloud: LocalCloud, action: Action) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oss", "PutObject", action))
    checks = await examined(cloud)
    assert ill(checks) == {"oss.write": CheckStatus.FAILURE}
    assert {"oss.read", "oss.list", "oss.delete"} <= skipped(checks)


async def test_what_passes_is_told_to_pass(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.faults.add(Fault("oms", "ShowSyncTask", Action.STATUS, 503))
    checks = await examined(cloud)
    assert "if it passes" in checks["oms.task"].fix


async def test_a_bucket_of_another_region_names_the_settings_to_change(cloud: LocalCloud) -> None:
    cloud.prepare()
    text = "The bucket you are attempting to access must be addressed using the specified endpoint."
    body = f"<Error><Code>AccessDenied</Code><Message>{text}</Message></Error>"
    cloud.faults.add(
        Fault("oss", "PutObject", status=403, body=body, content_type="application/xml")
    )
    checks = await examined(cloud)
    assert "set OSS_ENDPOINT and OSS_REGION" in checks["oss.write"].fix


@pytest.mark.parametrize("encoding", ["x-none", "gb18030", "UTF-16"])
async def test_refusals_in_an_odd_encoding_are_told_like_any_other(
    cloud: LocalCloud, encoding: str
) -> None:
    cloud.prepare()
    body = f'<?xml version="1.0" encoding="{encoding}"?><Error><Code>AccessDenied</Code></Error>'
    for service in ("mns", "oss", "obs"):
        cloud.faults.add(Fault(service, status=409, body=body, content_type="application/xml"))
    found = await examined(cloud, settings=cloud.settings(with_destination=True))
    assert {"mns.queue", "oss.write", "obs.list"} <= set(ill(found))
