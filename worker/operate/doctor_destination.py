"""The doctor on the destination, where `OBS_ENDPOINT` is set: what arrival, `reconcile` and deletions need.

All of it only makes messages safer: without it the relay works as before. So nothing here is a failure but
what cannot work at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from secrets import token_hex

from worker.advice import TEXTS
from worker.arrival.bucket import DestinationBucket, Ground, destination_of
from worker.arrival.destination import knock
from worker.clouds.obs import ObsClient
from worker.operate.check import Check, CheckStatus, ServiceProber, always
from worker.ports import CopyCounts, TaskState

_DOUBTS = {
    Ground.SETTING: (CheckStatus.WARNING, "obs.unconfirmed"),
    Ground.AGAINST_TASK: (CheckStatus.FAILURE, "obs.other_bucket"),
    Ground.NONE: (CheckStatus.WARNING, "obs.bucket"),
}
NO_OBJECT = "oms-relay-doctor-looks-for-an-object-that-is-not-there"


async def destination_checks(prober: ServiceProber, task: TaskState | None) -> AsyncIterator[Check]:
    """Yield the checks of the destination; one that says so, where no relay looks at it."""
    clients = prober.clients
    settings, store = clients.settings, clients.destination
    if store is None:
        yield Check(
            "obs",
            CheckStatus.SKIPPED,
            "nobody looks whether copies arrive: OBS_ENDPOINT is not set",
        )
        return
    found = destination_of(settings.obs_bucket or "", task, is_unreadable=task is None)
    yield _judge_bucket(found)
    if not found.name:
        prober.close("obs", "not tried: the destination bucket is not known")
    async for check in _reads(prober, store, found.name):
        yield check
    yield await prober.ask(
        "oms.statistics",
        lambda: clients.sink.copies(clients.clock.wall() - 86_400.0, clients.clock.wall()),
        _judge_backlog,
        otherwise=CheckStatus.WARNING,
        note="the copy backlog is not known without it",
    )


async def _reads(prober: ServiceProber, store: ObsClient, bucket: str) -> AsyncIterator[Check]:
    # The listing first: its refusal tells a wrong signature from a missing right, which a HEAD does not.
    yield await prober.ask(
        "obs.list",
        lambda: knock(store, bucket),
        always(Check("obs.list", CheckStatus.OK, f"{bucket} can be listed")),
        otherwise=CheckStatus.WARNING,
        note="nothing is followed to the destination without it",
    )
    yield await prober.ask(
        "obs.read",
        lambda: store.read(bucket, NO_OBJECT),
        always(Check("obs.read", CheckStatus.OK, f"objects of {bucket} can be looked at")),
        otherwise=CheckStatus.WARNING,
        note="nothing is followed to the destination without it",
    )
    if prober.clients.settings.deletions == "propagate":
        # A name that nobody has: OBS answers 204 to the deletion of what is not there.
        name = f"oms-relay-doctor/{token_hex(16)}"
        yield await prober.ask(
            "obs.delete",
            lambda: store.delete(bucket, name),
            always(Check("obs.delete", CheckStatus.OK, f"objects of {bucket} can be deleted")),
            otherwise=CheckStatus.WARNING,
            note="RELAY_DELETIONS=propagate does nothing without it",
        )


def _judge_bucket(found: DestinationBucket) -> Check:
    if found.ground is Ground.TASK:
        return Check("obs.bucket", CheckStatus.OK, f"the sync task copies to {found.told}")
    verdict, advice = _DOUBTS[found.ground]
    return Check("obs.bucket", verdict, found.doubt, TEXTS[advice])


def _judge_backlog(counts: CopyCounts) -> Check:
    owed = max(0, counts.requested - counts.done)
    detail = f"in a day {counts.requested} keys accepted; at most {owed} are not copied yet"
    return Check("oms.statistics", CheckStatus.OK, detail)
