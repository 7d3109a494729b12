from __future__ import annotations

import json
from typing import Any

import pytest

from doubles.build import failure
from worker.advice import (
    CAUSE_FIRST,
    OTHER_BUCKET,
    TEXTS,
    UNKNOWN_BUCKET,
    UNREAD_BUCKET,
    Advice,
    Cause,
    advise,
    cause_from,
    cause_of,
    told,
)
from worker.console.words import load
from worker.errors import FROM_ELSEWHERE, Blame, Failure, Outcome

LOG = "log/oms_source_record/t/success_object/a"


@pytest.mark.parametrize(
    ("service", "status", "code", "message", "name"),
    [
        ("mns", 403, "SignatureDoesNotMatch", "", "alibaba.secret"),
        ("mns", 403, "InvalidSecurityToken", "", "alibaba.token"),
        ("mns", 408, "TimeExpired", "", "clock"),
        ("oss", 403, "InvalidAccessKeyId", "", "alibaba.key"),
        ("oss", 403, "SecurityTokenExpired", "", "alibaba.token"),
        ("oss", 403, "RequestTimeTooSkewed", "", "clock"),
        ("oss", 401, "", "", "alibaba.credentials"),
        ("oms", 401, "APIGW.0301", "signature expired, signature time:1", "clock"),
        ("oms", 401, "APIGW.0301", "x; this machine's clock is 999 s ahead of Huawei's", "clock"),
        ("oms", 401, "APIGW.0301", "Get secretKey failed,ak:X,err:ak not exist", "oms.key"),
        ("oms", 401, "APIGW.0301", "AK access failed to reach the limit,forbidden", "oms.locked"),
        ("oms", 401, "APIGW.0301", "verify aksk signature fail", "oms.pair"),
        ("oms", 400, "OMS.1005", "", "oms.pair"),
        ("obs", 403, "SignatureDoesNotMatch", "", "obs.pair"),
        ("obs", 403, "InvalidAccessKeyId", "", "obs.key"),
        ("obs", 400, "TooManyWrongSignature", "", "obs.locked"),
        ("obs", 403, "RequestTimeTooSkewed", "", "clock"),
        ("obs", 403, "", "", "obs.unsaid"),
    ],
)
def test_refused_credentials_name_the_most_precise_cause(
    service: str, status: int, code: str, message: str, name: str
) -> None:
    found = failure(Blame.CREDENTIALS, service=service, status=status, code=code, message=message)
    assert advise(found).name == name


@pytest.mark.parametrize(
    ("service", "status", "code", "blame", "message", "name"),
    [
        ("mns", 301, "", Blame.SERVICE, "", "mns.endpoint"),
        ("mns", 404, "QueueNotExist", Blame.SERVICE, "", "mns.no_queue"),
        ("oss", 403, "AccessDenied", Blame.SERVICE, "use the specified endpoint.", "oss.endpoint"),
        ("oss", 403, "UserDisable", Blame.SERVICE, "", "alibaba.account"),
        ("oss", 400, "InvalidArgument", Blame.SERVICE, "Invalid signing region", "oss.region"),
        ("oss", 409, "Odd", Blame.SERVICE, "", "oss.settings"),
        ("oms", 200, "", Blame.SERVICE, "the sync task is STOPPED", "oms.start_task"),
        ("oms", 200, "", Blame.SERVICE, "the sync task copies LOG_BUCKET (x)", "oms.log_is_source"),
        ("oms", 400, "OMS.0054", Blame.SERVICE, "", "oms.no_task"),
        ("oms", 400, "OMS.0072", Blame.SERVICE, "", "grant.iam"),
        ("oms", 400, "OMS.0079", Blame.SERVICE, "", "oms.settings"),
        ("oms", 400, "OMS.0201", Blame.SERVICE, "", "oms.account"),
        ("oms", 400, "OMS.0202", Blame.SERVICE, "", "oms.account"),
        ("oms", 400, "OMS.0203", Blame.SERVICE, "", "oms.account"),
        ("oms", 400, "OMS.0204", Blame.SERVICE, "", "oms.account"),
        ("oms", 400, "OMS.0999", Blame.ITEM, "", "oms.no_task"),
        ("oms", 400, "OMS.1009", Blame.SERVICE, "", "oms.no_task"),
        ("oms", 400, "OMS.1020", Blame.SERVICE, "", "oms.destination"),
        ("oms", 400, "OMS.1021", Blame.SERVICE, "", "oms.quota"),
        ("oms", 400, "S3M.1009", Blame.SERVICE, "", "oms.no_task"),
        ("oms", 404, "OMS.1009", Blame.SERVICE, "", "oms.no_task"),
        ("oms", 404, "", Blame.SERVICE, "", "oms.no_task"),
        ("oms", 405, "APIGW.0802", Blame.SERVICE, "ak not exist", "oms.settings"),
        ("obs", 404, "NoSuchBucket", Blame.SERVICE, "", "obs.no_bucket"),
        ("obs", 403, "VirtualHostDomainRequired", Blame.SERVICE, "", "obs.endpoint"),
        ("obs", 400, "Odd", Blame.SERVICE, "", "obs.settings"),
        ("obs", 0, "", Blame.PASSING, f"{UNKNOWN_BUCKET}: why", "obs.bucket"),
        ("obs", 0, "", Blame.PASSING, f"{UNREAD_BUCKET}: why", "obs.not_yet"),
        ("obs", 0, "", Blame.PASSING, f"{OTHER_BUCKET}: why", "obs.other_bucket"),
        ("oms", 0, "", Blame.PASSING, "timed out", "network"),
        ("oms", 503, "", Blame.PASSING, "", "passing"),
        ("oms", 200, "", Blame.PASSING, f"{FROM_ELSEWHERE}OMS: <html>", "stranger"),
    ],
)
def test_each_failure_has_its_advice(
    service: str, status: int, code: str, blame: Blame, message: str, name: str
) -> None:
    found = Failure(service, "Any", Outcome.RETRY_LATER, blame, status, code, message)
    assert advise(found).name == name
    assert str(advise(found))


@pytest.mark.parametrize(
    ("service", "operation", "resource", "text"),
    [
        (
            "mns",
            "BatchReceiveMessage",
            "q",
            "grant mns:ReceiveMessage on acs:mns:*:*:/queues/q/messages",
        ),
        (
            "mns",
            "BatchDeleteMessage",
            "q",
            "grant mns:DeleteMessage on acs:mns:*:*:/queues/q/messages",
        ),
        ("mns", "BatchPeekMessage", "q", "grant mns:PeekMessage on acs:mns:*:*:/queues/q/messages"),
        (
            "mns",
            "GetQueueAttributes",
            "q",
            "grant mns:GetQueueAttributes on acs:mns:*:*:/queues/q ",
        ),
        ("oss", "PutObject", LOG, "grant oss:PutObject on acs:oss:*:*:log/oms_source_record/*"),
        ("oss", "HeadObject", "films/a.txt", "grant oss:GetObject on acs:oss:*:*:films/* "),
        ("oss", "ListObjectsV2", LOG, "grant oss:ListObjects on acs:oss:*:*:log "),
        ("oms", "CreateSyncEvents", "", "grant oms:synctask:createEvent (a custom IAM policy)"),
        ("oms", "ShowSyncTask", "", "grant oms:synctask:get (a custom IAM policy)"),
    ],
)
def test_a_denied_call_names_the_action_to_grant_and_on_what(
    service: str, operation: str, resource: str, text: str
) -> None:
    more: dict[str, Any] = {"status": 403, "code": "AccessDenied", "resource": resource}
    denied = failure(Blame.SERVICE, service=service, operation=operation, **more)
    assert text in str(advise(denied))


def test_a_missing_thing_is_named_with_its_place() -> None:
    more: dict[str, Any] = {"status": 404, "place": "cn-hangzhou"}
    lost = failure(Blame.SERVICE, service="oss", code="NoSuchBucket", resource=LOG, **more)
    assert str(advise(lost)) == "create the bucket log in cn-hangzhou, or correct LOG_BUCKET"
    other = failure(Blame.SERVICE, service="oss", code="NoSuchBucket", resource="films/", **more)
    assert "there is no films in cn-hangzhou" in str(advise(other))
    more = {"code": "QueueNotExist", "resource": "q", "place": "http://1.mns.example"}
    queue = failure(Blame.SERVICE, service="mns", status=404, **more)
    assert "create the queue q at http://1.mns.example" in str(advise(queue))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "does not speak TLS",
            "that port speaks no TLS: name the TLS port in SYNC_URL, or begin it",
        ),
        ("speaks TLS only", "that port speaks TLS only: begin SYNC_URL with https://"),
    ],
)
def test_a_port_of_another_protocol_is_told_with_the_setting_to_change(
    words: str, text: str
) -> None:
    message = f"oms.example:443 {words}: check scheme and port of SYNC_URL"
    found = failure(Blame.PASSING, status=0, message=message)
    assert str(advise(found)).startswith(text)


@pytest.mark.parametrize("name", sorted(CAUSE_FIRST))
def test_where_the_advice_knows_the_cause_the_cause_comes_first(name: str) -> None:
    cause, step = told("oms Call answered 401", Advice(name), TEXTS[name])
    assert cause.endswith(" (oms Call answered 401)")
    assert f"{cause.removesuffix(' (oms Call answered 401)')}: {step}" == TEXTS[name]
    chinese = load()["zh"].texts[f"advice.{name}"]
    assert told("x", Advice(name), chinese)[0].endswith(" (x)")


def test_a_cause_survives_its_json() -> None:
    lost = failure(Blame.SERVICE, service="oss", code="NoSuchBucket", resource=LOG, status=404)
    for cause in (cause_of(lost), Cause("stopping")):
        assert cause_from(json.loads(json.dumps(cause.as_object()))) == cause
    assert str(Cause("stopping")) == "stopping"
    assert str(cause_of(lost)) == f"{lost}; {advise(lost)}"


@pytest.mark.parametrize("name", TEXTS)
def test_no_advice_ends_like_a_sentence(name: str) -> None:
    """Faces put it into sentences of their own."""
    assert not TEXTS[name].endswith(".")
    assert Advice(name).name == name
