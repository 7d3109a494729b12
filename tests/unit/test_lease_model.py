"""Leases against a model: messages come, come again, are renewed under late answers, and leave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from doubles.build import Heard, failure
from doubles.clock import HandClock, settle
from worker.errors import CallFailed
from worker.events.event import Message
from worker.flow.lease import Held, Leases

# So long that no renewal of a test times out in real time.
VISIBILITY_SECONDS = 4000
LIMIT = 24
BATCH = 4


@dataclass
class Call:
    """A change of visibility that MNS has not answered yet."""

    handle: str
    seconds: int
    answer: asyncio.Future[str | None]


@dataclass
class SlowQueue:
    """A queue whose answers come when the test says so."""

    calls: list[Call] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    async def receive(self, wait_seconds: int) -> list[Message]:
        raise NotImplementedError

    async def delete(self, handles: list[str]) -> dict[str, str]:
        raise NotImplementedError

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        call = Call(handle, seconds, asyncio.get_running_loop().create_future())
        self.calls.append(call)
        return await call.answer


class LeaseMachine(RuleBasedStateMachine):
    """`newest` is the model: the last handle that anything has told the relay, by message."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock()
        self.queue = SlowQueue()
        self.leases = Leases(
            self.queue,
            self.clock,
            Heard().journal,
            visibility_seconds=VISIBILITY_SECONDS,
            limit=LIMIT,
        )
        self.newest: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.leaving: dict[str, asyncio.Task[None]] = {}
        self.arrived = 0
        self.given = 0
        self.keeping = self.loop.create_task(self.leases.keep())
        self.run()

    def run(self) -> None:
        self.loop.run_until_complete(settle())

    def new_handle(self, message_id: str) -> str:
        self.given += 1
        handle = f"handle-{self.given}"
        self.newest[message_id] = handle
        self.owner[handle] = message_id
        return handle

    def delivered(self, message_id: str) -> Message:
        return Message(message_id, "", self.new_handle(message_id), 1, 0)

    @rule(count=st.integers(0, BATCH))
    def receive(self, count: int) -> None:
        if not self.leases.has_room(BATCH):
            return
        self.leases.reserve(BATCH)
        names = [f"M{self.arrived + n}" for n in range(count)]
        self.arrived += count
        fresh = self.leases.hold([self.delivered(name) for name in names])
        assert [held.message.message_id for held in fresh] == names
        self.leases.unreserve(BATCH)

    @precondition(lambda self: self.leases.in_hand)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases.in_hand)))
        assert self.leases.hold([self.delivered(name)]) == []

    @rule(seconds=st.sampled_from([1, 500, VISIBILITY_SECONDS / 2, VISIBILITY_SECONDS]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run()

    @precondition(lambda self: self.queue.calls)
    @rule(data=st.data(), kind=st.sampled_from(["answered", "failed"]))
    def answer(self, data: st.DataObject, kind: str) -> None:
        """MNS acts now: a handle that is no longer the newest one is refused as lost."""
        call = self.queue.calls.pop(data.draw(st.integers(0, len(self.queue.calls) - 1)))
        name = self.owner[call.handle]
        if kind == "failed":
            call.answer.set_exception(CallFailed(failure()))
        elif self.newest.get(name) != call.handle:
            call.answer.set_result(None)
        else:
            call.answer.set_result(self.new_handle(name))
        self.run()

    def held(self, data: st.DataObject) -> Held | None:
        staying = sorted(self.leases.in_hand.keys() - self.leaving.keys())
        return self.leases.in_hand[data.draw(st.sampled_from(staying))] if staying else None

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = self.held(data)
        if held:
            work = self.leases.release(held, 1, "why")
            self.leaving[held.message.message_id] = self.loop.create_task(work)
            self.run()

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        held = self.held(data)
        if held:
            work = self._delete(held)
            self.leaving[held.message.message_id] = self.loop.create_task(work)
            self.run()

    async def _delete(self, held: Held) -> None:
        """Delete as the last verb does: under the handle that is known when no renewal runs."""
        await self.leases.freeze_handles([held])
        assert held.receipt_handle == self.newest[held.message.message_id]
        self.leases.forget(held)

    @invariant()
    def the_known_handle_is_the_newest(self) -> None:
        for name, held in self.leases.in_hand.items():
            assert held.receipt_handle == self.newest[name]

    @invariant()
    def room_is_kept(self) -> None:
        assert self.leases._reserved == 0
        assert len(self.leases.in_hand) <= LIMIT
        # Slow renewals leave room for fewer; an empty hand takes a batch however slow they are.
        if self.leases._renewable() >= LIMIT or not self.leases.in_hand:
            assert self.leases.has_room(LIMIT - len(self.leases.in_hand))
        if self.leases.in_hand:
            assert not self.leases.has_room(LIMIT - len(self.leases.in_hand) + 1)

    @invariant()
    def what_leaves_gets_one_last_change_at_most(self) -> None:
        for name, task in tuple(self.leaving.items()):
            if task.done():
                task.result()
                del self.leaving[name]
            under_way = [call for call in self.queue.calls if self.owner[call.handle] == name]
            assert len(under_way) <= 1

    @invariant()
    def renewing_goes_on(self) -> None:
        assert not self.keeping.done()

    def teardown(self) -> None:
        """However late the answers come, everything that leaves has left in the end."""
        try:
            while self.queue.calls:
                self.queue.calls.pop().answer.set_result(None)
                self.run()
            for task in self.leaving.values():
                task.result()
        finally:
            self.keeping.cancel()
            self.run()
            self.loop.close()


LeaseMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_handle_in_use_is_always_the_newest_known = LeaseMachine.TestCase
