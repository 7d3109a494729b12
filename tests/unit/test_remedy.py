from __future__ import annotations

import pytest

from doubles.build import failure
from worker.advice.remedy import remedy
from worker.errors import Blame
from worker.observe.journal import hint


@pytest.mark.parametrize(
    ("service", "code", "message", "mends"),
    [
        ("mns", "SignatureDoesNotMatch", "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not the secret"),
        ("oss", "InvalidAccessKeyId", "", "ALIBABA_CLOUD_ACCESS_KEY_ID names no enabled key"),
        ("oss", "SecurityTokenExpired", "", "fetch fresh temporary credentials"),
        ("mns", "TimeExpired", "", "sudo chronyc makestep"),
        ("oss", "RequestTimeTooSkewed", "", "sudo chronyc makestep"),
        ("oms", "APIGW.0301", "signature expired, signature time:1", "sudo chronyc makestep"),
        ("oms", "APIGW.0301", "run `sudo chronyc makestep`", "set the clock"),
        ("oms", "APIGW.0301", "Get secretKey failed,ak:X,err:ak not exist", "HW_AK names no"),
        ("oms", "APIGW.0301", "AK access failed to reach the limit,forbidden", "Huawei has locked"),
    ],
)
def test_words_that_leave_one_cause_name_what_mends_it(
    service: str, code: str, message: str, mends: str
) -> None:
    found = failure(Blame.CREDENTIALS, service=service, code=code, message=message)
    assert mends in (remedy(found) or "")
    assert hint(found) == remedy(found)


def test_a_stopped_task_has_to_be_started() -> None:
    stopped = failure(Blame.SERVICE, service="oms", message="the sync task is STOPPED")
    assert "start the task in the OMS console" in hint(stopped)


@pytest.mark.parametrize(
    ("code", "mends"),
    [
        ("OMS.0201", "real-name authentication"),
        ("OMS.0202", "real-name authentication"),
        ("OMS.0203", "real-name authentication"),
        ("OMS.0204", "real-name authentication"),
        ("OMS.1020", "destination bucket"),
        ("OMS.1021", "quota"),
        ("OMS.0072", "oms:synctask:createEvent"),
        ("OMS.0054", "copy SYNC_URL"),
        ("OMS.1009", "copy SYNC_URL"),
        ("S3M.1009", "copy SYNC_URL"),
    ],
)
def test_a_code_of_oms_that_is_about_no_key_says_what_to_mend(code: str, mends: str) -> None:
    assert mends in hint(failure(Blame.SERVICE, service="oms", status=400, code=code))


@pytest.mark.parametrize(
    ("service", "blame", "message"),
    [
        ("oms", Blame.CREDENTIALS, "verify aksk signature fail"),
        ("oms", Blame.SERVICE, "ak not exist"),
        ("mns", Blame.SERVICE, "AK access failed to reach the limit"),
        ("oss", Blame.CREDENTIALS, ""),
    ],
)
def test_where_more_than_one_cause_is_left_nothing_is_claimed(
    service: str, blame: Blame, message: str
) -> None:
    assert remedy(failure(blame, service=service, message=message)) is None
