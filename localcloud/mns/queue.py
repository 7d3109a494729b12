"""One MNS queue, without any input or output: time and randomness are passed in.

A message is delayed, then active (visible), then inactive (handed out) until it is deleted or its
visibility ends; then it is active again. Receiving costs O(batch) however long the queue is.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice

from localcloud.mns.errors import MnsError
from localcloud.mns.handle import is_well_formed, message_id_of, new_handle
from localcloud.mns.message import (
    PRIORITIES,
    Attributes,
    Counts,
    DeadLetterPolicy,
    Message,
    State,
)

REORDER_WINDOW = 64
STALE_LEASES_KEPT = 1_000


def _never_buries(_message: Message) -> bool:
    return False


class Queue:
    """A standard (not FIFO) queue. `bury` takes a message that the dead-letter policy struck.

    `bury` returns False if it cannot take the message (no such target); then it is handed out.
    """

    def __init__(
        self,
        name: str,
        attributes: Attributes,
        now_ms: int,
        rng: random.Random,
        bury: Callable[[Message], bool] = _never_buries,
    ) -> None:
        self.name = name
        self.attributes = attributes
        self.created_ms = now_ms
        self.modified_ms = now_ms
        self.dead_letter: DeadLetterPolicy | None = None
        self._rng = rng
        self._bury = bury
        self._messages: dict[str, Message] = {}
        self._lanes: tuple[deque[Message], ...] = tuple(deque() for _ in range(PRIORITIES))
        # Entries (due, lease, message); one is stale once its message holds another lease.
        self._timed: list[tuple[int, int, Message]] = []
        self._leases = 0
        self._counts = [0, 0, 0, 0]

    def __len__(self) -> int:
        return len(self._messages)

    def set_attributes(self, attributes: Attributes, now_ms: int) -> None:
        """Replace the attributes; leases already given keep their length."""
        self.attributes = attributes
        self.modified_ms = now_ms

    def send(self, message: Message, now_ms: int, delay_seconds: int | None = None) -> Message:
        """Take a message in, at once visible or after a delay (then it carries a handle)."""
        delay = self.attributes.delay_seconds if delay_seconds is None else delay_seconds
        self._messages[message.id] = message
        message.state = State.DELAYED if delay else State.ACTIVE
        self._counts[message.state] += 1
        if delay:
            self._lease(message, now_ms, delay)
        else:
            self._lanes[message.priority - 1].append(message)
        return message

    def receive(self, limit: int, now_ms: int) -> list[Message]:
        """Hand out up to `limit` visible messages, each under a new handle."""
        self._surface(now_ms)
        return list(islice(self._handed_out(now_ms), limit))

    def peek(self, limit: int, now_ms: int) -> list[Message]:
        """Show up to `limit` visible messages and change nothing."""
        self._surface(now_ms)
        visible = (
            message
            for lane in self._lanes
            for message in lane
            if message.state is State.ACTIVE and not self._is_expired(message, now_ms)
        )
        return list(islice(visible, limit))

    def delete(self, handle: str, now_ms: int) -> None:
        """Delete the message held under a live handle; MnsError if there is none."""
        self._drop(self._held(handle, now_ms))

    def change_visibility(self, handle: str, seconds: int, now_ms: int) -> Message:
        """Let a held message stay invisible for `seconds` from now, under a new handle."""
        message = self._held(handle, now_ms)
        self._lease(message, now_ms, seconds)
        return message

    def expose(self, message: Message) -> None:
        """Let a message that was just handed out be received again at once (duplicate delivery)."""
        if message.state is State.INACTIVE:
            self._move(message, State.ACTIVE)
            self._lanes[message.priority - 1].appendleft(message)

    def shuffle(self, now_ms: int) -> None:
        """Put the foremost visible messages into another order."""
        self._surface(now_ms)
        for lane in self._lanes:
            front = [lane.popleft() for _ in range(min(REORDER_WINDOW, len(lane)))]
            self._rng.shuffle(front)
            lane.extendleft(front)

    def counts(self, now_ms: int) -> Counts:
        """Count by state. Messages past their retention may count until they reach the front."""
        self._surface(now_ms)
        for lane in self._lanes:
            self._trim(lane, now_ms)
        active, inactive = self._counts[State.ACTIVE], self._counts[State.INACTIVE]
        return Counts(active, inactive, self._counts[State.DELAYED])

    def next_due_ms(self) -> int | None:
        """When the next delayed or inactive message becomes visible, if there is one."""
        while self._timed and self._is_stale(self._timed[0]):
            heappop(self._timed)
        return self._timed[0][0] if self._timed else None

    def has_visible(self, now_ms: int) -> bool:
        """Whether a receive would find something."""
        return self.counts(now_ms).active > 0

    def _handed_out(self, now_ms: int) -> Iterator[Message]:
        seconds = self.attributes.visibility_timeout
        for lane in self._lanes:
            while lane:
                message = lane.popleft()
                if self._may_hand_out(message, now_ms):
                    message.dequeue_count += 1
                    message.first_dequeue_ms = message.first_dequeue_ms or now_ms
                    self._move(message, State.INACTIVE)
                    self._lease(message, now_ms, seconds)
                    yield message

    def _may_hand_out(self, message: Message, now_ms: int) -> bool:
        if message.state is not State.ACTIVE:
            return False
        if self._is_expired(message, now_ms):
            self._drop(message)
            return False
        policy = self.dead_letter
        # Assumption: a message moves at the receive that would exceed the count, not when its last
        # visibility ends. The vendor says only that it moves once the count is exceeded.
        if policy is None or message.dequeue_count < policy.max_receive_count:
            return True
        if not self._bury(message):
            return True
        self._drop(message)
        return False

    def _surface(self, now_ms: int) -> None:
        """Make everything visible whose time has come."""
        timed = self._timed
        while timed and timed[0][0] <= now_ms:
            entry = heappop(timed)
            message = entry[2]
            if self._is_stale(entry) or message.state is State.ACTIVE:
                continue
            if self._is_expired(message, now_ms):
                self._drop(message)
                continue
            self._move(message, State.ACTIVE)
            # Assumption: a message that comes back queues up behind those that wait already.
            self._lanes[message.priority - 1].append(message)

    def _trim(self, lane: deque[Message], now_ms: int) -> None:
        while lane:
            if lane[0].state is State.ACTIVE:
                if not self._is_expired(lane[0], now_ms):
                    return
                self._drop(lane[0])
            lane.popleft()

    def _lease(self, message: Message, now_ms: int, seconds: int) -> None:
        self._leases += 1
        message.lease = self._leases
        message.next_visible_ms = now_ms + seconds * 1000
        message.handle = new_handle(message.id, now_ms, seconds * 1000, self._leases, self._rng)
        heappush(self._timed, (message.next_visible_ms, message.lease, message))
        live = self._counts[State.DELAYED] + self._counts[State.INACTIVE]
        if len(self._timed) > 2 * live + STALE_LEASES_KEPT:
            self._timed = [entry for entry in self._timed if not self._is_stale(entry)]
            heapify(self._timed)

    def _held(self, handle: str, now_ms: int) -> Message:
        if not is_well_formed(handle):
            raise MnsError("ReceiptHandleError")
        message = self._messages.get(message_id_of(handle))
        if message is None or message.handle != handle or message.next_visible_ms <= now_ms:
            raise MnsError("MessageNotExist")
        return message

    def _drop(self, message: Message) -> None:
        if self._messages.pop(message.id, None) is not None:
            self._move(message, State.DELETED)
            # A stale heap entry may outlive the message; it must not hold the body.
            message.body = ""

    def _move(self, message: Message, state: State) -> None:
        self._counts[message.state] -= 1
        self._counts[state] += 1
        message.state = state

    def _is_stale(self, entry: tuple[int, int, Message]) -> bool:
        message = entry[2]
        return message.lease != entry[1] or message.state is State.DELETED

    def _is_expired(self, message: Message, now_ms: int) -> bool:
        # Assumption: a change of the retention period applies to the messages already there.
        return message.enqueue_ms + self.attributes.message_retention_period * 1000 <= now_ms
