"""The operations on queues themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from localcloud.mns.desk import Desk
from localcloud.mns.errors import MnsError
from localcloud.mns.message import Attributes, Counts
from localcloud.mns.queue import Queue
from localcloud.mns.route import Route
from localcloud.mns.store import check_name
from localcloud.mns.wire import attributes_from, bounded, parse, queue_fields
from localcloud.service import Call, Reply


async def create(desk: Desk, asked: Route, call: Call) -> Reply:
    """201 if made, 204 if it is there with equal attributes, else 409; all with Location."""
    check_name(asked.queue)
    headers = {"Location": queue_url(call, asked.queue)}
    existing = desk.store.queues.get(asked.queue)
    if existing is None:
        desk.store.create(asked.queue, _attributes(call, Attributes()))
        return Reply(201, headers=headers)
    # Assumption: attributes that the request leaves out are not compared.
    if _attributes(call, existing.attributes) != existing.attributes:
        raise MnsError("QueueAlreadyExist")
    return Reply(204, headers=headers)


async def set_attributes(desk: Desk, asked: Route, call: Call) -> Reply:
    """204. Assumption: attributes that the request leaves out stay as they are."""
    queue = desk.store.find(asked.queue)
    queue.set_attributes(_attributes(call, queue.attributes), desk.store.now_ms())
    return Reply(204)


async def get_attributes(desk: Desk, asked: Route, _call: Call) -> Reply:
    """200 with every attribute and the counters."""
    queue = desk.store.find(asked.queue)
    fields = queue_fields(queue, _counts(desk, queue))
    return Reply(200, desk.style.document("Queue", desk.style.fields(fields)))


async def delete(desk: Desk, asked: Route, _call: Call) -> Reply:
    """204."""
    desk.store.delete(asked.queue)
    return Reply(204)


async def list_queues(desk: Desk, _asked: Route, call: Call) -> Reply:
    """200 with the queues after the marker in order of name; NextMarker only if there are more."""
    prefix = call.headers.get("x-mns-prefix", "")
    marker = call.headers.get("x-mns-marker", "")
    limit = bounded("RetNumber", call.headers.get("x-mns-ret-number", "1000"), 1, 1000, "queues")
    with_meta = call.headers.get("x-mns-with-meta", "").lower() == "true"
    names = [
        name for name in sorted(desk.store.queues) if name.startswith(prefix) and name > marker
    ]
    shown = [_entry(desk, call, desk.store.queues[name], with_meta) for name in names[:limit]]
    if len(names) > limit:
        shown.append(desk.style.fields([("NextMarker", names[limit - 1])]))
    return Reply(200, desk.style.document("Queues", "".join(shown)))


def queue_url(call: Call, name: str) -> str:
    """Return the address of a queue, as Location and ListQueue show it."""
    return f"http://{call.headers.get('Host', '')}/queues/{name}"


def _entry(desk: Desk, call: Call, queue: Queue, with_meta: bool) -> str:
    pairs: list[tuple[str, object]] = [("QueueURL", queue_url(call, queue.name))]
    if with_meta:
        pairs += queue_fields(queue, _counts(desk, queue))
    return desk.style.group("Queue", desk.style.fields(pairs, 2))


def _counts(desk: Desk, queue: Queue) -> Counts:
    """Return the counters as they are told, which may be 0 whatever there is."""
    if desk.store.behaviour.counters_read_zero:
        return Counts(0, 0, 0)
    return queue.counts(desk.store.now_ms())


def _attributes(call: Call, base: Attributes) -> Attributes:
    return attributes_from(parse(call.body, "Queue"), base) if call.body else base


HANDLERS: dict[str, Callable[[Desk, Route, Call], Awaitable[Reply]]] = {
    "CreateQueue": create,
    "SetQueueAttributes": set_attributes,
    "GetQueueAttributes": get_attributes,
    "DeleteQueue": delete,
    "ListQueue": list_queues,
}
