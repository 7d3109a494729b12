from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from localcloud.mns import Attributes, DeadLetterPolicy, Message, MnsError, Queue, State
from localcloud.mns.handle import is_well_formed, new_handle, new_message_id
from localcloud.mns.message import Counts
from localcloud.mns.queue import REORDER_WINDOW, STALE_LEASES_KEPT

START = 1_790_000_000_000
SECOND = 1000


def queue(**attributes: Any) -> Queue:
    return Queue("q", Attributes(**attributes), START, random.Random(7))


def put(target: Queue, *names: str, at: int = START, priority: int = 8) -> list[Message]:
    return [target.send(Message(name, f"body {name}", at, priority), at) for name in names]


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


def send_real(target: Queue, at: int = START) -> Message:
    """Send under an id that handles can carry."""
    return target.send(Message(new_message_id(random.Random(at)), "body", at), at)


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(MnsError) as caught:
        call(*arguments)
    return caught.value.code


def test_a_message_is_invisible_while_it_is_handed_out_and_comes_back_after() -> None:
    target = queue(visibility_timeout=30)
    put(target, "a")
    [first] = target.receive(16, START)
    assert (first.next_visible_ms, first.dequeue_count) == (START + 30 * SECOND, 1)
    assert target.receive(16, START + 30 * SECOND - 1) == []
    [again] = target.receive(16, START + 30 * SECOND)
    assert (again.id, again.dequeue_count, again.first_dequeue_ms) == ("a", 2, START)


def test_a_receive_takes_no_more_than_asked_and_keeps_the_order() -> None:
    target = queue()
    put(target, "a", "b", "c")
    assert ids(target.receive(2, START)) == ["a", "b"]
    assert ids(target.receive(2, START)) == ["c"]


def test_a_lower_number_is_a_higher_priority() -> None:
    target = queue()
    put(target, "last", priority=16)
    put(target, "usual")
    put(target, "first", priority=1)
    assert ids(target.receive(16, START)) == ["first", "usual", "last"]


def test_each_change_of_visibility_gives_a_new_handle_and_kills_the_old() -> None:
    target = queue(visibility_timeout=15)
    send_real(target)
    [message] = target.receive(1, START)
    old = message.handle
    later = START + 10 * SECOND
    assert target.change_visibility(old, 30, later).next_visible_ms == later + 30 * SECOND
    assert message.handle != old
    assert refusal(target.delete, old, later) == "MessageNotExist"
    assert refusal(target.change_visibility, old, 30, later) == "MessageNotExist"
    target.delete(message.handle, later)
    assert len(target) == 0


def test_a_renewed_message_does_not_come_back_when_its_first_lease_ends() -> None:
    target = queue(visibility_timeout=15)
    send_real(target)
    [message] = target.receive(1, START)
    target.change_visibility(message.handle, 60, START)
    assert target.next_due_ms() == START + 60 * SECOND
    assert target.receive(1, START + 59 * SECOND) == []
    assert target.receive(1, START + 60 * SECOND) == [message]


def test_a_handle_dies_when_the_visibility_ends_or_the_message_is_received_again() -> None:
    target = queue(visibility_timeout=30)
    send_real(target)
    [message] = target.receive(1, START)
    first = message.handle
    ends = START + 30 * SECOND
    assert refusal(target.delete, first, ends) == "MessageNotExist"
    target.receive(1, ends)
    assert refusal(target.delete, first, ends) == "MessageNotExist"
    target.delete(message.handle, ends)
    assert refusal(target.delete, message.handle, ends) == "MessageNotExist"


@pytest.mark.parametrize("handle", ["", "x", "1-ODU4OTkz", "A" * 32, "A" * 32 + "-?", "0" * 32])
def test_what_never_was_a_handle_is_told_from_one_that_died(handle: str) -> None:
    assert refusal(queue().delete, handle, START) == "ReceiptHandleError"


def test_handles_are_well_formed_unique_and_use_the_whole_alphabet_of_base64() -> None:
    rng = random.Random(1)
    handles = [new_handle("A" * 32, START, 30_000, lease, rng) for lease in range(3000)]
    assert all(map(is_well_formed, handles))
    assert len(set(handles)) == len(handles)
    assert {"+", "/", "="} <= set("".join(handles))


def test_a_delayed_message_waits_and_its_handle_can_cancel_it() -> None:
    target = queue()
    delayed = Message(new_message_id(random.Random(1)), "x", START)
    target.send(delayed, START, delay_seconds=10)
    assert delayed.state is State.DELAYED
    assert target.counts(START) == Counts(active=0, inactive=0, delayed=1)
    assert target.receive(1, START + 10 * SECOND - 1) == []
    target.delete(delayed.handle, START)
    assert target.receive(1, START + 10 * SECOND) == []


def test_the_delay_of_the_queue_counts_unless_the_message_has_its_own() -> None:
    target = queue(delay_seconds=5)
    put(target, "slow")
    target.send(Message("quick", "x", START), START, delay_seconds=0)
    assert ids(target.receive(16, START)) == ["quick"]
    assert ids(target.receive(16, START + 5 * SECOND)) == ["slow"]


def test_messages_end_with_their_retention_wherever_they_stand() -> None:
    target = queue(message_retention_period=60, visibility_timeout=30)
    put(target, "leased")
    target.receive(1, START + 40 * SECOND)
    put(target, "waiting")
    put(target, "younger", at=START + 1)
    ends = START + 60 * SECOND
    assert ids(target.peek(16, ends)) == ["younger"]
    assert target.counts(ends) == Counts(active=1, inactive=1, delayed=0)
    assert target.receive(16, ends + SECOND) == []
    assert target.receive(16, START + 70 * SECOND) == []
    assert len(target) == 0


def test_a_peek_changes_nothing() -> None:
    target = queue()
    put(target, "a", "b")
    [seen] = target.peek(1, START)
    assert (seen.id, seen.dequeue_count, seen.first_dequeue_ms, seen.handle) == ("a", 0, 0, "")
    assert ids(target.receive(16, START)) == ["a", "b"]
    assert target.peek(16, START) == []


def test_an_exposed_message_is_delivered_twice_and_only_the_later_handle_deletes_it() -> None:
    target = queue()
    send_real(target)
    [message] = target.receive(1, START)
    first = message.handle
    target.expose(message)
    [again] = target.receive(1, START)
    assert (again.id, again.dequeue_count) == (message.id, 2)
    assert refusal(target.delete, first, START) == "MessageNotExist"
    target.delete(again.handle, START)
    assert target.counts(START) == Counts(active=0, inactive=0, delayed=0)


def test_an_exposed_message_that_its_holder_deletes_is_gone() -> None:
    target = queue()
    send_real(target)
    [message] = target.receive(1, START)
    target.expose(message)
    target.change_visibility(message.handle, 60, START)
    target.delete(message.handle, START)
    assert target.receive(1, START) == []
    assert target.receive(1, START + 60 * SECOND) == []
    assert target.counts(START).active == 0


def test_shuffling_changes_the_order_and_loses_nothing() -> None:
    target = queue()
    names = [f"{number:03}" for number in range(REORDER_WINDOW + 10)]
    put(target, *names)
    target.shuffle(START)
    received = ids(target.receive(len(names), START))
    assert received != names
    assert sorted(received) == names


def test_a_message_received_too_often_moves_to_the_dead_letter_queue() -> None:
    buried: list[str] = []

    def bury(message: Message) -> bool:
        buried.append(message.body)
        return True

    target = Queue("q", Attributes(visibility_timeout=1), START, random.Random(1), bury)
    target.dead_letter = DeadLetterPolicy("dead", max_receive_count=2)
    put(target, "a")
    for number in range(2):
        assert ids(target.receive(1, START + number * SECOND)) == ["a"]
    assert target.receive(1, START + 2 * SECOND) == []
    assert buried == ["body a"]
    assert len(target) == 0


def test_without_a_target_for_dead_letters_a_message_keeps_coming() -> None:
    target = queue(visibility_timeout=1)
    target.dead_letter = DeadLetterPolicy("nowhere", max_receive_count=1)
    put(target, "a")
    for number in range(3):
        assert ids(target.receive(1, START + number * SECOND)) == ["a"]


def test_ended_leases_do_not_pile_up_until_they_would_have_been_due() -> None:
    target = queue(visibility_timeout=43_200)
    for number in range(3 * STALE_LEASES_KEPT):
        send_real(target, START + number)
        [message] = target.receive(1, START + number)
        target.delete(message.handle, START + number)
    assert len(target._timed) <= STALE_LEASES_KEPT + 2
    assert len(target) == 0


class QueueMachine(RuleBasedStateMachine):
    """The queue against a dictionary: id -> (visible from, dequeue count, latest handle)."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.queue = queue(visibility_timeout=30)
        self.sent = 0
        self.model: dict[str, tuple[int, int, str]] = {}
        self.handles: list[tuple[str, str]] = []

    @rule(delay=st.sampled_from([0, 0, 0, 10]))
    def send(self, delay: int) -> None:
        self.sent += 1
        message = Message(f"{self.sent:032X}", "body", self.now)
        self.queue.send(message, self.now, delay)
        self.model[message.id] = (self.now + delay * SECOND, 0, message.handle)
        if message.handle:
            self.handles.append((message.id, message.handle))

    @rule(limit=st.integers(1, 16))
    def receive(self, limit: int) -> None:
        visible = {id_ for id_, (since, _, _) in self.model.items() if since <= self.now}
        taken = self.queue.receive(limit, self.now)
        assert len(taken) == min(limit, len(visible))
        for message in taken:
            assert message.id in visible
            _, count, _ = self.model[message.id]
            assert message.dequeue_count == count + 1
            assert message.next_visible_ms == self.now + 30 * SECOND
            self.model[message.id] = (message.next_visible_ms, count + 1, message.handle)
            self.handles.append((message.id, message.handle))

    @rule(seconds=st.sampled_from([1, 29, 30, 31]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(pick=st.integers(0, 10**6))
    def delete(self, pick: int) -> None:
        if not self.handles:
            return
        id_, handle = self.handles[pick % len(self.handles)]
        if self._is_live(id_, handle):
            self.queue.delete(handle, self.now)
            del self.model[id_]
        else:
            assert refusal(self.queue.delete, handle, self.now) == "MessageNotExist"

    @rule(pick=st.integers(0, 10**6), seconds=st.sampled_from([1, 60]))
    def renew(self, pick: int, seconds: int) -> None:
        if not self.handles:
            return
        id_, handle = self.handles[pick % len(self.handles)]
        if not self._is_live(id_, handle):
            call = self.queue.change_visibility
            assert refusal(call, handle, seconds, self.now) == "MessageNotExist"
            return
        message = self.queue.change_visibility(handle, seconds, self.now)
        _, count, _ = self.model[id_]
        self.model[id_] = (self.now + seconds * SECOND, count, message.handle)
        self.handles.append((id_, message.handle))

    def _is_live(self, id_: str, handle: str) -> bool:
        since, _, live = self.model.get(id_, (0, 0, ""))
        return live == handle and since > self.now

    @invariant()
    def counts_agree(self) -> None:
        counts = self.queue.counts(self.now)
        visible = sum(since <= self.now for since, _, _ in self.model.values())
        assert counts.active == visible
        assert counts.inactive + counts.delayed == len(self.model) - visible
        assert len(self.queue) == len(self.model)

    @invariant()
    def the_next_due_time_is_the_models(self) -> None:
        self.queue.counts(self.now)
        waiting = [since for since, _, _ in self.model.values() if since > self.now]
        assert self.queue.next_due_ms() == min(waiting, default=None)


TestQueueAgainstADictionary = QueueMachine.TestCase
TestQueueAgainstADictionary.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
