"""What mends a failed call, as far as its own words tell: the key, its secret, the clock, the stopped task.

Facts: MNS "error responses"; OSS error codes (403); API Gateway "AK/SK authentication" and error codes; OMS
error codes (0054, 0201 to 0204, 1009, 1020, 1021). An unknown task is answered 404, or 400 with OMS.1009.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.errors import Blame, Failure

CLOCK = "set the clock: sudo chronyc makestep, and keep chronyd or systemd-timesyncd running"
START_TASK = "start the task in the OMS console (it asks for both clouds' keys again)"
# By name, for readers of other languages.
REMEDIES: Mapping[str, str] = {
    "clock": CLOCK,
    "start_task": START_TASK,
    "no_task": "copy SYNC_URL from the task's details in the OMS console: this one names no task of this key",
    "locked": (
        "Huawei has locked this key, as it does for 5 minutes after more than 5 refused calls in a row: stop "
        "whatever else signs with a wrong secret, or correct HW_SK, and wait"
    ),
    "huawei_key": "HW_AK names no enabled key, or its token is missing: correct HW_AK and HW_SK",
    "huawei_account": (
        "the Huawei account is restricted, frozen or not verified: settle that in its console, under billing "
        "and real-name authentication"
    ),
    "huawei_quota": "a quota of the Huawei account is used up: raise it in its console",
    "destination": (
        "OMS cannot reach the destination bucket: let it exist and the task's Huawei key write to it; "
        "another key is given when the task is stopped and started again in the OMS console"
    ),
    "alibaba_key": (
        "ALIBABA_CLOUD_ACCESS_KEY_ID names no enabled key of this account, or lacks its security token: "
        "correct it, or enable the key in RAM"
    ),
    "alibaba_secret": "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not the secret of this key: correct it",
    "alibaba_token": "fetch fresh temporary credentials (ALIBABA_CLOUD_SECURITY_TOKEN)",
}
_ALIBABA = {
    "InvalidAccessKeyId": "alibaba_key",
    "SignatureDoesNotMatch": "alibaba_secret",
    "InvalidSecurityToken": "alibaba_token",
    "SecurityTokenExpired": "alibaba_token",
    "TimeExpired": "clock",
    "InvalidDateHeader": "clock",
    "RequestTimeTooSkewed": "clock",
}
_OMS = {
    "OMS.0054": "no_task",
    "OMS.1009": "no_task",
    "OMS.0201": "huawei_account",
    "OMS.0202": "huawei_account",
    "OMS.0203": "huawei_account",
    "OMS.0204": "huawei_account",
    "OMS.1020": "destination",
    "OMS.1021": "huawei_quota",
}
# By words of the answer, in the order in which they decide.
_HUAWEI = {
    "failed to reach the limit": "locked",
    "chronyc": "clock",
    "signature expired": "clock",
    "ak not exist": "huawei_key",
}


def remedy(failure: Failure) -> str | None:
    """Return what mends the call; None where its answer leaves more than one cause open."""
    name = named(failure)
    return REMEDIES[name] if name else None


def named(failure: Failure) -> str | None:
    """Return the name of the remedy, if there is one."""
    if failure.service == "oms" and failure.message.startswith("the sync task is STOPPED"):
        return "start_task"
    if failure.service == "oms" and failure.blame is Blame.SERVICE:
        # S3M is the former name of OMS; the numbers are the same.
        return _OMS.get(failure.code.replace("S3M.", "OMS.", 1))
    if failure.blame is not Blame.CREDENTIALS:
        return None
    if failure.service != "oms":
        return _ALIBABA.get(failure.code)
    return next((name for words, name in _HUAWEI.items() if words in failure.message), None)
