"""Huawei OMS on loopback: the gateway's signature checks, sync tasks, and real copies."""

from localcloud.oms.copier import Copier
from localcloud.oms.copying import Copying
from localcloud.oms.errors import RefusedError, overload
from localcloud.oms.lists import ResultList
from localcloud.oms.service import AcceptedPost, OmsService
from localcloud.oms.signature import Gateway
from localcloud.oms.task import Consistency, Overwrite, Statistic, Status, SyncTask
from localcloud.oms.throttle import RateLimit

__all__ = [
    "AcceptedPost",
    "Consistency",
    "Copier",
    "Copying",
    "Gateway",
    "OmsService",
    "Overwrite",
    "RateLimit",
    "RefusedError",
    "ResultList",
    "Statistic",
    "Status",
    "SyncTask",
    "overload",
]
