"""MNS, OSS and OMS in memory: they keep the vendors' rules, and fail where a script says so."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.clock import Clock
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.events.event import Message
from worker.ports import QueueAttributes, TaskState
from worker.ports import Stored as StoredObject


class Script:
    """What the next calls of each operation run into; None lets one pass."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._faults: defaultdict[str, deque[Failure | None]] = defaultdict(deque)

    def fail(self, operation: str, *faults: Failure | None) -> None:
        self._faults[operation] += faults

    def called(self, operation: str) -> list[Any]:
        return [what for name, what in self.calls if name == operation]

    def play(self, operation: str, what: Any = None) -> None:
        self.calls.append((operation, what))
        fault = self._faults[operation].popleft() if self._faults[operation] else None
        if fault is not None:
            raise CallFailed(fault)


@dataclass
class Stored:
    body: str
    handle: str = ""
    dequeue_count: int = 0
    visible_at: float = 0.0


class ModelQueue(Script):
    """A queue: every receive and every change gives a new handle, and only the newest one counts."""

    def __init__(self, clock: Clock, visibility_seconds: int = 30) -> None:
        super().__init__()
        self.clock = clock
        self.visibility_seconds = visibility_seconds
        self.stored: dict[str, Stored] = {}
        self._sent = 0
        self._handles = 0

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.stored[f"M{self._sent:03}"] = Stored(body)
            self._sent += 1

    async def receive(self, wait_seconds: int) -> list[Message]:
        self.play("receive", wait_seconds)
        now = self.clock.monotonic()
        visible = [each for each in self.stored.items() if each[1].visible_at <= now]
        return [self._lease(message_id, found) for message_id, found in visible[:16]]

    async def delete(self, handles: list[str]) -> dict[str, str]:
        self.play("delete", list(handles))
        gone = [name for name, each in self.stored.items() if each.handle in handles]
        for message_id in gone:
            del self.stored[message_id]
        return {}

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        self.play("change_visibility", (handle, seconds))
        for found in self.stored.values():
            if found.handle == handle:
                found.handle = self._new_handle()
                found.visible_at = self.clock.monotonic() + seconds
                return found.handle
        return None

    async def attributes(self) -> QueueAttributes:
        self.play("attributes")
        return QueueAttributes(self.visibility_seconds, 345_600, 0, 0, 0)

    def _lease(self, message_id: str, found: Stored) -> Message:
        found.handle = self._new_handle()
        found.dequeue_count += 1
        found.visible_at = self.clock.monotonic() + self.visibility_seconds
        return Message(message_id, found.body, found.handle, found.dequeue_count, 0)

    def _new_handle(self) -> str:
        self._handles += 1
        return f"handle-{self._handles}"


class ModelStore(Script):
    """Buckets of objects."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}

    async def put(
        self, bucket: str, key: str, body: bytes, content_type: str, *, may_replace: bool = True
    ) -> None:
        self.play("put", (bucket, key, content_type))
        if key in self.objects and not may_replace:
            raise CallFailed(
                Failure("oss", "PutObject", Outcome.REJECTED, Blame.ITEM, 409, "FileAlreadyExists")
            )
        self.objects[key] = body

    async def exists(self, bucket: str, key: str) -> bool | None:
        self.play("exists", (bucket, key))
        return key in self.objects

    async def get(self, bucket: str, key: str) -> StoredObject | None:
        self.play("get", (bucket, key))
        return StoredObject(self.objects[key]) if key in self.objects else None


@dataclass
class ModelSink(Script):
    """A sync task: takes a batch as a whole, or refuses all of it for one bad key."""

    bad: set[str] = field(default_factory=set)
    status: str = "SYNCHRONIZING"
    accepted: list[str] = field(default_factory=list)
    source_bucket: str = ""

    def __post_init__(self) -> None:
        Script.__init__(self)

    async def post(self, keys: Sequence[str]) -> str:
        self.play("post", list(keys))
        if self.status != "SYNCHRONIZING" or self.bad & set(keys):
            raise CallFailed(
                Failure("oms", "CreateSyncEvents", Outcome.REJECTED, Blame.ITEM, 400, "OMS.0064")
            )
        self.accepted += keys
        return f"request-{len(self.calls)}"

    async def show(self) -> TaskState:
        self.play("show")
        return TaskState(self.status, {"src_bucket": self.source_bucket})
