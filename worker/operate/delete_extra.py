"""Delete from the destination what the source has no more: only on request, and looked up once more before.

The names come from a comparison that went to its end. Between that and the deletion either side may change,
so each object is looked at again: the copy must be the one that was seen, and the source must say that it has
none. What cannot be found out is kept. This is the only place where operators delete in the destination.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.arrival.deletions import KEPT_PREFIX
from worker.clouds.obs import ObsClient
from worker.errors import Blame, CallFailed, Failure, RelayError
from worker.operate.connect import Clients
from worker.operate.destination_reconcile import Judged, Question, Standing
from worker.operate.log_bucket import side_by_side
from worker.outages.service import Pace
from worker.ports import ObjectFacts, TaskState

DELETIONS_AT_ONCE = 8
DELETIONS_MAX = 1000


class Refused(RelayError):  # noqa: N818  the name says what it is
    """Nothing may be deleted, or no more than what was; the text says why."""


class Fate(StrEnum):
    """What became of one extra object. `DELETING` is said before the call, so that no deletion goes unsaid.

    `KEPT`: it was not deleted, for a reason. `UNKNOWN`: the call was sent, and no answer came.
    """

    DELETING = "deleting"
    DELETED = "deleted"
    KEPT = "kept"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Deletion:
    """One step of one deletion, and why in a few words."""

    extra: Judged
    fate: Fate
    why: str = ""
    failure: Failure | None = None


class Extras:
    """Gathers what may be deleted while a comparison runs: at most so many, and none that must stay."""

    def __init__(self, deletions_max: int = DELETIONS_MAX) -> None:
        self._deletions_max = deletions_max
        self.count = self.folders = 0
        self.found: list[Judged] = []

    def add(self, judged: Judged) -> None:
        """Take what may go; what OMS wrote and what stands for a folder stays."""
        if judged.standing is not Standing.EXTRA or _is_of_oms(judged.key):
            return
        if judged.is_folder:
            self.folders += 1
            return
        self.count += 1
        if self.count <= self._deletions_max:
            self.found.append(judged)

    def require_few(self) -> None:
        """Raise `Refused` if there are more than may be deleted: none of them is then."""
        if self.count > self._deletions_max:
            raise Refused(
                f"{self.count} objects are extra, and --delete-max allows {self._deletions_max}: nothing was "
                "deleted. So many may mean a wrong bucket or prefix: look at them (--show extra --limit 0), "
                "then give the number that you expect"
            )


def require_safe(question: Question, task: TaskState | None) -> None:
    """Raise `Refused` unless the sync task is known to copy from the one bucket into the other."""
    source, destination = question.bucket, question.destination_bucket
    if task is None or not (task.source_bucket and task.destination_bucket):
        raise Refused(
            "whether the sync task copies between these two buckets is not known, so nothing may be deleted: "
            "let this key read the task (oms:synctask:get)"
        )
    if (task.source_bucket, task.destination_bucket) != (source, destination):
        raise Refused(
            f"the sync task copies from {task.source_bucket} to {task.destination_bucket}, and not from "
            f"{source} to {destination}: nothing may be deleted. Correct SYNC_URL or OBS_BUCKET"
        )
    if question.has_span:
        raise Refused("a span of time tells nothing of what the source has no more")


def require_source(source_objects: int, place: str) -> None:
    """Raise `Refused` if the source listed nothing: then everything would be extra."""
    if not source_objects:
        raise Refused(
            f"the source lists no object in {place}, so everything there is extra: nothing was deleted. If "
            "that is meant, delete it with the tools of OBS"
        )


class Deletions:
    """Deletes extra objects, at most so many a second. `say` is told of each step before the next one."""

    def __init__(
        self,
        clients: Clients,
        destination: ObsClient,
        question: Question,
        say: Callable[[Deletion], None],
        per_second: float | None = None,
    ) -> None:
        self._clients = clients
        self._destination = destination
        self._question = question
        self._say = say
        self._pace = Pace(clients.clock, per_second)

    async def run(self, extras: Sequence[Judged]) -> AsyncIterator[Deletion]:
        """Yield what became of each, a few at a time; a stop leaves the rest.

        The first goes alone, so that a denied right or a refused key is met once only: it raises
        `CallFailed`.
        """
        for part in (extras[:1], extras[1:]):
            async for done in side_by_side(part, self._delete, DELETIONS_AT_ONCE):
                if done is None:
                    continue
                yield done
                if done.failure and done.failure.blame in (Blame.SERVICE, Blame.CREDENTIALS):
                    raise CallFailed(done.failure)

    async def _delete(self, extra: Judged) -> Deletion | None:
        if not await self._clients.may_go(self._pace):
            return None
        done = await self._reason_to_keep(extra) or await self._gone(extra)
        self._say(done)
        return done

    async def _reason_to_keep(self, extra: Judged) -> Deletion | None:
        """Look at both sides once more, at the source last."""
        if _is_of_oms(extra.key) or extra.is_folder:
            return Deletion(extra, Fate.KEPT, "it is not an object that a source may have had")
        question, clients = self._question, self._clients
        try:
            copy = await clients.patiently(
                lambda: self._destination.facts(question.destination_bucket, extra.key)
            )
            # By a read of one byte: HeadObject does not tell a missing object from a missing bucket.
            is_in_source = await clients.patiently(
                lambda: clients.store.has(question.bucket, extra.key)
            )
        except CallFailed as failed:
            why = f"it could not be looked at: {failed}"
            is_refused = failed.failure.blame is Blame.CREDENTIALS
            return Deletion(extra, Fate.KEPT, why, failed.failure if is_refused else None)
        if is_in_source:
            return Deletion(extra, Fate.KEPT, "the source has it again")
        if copy is None:
            return Deletion(extra, Fate.KEPT, "it is gone already")
        if not _is_same_state(extra, copy):
            return Deletion(extra, Fate.KEPT, "somebody has written it since it was compared")
        return None

    async def _gone(self, extra: Judged) -> Deletion:
        self._say(Deletion(extra, Fate.DELETING))
        bucket = self._question.destination_bucket
        try:
            await self._clients.patiently(lambda: self._destination.delete(bucket, extra.key))
        except CallFailed as failed:
            is_told = failed.failure.blame is not Blame.PASSING
            fate = Fate.KEPT if is_told else Fate.UNKNOWN
            return Deletion(extra, fate, str(failed), failed.failure)
        return Deletion(extra, Fate.DELETED)


def _is_of_oms(key: str) -> bool:
    return key.startswith(KEPT_PREFIX)


def _is_same_state(extra: Judged, copy: ObjectFacts) -> bool:
    seen = extra.destination
    return seen is not None and (seen.etag, seen.size, int(seen.last_modified)) == (
        copy.etag,
        copy.size,
        int(copy.last_modified),
    )
