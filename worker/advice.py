"""What to do next after a failed call: decided here alone, worded by each face in its own language.

`advise` takes a failure and gives the name of an advice with the values in its text. `TEXTS` are the English
texts; the console has each in Chinese too. Facts: MNS "error responses" and "RAM authorization"; OSS error
codes (403, 404, 0002-00000226) and "RAM policy"; API Gateway "AK/SK authentication" and error codes; OMS
"permissions and actions" (oms_api_8003) and error codes (0053, 0054, 0072, 0201 to 0204, 1009, 1020, 1021).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.errors import FROM_ELSEWHERE, Blame, Failure
from worker.ledger.names import ROOT

TEXTS: Mapping[str, str] = {
    "passing": (
        "no action needed if it passes: the relay asks again at most 30 s apart; a command can be run again"
    ),
    "scheme.no_tls": (
        "that port speaks no TLS: name the TLS port in {setting}, or begin it with http://, which is "
        "accepted for MNS, and on loopback"
    ),
    "scheme.tls": "that port speaks TLS only: begin {setting} with https://",
    "network": "check the network between this machine and the endpoint, if it does not pass",
    "stranger": (
        "look for what answers in place of {vendor}: a proxy, a firewall, a log-in page, or a wrong endpoint"
    ),
    "clock": "set the clock: sudo chronyc makestep, and keep chronyd or systemd-timesyncd running",
    "grant.ram": "grant {action} on {resource} to the RAM identity of this key",
    "grant.iam": (
        "grant {action} (a custom IAM policy) to the user of HW_AK, in the project of SYNC_URL"
    ),
    "alibaba.key": (
        "ALIBABA_CLOUD_ACCESS_KEY_ID names no enabled key of this account, or lacks its security token: "
        "correct ALIBABA_CLOUD_ACCESS_KEY_ID, or enable the key in RAM"
    ),
    "alibaba.secret": (
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not the secret of this key: correct "
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
    ),
    "alibaba.token": "fetch fresh temporary credentials (ALIBABA_CLOUD_SECURITY_TOKEN)",
    "alibaba.credentials": "check the Alibaba access key, its secret, its token and the machine's clock",
    "alibaba.account": (
        "the Alibaba account is disabled, mostly for an overdue bill: settle that in its console"
    ),
    "mns.no_queue": (
        "create the queue {queue} at {endpoint}, or correct its name (MNS_QUEUE or MNS_DEAD_LETTER_QUEUE) "
        "or MNS_ENDPOINT"
    ),
    "mns.endpoint": (
        "check that MNS_ENDPOINT is the MNS endpoint of the account that owns the queue {queue}"
    ),
    "oss.no_log_bucket": "create the bucket {bucket} in {region}, or correct LOG_BUCKET",
    "oss.no_bucket": "correct the bucket's name: there is no {bucket} in {region}",
    "oss.endpoint": (
        "the bucket {bucket} is in another region: set OSS_ENDPOINT and OSS_REGION to the bucket's own"
    ),
    "oss.region": "OSS_REGION={region} is not the region of {bucket}: correct OSS_REGION, or leave it out",
    "oss.settings": "check LOG_BUCKET, OSS_ENDPOINT and OSS_REGION",
    "oms.locked": (
        "Huawei has locked this key, as it does for 5 minutes after more than 5 refused calls in a row: stop "
        "whatever else signs with a wrong secret, or correct HW_SK, and wait"
    ),
    "oms.key": "HW_AK names no enabled key, or its token is missing: correct HW_AK and HW_SK",
    "oms.pair": (
        "HW_AK and HW_SK are not a pair, or the key is disabled: correct HW_AK and HW_SK. More than 5 "
        "refused calls in a row lock the key for 5 minutes, so the relay asks once in 5 minutes"
    ),
    "oms.account": (
        "the Huawei account is restricted, frozen or not verified: settle that in its console, under billing "
        "and real-name authentication"
    ),
    "oms.quota": "a quota of the Huawei account is used up: raise it in its console",
    "oms.no_task": (
        "copy SYNC_URL from the task's details in the OMS console: this one names no task of this key"
    ),
    "oms.start_task": "start the task in the OMS console (it asks for both clouds' keys again)",
    "oms.log_is_source": "set LOG_BUCKET to another bucket than the one that the task copies",
    "oms.other_source": (
        "let bucket and sync_url of the route belong together: the bucket is the source of the task"
    ),
    "oms.destination": (
        "OMS cannot reach the destination bucket: let it exist and the task's Huawei key write to it; "
        "another key is given when the task is stopped and started again in the OMS console"
    ),
    "obs.bucket": (
        "let the relay read the sync task (oms:synctask:get), or set OBS_BUCKET to its destination bucket"
    ),
    "obs.not_yet": "wait until the sync task has been read: until then nothing is followed",
    "obs.unconfirmed": "let the relay read the sync task (oms:synctask:get) to be certain",
    "obs.several_sources": (
        "let the relay read the sync task (oms:synctask:get), to know which of these buckets is copied"
    ),
    "obs.other_bucket": "leave OBS_BUCKET out: then it is the bucket that the sync task names",
    "obs.no_bucket": "correct OBS_BUCKET or OBS_ENDPOINT: there is no bucket {bucket} at {endpoint}",
    "obs.endpoint": "set OBS_ENDPOINT to the OBS endpoint of the bucket's own region, such as https://obs.cn-north-4.myhuaweicloud.com",
    "obs.settings": "check OBS_ENDPOINT, OBS_BUCKET and the state of the Huawei account",
    "obs.key": (
        "OBS_AK (HW_AK where it is not set) names no enabled key, or its token is missing: correct OBS_AK"
    ),
    "obs.pair": (
        "OBS_AK and OBS_SK (HW_AK and HW_SK where they are not set) are not a pair: correct OBS_AK and "
        "OBS_SK. Wrong signatures lock a key, so the relay asks once in 5 minutes"
    ),
    "obs.locked": (
        "OBS has locked this key for its wrong signatures: correct OBS_SK, stop whatever else signs with it, "
        "and wait"
    ),
    "obs.unsaid": (
        "OBS does not say why: check that OBS_AK and OBS_SK are a pair, and grant obs:object:GetObject on "
        "{bucket} to their user"
    ),
    "grant.obs": (
        "grant {action} on {bucket} to the user of OBS_AK (of HW_AK where it is not set), and let no bucket "
        "policy refuse it"
    ),
    "oms.settings": "check SYNC_URL, that the task is SYNCHRONIZING, and the state of the Huawei account",
}

# Advice that begins with the cause, before the colon; vendors' texts say less here, at more length.
CAUSE_FIRST = frozenset(
    {
        *("alibaba.key", "alibaba.secret", "alibaba.account", "oss.endpoint", "oss.region"),
        *("oms.locked", "oms.key", "oms.pair", "oms.account", "oms.quota", "oms.destination"),
        *("obs.key", "obs.pair", "obs.locked"),
    }
)

# How a call that met another protocol says so; the name of the setting comes next.
NO_TLS = "does not speak TLS: check scheme and port of "
TLS_ONLY = "speaks TLS only: check scheme and port of "
_SCHEMES = {NO_TLS: "scheme.no_tls", TLS_ONLY: "scheme.tls"}

# How the relay's own findings begin: they come with a 200 or no call at all, and no code of a vendor's.
TASK_STOPPED = "the sync task is "
UNKNOWN_BUCKET = "the destination bucket is not known"
UNREAD_BUCKET = "the destination bucket is not yet known"
OTHER_BUCKET = "the sync task copies to another bucket"
SEVERAL_SOURCES = "events of several buckets come, and which one the sync task copies is not known"
LOG_IS_SOURCE = "the sync task copies LOG_BUCKET"
OTHER_SOURCE = "the sync task copies another bucket than the route names"
_FINDINGS = {
    LOG_IS_SOURCE: "oms.log_is_source",
    TASK_STOPPED: "oms.start_task",
    OTHER_SOURCE: "oms.other_source",
}

_OF_BUCKETS = {
    UNKNOWN_BUCKET: "obs.bucket",
    UNREAD_BUCKET: "obs.not_yet",
    OTHER_BUCKET: "obs.other_bucket",
    SEVERAL_SOURCES: "obs.several_sources",
}

_ALIBABA_CREDENTIALS = {
    "InvalidAccessKeyId": "alibaba.key",
    "SignatureDoesNotMatch": "alibaba.secret",
    "InvalidSecurityToken": "alibaba.token",
    "SecurityTokenExpired": "alibaba.token",
    "TimeExpired": "clock",
    "InvalidDateHeader": "clock",
    "RequestTimeTooSkewed": "clock",
}
_OBS_CREDENTIALS = {
    "ExpiredToken": "obs.key",
    "InvalidAccessKeyId": "obs.key",
    "InvalidToken": "obs.key",
    "RequestTimeTooSkewed": "clock",
    "TooManyWrongSignature": "obs.locked",
}
_OBS_ACTIONS = {
    "HeadObject": "obs:object:GetObject",
    "GetObject": "obs:object:GetObject",
    "DeleteObject": "obs:object:DeleteObject",
    "ListObjects": "obs:bucket:ListBucket",
}
_OMS_CODES = {
    "OMS.0054": "oms.no_task",
    "OMS.1009": "oms.no_task",
    "OMS.0201": "oms.account",
    "OMS.0202": "oms.account",
    "OMS.0203": "oms.account",
    "OMS.0204": "oms.account",
    "OMS.1020": "oms.destination",
    "OMS.1021": "oms.quota",
}
# "Query failed or no permission" and "no permission", with status 400.
_OMS_DENIED = frozenset({"OMS.0053", "OMS.0072"})
# By words of the answer, in the order in which they decide.
_HUAWEI_CREDENTIALS = {
    "failed to reach the limit": "oms.locked",
    "this machine's clock is": "clock",
    "signature expired": "clock",
    "ak not exist": "oms.key",
}
# Batch calls go by the action of the single one.
_ACTIONS = {
    "BatchReceiveMessage": "mns:ReceiveMessage",
    "BatchDeleteMessage": "mns:DeleteMessage",
    "BatchPeekMessage": "mns:PeekMessage",
    "HeadObject": "oss:GetObject",
    "ListObjectsV2": "oss:ListObjects",
    "ListSyncTaskStatistic": "oms:synctask:statistics",
    "CreateSyncEvents": "oms:synctask:createEvent",
    "ShowSyncTask": "oms:synctask:get",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """A key of `TEXTS` and the values in it; as a string, the English text without a final stop."""

    name: str
    values: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return TEXTS[self.name].format(**self.values)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something does not work, and what to do next; `advice` is None where nothing has to be done.

    `next_step` is the English text, for readers that do not know the advice: they may be of another version.
    `route` names the one of several routes that it is about.
    """

    what: str
    advice: Advice | None = None
    next_step: str = ""
    route: str = ""

    def __str__(self) -> str:
        what, step = self.told(self.next_step)
        return f"{what}; {step}" if step else what

    def told(self, text: str) -> tuple[str, str]:
        """Return what people read first, and what they do next; `text` is the advice in their language."""
        what, step = told(self.what, self.advice, text)
        return f"route {self.route}: {what}" if self.route else what, step

    def as_object(self) -> dict[str, Any]:
        """Return it as the JSON in which a relay tells it; `cause_from` reads it."""
        advice = self.advice and {"name": self.advice.name, "values": dict(self.advice.values)}
        of = {"route": self.route} if self.route else {}
        return {"what": self.what, "advice": advice, "next": self.next_step} | of


def cause_of(failure: Failure) -> Cause:
    """Return the failure in words, with what to do next."""
    advice = advise(failure)
    return Cause(str(failure), advice, str(advice))


def told(what: str, advice: Advice | None, text: str) -> tuple[str, str]:
    """Return what people read first, and what they do next; `text` is the advice in their language.

    Where the advice knows the cause, the cause comes first, and what the vendor said stands behind it.
    """
    if advice is None or advice.name not in CAUSE_FIRST:
        return what, text
    cause, _, step = (each.strip() for each in re.split("([:\uff1a])", text, maxsplit=1))
    return f"{cause} ({what})", step


def told_of(failure: Failure) -> tuple[str, str]:
    """Return `told` of a failed call, in English."""
    advice = advise(failure)
    return told(str(failure), advice, str(advice))


def cause_from(found: Mapping[str, Any]) -> Cause:
    """Read a cause from its JSON; raises LookupError, TypeError or ValueError where it is none."""
    advice = found["advice"]
    read = advice and Advice(
        str(advice["name"]), {str(name): str(value) for name, value in advice["values"].items()}
    )
    return Cause(str(found["what"]), read or None, str(found["next"]), str(found.get("route", "")))


def advise(failure: Failure) -> Advice:
    """Return what to look at, or to do, so that the same call works: the most precise that is known."""
    if failure.blame is Blame.PASSING:
        return _of_passing(failure)
    match failure.service:
        case "mns":
            return _of_mns(failure)
        case "oss":
            return _of_oss(failure)
        case "obs":
            return _of_obs(failure)
        case _:
            return _of_oms(failure)


def action(service: str, operation: str) -> str:
    """Return the action that a policy has to grant for an operation of `mns`, `oss`, `oms` or `obs`.

    Every action, and the call it is for, stands in deploy/policies/README.md.
    """
    if service == "obs":
        return _OBS_ACTIONS[operation]
    return _ACTIONS.get(
        operation, "oms:synctask:get" if service == "oms" else f"{service}:{operation}"
    )


def is_wrong_region(failure: Failure) -> bool:
    """Whether OSS refused the call for the region that its signature names."""
    is_argument = failure.service == "oss" and failure.code == "InvalidArgument"
    return is_argument and "region" in failure.message.lower()


def _of_passing(failure: Failure) -> Advice:
    for beginning, name in _OF_BUCKETS.items():
        if failure.message.startswith(beginning):
            return Advice(name)
    for words, name in _SCHEMES.items():
        _, is_found, setting = failure.message.partition(words)
        if is_found:
            return Advice(name, {"setting": setting})
    if failure.message.startswith(FROM_ELSEWHERE):
        return Advice("stranger", {"vendor": failure.service.upper()})
    return Advice("passing" if failure.status else "network")


def _of_mns(failure: Failure) -> Advice:
    queue = failure.resource
    if failure.blame is Blame.CREDENTIALS:
        return Advice(_ALIBABA_CREDENTIALS.get(failure.code, "alibaba.credentials"))
    if failure.code == "QueueNotExist":
        return Advice("mns.no_queue", {"queue": queue, "endpoint": failure.place})
    if failure.code == "AccessDenied":
        is_about_queue = failure.operation == "GetQueueAttributes"
        return _grant(
            failure, f"acs:mns:*:*:/queues/{queue}{'' if is_about_queue else '/messages'}"
        )
    return Advice("mns.endpoint", {"queue": queue})


def _of_oss(failure: Failure) -> Advice:
    if failure.blame is Blame.CREDENTIALS:
        return Advice(_ALIBABA_CREDENTIALS.get(failure.code, "alibaba.credentials"))
    bucket, _, name = failure.resource.partition("/")
    is_of_log = name.startswith(f"{ROOT}/")
    there = {"bucket": bucket, "region": failure.place}
    # OSS says AccessDenied to the right key at the wrong endpoint, too.
    if failure.code == "AccessDenied" and "specified endpoint" not in failure.message:
        below = f"/{ROOT}/*" if is_of_log else "/*"
        path = "" if failure.operation == "ListObjectsV2" else below
        return _grant(failure, f"acs:oss:*:*:{bucket}{path}")
    match failure.code:
        case "AccessDenied":
            return Advice("oss.endpoint", {"bucket": bucket})
        case "NoSuchBucket":
            return Advice("oss.no_log_bucket" if is_of_log else "oss.no_bucket", there)
        case "UserDisable":
            return Advice("alibaba.account")
    return Advice("oss.region", there) if is_wrong_region(failure) else Advice("oss.settings")


def _of_obs(failure: Failure) -> Advice:
    bucket = failure.resource.partition("/")[0]
    if failure.blame is Blame.CREDENTIALS:
        if not failure.code:
            return Advice("obs.unsaid", {"bucket": bucket})
        return Advice(_OBS_CREDENTIALS.get(failure.code, "obs.pair"))
    match failure.code:
        case "AccessDenied":
            values = {"action": action("obs", failure.operation), "bucket": bucket}
            return Advice("grant.obs", values)
        case "NoSuchBucket":
            return Advice("obs.no_bucket", {"bucket": bucket, "endpoint": failure.place})
        case "VirtualHostDomainRequired":
            return Advice("obs.endpoint")
    return Advice("obs.settings")


def _grant(failure: Failure, resource: str) -> Advice:
    values = {"action": action(failure.service, failure.operation), "resource": resource}
    return Advice("grant.ram", values)


def _of_oms(failure: Failure) -> Advice:
    # S3M is the former name of OMS; the numbers are the same.
    code = failure.code.replace("S3M.", "OMS.", 1)
    if failure.blame is Blame.SERVICE and code in _OMS_CODES:
        return Advice(_OMS_CODES[code])
    if failure.status == 403 or code in _OMS_DENIED:
        return Advice("grant.iam", {"action": action("oms", failure.operation)})
    return Advice(_named_of_oms(failure))


def _named_of_oms(failure: Failure) -> str:
    if failure.blame is Blame.CREDENTIALS:
        named = (name for words, name in _HUAWEI_CREDENTIALS.items() if words in failure.message)
        return next(named, "oms.pair")
    for beginning, name in _FINDINGS.items():
        if failure.message.startswith(beginning):
            return name
    is_unknown = failure.status == 404 or (failure.status == 400 and failure.blame is Blame.ITEM)
    return "oms.no_task" if is_unknown else "oms.settings"
