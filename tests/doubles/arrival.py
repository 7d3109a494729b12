"""Source, destination and OMS in memory, and the parts of `worker.arrival` put together on them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncGenerator
from urllib.parse import quote

from doubles.build import Heard, service
from doubles.clock import EPOCH, QuickClock
from doubles.vendors import ModelSink, ModelStore, Script
from worker.arrival.again import Again
from worker.arrival.deletions import Brake, Deletions
from worker.arrival.destination import DestinationView
from worker.arrival.follow import Follower
from worker.arrival.result_lists import ResultLists
from worker.events.encode import event_body
from worker.flow.bury import DeadLetters
from worker.flow.record import Records
from worker.flow.source import Source
from worker.ports import Listed, ObjectFacts, Page, Stored, TaskState

BY_CONTENT = {
    "src_bucket": "films",
    "dst_bucket": "copies",
    "object_overwrite_mode": "SIZE_LAST_MODIFIED_COMPARISON_OVERWRITE",
    "consistency_check": "crc64",
}
BY_SIZE_AND_TIME = BY_CONTENT | {"consistency_check": "size_last_modified"}
CRC64 = {b"one": 1, b"two": 2, b"three": 3}


def facts(data: bytes, at: float) -> ObjectFacts:
    """Return what a store tells of an object with this content, written at this time."""
    etag = hashlib.md5(data).hexdigest()
    crc64 = CRC64.get(data)
    return ObjectFacts(len(data), at, etag, crc64, "Normal", "STANDARD", is_encrypted=False)


class ModelObjects(Script):
    """Buckets of objects that are looked at, and of lists that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, ObjectFacts] = {}
        self.texts: dict[str, bytes] = {}
        self.part_bytes = 1024 * 1024

    async def facts(self, bucket: str, key: str) -> ObjectFacts | None:
        self.play("facts", (bucket, key))
        return self.objects.get(key)

    async def has(self, bucket: str, key: str) -> bool:
        self.play("has", (bucket, key))
        return key in self.objects

    async def delete(self, bucket: str, key: str) -> None:
        self.play("delete", (bucket, key))
        self.objects.pop(key, None)

    async def read(self, bucket: str, key: str, start: int = 0) -> bytes:
        self.play("read", (bucket, key, start))
        return self.texts[key][start : start + self.part_bytes]

    async def list(
        self, bucket: str, prefix: str = "", *, start_after: str = "", keys_max: int = 1000
    ) -> AsyncGenerator[Page]:
        self.play("list", (bucket, prefix))
        names = sorted(
            name for name in self.objects if name.startswith(prefix) and name > start_after
        )
        found = (
            Listed(name, self.objects[name].size, self.objects[name].last_modified)
            for name in names[:keys_max]
        )
        yield Page(tuple(found))


class Bench:
    """A relay's following, with a clock that the test moves, or that of a virtual loop."""

    def __init__(
        self,
        task: dict[str, str] | None = None,
        *,
        ratio: float = 1.0,
        clock: QuickClock | None = None,
    ) -> None:
        self.clock = clock or QuickClock()
        self.heard = Heard()
        self.source, self.destination = ModelObjects(), ModelObjects()
        self.store, self.sink = ModelStore(), ModelSink()
        self._build(task or BY_CONTENT, ratio)

    @classmethod
    def pair(cls) -> tuple[Bench, Bench]:
        """Return two relays of one task: they share both clouds."""
        one, two = cls(), cls()
        two.source, two.destination, two.store = one.source, one.destination, one.store
        two._build(BY_CONTENT, 1.0)
        return one, two

    def _build(self, task: dict[str, str], ratio: float) -> None:
        journal = self.heard.journal
        calls = service(self.clock, journal, attempts_max=1)
        known = Source()
        known.learn(TaskState("SYNCHRONIZING", task))
        self.records = Records(self.store, calls, "logs", "task", self.clock, journal)
        self.view = DestinationView(self.destination, self.source, calls, calls, known)
        again = Again(
            self.sink,
            calls,
            self.records,
            DeadLetters(self.records, "w-1", self.clock),
            known,
            self.clock,
            journal,
            lambda bucket, key, at: event_body(
                bucket, key, at, region="cn-hangzhou", key_encoding="raw"
            ),
        )
        self.follower = Follower(
            self.view,
            again,
            self.clock,
            random.Random(1),
            journal,
            ratio=ratio,
            late_seconds=900.0,
        )

        async def read(name: str) -> Stored | None:
            return await self.store.get("logs", name)

        self.brake = Brake(self.records, read, self.clock, random.Random(1), 3)
        self.deletions = Deletions(
            self.view,
            again,
            self.records,
            self.brake,
            self.follower.expect,
            self.clock,
            journal,
            grace_seconds=900.0,
        )
        self.lists = ResultLists(self.view, self.follower, self.records, self.clock, journal)

    @property
    def suspects(self) -> list[str]:
        """The keys that are followed."""
        return list(self.follower._followed)

    def row(self, key: str, *, is_failed: bool) -> str:
        """Return a row of one of OMS's lists."""
        columns = [quote(key, safe=""), key, "Code", "why"] if is_failed else [key, "5"]
        return "\t".join(["2026-01-02 03:04:05", *columns]) + "\n"

    def listed(self, name: str, *keys: str, is_failed: bool = True) -> None:
        """Let OMS add rows to a list."""
        self.append(name, "".join(self.row(key, is_failed=is_failed) for key in keys))

    def append(self, name: str, text: str | bytes) -> None:
        """Let OMS add text to a list."""
        more = text.encode() if isinstance(text, str) else text
        data = self.destination.texts.get(name, b"") + more
        self.destination.texts[name] = data
        self.destination.objects[name] = ObjectFacts(len(data), EPOCH + self.clock.now)
