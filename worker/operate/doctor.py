"""The doctor: everything that has to be right before the relay runs, checked without changing anything.

What it does to the services: one unsigned `HEAD /` for each endpoint, one small object under
`oms_source_record/<task id>/probe/` that it deletes again, and calls that read. Deletes and renewals are
tried with a receipt handle that names no message, a deletion at the destination with a name that nobody has.
It receives only from a queue in which no message waits, unless told otherwise, and it posts nothing unless
told which key.

Facts: MNS API 2015-06-06, pages getqueueattributes, peekmessage, receivemessage, deletemessage; OMS API
reference, ShowSyncTask and CreateSyncEvents.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from worker.advice import TEXTS
from worker.clouds.credentials import huawei_from
from worker.clouds.http import ENDPOINTS, SKEW_SECONDS_MAX
from worker.clouds.mns import MnsClient
from worker.clouds.oms_signature import HuaweiCredentials
from worker.config.addresses import bucket_origin, mns_region
from worker.events.event import Message
from worker.ledger.names import fleet_folder, probe_name
from worker.ledger.pause import PAUSE_NAME
from worker.operate.brought import ADD_A_ROUTE, NARROW_RULE, brought, brought_to_routes
from worker.operate.check import Check, CheckStatus, ServiceProber, always
from worker.operate.connect import Clients
from worker.operate.doctor_destination import destination_checks
from worker.operate.network import Network, Reached, Unreachable
from worker.ports import QueueAttributes, TaskState
from worker.settings import Settings

SKEW_SECONDS_WARNING = 60
CERTIFICATE_SECONDS_WARNING = 14 * 86_400
VISIBILITY_SECONDS = range(10, 3601)
RETENTION_SECONDS_MIN = 86_400
NO_MESSAGE = "oms-relay-doctor"
_DONE = {"read": "read", "list": "listed", "delete": "deleted"}
NO_OBJECT = "oms-relay-doctor-looks-for-an-object-that-is-not-there"
NO_OVERWRITE = "NO_OVERWRITE"
BY_SIZE_AND_TIME = "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE"
BY_CONTENT = ("CRC64_COMPARISON_OVERWRITE", "FULL_OVERWRITE")
NEW_TASK = (
    "create a new task with consistency check CRC64 (the rule of a task cannot be changed), set SYNC_URL to "
    "it, and stop the old one"
)


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
    the checks that would need it are yielded as skipped. With clients of one of several routes only that is
    looked at. Raises `Fatal` for a key to be posted where no route is chosen.
    """
    options, settings = options or DoctorOptions(), clients.settings
    if options.key and settings.routes:
        _ = settings.sync_task  # raises: by which of them it is to be posted has to be said
    if not settings.route:
        stages = _shared_stages if settings.routes else _stages
        for stage in stages(ServiceProber(clients), network, options):
            async for check in stage():
                yield check
    if settings.routes or settings.route:
        async for check in _each_route(clients, network, options):
            yield check


async def _each_route(
    clients: Clients, network: Network, options: DoctorOptions
) -> AsyncIterator[Check]:
    """Yield the checks of one route after the other; a key that one has seen refused is not sent again."""
    refused: dict[HuaweiCredentials, str] = {}
    for each in clients.each_route:
        prober = ServiceProber(each)
        key, route = huawei_from(each.settings), each.settings.route
        if key in refused:
            prober.close(
                "oms", f"not tried: route {refused[key]} has the same key, and it was refused"
            )
        for stage in _stages_of_route(prober, network, options):
            async for check in stage():
                yield replace(check, route=route)
        if "oms" in prober.refused:
            refused[key] = route


Stage = Callable[[], AsyncIterator[Check]]


def _shared_stages(
    prober: ServiceProber, network: Network, options: DoctorOptions
) -> Iterator[Stage]:
    """Yield what all routes share."""
    clients = prober.clients
    settings, receiving = clients.settings, Receiving(options.may_receive)
    asked = Asked(clients.queue, settings.mns_queue)
    yield lambda: _settings(clients)
    for service, url in _shared_endpoints(clients):
        yield partial(_reach, prober, network, service, url)
    yield from _queue_stages(prober, asked, receiving)
    yield lambda: _one(_routed_check(asked, settings))
    yield partial(store_checks, prober)


def _stages_of_route(
    prober: ServiceProber, network: Network, options: DoctorOptions
) -> Iterator[Stage]:
    """Yield what belongs to one of several routes."""
    clients, task = prober.clients, Task()
    for service, url in _endpoints_of_route(clients):
        yield partial(_reach, prober, network, service, url)
    yield partial(task_checks, prober, task)
    yield lambda: source_checks(prober, task.source_bucket)
    yield lambda: destination_checks(prober, task.state)
    if options.key:
        yield partial(_post, prober, options.key)


def _queue_stages(prober: ServiceProber, asked: Asked, receiving: Receiving) -> Iterator[Stage]:
    clients = prober.clients
    yield partial(queue_checks, prober, asked, receiving)
    name = clients.settings.mns_dead_letter_queue
    if clients.dead_letter_queue is not None and name is not None:
        dead = Asked(clients.dead_letter_queue, name, "dead_letter_queue.")
        yield partial(queue_checks, prober, dead, receiving)


def _stages(prober: ServiceProber, network: Network, options: DoctorOptions) -> Iterator[Stage]:
    """Yield what is looked at, each to begin when the one before it has ended: it may need its findings."""
    clients, task = prober.clients, Task()
    settings, receiving = clients.settings, Receiving(options.may_receive)
    asked = Asked(clients.queue, settings.mns_queue)
    yield lambda: _settings(clients)
    for service, url in (*_shared_endpoints(clients), *_endpoints_of_route(clients)):
        yield partial(_reach, prober, network, service, url)
    yield from _queue_stages(prober, asked, receiving)
    # The task first: a probe in a log bucket that is the source bucket would announce itself.
    yield partial(task_checks, prober, task)
    yield lambda: _one(brought_check(asked, task.source_bucket))
    yield partial(store_checks, prober)
    yield lambda: source_checks(prober, task.source_bucket)
    yield lambda: destination_checks(prober, task.state)
    yield partial(_post, prober, options.key)


async def _one(check: Check) -> AsyncIterator[Check]:
    yield check


async def _post(prober: ServiceProber, key: str) -> AsyncIterator[Check]:
    yield await post_check(prober, key)


async def _settings(clients: Clients) -> AsyncIterator[Check]:
    settings = clients.settings
    is_in_files = any(name.startswith("ALIBABA_CLOUD_") for name in settings.secret_files)
    secrets = "files" if is_in_files else "the environment or .env"
    whose = (
        f"the Alibaba key comes from {secrets}"
        if settings.access_key_id
        else "the Alibaba key comes from the credential chain"
    )
    detail = f"queue {settings.mns_queue}, log bucket {settings.log_bucket}, {_tasks(settings)}; "
    if settings.proxies_used:
        detail += f"calls go through the proxy {', '.join(settings.proxies_used)}; "
    detail += whose
    yield Check("settings", CheckStatus.OK, detail)
    for warning in settings.warnings:
        yield Check(
            "settings", CheckStatus.WARNING, warning, "docs/settings.md describes each setting"
        )


def _tasks(settings: Settings) -> str:
    if not settings.routes:
        return f"task {settings.sync_task.task_id}"
    told = (f"{each.route} to task {each.sync_task.task_id}" for each in settings.routes)
    return f"routes of {settings.routes_file}: {', '.join(told)}"


def _shared_endpoints(clients: Clients) -> list[tuple[str, str]]:
    settings = clients.settings
    return [
        ("mns", settings.mns_endpoint),
        ("oss", clients.store.origin(settings.log_bucket)),
    ]


def _endpoints_of_route(clients: Clients) -> list[tuple[str, str]]:
    settings = clients.settings
    endpoints = [("oms", settings.sync_task.endpoint)]
    if settings.obs_endpoint is not None:
        bucket = settings.obs_bucket
        origin = bucket_origin(settings.obs_endpoint, bucket) if bucket else settings.obs_endpoint
        endpoints.append(("obs", origin))
    return endpoints


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


@dataclass(frozen=True, slots=True)
class Receiving:
    """Whether a message that waits may be received, at the price of one delivery."""

    is_wished: bool


@dataclass(slots=True)
class Asked:
    """One queue and what a peek showed of it; `messages` is None while that is not known.

    `label` tells a second queue's checks apart.
    """

    client: MnsClient
    name: str
    label: str = ""
    messages: list[Message] | None = None

    @property
    def seen(self) -> int | None:
        """How many messages the peek showed."""
        return None if self.messages is None else len(self.messages)


async def queue_checks(
    prober: ServiceProber, asked: Asked, receiving: Receiving
) -> AsyncIterator[Check]:
    """Yield the checks of one queue; fills `asked` if it may be peeked at.

    A peek changes nothing but proves another right than a receive; a receive raises the message's dequeue
    count, which the queue's own dead-letter policy counts. So a receive is tried where nothing waits, or on
    request.
    """
    label, queue, name = asked.label, asked.client, asked.name
    found: list[QueueAttributes] = []

    def judge_queue(attributes: QueueAttributes) -> Check:
        found.append(attributes)
        return _judge_attributes(asked, attributes)

    def judge_peek(messages: list[Message]) -> Check:
        asked.messages = messages
        return Check(
            f"mns.{label}peek", CheckStatus.OK, f"{len(messages) or 'no'} visible messages seen"
        )

    checked = await prober.ask(
        f"mns.{label}queue",
        queue.attributes,
        judge_queue,
        queue=name,
        otherwise=CheckStatus.WARNING,
        note="without this right the relay takes the visibility to be 30 s",
    )
    peeked = await prober.ask(
        f"mns.{label}peek",
        queue.peek,
        judge_peek,
        queue=name,
        otherwise=CheckStatus.WARNING,
        note="the relay does without this right, nobody can tell the oldest message",
    )
    # Whether the counters are to be believed shows in the peek.
    yield _judge_attributes(asked, found[0]) if found else checked
    yield peeked
    yield await _receive(prober, asked, receiving)
    renew = Check(f"mns.{label}renew", CheckStatus.OK, "leases may be renewed")
    yield await prober.ask(
        renew.name, lambda: queue.change_visibility(NO_MESSAGE, 1), always(renew), queue=name
    )
    delete = Check(f"mns.{label}delete", CheckStatus.OK, "messages may be deleted")
    yield await prober.ask(
        delete.name, lambda: queue.delete([NO_MESSAGE]), always(delete), queue=name
    )


def _routed_check(asked: Asked, settings: Settings) -> Check:
    """Return whether the queue brings events that no route takes; no call is made."""
    name = "mns.events"
    if asked.messages is None:
        return Check(name, CheckStatus.SKIPPED, "unknown: the queue could not be peeked at")
    found = brought_to_routes(asked.messages, settings.routes)
    if not found.is_known:
        return Check(name, CheckStatus.SKIPPED, found.text)
    if found.foreign:
        return Check(name, CheckStatus.WARNING, found.text, ADD_A_ROUTE)
    return Check(name, CheckStatus.OK, found.text)


def brought_check(asked: Asked, source_bucket: str) -> Check:
    """Return whether the queue brings events of the task's bucket only; no call is made."""
    name = "mns.events"
    if asked.messages is None:
        return Check(name, CheckStatus.SKIPPED, "unknown: the queue could not be peeked at")
    found = brought(asked.messages, source_bucket)
    if not found.is_known:
        return Check(name, CheckStatus.SKIPPED, found.text)
    if found.foreign:
        return Check(name, CheckStatus.WARNING, found.text, NARROW_RULE)
    return Check(name, CheckStatus.OK, found.text)


async def _receive(prober: ServiceProber, asked: Asked, receiving: Receiving) -> Check:
    check, queue, name = f"mns.{asked.label}receive", asked.client, asked.name
    is_empty = asked.seen == 0

    async def take() -> int:
        messages = await queue.receive(0, 1)
        for message in messages:
            await queue.change_visibility(message.receipt_handle, 1)
        return len(messages)

    def judge(count: int) -> Check:
        price = "; one was taken and given back, its dequeue count is one higher" if count else ""
        return Check(check, CheckStatus.OK, f"messages may be received{price}")

    if is_empty or receiving.is_wished:
        return await prober.ask(check, take, judge, queue=name)

    async def nothing() -> None:
        return None

    waits = "messages wait" if asked.seen else "messages may wait"
    why = (
        f"not tried: {waits}, and a receive counts as a delivery of one of them. "
        "--receive takes one and gives it back"
    )
    return await prober.ask(
        check, nothing, always(Check(check, CheckStatus.SKIPPED, why)), queue=name
    )


def _judge_attributes(asked: Asked, found: QueueAttributes) -> Check:
    days = found.retention_seconds / 86_400
    counts = found.counts(asked.seen)
    held = (
        "how many wait is unknown: MNS's counters all read 0 (CloudMonitor has NumberOfMessagesVisible)"
        if counts is None
        else f"{counts.active} visible, {counts.inactive} in hand, {counts.delayed} delayed"
    )
    detail = (
        f"{asked.name}: visibility {found.visibility_seconds} s, retention {days:.3g} days; {held}"
    )
    fixes = []
    if found.visibility_seconds not in VISIBILITY_SECONDS:
        fixes.append("set its VisibilityTimeout to 10..3600 s, 30 if in doubt")
    if found.retention_seconds < RETENTION_SECONDS_MIN:
        fixes.append(
            "set its MessageRetentionPeriod to a day or more: an outage that outlasts it loses messages"
        )
    verdict = CheckStatus.WARNING if fixes else CheckStatus.OK
    return Check(f"mns.{asked.label}queue", verdict, detail, "; ".join(fixes))


@dataclass(slots=True)
class Task:
    """What the task said, for later checks; empty and None if it could not be asked."""

    source_bucket: str = ""
    state: TaskState | None = None


async def task_checks(prober: ServiceProber, task: Task) -> AsyncIterator[Check]:
    """Yield the checks of the task; fills `task` if OMS answers.

    SYNCHRONIZING means ready to take keys, not that any came: the counters of the month tell that.
    """
    settings, states = prober.clients.settings, list[TaskState]()

    def judge(state: TaskState) -> Check:
        states.append(state)
        return _judge_state(state)

    yield await prober.ask(
        "oms.task",
        prober.clients.sink.show,
        judge,
        otherwise=CheckStatus.WARNING,
        note="the relay works without this right; keys that OMS refuses then wait, as for a stopped task",
    )
    for state in states:
        task.state = state
        yield _judge_month(state, settings.sync_task.task_id)
        yield _judge_overwrites(state)
        if text(state, "src_cloud_type") in ("", "Aliyun"):
            task.source_bucket = text(state, "src_bucket")
            if task.source_bucket == settings.log_bucket:
                prober.close("oss", "not tried: in the source bucket a probe would announce itself")
            yield _judge_log_bucket(task.source_bucket, settings)
            if settings.bucket:
                yield _judge_route(task.source_bucket, settings)
            yield _judge_regions(state, settings)
        else:
            cloud = text(state, "src_cloud_type")
            yield Check(
                "oms.source",
                CheckStatus.FAILURE,
                f"the task copies from {cloud}, and the events come from Alibaba OSS",
                "set SYNC_URL to the task whose source is the Alibaba bucket",
            )


async def post_check(prober: ServiceProber, key: str) -> Check:
    """Return whether OMS takes a post of this key; without a key none is tried, for it copies the object."""
    sink = prober.clients.sink

    def judge(request_id: str) -> Check:
        return Check(
            "oms.post",
            CheckStatus.OK,
            f"{key!r} was accepted (request {request_id or 'without id'})",
        )

    if key:
        return await prober.ask("oms.post", lambda: sink.post([key]), judge)
    why = (
        "not tried: a post has OMS copy an object, and no other call proves oms:synctask:createEvent. "
        "--post KEY posts one"
    )
    return Check("oms.post", CheckStatus.SKIPPED, why)


def _judge_state(state: TaskState) -> Check:
    source = (
        f"{text(state, 'src_cloud_type')} {text(state, 'src_region')} {text(state, 'src_bucket')}"
    )
    target = f"{text(state, 'dst_region')} {text(state, 'dst_bucket')}"
    detail = f"{state.status or 'in an unknown state'}, from {source} to {target}"
    if state.is_synchronizing:
        return Check("oms.task", CheckStatus.OK, detail)
    return Check(
        "oms.task",
        CheckStatus.FAILURE,
        detail,
        f"{TEXTS['oms.start_task']}; meanwhile messages stay in the queue",
    )


def _judge_month(state: TaskState, task_id: str) -> Check:
    names = ("acceptance_request", "success_object", "failure_object", "skip_object")
    accepted, copied, failed, skipped = (counter(state, each) for each in names)
    if failed is None:
        why = "unknown: the task does not tell how many copies failed this month"
        return Check("oms.month", CheckStatus.SKIPPED, why)
    detail = (
        f"this month {_told(accepted)} keys accepted, {_told(copied)} copied, {failed} failed, "
        f"{_told(skipped)} skipped as already there"
    )
    if failed:
        return Check(
            "oms.month",
            CheckStatus.WARNING,
            detail,
            f"OMS lists the failed objects in the destination bucket under oms/sync_task/{task_id}/",
        )
    return Check("oms.month", CheckStatus.OK, detail)


def _judge_overwrites(state: TaskState) -> Check:
    """Judge what the task does with an object that is there already (`object_overwrite_mode`).

    OMS API reference, ShowSyncTask: by size and last-modified time an object is skipped if its size is equal
    and the copy is not older, so a change made while the older state is being copied is lost. A task created
    with `consistency_check=crc64` compares contents before a copy as well (CreateSyncTask).
    """
    name, mode = "oms.overwrites", text(state, "object_overwrite_mode")
    check = text(state, "consistency_check")
    if mode == NO_OVERWRITE:
        return Check(
            name,
            CheckStatus.FAILURE,
            f"the task never overwrites ({mode}): changed objects are not copied",
            NEW_TASK,
        )
    if mode in BY_CONTENT or (mode == BY_SIZE_AND_TIME and check == "crc64"):
        return Check(
            name, CheckStatus.OK, f"overwrites are copied ({mode}, {check or 'no check told'})"
        )
    if mode == BY_SIZE_AND_TIME and check:
        return Check(
            name,
            CheckStatus.WARNING,
            f"OMS skips an overwrite of equal size that is made while the older state is being copied, and "
            f"says nothing ({mode}, {check})",
            NEW_TASK,
        )
    told = ", ".join(each for each in (mode, check) if each) or "nothing"
    return Check(
        name,
        CheckStatus.WARNING,
        f"unknown: how the task overwrites cannot be told from what it says ({told})",
        "look at the task's details in the OMS console: the consistency check should be CRC64",
    )


def _judge_log_bucket(source_bucket: str, settings: Settings) -> Check:
    if not source_bucket:
        return Check(
            "oms.log_bucket",
            CheckStatus.SKIPPED,
            "unknown: the task does not tell which bucket it copies",
        )
    if source_bucket == settings.log_bucket:
        return Check(
            "oms.log_bucket",
            CheckStatus.FAILURE,
            f"the log bucket {settings.log_bucket} is the source bucket: each record would announce itself",
            "set LOG_BUCKET to another bucket, which no event rule covers",
        )
    return Check("oms.log_bucket", CheckStatus.OK, "the log bucket is not the source bucket")


def _judge_route(source_bucket: str, settings: Settings) -> Check:
    name, route = "oms.route", f"{settings.bucket}/{settings.prefix}"
    if not source_bucket:
        why = "unknown: the task does not tell which bucket it copies"
        return Check(name, CheckStatus.SKIPPED, why)
    if source_bucket != settings.bucket:
        return Check(
            name,
            CheckStatus.FAILURE,
            f"the route has {settings.bucket}, and its task copies {source_bucket}: nothing is posted",
            TEXTS["oms.other_source"],
        )
    return Check(name, CheckStatus.OK, f"changes of {route} go by the task that copies this bucket")


def _judge_regions(state: TaskState, settings: Settings) -> Check:
    source = text(state, "src_region")
    queue = mns_region(settings.mns_endpoint)
    others = {
        "OSS_REGION says that the log bucket is in": settings.oss_region,
        "MNS_ENDPOINT says that the queue is in": queue or source,
    }
    apart = [f"{what} {region}" for what, region in others.items() if region != source]
    if source and apart:
        return Check(
            "oms.region",
            CheckStatus.WARNING,
            f"the source bucket is in {source}, but {' and '.join(apart)}",
            "correct what is not so; else put queue and log bucket into the source's region: OSS announces "
            "to queues of its own region, and records that cross regions are slower and cost traffic",
        )
    if not source:
        return Check(
            "oms.region", CheckStatus.SKIPPED, "unknown: the task does not tell its region"
        )
    told = (
        f"source, queue and log bucket are in {source}"
        if queue
        else f"source and log bucket are in {source}; MNS_ENDPOINT does not tell the queue's region"
    )
    return Check("oms.region", CheckStatus.OK, told)


def counter(state: TaskState, name: str) -> int | None:
    """Return a counter of the month, such as `success_object`; None where OMS does not say."""
    value = state.details.get(f"monthly_{name}")
    return value if isinstance(value, int) else None


def _told(count: int | None) -> str:
    return "an unknown number of" if count is None else str(count)


def text(state: TaskState, name: str) -> str:
    """Return what the task says of itself, such as `src_bucket`; empty where it does not."""
    value = state.details.get(name)
    return value if isinstance(value, str) else ""


async def store_checks(prober: ServiceProber) -> AsyncIterator[Check]:
    """Yield the checks of the log bucket: write, read, list and delete one probe object."""
    clients = prober.clients
    store, bucket = clients.store, clients.settings.log_bucket
    # One name for all times: a probe that may not be deleted is overwritten by the next one.
    name = probe_name(clients.settings.home, "doctor")
    at = datetime.fromtimestamp(clients.clock.wall(), UTC).isoformat()
    body = json.dumps({"probed_at": at}).encode()

    async def look() -> bool:
        async for page in store.list(bucket, name):
            return bool(page.objects)
        return False

    yield await prober.ask(
        "oss.write",
        lambda: store.put(bucket, name, body, "application/json"),
        always(Check("oss.write", CheckStatus.OK, f"records can be written to {bucket}")),
    )
    yield await prober.ask(
        "oss.fleet",
        lambda: store.get(bucket, fleet_folder(clients.settings.home) + PAUSE_NAME),
        always(
            Check("oss.fleet", CheckStatus.OK, "the relay hears of a pause and of other workers")
        ),
        otherwise=CheckStatus.WARNING,
        note="the relay works without this right, hears no `oms-relay pause`, and asks OMS alone",
    )
    for what, attempt, commands in (
        ("read", lambda: store.get(bucket, name), "`dead` and `records`"),
        ("list", look, "`dead` and `records`"),
        ("delete", lambda: store.delete(bucket, name), "`dead redrive` and `dead archive`"),
    ):
        fine = Check(f"oss.{what}", CheckStatus.OK, f"records can be {_DONE[what]}")
        yield await prober.ask(
            fine.name,
            attempt,
            always(fine),
            otherwise=CheckStatus.WARNING,
            note=f"the relay does without this right, {commands} do not",
        )


async def source_checks(prober: ServiceProber, source_bucket: str) -> AsyncIterator[Check]:
    """Yield whether `RELAY_KEY_ENCODING=auto` may look into the source bucket; nothing if it need not."""
    settings, store = prober.clients.settings, prober.clients.store
    if settings.key_encoding != "auto" or not source_bucket:
        return

    def judge(is_there: bool | None) -> Check:
        if is_there is not None:
            return Check("oss.source", CheckStatus.OK, f"keys can be looked up in {source_bucket}")
        return Check(
            "oss.source",
            CheckStatus.WARNING,
            f"keys cannot be looked up in {source_bucket}: those with % or + are posted in both readings",
            f"grant oss:GetObject on acs:oss:*:*:{source_bucket}/* to the RAM identity of this key, "
            "or set RELAY_KEY_ENCODING",
        )

    yield await prober.ask("oss.source", lambda: store.exists(source_bucket, NO_OBJECT), judge)
