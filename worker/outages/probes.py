"""One cheap call per service that tells whether it is back: at start, and while its breaker is open."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from worker.advice import LOG_IS_SOURCE, OTHER_SOURCE, TASK_STOPPED, advise
from worker.clock import Clock
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.observe.journal import Journal
from worker.ports import Queue, QueueAttributes, Sink, Store, TaskState


class Probes:
    """Each raises `CallFailed` while its service cannot be used. A denied look is no verdict."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._log = journal.log

    async def queue(self, queue: Queue, hear: Callable[[QueueAttributes], None]) -> None:
        """Read the queue's attributes, and let `hear` have them: leases are as long as its visibility."""
        try:
            found = await queue.attributes()
        except CallFailed as failed:
            self._may_be_denied(failed, "its visibility is taken to be 30 s")
        else:
            hear(found)

    async def store(self, store: Store, bucket: str, name: str) -> None:
        """Write one small object among the records, always the same: the right that every record needs."""
        body = {"probed_at": datetime.fromtimestamp(self._clock.wall(), UTC).isoformat()}
        await store.put(bucket, name, json.dumps(body).encode(), "application/json")

    async def sink(
        self,
        sink: Sink,
        hear: Callable[[TaskState | None], None],
        log_bucket: str,
        bucket: str = "",
    ) -> None:
        """Ask for the task's state, and let `hear` have it, or None where it may not be read.

        A task that is not SYNCHRONIZING takes no events, one that copies the log bucket would copy our
        records, each of which would be an event of its own, and one that copies another bucket than its
        route says (`bucket`) would copy objects of the same name, or none.
        """
        try:
            state = await sink.show()
        except CallFailed as failed:
            instead = "the first post decides, and events of other buckets cannot be told apart"
            self._may_be_denied(failed, instead)
            hear(None)
            return
        hear(state)
        if not state.is_synchronizing:
            raise _of_task(f"{TASK_STOPPED}{state.status or 'in an unknown state'}")
        if state.source_bucket == log_bucket:
            raise _of_task(
                f"{LOG_IS_SOURCE} ({log_bucket}): each record would be announced as a change. "
                "Nothing is received"
            )

        if bucket and state.source_bucket not in ("", bucket):
            raise _of_task(
                f"{OTHER_SOURCE}: the route has {bucket}, and the task copies {state.source_bucket}"
            )

    def _may_be_denied(self, failed: CallFailed, instead: str) -> None:
        if failed.failure.status != 403 or failed.failure.blame is Blame.CREDENTIALS:
            raise failed
        self._log.warning(f"{failed}; {instead}. Next: {advise(failed.failure)}", action="probe")


def _of_task(why: str) -> CallFailed:
    return CallFailed(
        Failure("oms", "ShowSyncTask", Outcome.RETRY_LATER, Blame.SERVICE, 200, message=why)
    )
