"""A service cannot be used: receiving has stopped, the commands name what mends it, and then it goes on."""

from __future__ import annotations

from dataclasses import replace

from harness.incident import Incident, deny
from harness.runbook_cases import Change, case
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import ALIBABA, HUAWEI, Identity
from localcloud.oms.errors import (
    JSON,
    RefusedError,
    account_frozen,
    destination_denied,
    no_such_task,
)

WRONG = "a-wrong-secret"
THROTTLED = '{"error_msg": "over ratelimit,limit:100,time:1 minute", "error_code": "APIGW.0308"}'


def wrong_at_start(incident: Incident, service: str, mend: Change) -> None:
    """The relay says at once what is wrong, and works once that is mended."""
    incident.refused(service)
    incident.shows(incident.status() + incident.ask("doctor"))
    incident.cloud(mend)
    incident.probed()


def broken_at_work(
    incident: Incident, service: str, fault: Change, mend: Change, *options: str
) -> None:
    """Something breaks while the relay works: all that was sent is done after the mending."""
    incident.works()
    incident.cloud(fault)
    incident.send("a", "b")
    incident.refused(service)
    incident.shows(incident.status() + incident.ask("doctor", *options))
    incident.cloud(mend)
    incident.recovered()


def denied_at_work(incident: Incident, service: str, action: str, *options: str) -> None:
    """A right is taken away while the relay works."""
    broken_at_work(incident, service, lambda cloud: deny(cloud, action), deny, *options)


def failing_at_work(incident: Incident, *faults: Fault, options: tuple[str, ...] = ()) -> None:
    """Calls fail so, until the faults are cleared."""

    def fail(cloud: LocalCloud) -> None:
        for fault in faults:
            cloud.faults.add(replace(fault))

    broken_at_work(incident, faults[0].service, fail, lambda cloud: cloud.faults.clear(), *options)


def refusing(operation: str, refusal: RefusedError) -> Fault:
    """OMS answers as it words that refusal."""
    body = str(refusal.reply("").body)
    return Fault("oms", operation, status=refusal.status, body=body, content_type=JSON)


def set_clocks(cloud: LocalCloud, seconds: float) -> None:
    for service in (cloud.mns, cloud.oss, cloud.oms):
        service.clock.offset_seconds = seconds


@case("**AK locked**: `AK access failed to reach the limit`")
def test_the_huawei_key_is_locked(incident: Incident) -> None:
    incident.works()
    for _ in range(6):
        incident.ask("doctor", HW_SK=WRONG)
    incident.send("a")
    incident.refused("oms")
    incident.shows(incident.status() + incident.ask("doctor"))
    incident.cloud(lambda cloud: cloud.oms.gateway.unlock())
    incident.recovered()


@case("`401 APIGW.0301`, `verify aksk signature fail`", settings={"HW_SK": WRONG})
def test_the_huawei_secret_is_wrong(incident: Incident) -> None:
    right = Identity(HUAWEI.access_key, WRONG)
    wrong_at_start(incident, "oms", lambda cloud: cloud.huawei.add(right))


@case("`ak not exist`", settings={"HW_AK": "NOBODY"})
def test_the_huawei_key_does_not_exist(incident: Incident) -> None:
    right = Identity("NOBODY", HUAWEI.secret)
    wrong_at_start(incident, "oms", lambda cloud: cloud.huawei.add(right))


@case("`SignatureDoesNotMatch`", settings={"ALIBABA_CLOUD_ACCESS_KEY_SECRET": WRONG})
def test_the_alibaba_secret_is_wrong(incident: Incident) -> None:
    right = Identity(ALIBABA.access_key, WRONG)
    wrong_at_start(incident, "mns", lambda cloud: cloud.alibaba.add(right))


@case("`InvalidAccessKeyId`", settings={"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAInobody"})
def test_the_alibaba_key_does_not_exist(incident: Incident) -> None:
    right = Identity("LTAInobody", ALIBABA.secret)
    wrong_at_start(incident, "oss", lambda cloud: cloud.alibaba.add(right))


@case(
    "`TimeExpired`, `RequestTimeTooSkewed`, `signature expired`",
    lambda cloud: set_clocks(cloud, 3600),
)
def test_the_clock_of_the_machine_is_wrong(incident: Incident) -> None:
    for service in ("mns", "oss", "oms"):
        incident.refused(service)
    printed = incident.status() + incident.ask("doctor")
    assert "clock is 3600 s behind oms's" in printed
    incident.shows(printed)
    incident.cloud(lambda cloud: set_clocks(cloud, 0))
    incident.probed()


@case("`not known to be SYNCHRONIZING`", lambda cloud: deny(cloud, "oms:synctask:get"))
def test_keys_are_refused_and_the_task_may_not_be_asked(incident: Incident) -> None:
    incident.works()
    incident.cloud(lambda cloud: setattr(cloud.oms, "reject", ("bad",)))
    incident.send("bad")
    incident.refused("oms")
    incident.shows(incident.status() + incident.ask("doctor"))
    incident.cloud(deny)
    incident.recovered()
    assert "bad" in incident.ask("records", "failed")


@case("`the sync task is STOPPED`")
def test_the_sync_task_is_stopped(incident: Incident) -> None:
    incident.works()
    incident.stop_task()
    incident.send("a", "b")
    oms = incident.relay.breaker("oms")
    incident.until(lambda: "STOPPED" in str(oms.failure), "a probe of the stopped task")
    incident.shows(incident.status() + incident.ask("doctor"))
    incident.start_task()
    incident.recovered()


@case("`404 QueueNotExist`", settings={"MNS_QUEUE": "nowhere"})
def test_the_queue_does_not_exist(incident: Incident) -> None:
    wrong_at_start(incident, "mns", lambda cloud: cloud.mns.create_queue("nowhere"))


@case("`404 NoSuchBucket`", settings={"LOG_BUCKET": "nowhere"})
def test_the_log_bucket_does_not_exist(incident: Incident) -> None:
    wrong_at_start(incident, "oss", lambda cloud: cloud.oss.create_bucket("nowhere"))


@case("`signing region`", settings={"OSS_REGION": "cn-beijing"})
def test_the_region_of_the_log_bucket_is_another(incident: Incident) -> None:
    def move(cloud: LocalCloud) -> None:
        cloud.oss.buckets["relay-log"].region = "cn-beijing"

    wrong_at_start(incident, "oss", move)


@case("`404 OMS.1009`")
def test_the_sync_task_does_not_exist(incident: Incident) -> None:
    failing_at_work(incident, refusing("*Sync*", no_such_task()))


@case("`400 OMS.1009`")
def test_the_sync_task_does_not_exist_and_oms_says_400(incident: Incident) -> None:
    refusal = RefusedError(400, "OMS.1009", "No resources found.")
    failing_at_work(incident, refusing("*Sync*", refusal))


@case("`400 OMS.0202`")
def test_the_huawei_account_is_frozen(incident: Incident) -> None:
    # The task still says that it is SYNCHRONIZING.
    frozen = refusing("CreateSyncEvents", account_frozen())
    failing_at_work(incident, frozen, options=("--post", "a"))


@case("`400 OMS.1020`")
def test_the_destination_bucket_cannot_be_written(incident: Incident) -> None:
    # Here, too, the task says that it is SYNCHRONIZING.
    unreachable = refusing("CreateSyncEvents", destination_denied())
    failing_at_work(incident, unreachable, options=("--post", "a"))


@case("`mns-acks cannot be used`, `BatchDeleteMessage ... AccessDenied`")
def test_messages_may_not_be_deleted(incident: Incident) -> None:
    denied_at_work(incident, "mns-acks", "mns:DeleteMessage")


@case("`mns cannot be used`, `AccessDenied`")
def test_messages_may_not_be_received(incident: Incident) -> None:
    denied_at_work(incident, "mns", "mns:ReceiveMessage")


@case("`oss cannot be used`, `AccessDenied`")
def test_records_may_not_be_written(incident: Incident) -> None:
    denied_at_work(incident, "oss", "oss:PutObject")


@case("`oms cannot be used`, `APIGW.0302`")
def test_keys_may_not_be_posted(incident: Incident) -> None:
    denied_at_work(incident, "oms", "oms:synctask:createEvent", "--post", "a")


@case("`answered 429`, `answered 503`")
def test_services_throttle_or_are_out(incident: Incident) -> None:
    failing_at_work(
        incident,
        Fault("oms", "*Sync*", status=429, body=THROTTLED, content_type=JSON),
        Fault("oss", "*Object*", status=503),
    )


@case("`gave no answer`")
def test_a_service_gives_no_answer(incident: Incident) -> None:
    failing_at_work(incident, Fault("oms", "*Sync*", Action.CUT_BEFORE))
