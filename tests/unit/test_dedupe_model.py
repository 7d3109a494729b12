"""Dedupe against G2: a change is never dropped, a recorded event is never posted twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from doubles.build import Heard, event, failure, held
from worker.errors import Failure
from worker.flow.dedupe import Change, Dedupe, Identities
from worker.flow.lease import Held

IDENTITIES_MIN = 3
KEYS = "abc"

# Which put of which key: the identity of an event, as people see it.
Put = tuple[str, int]


@dataclass(frozen=True)
class Sent:
    """A message as it lies in the queue, and comes again until it is deleted."""

    message_id: str
    puts: tuple[Put, ...]


class DedupeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.dedupe = Dedupe(Heard().journal, Identities(IDENTITIES_MIN))
        self.sent: list[Sent] = []
        self.waiting: dict[str, list[tuple[Held, Put]]] = {}
        self.taken: list[tuple[Change, list[tuple[Held, Put]]]] = []
        self.recorded: list[Put] = []
        self.owed: Counter[int] = Counter()
        self.in_hand: dict[int, Held] = {}

    @rule(puts=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 9)), max_size=4))
    def send(self, puts: list[Put]) -> None:
        self.sent.append(Sent(f"M{len(self.sent)}", tuple(puts)))
        self.deliver(self.sent[-1])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        self.deliver(data.draw(st.sampled_from(self.sent)))

    def deliver(self, sent: Sent) -> None:
        message = held(sent.message_id)
        changes = [(event(key, request_id=f"R{key}{number}"), key) for key, number in sent.puts]
        waits = self.dedupe.admit(message, changes)
        skipped = list(sent.puts)
        for put in self.joined(message):
            skipped.remove(put)
            self.waiting.setdefault(put[0], []).append((message, put))
            self.owed[id(message)] += 1
        assert all(put in self.recorded for put in skipped)
        assert not any(put in self.remembered() and put not in skipped for put in sent.puts)
        assert waits == (len(skipped) < len(sent.puts))
        if waits:
            self.in_hand[id(message)] = message

    def joined(self, message: Held) -> list[Put]:
        """Return what this message now waits for, read from the changes that wait."""
        return [
            (change.key, int(waiter.event.request_id[2:]))
            for change in self.dedupe._waiting.values()
            for waiter in change.waiters
            if waiter.held is message
        ]

    def remembered(self) -> set[Put]:
        """Return what must still be known: the newest confirmed identities."""
        newest = dict.fromkeys(reversed(self.recorded))
        return set(list(newest)[:IDENTITIES_MIN])

    @precondition(lambda self: self.waiting)
    @rule(keys_max=st.integers(1, 3))
    def take(self, keys_max: int) -> None:
        self._take(keys_max)

    def _take(self, keys_max: int) -> None:
        batch = self.loop.run_until_complete(self.dedupe.batch(keys_max, 0.0))
        assert [change.key for change in batch] == list(self.waiting)[:keys_max]
        for change in batch:
            expected = self.waiting.pop(change.key)
            assert [waiter.held for waiter in change.waiters] == [each[0] for each in expected]
            self.taken.append((change, expected))

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), end=st.sampled_from(["recorded", "undone", "rejected"]))
    def settle(self, data: st.DataObject, end: str) -> None:
        self._settle(data.draw(st.integers(0, len(self.taken) - 1)), end)

    def _settle(self, number: int, end: str) -> None:
        change, waiters = self.taken.pop(number)
        why: dict[str, Failure | None] = {"undone": None, "rejected": None}
        if end == "recorded":
            self.recorded += [put for _, put in waiters]
        else:
            why[end] = failure(message=end)
        finished = self.dedupe.settle(change, undone=why["undone"], rejected=why["rejected"])
        for message, _ in waiters:
            self.owed[id(message)] -= 1
        done = dict.fromkeys(id(message) for message, _ in waiters if not self.owed[id(message)])
        # Each exactly once, and never before its last change: `in_hand` no longer has it afterwards.
        assert sorted(map(id, finished)) == sorted(done)
        for each in done:
            del self.in_hand[each]

    @invariant()
    def memory_is_bounded(self) -> None:
        memory = self.dedupe._recorded
        remembered = memory._newer | memory._older
        assert len(remembered) <= 2 * IDENTITIES_MIN
        assert len(self.dedupe) == len(self.waiting)

    @invariant()
    def what_is_in_hand_waits_for_something(self) -> None:
        for number, message in self.in_hand.items():
            assert message.pending == self.owed[number] > 0

    def teardown(self) -> None:
        """Whatever happened, in the end every message has finished."""
        try:
            while self.waiting:
                self._take(3)
            while self.taken:
                self._settle(0, "undone")
            assert self.in_hand == {}
        finally:
            self.loop.close()


DedupeMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_no_change_is_dropped_and_no_recorded_event_is_posted_again = DedupeMachine.TestCase
