"""dedupe: one post serves all waiting messages of a key, and a recorded event is never posted again (G2).

Two rules, and no others. A key joins a change only while that change *waits*: once its post has started,
the next event of the key makes a new change. And an event is skipped only by its own identity, after its
record was confirmed; never because its key was seen before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from worker.errors import Failure
from worker.events.event import ObjectEvent
from worker.flow.batcher import Batcher
from worker.flow.lease import Held, Refused, Undone
from worker.observe.journal import Journal

IDENTITIES_MIN = 50_000


class Waiter(NamedTuple):
    """A message that waits for a change, the event that brought it there, and that event's identity."""

    held: Held
    event: ObjectEvent
    identity: bytes


@dataclass(slots=True, eq=False)
class Change:
    """A key to be posted, with every message that waits for it. Once taken it gets no more waiters."""

    key: str
    waiters: list[Waiter] = field(default_factory=list)

    @property
    def newest(self) -> Waiter:
        """The waiter that came last."""
        return self.waiters[-1]


def identity(message_id: str, index: int, event: ObjectEvent, key: str, intent: str = "") -> bytes:
    """Return what tells this very event from any other, also from one of the same key and second.

    OSS gives no event id; the request behind the change, with key and name, is unique.
    Without a request id only the message itself can vouch: its id and body survive redelivery. What an
    operator sent again goes by that `intent`: it is posted although its event was recorded before, and once.
    """
    source = (intent, index) if intent else event.request_id or (message_id, index)
    facts = (source, event.name, event.bucket, key, event.time, event.etag)
    # A digest keeps the memory flat; 128 bits, because a collision would be a lost change.
    return blake2b(repr(facts).encode(), digest_size=16).digest()


class Identities:
    """A bounded memory of recorded identities, which all routes share: bucket and key are part of each.

    At least the last `least` are remembered, at most twice as many: in two sets, of which the older is
    forgotten as a whole. An ordered dictionary takes four times the memory, and keeps growing for a while.
    """

    def __init__(self, least: int = IDENTITIES_MIN) -> None:
        self._least = least
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()

    def __contains__(self, known_as: bytes) -> bool:
        return known_as in self._newer or known_as in self._older

    def add(self, known_as: bytes) -> None:
        """Remember one more."""
        self._newer.add(known_as)
        if len(self._newer) >= self._least:
            self._older, self._newer = self._newer, set()


class Dedupe:
    """The changes of one route that wait, in the order they came.

    `unsettled` is how many are not settled yet; each message counts for itself, also in a merged one.
    """

    def __init__(self, journal: Journal, recorded: Identities | None = None) -> None:
        self.unsettled = 0
        self._journal = journal
        self._recorded = recorded or Identities()
        self._waiting: dict[str, Change] = {}
        self._batches = Batcher(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def admit(self, held: Held, events: Iterable[tuple[ObjectEvent, str]]) -> bool:
        """Let the message wait for each of its changes (event and object key).

        Returns False if there is nothing to wait for: every one of them is recorded already.
        """
        message = held.message
        for index, (event, key) in enumerate(events):
            held.keys += 1
            held.first_key = held.first_key or key
            known_as = identity(message.message_id, index, event, key, message.intent)
            if known_as in self._recorded:
                self._journal.repeated()
                continue
            held.pending += 1
            self.unsettled += 1
            self._join(key, Waiter(held, event, known_as))
        return held.pending > 0

    def _join(self, key: str, waiter: Waiter) -> None:
        change = self._waiting.get(key)
        if change is None:
            self._waiting[key] = Change(key, [waiter])
            self._batches.arrived()
        else:
            change.waiters.append(waiter)
            self._journal.merged()

    async def batch(self, keys_max: int, linger_seconds: float) -> list[Change]:
        """Wait for changes and take up to `keys_max`, oldest first; linger to fill the batch.

        An empty list means that `close` was called and nothing waits any more.
        """
        await self._batches.due(keys_max, linger_seconds)
        return [self._waiting.pop(key) for key in list(islice(self._waiting, keys_max))]

    def close(self) -> None:
        """Say that no more will be admitted: batches leave at once, and `batch` ends when all are taken."""
        self._batches.close()

    def settle(
        self, change: Change, *, undone: Failure | None, rejected: Failure | None
    ) -> list[Held]:
        """Settle a change for all its messages; return those that wait for nothing more.

        `undone`: the record is not confirmed, so the messages must come back. `rejected`: recorded as failed.
        With neither, the record is confirmed and the events are never posted again.
        """
        finished = []
        for waiter in change.waiters:
            held = waiter.held
            held.pending -= 1
            self.unsettled -= 1
            if undone is not None:
                held.undone = Undone(undone, self._journal.route)
            elif rejected is not None:
                held.rejected += (Refused(change.key, rejected, self._journal.route),)
            if held.pending == 0:
                finished.append(held)
        if undone is None and rejected is None:
            self._remember(change)
        return finished

    def _remember(self, change: Change) -> None:
        for waiter in change.waiters:
            self._recorded.add(waiter.identity)
