"""Messages that are put off because their route is down, while other routes work.

They are hidden in the queue, for longer each time. MNS counts a hidden message as one that was received and
not deleted, and throttles a queue that has 5,000 of these, so their number has a bound: beyond it nothing is
received, until some are visible again. That they were delivered for nothing must not count against them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from math import inf

from worker.clock import Clock
from worker.events.event import Message

PUT_OFF_SECONDS_BASE = 2.0
PUT_OFF_SECONDS_MAX = 900
MEMORY_MIN = 10_000


def put_off_seconds(dequeue_count: int) -> int:
    """Return how long a message is hidden whose route is down: longer each time, up to 15 minutes."""
    return int(min(PUT_OFF_SECONDS_MAX, PUT_OFF_SECONDS_BASE ** min(max(dequeue_count, 1), 16)))


class PutOff:
    """How many messages this worker has put off that are not visible again yet; at most `most` of them.

    Those in hand when the bound is reached may still be added: together with what is in hand they are never
    more than a worker may hold.
    """

    def __init__(self, clock: Clock, most: int) -> None:
        self.most = most
        self._clock = clock
        self._ends: list[tuple[float, str]] = []
        self._of_route: Counter[str] = Counter()

    def __len__(self) -> int:
        now = self._clock.monotonic()
        while self._ends and self._ends[0][0] <= now:
            _, route = heapq.heappop(self._ends)
            self._of_route[route] -= 1
        return len(self._ends)

    @property
    def is_full(self) -> bool:
        """Whether no more may be put off."""
        return len(self) >= self.most

    def of_route(self, route: str) -> int:
        """How many of them are of this route."""
        len(self)
        return self._of_route[route]

    def add(self, route: str, seconds: float) -> None:
        """Count one that is hidden for so long from now on."""
        heapq.heappush(self._ends, (self._clock.monotonic() + seconds, route))
        self._of_route[route] += 1

    def seconds_left(self) -> float:
        """Return when the next one is visible again; infinite where there is none."""
        return self._ends[0][0] - self._clock.monotonic() if len(self) else inf


class Deliveries:
    """How often messages were delivered, without the times for which a route that was down is to blame.

    MNS counts every delivery. This worker knows which ones it put off itself; of the others that were sent
    before a route came back it counts from the first time that it asks. At least the last 10,000 are
    remembered, at most twice as many; what is forgotten is counted in full.
    """

    def __init__(self, least: int = MEMORY_MIN) -> None:
        self._least = least
        self._newer: dict[str, int] = {}
        self._older: dict[str, int] = {}

    def excuse(self, message: Message) -> None:
        """Count the next deliveries of this message from here on."""
        self._remember(message.message_id, message.dequeue_count)

    def counted(self, message: Message, back_at: float) -> int:
        """Return how many count; `back_at` is when a route was last down, in seconds since the epoch."""
        known = self._newer.get(message.message_id, self._older.get(message.message_id))
        if known is None:
            known = message.dequeue_count - 1 if message.enqueue_time_ms / 1000 <= back_at else 0
            if known:
                self._remember(message.message_id, known)
        return message.dequeue_count - known

    def _remember(self, message_id: str, deliveries: int) -> None:
        self._newer[message_id] = deliveries
        if len(self._newer) >= self._least:
            self._older, self._newer = self._newer, {}
