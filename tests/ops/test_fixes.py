from __future__ import annotations

import pytest

from localcloud.cloud import LocalCloud
from worker.errors import Blame, Failure, Outcome
from worker.operate.fixes import fix
from worker.settings import Settings, load_settings


@pytest.fixture
def settings(cloud: LocalCloud) -> Settings:
    cloud.prepare()
    return load_settings(cloud.settings(), dotenv=None)


@pytest.mark.parametrize(
    ("service", "status", "code", "blame", "message", "text"),
    [
        ("mns", 403, "InvalidSecurityToken", Blame.CREDENTIALS, "", "fresh temporary credentials"),
        ("mns", 408, "TimeExpired", Blame.CREDENTIALS, "", "sudo chronyc makestep"),
        ("oss", 403, "RequestTimeTooSkewed", Blame.CREDENTIALS, "", "sudo chronyc makestep"),
        ("oss", 401, "", Blame.CREDENTIALS, "", "check the Alibaba access key"),
        ("oss", 409, "Odd", Blame.SERVICE, "", "check LOG_BUCKET, OSS_ENDPOINT and OSS_REGION"),
        ("mns", 301, "", Blame.SERVICE, "", "check that MNS_ENDPOINT"),
        (
            "oms",
            401,
            "APIGW.0301",
            Blame.CREDENTIALS,
            "run `sudo chronyc makestep`",
            "set the clock",
        ),
        ("oms", 405, "APIGW.0802", Blame.SERVICE, "", "the state of the Huawei account"),
        ("oms", 400, "OMS.0202", Blame.SERVICE, "", "the Huawei account is restricted, frozen"),
        ("oms", 400, "OMS.0072", Blame.SERVICE, "", "grant oms:synctask:get"),
        ("oms", 400, "OMS.0079", Blame.SERVICE, "", "check SYNC_URL and the state"),
        ("oms", 400, "OMS.0054", Blame.SERVICE, "", "copy SYNC_URL"),
        ("oms", 400, "OMS.1009", Blame.SERVICE, "", "copy SYNC_URL"),
        ("oms", 400, "S3M.1009", Blame.SERVICE, "", "copy SYNC_URL"),
        ("oms", 400, "OMS.0999", Blame.ITEM, "", "copy SYNC_URL"),
        ("oms", 404, "OMS.1009", Blame.SERVICE, "", "copy SYNC_URL"),
        ("oms", 400, "OMS.1005", Blame.CREDENTIALS, "", "HW_AK and HW_SK are not a pair"),
        ("oms", 0, "", Blame.PASSING, "timed out", "check the network"),
        ("oms", 503, "", Blame.PASSING, "", "try again in a while"),
    ],
)
def test_each_failure_has_its_fix(
    settings: Settings, service: str, status: int, code: str, blame: Blame, message: str, text: str
) -> None:
    failure = Failure(service, "Any", Outcome.RETRY_LATER, blame, status, code, message)
    assert text in fix(failure, settings)
