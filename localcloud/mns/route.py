"""Which operation a request asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from localcloud.service import Call

UNKNOWN = "Unknown"
_PATH = re.compile(r"/queues(?:/(?P<queue>[^/]+)(?P<messages>/messages)?)?/?")
_BATCH_ROOT = re.compile(rb"\s*(?:<\?[^>]*>\s*)?<(?:\w+:)?Messages\b")
_QUEUE_VERBS = {"PUT": "CreateQueue", "GET": "GetQueueAttributes", "DELETE": "DeleteQueue"}


@dataclass(frozen=True, slots=True)
class Route:
    """The operation, its queue, and the query under lower-case names.

    The documentation and the SDKs spell the names of the query differently: both are accepted.
    """

    operation: str
    queue: str = ""
    query: Mapping[str, str] | None = None

    def get(self, name: str) -> str | None:
        """Return a parameter of the query by its lower-case name."""
        return self.query.get(name) if self.query else None


def route(call: Call) -> Route:
    """Find the operation; `Unknown` if there is none."""
    found = _route(call.method, call.target)
    if found.operation == "SendMessage" and _BATCH_ROOT.match(call.body):
        return Route("BatchSendMessage", found.queue, found.query)
    return found


@lru_cache(maxsize=256)
def _route(method: str, target: str) -> Route:
    call = Call(method, target, {}, b"")
    path = _PATH.fullmatch(call.path)
    if path is None:
        return Route(UNKNOWN)
    query = {name.lower(): value for name, value in call.query.items()}
    # Reported: `WaitSeconds` instead of `waitseconds` is answered with status 500.
    if "WaitSeconds" in call.query:
        query["misspelt"] = "WaitSeconds"
    queue = path["queue"]
    if queue is None:
        return Route("ListQueue" if method == "GET" else UNKNOWN, "", query)
    if path["messages"]:
        return Route(_message_operation(method, query), queue, query)
    if method == "PUT" and query.get("metaoverride", "").lower() == "true":
        return Route("SetQueueAttributes", queue, query)
    return Route(_QUEUE_VERBS.get(method, UNKNOWN), queue, query)


def _message_operation(method: str, query: Mapping[str, str]) -> str:
    batch = "Batch" if "numofmessages" in query else ""
    match method:
        case "POST":
            return "SendMessage"
        case "GET":
            is_peek = query.get("peekonly", "").lower() == "true"
            return batch + ("PeekMessage" if is_peek else "ReceiveMessage")
        case "DELETE":
            return "DeleteMessage" if "receipthandle" in query else "BatchDeleteMessage"
        case "PUT":
            return "ChangeMessageVisibility"
        case _:
            return UNKNOWN
