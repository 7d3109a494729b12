"""The doctor on an MNS queue: is it there, is it set up well, may its messages be taken and deleted.

Facts: MNS API 2015-06-06, pages getqueueattributes, peekmessage, receivemessage, deletemessage. A peek
changes nothing but proves another right than a receive; a receive raises the message's dequeue count, which
the queue's own dead-letter policy counts. So a receive is tried where nothing waits, or on request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from worker.clients.mns import MnsClient
from worker.clients.mns_wire import QueueAttributes
from worker.events import Message
from worker.ops.examiner import Examiner, always
from worker.ops.verdict import Check, Verdict

VISIBILITY_SECONDS = range(10, 3601)
RETENTION_SECONDS_MIN = 86_400
NO_MESSAGE = "oms-relay-doctor"


@dataclass(frozen=True, slots=True)
class Receiving:
    """Whether a message that waits may be received, at the price of one delivery."""

    is_wished: bool


async def queue_checks(
    examiner: Examiner, label: str, queue: MnsClient, name: str, receiving: Receiving
) -> AsyncIterator[Check]:
    """Yield the checks of one queue; `label` tells a second queue's apart."""
    seen: list[int] = []

    def judge_peek(messages: list[Message]) -> Check:
        seen.append(len(messages))
        return Check(
            f"mns.{label}peek", Verdict.OK, f"{len(messages) or 'no'} visible messages seen"
        )

    yield await examiner.ask(
        f"mns.{label}queue",
        queue.attributes,
        lambda found: _judge_attributes(f"mns.{label}queue", name, found),
        queue=name,
        otherwise=Verdict.WARNING,
        note="without this right the relay takes the visibility to be 30 s",
    )
    yield await examiner.ask(
        f"mns.{label}peek",
        queue.peek,
        judge_peek,
        queue=name,
        otherwise=Verdict.WARNING,
        note="the relay does without this right, nobody can tell the oldest message",
    )
    yield await _receive(examiner, f"mns.{label}receive", queue, name, receiving, seen)
    renew = Check(f"mns.{label}renew", Verdict.OK, "leases may be renewed")
    yield await examiner.ask(
        renew.name, lambda: queue.change_visibility(NO_MESSAGE, 1), always(renew), queue=name
    )
    delete = Check(f"mns.{label}delete", Verdict.OK, "messages may be deleted")
    yield await examiner.ask(
        delete.name, lambda: queue.delete([NO_MESSAGE]), always(delete), queue=name
    )


async def _receive(
    examiner: Examiner,
    check: str,
    queue: MnsClient,
    name: str,
    receiving: Receiving,
    seen: list[int],
) -> Check:
    is_empty = seen == [0]

    async def take() -> int:
        messages = await queue.receive(0, 1)
        for message in messages:
            await queue.change_visibility(message.receipt_handle, 1)
        return len(messages)

    def judge(count: int) -> Check:
        price = "; one was taken and given back, its dequeue count is one higher" if count else ""
        return Check(check, Verdict.OK, f"messages may be received{price}")

    if is_empty or receiving.is_wished:
        return await examiner.ask(check, take, judge, queue=name)

    async def nothing() -> None:
        return None

    waits = "messages wait" if seen else "messages may wait"
    why = (
        f"not tried: {waits}, and a receive counts as a delivery of one of them. "
        "--receive takes one and gives it back"
    )
    return await examiner.ask(
        check, nothing, always(Check(check, Verdict.SKIPPED, why)), queue=name
    )


def _judge_attributes(check: str, name: str, found: QueueAttributes) -> Check:
    days = found.retention_seconds / 86_400
    detail = (
        f"{name}: visibility {found.visibility_seconds} s, retention {days:.3g} days; "
        f"{found.active_messages} visible, {found.inactive_messages} in hand, "
        f"{found.delayed_messages} delayed"
    )
    fixes = []
    if found.visibility_seconds not in VISIBILITY_SECONDS:
        fixes.append("set its VisibilityTimeout to 10..3600 s, 30 if in doubt")
    if found.retention_seconds < RETENTION_SECONDS_MIN:
        fixes.append(
            "set its MessageRetentionPeriod to a day or more: an outage that outlasts it loses messages"
        )
    return Check(check, Verdict.WARNING if fixes else Verdict.OK, detail, "; ".join(fixes))
