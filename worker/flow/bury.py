"""Dead letters: messages that cannot be finished, kept whole in the log bucket until an operator looks.

They are kept in OSS because MNS forgets every message after at most 7 days and can only peek at 16.
A listing of `oms_source_record/<task id>/dead_letter/<cause>/<day>/<message id>.json` alone gives the causes,
and one of `letter_index/` beside it the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.clock import Clock
from worker.errors import Failure
from worker.events.event import Message
from worker.flow.lease import Refused
from worker.flow.record import Records
from worker.ledger.letter import KEYS_SHOWN_MAX, Cause, Ref, letter_of
from worker.ledger.names import task_folder


class DeadLetters:
    """Writes dead letters; the message may be deleted only when `write` has returned None."""

    def __init__(self, records: Records, worker: str, clock: Clock) -> None:
        self._records = records
        self._worker = worker
        self._clock = clock

    async def write(
        self,
        message: Message,
        cause: Cause,
        error: str,
        rejected: Sequence[Refused] = (),
    ) -> Failure | None:
        """Keep the message with its whole story; None means confirmed. Writing it twice is harmless.

        `rejected` has the keys that OMS refused, and why.
        """
        now = self._clock.wall()
        ref = Ref.of_death(cause, now, message.message_id)
        body = letter_of(
            message,
            cause,
            error,
            [(each.key, str(each.failure)) for each in rejected[:KEYS_SHOWN_MAX]],
            worker=self._worker,
            died_at=now,
        )
        folder = task_folder(self._records.task_id)
        failure = await self._records.put(folder + ref.name, body, "application/json")
        if failure is None:
            # A letter without its entry is read by whoever wants the groups: that costs only time.
            await self._records.note(folder + ref.index_name(error, now))
        return failure
