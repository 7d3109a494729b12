"""What mends a failed call: the missing action by name, the wrong setting, the clock.

Facts: MNS "error responses" and "RAM authorization"; OSS error codes (403, 404, 0002-00000226) and
"RAM policy"; API Gateway error codes; OMS "permissions and actions" and error codes.
"""

from __future__ import annotations

from worker.advice.remedy import REMEDIES, remedy
from worker.advice.rights import action as action_of
from worker.errors import Blame, Failure
from worker.ledger.names import ROOT
from worker.settings import Settings

_AGAIN = "it passes by itself: try again in a while"
# "Query failed or no permission" and "no permission" (OMS error codes), with status 400.
_OMS_DENIED = frozenset({"OMS.0053", "OMS.0072"})
_ALIBABA_KEY = "check the Alibaba access key, its secret, its token and the machine's clock"


def fix(failure: Failure, settings: Settings, queue: str = "") -> str:
    """Return what would make the failed call work; `queue` is the MNS queue that was asked."""
    if failure.blame is Blame.PASSING:
        return (
            _AGAIN if failure.status else "check the network between this machine and the endpoint"
        )
    known = remedy(failure)
    if known:
        return known
    match failure.service:
        case "mns":
            return _mns(failure, settings, queue or settings.mns_queue)
        case "oss":
            return _oss(failure, settings)
        case _:
            return _oms(failure)


def _mns(failure: Failure, settings: Settings, queue: str) -> str:
    if failure.blame is Blame.CREDENTIALS:
        return _ALIBABA_KEY
    if failure.code == "QueueNotExist":
        return f"create the queue {queue} at {settings.mns_endpoint}, or correct its name or MNS_ENDPOINT"
    if failure.code == "AccessDenied":
        action = action_of("mns", failure.operation)
        is_about_queue = failure.operation == "GetQueueAttributes"
        resource = f"acs:mns:*:*:/queues/{queue}{'' if is_about_queue else '/messages'}"
        return f"grant {action} on {resource} to the RAM identity of this key"
    return "check that MNS_ENDPOINT is the MNS endpoint of the account that owns the queue"


def _oss(failure: Failure, settings: Settings) -> str:
    if failure.blame is Blame.CREDENTIALS:
        return _ALIBABA_KEY
    if failure.code == "NoSuchBucket":
        return f"create the bucket {settings.log_bucket} in {settings.oss_region}, or correct LOG_BUCKET"
    if failure.code == "AccessDenied" and "specified endpoint" in failure.message:
        return (
            "the bucket is in another region: set OSS_ENDPOINT and OSS_REGION to the bucket's own"
        )
    if failure.code == "AccessDenied":
        is_listing = failure.operation == "ListObjectsV2"
        path = "" if is_listing else f"/{ROOT}/*"
        action = action_of("oss", failure.operation)
        return f"grant {action} on acs:oss:*:*:{settings.log_bucket}{path} to the RAM identity of this key"
    if is_wrong_region(failure):
        return f"OSS_REGION={settings.oss_region} is not the region of {settings.log_bucket}: correct it"
    return "check LOG_BUCKET, OSS_ENDPOINT and OSS_REGION"


def is_wrong_region(failure: Failure) -> bool:
    """Whether OSS refused the call for the region that its signature names."""
    is_argument = failure.service == "oss" and failure.code == "InvalidArgument"
    return is_argument and "region" in failure.message.lower()


def _oms(failure: Failure) -> str:
    action = action_of("oms", failure.operation)
    if failure.status == 403 or failure.code in _OMS_DENIED:
        return (
            f"grant {action} (a custom IAM policy) to the user of HW_AK, in the project of SYNC_URL"
        )
    if failure.blame is Blame.CREDENTIALS:
        return (
            "HW_AK and HW_SK are not a pair, or the key is disabled: correct them. More than 5 refused "
            "calls in a row lock the key for 5 minutes"
        )
    if failure.status == 404 or (failure.status == 400 and failure.blame is Blame.ITEM):
        return REMEDIES["no_task"]
    return "check SYNC_URL and the state of the Huawei account"
