"""Which right a refused call lacks, under the name that a policy has to grant.

Facts: MNS "RAM authorization", OSS "RAM policy", OMS "actions supported by policy-based authorization"
(api-oms oms_api_8003). Every action, and the call it is for, stands in deploy/policies/README.md.
"""

from __future__ import annotations

from worker.errors import Blame, Failure

# Batch calls go by the action of the single one.
_MNS = {
    "BatchReceiveMessage": "mns:ReceiveMessage",
    "BatchDeleteMessage": "mns:DeleteMessage",
    "BatchPeekMessage": "mns:PeekMessage",
}
_OSS = {"HeadObject": "oss:GetObject", "ListObjectsV2": "oss:ListObjects"}
_OMS = {
    "CreateSyncEvents": "oms:synctask:createEvent",
    "ShowSyncTask": "oms:synctask:get",
}


def action(service: str, operation: str) -> str:
    """Return the action that an operation of `mns`, `oss` or `oms` needs."""
    match service:
        case "mns":
            return _MNS.get(operation, f"mns:{operation}")
        case "oss":
            return _OSS.get(operation, f"oss:{operation}")
        case _:
            return _OMS.get(operation, "oms:synctask:get")


def missing(failure: Failure) -> str | None:
    """Return the action that would let the call pass; None if it was not refused for want of one."""
    if failure.status != 403 or failure.blame is Blame.CREDENTIALS:
        return None
    # OSS says AccessDenied to the right key at the wrong endpoint, too.
    if failure.service != "oms" and (
        failure.code != "AccessDenied" or "specified endpoint" in failure.message
    ):
        return None
    return action(failure.service, failure.operation)
