"""What must hold in every world, checked at the moment of each effect and once more at the end.

The rules carry the numbers of the guarantees they watch; a broken one is written to the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulation.archive import Archive
from simulation.bodies import Content, bucket_of, spellings
from simulation.queue import Stored
from simulation.sink import Post
from simulation.verdicts import lease_was_fair
from worker.events.event import Message
from worker.outages.retry import ATTEMPTS_MAX
from worker.ports import BATCH
from worker.process.assembly import POSTS_MAX

if TYPE_CHECKING:
    from simulation.process import Process

REFUSAL_SECONDS = 300.0
NEVER = float("-inf")


class Oracles(Archive):
    """Watches every effect of every process of one world."""

    # What the world sends.

    def sent(self, stored: Stored) -> None:
        """A message was enqueued."""
        number = self.ledger.note("oss", "sent", stored.message_id)
        self.messages[stored.message_id] = stored
        for event in stored.letter.changes:
            if not event.sent:
                event.sent = number
                self.last_sent[event.key] = number
                self.events.append(event)
            self.expected.add(event.key)
            self.expected.update(spellings(event, is_url_encoded=self.scenario.mix.is_url_encoded))

    # MNS.

    def handing_out(self, process: Process, stored: Stored) -> None:
        """A message leaves the queue; G6 if its last holder still had a right to it."""
        number = self.ledger.note(process.name, "handed out", stored.message_id)
        lease = stored.lease
        if lease is None:
            return
        self.ledger.counts["redelivered"] += 1
        if lease_was_fair(lease) and lease.process.is_running:
            self.ledger.violated(
                "G6 leases hold",
                f"{stored.message_id} was handed out again (event {number}) while {lease.process.name} "
                "held it, lived, and had no trouble with MNS",
            )

    def received(self, process: Process, messages: Sequence[Message]) -> None:
        """An answer with messages has reached the process."""
        memory = self.memory(process)
        number = self.ledger.note(process.name, "received", len(messages))
        fresh = 0
        for message in messages:
            stored = self.messages[message.message_id]
            fresh += message.message_id not in process.in_hand
            if stored.lease is not None and stored.handle == message.receipt_handle:
                stored.lease.is_delivered = True
                # Behind an open breaker nothing can be renewed.
                stored.lease.is_doubtful |= process.is_cut_off
            for event in stored.letter.changes:
                memory.first_seen.setdefault(event, number)
                memory.seen_of_key.setdefault(event.key, set()).add(event)
            for key in {event.key for event in stored.letter.changes}:
                self.deliveries[key] += 1
        self._bound_unacknowledged()
        if len(process.in_hand) + fresh > process.plan.max_in_flight:
            self.ledger.violated(
                "G8 bounded",
                f"{process.name} holds {len(process.in_hand)} messages and took {fresh} more",
            )

    def _bound_unacknowledged(self) -> None:
        """MNS throttles a queue of which many messages are hidden: G8 for all workers together."""
        if not self.scenario.routes:
            return
        now, most = self.ledger.now(), self.scenario.workers * self.scenario.max_in_flight
        hidden = sum(
            each.visible_at > now and message_id not in self.deleted
            for message_id, each in self.messages.items()
        )
        self.hidden_most = max(self.hidden_most, hidden)
        if hidden > most:
            self.ledger.violated("G8 bounded", f"{hidden} messages are not acknowledged")

    def delete_asked(self, process: Process, handles: Sequence[str]) -> None:
        """A delete leaves the process: it has let these messages go."""
        self.ledger.note(process.name, "delete asked", tuple(handles))
        if not 1 <= len(handles) <= BATCH:
            self.ledger.violated("G8 bounded", f"{len(handles)} handles in one delete")
        for handle in handles:
            stored = self._let_go(process, handle)
            if stored is not None and stored.message_id not in self.dead:
                self.memory(process).done.update(stored.letter.changes)

    def change_asked(self, process: Process, handle: str, seconds: int) -> None:
        """A renewal or a release leaves the process."""
        self.ledger.note(process.name, "visibility asked", (handle, seconds))
        if seconds < 1:
            self.ledger.violated("MNS", f"a visibility of {seconds} s is refused")
        if seconds != self.scenario.habits.visibility_seconds:
            self._let_go(process, handle)

    def stale_handle(self, process: Process, stored: Stored, handle: str) -> None:
        """A dead handle was used: a fault if the process had a good one, or should still have had it."""
        lease = stored.lease
        self.ledger.note(process.name, "stale handle", handle)
        if lease is None or lease.process is not process or stored.was_exposed:
            return
        if lease_was_fair(lease) and process.is_running:
            self.ledger.violated(
                "G6 leases hold",
                f"{process.name} used {handle}, the good handle is {stored.handle}",
            )

    def deleting(self, process: Process, stored: Stored) -> None:
        """A message is about to disappear: G1 for each of its keys."""
        self.ledger.note(process.name, "deleted", stored.message_id)
        self.deleted.add(stored.message_id)
        memory = self.memory(process)
        cause = self.dead.get(stored.message_id)
        if stored.letter.content is Content.UNDECODABLE and cause is None:
            self.ledger.violated("G1 record before delete", f"{stored.message_id} cannot be read")
        for event in stored.letter.changes:
            why = memory.why_not_done(event, cause)
            if why:
                self.ledger.violated(
                    "G1 record before delete",
                    f"{process.name} deleted {stored.message_id}, but {why}: {event.key[:60]!r}",
                )

    def _let_go(self, process: Process, handle: str) -> Stored | None:
        stored = self.messages[handle.partition("-")[0]]
        lease = stored.lease
        if lease is not None and lease.process is process and handle == stored.handle:
            lease.is_let_go = True
        return stored

    # OMS.

    def post_started(
        self, process: Process, keys: Sequence[str], under_way: int, route: str
    ) -> Post:
        """A post leaves the process."""
        number = self.ledger.note(process.name, "post", tuple(keys))
        self.sink_called(process, route)
        for key in keys if route else ():
            if bucket_of(key, self.scenario.mix.buckets) != route:
                self.ledger.violated("routes", f"{key[:60]!r} was posted to the task of {route}")
        memory = self.memory(process)
        if not 1 <= len(keys) <= process.plan.capacity.batch_keys or under_way >= POSTS_MAX:
            self.ledger.violated("G8 bounded", f"{len(keys)} keys, {under_way} posts under way")
        is_control = self._is_control(process, keys, route)
        for key in keys if not is_control else ():
            if key not in self.expected or keys.count(key) > 1:
                self.ledger.violated("G2 dedupe", f"posted without need: {key[:60]!r}")
            seen = memory.seen_of_key.get(key)
            if seen is not None and seen <= memory.done and not self._awaits(process, key):
                self.ledger.violated("G2 dedupe", f"posted again though recorded: {key[:60]!r}")
        post = Post(
            process, tuple(keys), number, f"R{number:06}", is_control=is_control, route=route
        )
        self.posts[post.request_id] = post
        return post

    def _is_control(self, process: Process, keys: Sequence[str], route: str) -> bool:
        """Whether this is one of the keys accepted last, posted to see if the task still takes any."""
        memory = self.memory(process)
        if len(keys) > 1 or keys[0] not in memory.controls[route]:
            return False
        if self._holds_the_hopeless(process):
            return True
        is_asking = memory.refusals > 0
        memory.refusals -= is_asking and not self._awaits(process, keys[0])
        return is_asking

    def _holds_the_hopeless(self, process: Process) -> bool:
        """Whether a message in hand was delivered so often that its end is a question of who is to blame."""
        counts = (self.messages[message_id].dequeue_count for message_id in process.in_hand)
        return max(counts, default=0) >= process.plan.max_deliveries

    def _awaits(self, process: Process, key: str) -> bool:
        """Whether a message in hand has this key: a change that was announced twice may be on its way."""
        held = (self.messages[message_id] for message_id in process.in_hand)
        return any(event.key == key for stored in held for event in stored.letter.changes)

    def rejected(self, post: Post) -> None:
        """OMS refuses the keys of a post: that allows a few posts of a control key."""
        self.ledger.note("oms", "rejected", post.request_id)
        self.memory(post.process).refusals += ATTEMPTS_MAX

    def accepted(self, post: Post) -> None:
        """OMS takes the keys of a post."""
        self.ledger.note("oms", "accepted", post.request_id)
        post.is_accepted = True
        for key in post.keys:
            self.ledger.counts["keys accepted"] += 1
            if 0 < self.last_sent[key] <= self.accepted_at.get(key, 0):
                # Harmless, and what a kill or a lost answer costs: no change of the key is new to OMS.
                self.ledger.counts["keys accepted again"] += 1
            self.accepted_at[key] = max(self.accepted_at.get(key, 0), post.started)

    def accept_known(self, post: Post) -> None:
        """The process hears that its post was accepted."""
        self.memory(post.process).controls[post.route].append(post.keys[0])
        if not post.is_control:
            self.known_accepts.update(post.keys)

    def refused(self, process: Process, route: str) -> None:
        """The process hears that its credentials are refused."""
        self.ledger.note(process.name, "refused", route)
        memory, now, key = self.memory(process), self.ledger.now(), self.scenario.key_of(route)
        if now >= memory.refused_at.get(key, NEVER) + REFUSAL_SECONDS:
            memory.refused_at[key] = now

    def sink_called(self, process: Process, route: str) -> None:
        """Any call to OMS leaves: G5 if the credentials were refused a moment ago."""
        refused_at = self.memory(process).refused_at.get(self.scenario.key_of(route), NEVER)
        if refused_at < self.ledger.now() < refused_at + REFUSAL_SECONDS - 0.001:
            self.ledger.violated(
                "G5 credentials", f"{process.name} called OMS again although they were refused"
            )
