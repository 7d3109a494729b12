"""Huawei OMS on loopback: the gateway's signature checks, sync tasks, and real copies."""

from localcloud.oms.buckets import Buckets
from localcloud.oms.copier import Copier, ResultList
from localcloud.oms.errors import RefusedError, overload
from localcloud.oms.service import AcceptedPost, OmsService
from localcloud.oms.signature import Gateway
from localcloud.oms.task import Consistency, Overwrite, SourceObject, Statistic, Status, SyncTask
from localcloud.oms.throttle import RateLimit

__all__ = [
    "AcceptedPost",
    "Buckets",
    "Consistency",
    "Copier",
    "Gateway",
    "OmsService",
    "Overwrite",
    "RateLimit",
    "RefusedError",
    "ResultList",
    "SourceObject",
    "Statistic",
    "Status",
    "SyncTask",
    "overload",
]
