"""Trials of the rows about services that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.night import Night
from harness.trials import Change, tries
from localcloud.cloud import TASK_ID, LocalCloud
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


def at_start(row: str, service: str, mend: Change, **settings: str) -> None:
    """Something is wrong when the relay starts: it says so at once, and works once that is mended."""

    @tries(row, settings=settings)
    def _(night: Night) -> Iterator[str]:
        night.refused(service)
        yield night.status() + night.ask("doctor")
        night.cloud(mend)
        night.probed()


def at_work(row: str, service: str, fault: Change, mend: Change, *options: str) -> None:
    """Something breaks while the relay works: all that was sent is done after the mending."""

    @tries(row)
    def _(night: Night) -> Iterator[str]:
        night.works()
        night.cloud(fault)
        night.send("a", "b")
        night.refused(service)
        yield night.status() + night.ask("doctor", *options)
        night.cloud(mend)
        night.recovered()


def deny(cloud: LocalCloud, *actions: str) -> None:
    cloud.alibaba.add(replace(ALIBABA, denied=actions))
    cloud.huawei.add(replace(HUAWEI, denied=actions))


def denied(row: str, service: str, action: str, *options: str) -> None:
    at_work(row, service, lambda cloud: deny(cloud, action), deny, *options)


def failing(row: str, *faults: Fault, options: tuple[str, ...] = ()) -> None:
    def fail(cloud: LocalCloud) -> None:
        for fault in faults:
            cloud.faults.add(replace(fault))

    at_work(row, faults[0].service, fail, lambda cloud: cloud.faults.clear(), *options)


def refusing(operation: str, refusal: RefusedError) -> Fault:
    """OMS answers as it words that refusal."""
    body = str(refusal.reply("").body)
    return Fault("oms", operation, status=refusal.status, body=body, content_type=JSON)


def set_clocks(cloud: LocalCloud, seconds: float) -> None:
    for service in (cloud.mns, cloud.oss, cloud.oms):
        service.clock.offset_seconds = seconds


@tries("**AK locked**: `AK access failed to reach the limit`")
def _locked(night: Night) -> Iterator[str]:
    night.works()
    for _ in range(6):
        night.ask("doctor", HW_SK=WRONG)
    night.send("a")
    night.refused("oms")
    yield night.status() + night.ask("doctor")
    night.cloud(lambda cloud: cloud.oms.gateway.unlock())
    night.recovered()


@tries(
    "`TimeExpired`, `RequestTimeTooSkewed`, `signature expired`",
    lambda cloud: set_clocks(cloud, 3600),
)
def _clock(night: Night) -> Iterator[str]:
    for service in ("mns", "oss", "oms"):
        night.refused(service)
    printed = night.status() + night.ask("doctor")
    assert "clock is 3600 s behind oms's" in printed
    yield printed
    night.cloud(lambda cloud: set_clocks(cloud, 0))
    night.probed()


at_start(
    "`401 APIGW.0301`, `verify aksk signature fail`",
    "oms",
    lambda cloud: cloud.huawei.add(Identity(HUAWEI.access_key, WRONG)),
    HW_SK=WRONG,
)
at_start(
    "`ak not exist`",
    "oms",
    lambda cloud: cloud.huawei.add(Identity("NOBODY", HUAWEI.secret)),
    HW_AK="NOBODY",
)
at_start(
    "`SignatureDoesNotMatch`",
    "mns",
    lambda cloud: cloud.alibaba.add(Identity(ALIBABA.access_key, WRONG)),
    ALIBABA_CLOUD_ACCESS_KEY_SECRET=WRONG,
)
at_start(
    "`InvalidAccessKeyId`",
    "oss",
    lambda cloud: cloud.alibaba.add(Identity("LTAInobody", ALIBABA.secret)),
    ALIBABA_CLOUD_ACCESS_KEY_ID="LTAInobody",
)
at_start(
    "`404 QueueNotExist`",
    "mns",
    lambda cloud: cloud.mns.create_queue("nowhere"),
    MNS_QUEUE="nowhere",
)
at_start(
    "`404 NoSuchBucket`",
    "oss",
    lambda cloud: cloud.oss.create_bucket("nowhere"),
    LOG_BUCKET="nowhere",
)
at_start(
    "`signing region`",
    "oss",
    lambda cloud: setattr(cloud.oss.buckets["relay-log"], "region", "cn-beijing"),
    OSS_REGION="cn-beijing",
)


@tries("`the sync task is STOPPED`")
def _stopped(night: Night) -> Iterator[str]:
    night.works()
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].stop())
    night.send("a", "b")
    oms = night.relay.breaker("oms")
    night.until(lambda: "STOPPED" in str(oms.failure), "a probe of the stopped task")
    yield night.status() + night.ask("doctor")
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].start(cloud.oms.clock.now()))
    night.recovered()


denied("`mns-acks open`, `BatchDeleteMessage ... AccessDenied`", "mns-acks", "mns:DeleteMessage")
denied("`mns open`, `AccessDenied`", "mns", "mns:ReceiveMessage")
denied("`oss open`, `AccessDenied`", "oss", "oss:PutObject")
denied("`oms open`, `APIGW.0302`", "oms", "oms:synctask:createEvent", "--post", "a")


@tries("`not known to be SYNCHRONIZING`", lambda cloud: deny(cloud, "oms:synctask:get"))
def _not_known(night: Night) -> Iterator[str]:
    night.works()
    night.cloud(lambda cloud: setattr(cloud.oms, "reject", ("bad",)))
    night.send("bad")
    night.refused("oms")
    yield night.status() + night.ask("doctor")
    night.cloud(deny)
    night.recovered()
    assert "bad" in night.ask("records", "failed")


failing("`404 OMS.1009`", refusing("*Sync*", no_such_task()))
failing("`400 OMS.1009`", refusing("*Sync*", RefusedError(400, "OMS.1009", "No resources found.")))
for row, refusal in {
    "`400 OMS.0202`": account_frozen(),
    "`400 OMS.1020`": destination_denied(),
}.items():
    # The task still says that it is SYNCHRONIZING.
    failing(row, refusing("CreateSyncEvents", refusal), options=("--post", "a"))
failing(
    "`answered 429`, `answered 503`",
    Fault("oms", "*Sync*", status=429, body=THROTTLED, content_type=JSON),
    Fault("oss", "*Object*", status=503),
)
failing("`gave no answer`", Fault("oms", "*Sync*", Action.CUT_BEFORE))
