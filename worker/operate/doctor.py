"""The doctor: everything that has to be right before the relay runs, checked without changing anything.

What it does to the services: one unsigned `HEAD /` for each endpoint, one small object under
`oms_source_record/<task id>/probe/` that it deletes again, and calls that read. Deletes and renewals are
tried with a receipt handle that names no message. It receives only from a queue in which no message waits,
unless told otherwise, and it posts nothing unless told which key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from worker.advice import TEXTS
from worker.clouds.http import ENDPOINTS
from worker.operate.check import Check, CheckStatus
from worker.operate.connect import Clients
from worker.operate.doctor_queue import Asked, Receiving, brought_check, queue_checks
from worker.operate.doctor_store import source_checks, store_checks
from worker.operate.doctor_task import Task, post_check, task_checks
from worker.operate.network import Network, Reached, Unreachable
from worker.operate.service_prober import ServiceProber

SKEW_SECONDS_WARNING = 60
# MNS, OSS and OMS refuse signatures that are more than 15 minutes off.
SKEW_SECONDS_MAX = 900
CERTIFICATE_SECONDS_WARNING = 14 * 86_400


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What the doctor may do beyond looking: `key` is posted to OMS, a waiting message may be received."""

    key: str = ""
    may_receive: bool = False


async def examine(
    clients: Clients, network: Network, options: DoctorOptions | None = None
) -> AsyncIterator[Check]:
    """Yield one check after the other, in an order in which each explains those behind it.

    No key is used again after a service has refused it, and none at all while the clock is 15 minutes off:
    the checks that would need it are yielded as skipped.
    """
    options = options or DoctorOptions()
    settings, prober, task = clients.settings, ServiceProber(clients), Task()
    for check in _settings(clients):
        yield check
    for service, url in _endpoints(clients):
        async for check in _reach(prober, network, service, url):
            yield check
    receiving = Receiving(options.may_receive)
    asked = Asked(clients.queue, settings.mns_queue)
    async for check in queue_checks(prober, asked, receiving):
        yield check
    if clients.dead_letter_queue is not None and settings.mns_dead_letter_queue is not None:
        dead = Asked(
            clients.dead_letter_queue, settings.mns_dead_letter_queue, "dead_letter_queue."
        )
        async for check in queue_checks(prober, dead, receiving):
            yield check
    # The task first: a probe in a log bucket that is the source bucket would announce itself.
    async for check in task_checks(prober, task):
        yield check
    yield brought_check(asked, task.source_bucket)
    async for check in store_checks(prober):
        yield check
    async for check in source_checks(prober, task.source_bucket):
        yield check
    yield await post_check(prober, options.key)


def _settings(clients: Clients) -> list[Check]:
    settings = clients.settings
    is_in_files = any(name.startswith("ALIBABA_CLOUD_") for name in settings.secret_files)
    secrets = "files" if is_in_files else "the environment or .env"
    whose = (
        f"the Alibaba key comes from {secrets}"
        if settings.access_key_id
        else "the Alibaba key comes from the credential chain"
    )
    task = settings.sync_task
    detail = f"queue {settings.mns_queue}, log bucket {settings.log_bucket}, task {task.task_id}; "
    if settings.proxies_used:
        detail += f"calls go through the proxy {', '.join(settings.proxies_used)}; "
    detail += whose
    return [
        Check("settings", CheckStatus.OK, detail),
        *(
            Check(
                "settings", CheckStatus.WARNING, warning, "docs/settings.md describes each setting"
            )
            for warning in settings.warnings
        ),
    ]


def _endpoints(clients: Clients) -> list[tuple[str, str]]:
    settings = clients.settings
    return [
        ("mns", settings.mns_endpoint),
        ("oss", clients.store.origin(settings.log_bucket)),
        ("oms", settings.sync_task.endpoint),
    ]


async def _reach(
    prober: ServiceProber, network: Network, service: str, url: str
) -> AsyncIterator[Check]:
    try:
        reached = await network.reach(url, ENDPOINTS[service])
    except Unreachable as error:
        prober.close(service, f"not tried: {service} cannot be reached")
        yield Check(f"{service}.network", CheckStatus.FAILURE, str(error), error.fix)
        return
    yield _network(service, url, reached, network.clock.wall())
    clock = _clock(service, reached.skew_seconds)
    if clock.verdict is CheckStatus.FAILURE:
        prober.close(service, f"not tried: with this clock {service} would refuse the key")
    yield clock


def _network(service: str, url: str, reached: Reached, now: float) -> Check:
    name, ends_at = f"{service}.network", reached.certificate_ends_at
    if ends_at is None:
        return Check(name, CheckStatus.OK, f"{url} ({reached.address}), plain http")
    days = (ends_at - now) / 86_400
    detail = f"{url} ({reached.address}), {reached.tls}, certificate good for {days:.0f} days"
    if ends_at - now < CERTIFICATE_SECONDS_WARNING:
        fix = "its owner has to renew the certificate; behind a proxy of your own, that is you"
        return Check(name, CheckStatus.WARNING, detail, fix)
    return Check(name, CheckStatus.OK, detail)


def _clock(service: str, skew: float | None) -> Check:
    name = f"{service}.clock"
    if skew is None:
        return Check(
            name,
            CheckStatus.WARNING,
            f"{service} sent no Date header to compare with",
            TEXTS["clock"],
        )
    side = "ahead of" if skew > 0 else "behind"
    detail = f"this machine's clock is {abs(skew):.0f} s {side} {service}'s"
    if abs(skew) >= SKEW_SECONDS_MAX:
        return Check(
            name, CheckStatus.FAILURE, f"{detail}: beyond 15 minutes it is refused", TEXTS["clock"]
        )
    if abs(skew) >= SKEW_SECONDS_WARNING:
        return Check(name, CheckStatus.WARNING, detail, TEXTS["clock"])
    return Check(name, CheckStatus.OK, detail if abs(skew) >= 1 else "in step")
