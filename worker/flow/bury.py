"""Dead letters: messages that cannot be finished, kept whole in the log bucket until an operator looks.

They are kept in OSS because MNS forgets every message after at most 7 days and can only peek at 16.
A listing of `oms_source_record/<task id>/dead_letter/<cause>/<day>/<message id>.json` alone gives the groups.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from worker.clock import Clock
from worker.errors import Failure
from worker.events.event import Message
from worker.flow.record import ROOT, Records

KEYS_SHOWN_MAX = 1000


class Cause(StrEnum):
    """Why a message became a dead letter."""

    UNDECODABLE = "undecodable"
    REJECTED = "rejected"
    MAX_DELIVERIES = "max-deliveries"
    UNROUTED = "unrouted"
    RECEIVE_LIMIT = "receive-limit"


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
        rejected: Sequence[tuple[str, Failure]] = (),
    ) -> Failure | None:
        """Keep the message with its whole story; None means confirmed. Writing it twice is harmless.

        `rejected` has the keys that OMS refused, and why.
        """
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        letter = {
            "cause": str(cause),
            "error": error,
            "keys": [{"key": key, "error": str(why)} for key, why in rejected[:KEYS_SHOWN_MAX]],
            "message_id": message.message_id,
            "attempts": message.dequeue_count,
            "worker": self._worker,
            "died_at": now.isoformat(timespec="milliseconds"),
            "enqueued_at": _iso(message.enqueue_time_ms),
            "body": message.body,
        }
        name = dead_letter_name(
            self._records.task_id, cause, now.date().isoformat(), message.message_id
        )
        # Escaped to ASCII, so that a body of any characters, lone surrogates too, survives byte for byte.
        body = json.dumps(letter, indent=1).encode()
        return await self._records.put(name, body, "application/json")


def dead_letter_name(task_id: str, cause: str, day: str, message_id: str) -> str:
    """Return where a dead letter stands."""
    return f"{ROOT}/{task_id}/dead_letter/{cause}/{day}/{message_id}.json"


def _iso(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, OSError, ValueError):
        # A time beyond the calendar must not cost the letter; the number itself is what MNS said.
        return str(milliseconds)
