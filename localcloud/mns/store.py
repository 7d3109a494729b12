"""All queues of the account, and what crosses them: long polls, publishing, dead letters."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from localcloud.clock import Clock
from localcloud.mns.errors import MnsError
from localcloud.mns.handle import new_message_id
from localcloud.mns.message import Attributes, DeadLetterPolicy, Message, Property
from localcloud.mns.polling import Pollers
from localcloud.mns.queue import Queue

ACCOUNT_ID = "1000000000000001"
REGION = "cn-hangzhou"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


@dataclass(slots=True)
class Behaviour:
    """Switches for what the real service does now and then, or what is not known about it."""

    # Read by pydantic, where the admin API takes switches as JSON.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    # Assumption: the real cap moves with load and wait; only that there is one is documented.
    long_polls_max: int = 100
    # Recorded: a wait of one second answered after 807 to 873 ms.
    wait_share_min: float = 0.8
    # Batches smaller than what is there, as when one storage slice answers for all.
    short_batches: bool = False
    # The throttle on messages received and not deleted; the documentation names 5,000.
    # Assumption: what is over the limit is answered 429; the page says "receive rate cut sharply".
    in_flight_max: int | None = None
    # Lease messages to a long poll whose caller has hung up; they come back when that lease ends.
    leases_to_the_gone: bool = False
    # The vendor's page announces it: the three counters of a queue will read 0.
    counters_read_zero: bool = False
    compact_xml: bool = False
    namespace_slash: bool = False

    def __post_init__(self) -> None:
        if self.long_polls_max < 0:
            raise ValueError("long_polls_max must be 0 or more")
        if not 0 <= self.wait_share_min <= 1:
            raise ValueError("wait_share_min must be between 0 and 1")
        if self.in_flight_max is not None and self.in_flight_max < 1:
            raise ValueError("in_flight_max must be 1 or more, or null for no throttle")


@dataclass(frozen=True, slots=True)
class Ask:
    """One receive: how many, how long to wait, and whether the caller is still there.

    `strikes` says whether a custom fault of that name applies to this call.
    """

    limit: int
    wait_seconds: int
    is_connected: Callable[[], bool]
    strikes: Callable[[str], bool]


class Store:
    """The queues by name. Everything here is synchronous but for the long poll."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.behaviour = Behaviour()
        self.queues: dict[str, Queue] = {}
        self._clock = clock
        self._rng = rng
        self._pollers: dict[str, Pollers] = {}
        clock.on_jump(self._wake_all)

    def now_ms(self) -> int:
        """Return the service's time in milliseconds."""
        return int(self._clock.now() * 1000)

    def create(self, name: str, attributes: Attributes) -> Queue:
        """Make a queue; the name must be free and well-formed."""
        check_name(name)
        queue = Queue(
            name, attributes, self.now_ms(), self._rng, bury=lambda m: self._bury(name, m)
        )
        self.queues[name] = queue
        self._pollers[name] = Pollers()
        return queue

    def find(self, name: str) -> Queue:
        """Return the queue or raise QueueNotExist."""
        queue = self.queues.get(name)
        if queue is None:
            raise MnsError("QueueNotExist")
        return queue

    def delete(self, name: str) -> None:
        """Remove a queue with all its messages; long polls on it end."""
        # Assumption: deleting a queue that is not there is refused, not ignored.
        del self.queues[self.find(name).name]
        self._pollers.pop(name).nudge_all()

    def send(self, queue: Queue, message: Message, delay_seconds: int | None = None) -> Message:
        """Put a message into a queue and wake a waiting poll."""
        queue.send(message, self.now_ms(), delay_seconds)
        self.nudge(queue)
        return message

    def new_message(self, body: str, enqueue_ms: int | None = None) -> Message:
        """Return a message with a new id, enqueued now unless told otherwise."""
        when = self.now_ms() if enqueue_ms is None else enqueue_ms
        return Message(new_message_id(self._rng), body, when)

    def nudge(self, queue: Queue) -> None:
        """Let a long poll look at the queue again; call it after every change of a queue."""
        self._pollers[queue.name].nudge()

    def polls_open(self, name: str) -> int:
        """How many long polls wait on a queue."""
        return len(self._pollers[name])

    async def receive(self, queue: Queue, ask: Ask) -> list[Message]:
        """Hand out messages at once, or wait for them; an empty list is an empty answer."""
        taken = self._take(queue, ask)
        pollers = self._pollers[queue.name]
        # Documented: one poll too many is answered like an empty queue, at once.
        if taken or not ask.wait_seconds or len(pollers) >= self.behaviour.long_polls_max:
            return taken
        share = self._rng.uniform(self.behaviour.wait_share_min, 1)
        with pollers:
            return await self._poll(queue, pollers, ask, ask.wait_seconds * share)

    async def _poll(
        self, queue: Queue, pollers: Pollers, ask: Ask, seconds: float
    ) -> list[Message]:
        # Two deadlines: the service clock may be set during the wait, and may also stand still.
        loop = asyncio.get_running_loop()
        loop_deadline, deadline = loop.time() + seconds, self._clock.now() + seconds
        while True:
            left = min(loop_deadline - loop.time(), deadline - self._clock.now())
            if left <= 0:
                return []
            due = queue.next_due_ms()
            until_due = left if due is None else max(0.001, due / 1000 - self._clock.now())
            await pollers.wait(min(left, until_due))
            if self.queues.get(queue.name) is not queue:
                raise MnsError("QueueNotExist")
            # Assumption: the service notices that a caller has hung up.
            if not ask.is_connected() and not self.behaviour.leases_to_the_gone:
                return []
            if taken := self._take(queue, ask):
                return taken

    def _take(self, queue: Queue, ask: Ask) -> list[Message]:
        now_ms = self.now_ms()
        limit = ask.limit
        in_flight_max = self.behaviour.in_flight_max
        if in_flight_max is not None and queue.counts(now_ms).inactive >= in_flight_max:
            raise MnsError("TooManyRequests")
        if self.behaviour.short_batches:
            limit = self._rng.randint(1, limit)
        if ask.strikes("reorder"):
            queue.shuffle(now_ms)
        taken = queue.receive(limit, now_ms)
        for message in taken:
            if ask.strikes("duplicate"):
                queue.expose(message)
        if taken:
            self.nudge(queue)
        return taken

    def _bury(self, source: str, message: Message) -> bool:
        """Move a message to the dead-letter queue; False if that queue does not exist."""
        policy = self.queues[source].dead_letter
        target = self.queues.get(policy.target) if policy is not None else None
        if target is None or target.name == source:
            return False
        # The time in both queues counts against one retention period (documented), so the enqueue
        # time stays. Assumption: the id is new (the property DLQOriginMessageId suggests it), the
        # dequeue count starts anew, and the value of DLQMessageType.
        dead = self.new_message(message.body, message.enqueue_ms)
        dead.priority = message.priority
        dead.user_properties = message.user_properties
        dead.system_properties = (
            *message.system_properties,
            Property("DLQMessageType", "Queue"),
            Property("DLQSourceArn", f"acs:mns:{REGION}:{ACCOUNT_ID}:/queues/{source}"),
            Property("DLQOriginMessageId", message.id),
        )
        self.send(target, dead, 0)
        return True

    def set_dead_letter(self, name: str, policy: DeadLetterPolicy | None) -> None:
        """Set or lift the dead-letter policy; the data plane of MNS cannot."""
        if policy is not None and policy.target == name:
            raise MnsError("InvalidArgument", "A queue cannot be its own dead-letter queue.")
        self.find(name).dead_letter = policy

    def _wake_all(self) -> None:
        for pollers in self._pollers.values():
            pollers.nudge_all()


def check_name(name: str) -> None:
    """Refuse a queue name that MNS would refuse."""
    if not 1 <= len(name) <= 120:
        raise MnsError("QueueNameLengthError")
    if _NAME.fullmatch(name) is None:
        raise MnsError("InvalidQueueName")
