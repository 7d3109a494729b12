"""What must hold for records, dead letters and stops: the half of the oracles that looks at OSS and ends."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from simulation.bodies import LOG_BUCKET, Event
from simulation.ledger import Ledger
from simulation.queue import Stored
from simulation.sink import Post
from simulation.verdicts import Memory, lease_was_fair
from worker.ledger.names import ROOT
from worker.process.assembly import RECORDS_MAX

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.scenario import Scenario


class Archive:
    """Everything that is known about a world, and the rules for what is written and how processes end."""

    def __init__(self, scenario: Scenario, ledger: Ledger) -> None:
        self.ledger = ledger
        self.scenario = scenario
        self.messages: dict[str, Stored] = {}
        self.deleted: set[str] = set()
        self.dead: dict[str, str] = {}
        self.logs: dict[str, bytes] = {}
        self.accepted_at: dict[str, int] = {}
        self.last_sent: Counter[str] = Counter()
        self.recorded_keys: set[str] = set()
        self.known_accepts: Counter[str] = Counter()
        self.deliveries: Counter[str] = Counter()
        self.expected: set[str] = set()
        self.events: list[Event] = []
        self.posts: dict[str, Post] = {}
        self.hidden_most = 0
        self._memories: dict[Process, Memory] = {}

    def memory(self, process: Process) -> Memory:
        """Return what a process has seen and done."""
        return self._memories.setdefault(process, Memory())

    def put_started(self, process: Process, under_way: int) -> None:
        """A put leaves the process."""
        if under_way >= RECORDS_MAX:
            self.ledger.violated("G8 bounded", f"{process.name} has {under_way} puts under way")

    def stored(self, process: Process, bucket: str, name: str, body: bytes, kind: str) -> None:
        """An object was written."""
        root, task, folder, *_ = f"{name}//".split("/")
        self.ledger.note(process.name, folder, name[-60:])
        if bucket != LOG_BUCKET or root != ROOT or task not in self.scenario.task_ids:
            self.ledger.violated("records", f"a {kind} was written to {bucket}/{name[:80]}")
        if folder == "log" and self.logs.setdefault(name, body) != body:
            self.ledger.violated("records", f"{process.name} overwrote {name}")
        match folder:
            case "success_object":
                self._success(process, json.loads(body), task)
            case "log":
                for line in body.splitlines():
                    self._success(process, json.loads(line), task)
            case "failed_object":
                self._failed(process, json.loads(body))
            case "dead_letter":
                self._dead(process, name, json.loads(body))

    def _success(self, process: Process, record: dict[str, Any], task: str) -> None:
        """A success record: it must name an accepted post of its key by the same process."""
        key = record["key"]
        if record["outcome"] == "rejected":
            self.memory(process).failed.add(key)
            return
        post = self.posts.get(record["oms_request_id"])
        if (
            post is None
            or not post.is_accepted
            or key not in post.keys
            or post.process is not process
        ):
            self.ledger.violated("G1 no false records", f"never accepted: {key[:60]!r}")
            return
        if self.scenario.task_id(post.route) != task:
            self.ledger.violated("routes", f"{key[:60]!r} was recorded under {task}")
        memory = self.memory(process)
        memory.recorded[key] = max(memory.recorded.get(key, 0), post.started)
        self.recorded_keys.add(key)

    def _failed(self, process: Process, record: dict[str, Any]) -> None:
        self.memory(process).failed.add(record["key"])
        if record["key"] not in self.scenario.poison:
            self.ledger.violated("G4 one bad key", f"a good key failed: {record['key'][:60]!r}")

    def _dead(self, process: Process, name: str, letter: dict[str, Any]) -> None:
        stored = self.messages[letter["message_id"]]
        self.dead[stored.message_id] = letter["cause"]
        if letter["body"] != stored.letter.body or f"/{letter['cause']}/" not in name:
            self.ledger.violated("dead letters", f"{name} does not hold its message")
        why = self.scenario.why_not_dead(stored, letter["cause"])
        if why:
            self.ledger.violated("G3 outages cost nothing", f"{process.name} buried {name}: {why}")

    def process_ended(
        self, process: Process, error: BaseException | None, *, was_cancelled: bool
    ) -> None:
        """A process has ended by itself: G7."""
        now = self.ledger.now()
        self.ledger.note(process.name, "end", len(process.in_hand))
        asked_at = process.stop_asked_at
        if error is not None or was_cancelled or asked_at is None:
            self.ledger.violated("G7 two stops", f"{process.name} ended by itself: {error!r}")
            return
        limit = asked_at + process.plan.capacity.grace_seconds + 1
        if process.leave_asked_at is not None:
            limit = min(limit, process.leave_asked_at + 4)
        if now > limit and not process.was_frozen:
            self.ledger.violated("G7 two stops", f"{process.name} ended {now - limit:.1f} s late")
        for stored in self.messages.values():
            lease = stored.lease
            if (
                stored.message_id not in self.deleted
                and lease is not None
                and lease.process is process
                and lease_was_fair(lease)
                and stored.visible_at > now + 1.1
            ):
                self.ledger.violated(
                    "G7 two stops",
                    f"{process.name} ended, {stored.message_id} stays hidden for "
                    f"{stored.visible_at - now:.0f} s",
                )
