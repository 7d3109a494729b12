"""The MNS service over HTTP: verify, find the operation, act on the store, answer in XML."""

from __future__ import annotations

import random

from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults
from localcloud.identity import Identities, Identity
from localcloud.mns import messages, queues
from localcloud.mns.desk import Desk
from localcloud.mns.errors import MnsError
from localcloud.mns.message import Attributes, DeadLetterPolicy
from localcloud.mns.queue import Queue
from localcloud.mns.route import route
from localcloud.mns.signature import VERSION, verify
from localcloud.mns.store import Behaviour, Store
from localcloud.mns.wire import CONTENT_TYPE, NAMESPACE, Style, error_xml, is_xml_text
from localcloud.service import Call, Reply, Service

HANDLERS = {**queues.HANDLERS, **messages.HANDLERS}


class MnsService(Service):
    """MNS queues on one loopback port.

    `behaviour` holds the switches; custom faults are `duplicate` (a message stays visible although
    it was just handed out) and `reorder`.
    """

    name = "mns"

    def __init__(
        self, clock: Clock, faults: Faults, identities: Identities, rng: random.Random
    ) -> None:
        super().__init__(clock, faults)
        self.store = Store(clock, rng)
        self._identities = identities
        self._rng = rng

    @property
    def behaviour(self) -> Behaviour:
        """The switches, free to be changed at any time."""
        return self.store.behaviour

    @property
    def style(self) -> Style:
        """How answers are written now."""
        slash = "/" if self.behaviour.namespace_slash else ""
        return Style(self.behaviour.compact_xml, NAMESPACE + slash)

    def create_queue(
        self,
        name: str,
        attributes: Attributes | None = None,
        dead_letter: DeadLetterPolicy | None = None,
    ) -> Queue:
        """Make a queue from inside the process, or return the one of that name as it is."""
        if name not in self.store.queues:
            self.store.create(name, attributes or Attributes())
            self.store.set_dead_letter(name, dead_letter)
        return self.store.queues[name]

    def queue(self, name: str) -> Queue:
        """Return a queue's model; MnsError QueueNotExist if there is none."""
        return self.store.find(name)

    def publish(self, queue_name: str, body: str) -> str:
        """Put a message into a queue from inside the process and return its id.

        `body` is the text as stored on the wire (Base64 or not). MnsError if there is no such queue
        or if MNS would refuse the text.
        """
        queue = self.store.find(queue_name)
        if not is_xml_text(body):
            raise MnsError("MalformedXML")
        messages.check_size(body, queue, low=0)
        return self.store.send(queue, self.store.new_message(body)).id

    def refusal(
        self, code: str, operation: str = "*", *, times: int | None = None, seconds: float = 0.0
    ) -> Fault:
        """Return a fault that refuses `operation` with a code of the catalogue, after `seconds`."""
        error = MnsError(code)
        body = error_xml(error, self._request_id(), self.url, self.style)
        return Fault(
            service=self.name,
            operation=operation,
            action=Action.STATUS,
            status=error.status,
            body=body,
            content_type=CONTENT_TYPE,
            seconds=seconds,
            times=times,
        )

    def operation(self, call: Call) -> str:
        """Name the operation as the vendor does: BatchReceiveMessage, DeleteMessage, ..."""
        return route(call).operation

    async def serve(self, call: Call) -> Reply:
        """Verify the signature and the permission, act, answer."""
        request_id = self._request_id()
        try:
            reply = await self._act(call)
        except MnsError as error:
            host = f"http://{call.headers.get('Host', '')}"
            reply = Reply(error.status, error_xml(error, request_id, host, self.style))
        reply.headers.setdefault("Content-Type", CONTENT_TYPE)
        reply.headers["x-mns-request-id"] = request_id
        return reply

    def common_headers(self) -> dict[str, str]:
        """Return the headers that the recordings show."""
        return {
            **super().common_headers(),
            "Server": "AliyunMQS",
            "x-mns-version": VERSION,
            "x-mns-response-format": "xml",
            "x-mns-netty-total-time": "1",
            "x-mns-threadpool-wait-time": "0",
            "x-mns-account-type": "",
        }

    async def _act(self, call: Call) -> Reply:
        identity = verify(
            call.method, call.target, call.headers, self.clock.now(), self._identities
        )
        asked = route(call)
        handler = HANDLERS.get(asked.operation)
        if handler is None:
            raise MnsError("InvalidRequestURL")
        authorise(identity, asked.operation)
        return await handler(Desk(self.store, self.style, self._strikes), asked, call)

    def _strikes(self, operation: str, fault_name: str) -> bool:
        return self.faults.pick(self.name, operation, custom=fault_name) is not None

    def _request_id(self) -> str:
        return f"{self._rng.getrandbits(96):024X}"


def authorise(identity: Identity, operation: str) -> None:
    """Raise MnsError AccessDenied unless this key may call the operation."""
    # Assumption: batch operations go by the single operation's action. Policies in the wild name
    # either, so either will do to allow a call, and to deny it.
    names = (f"mns:{operation.removeprefix('Batch')}", f"mns:{operation}")
    is_denied = any(identity.is_denied(name) for name in names)
    if is_denied or not any(identity.may(name) for name in names):
        raise MnsError("AccessDenied")
