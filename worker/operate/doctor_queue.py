"""The doctor on an MNS queue: is it there, is it set up well, may its messages be taken and deleted.

Facts: MNS API 2015-06-06, pages getqueueattributes, peekmessage, receivemessage, deletemessage. A peek
changes nothing but proves another right than a receive; a receive raises the message's dequeue count, which
the queue's own dead-letter policy counts. So a receive is tried where nothing waits, or on request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from worker.clouds.mns import MnsClient
from worker.events.event import Message
from worker.operate.brought import NARROW_RULE, brought
from worker.operate.check import Check, CheckStatus
from worker.operate.service_prober import ServiceProber, always
from worker.ports import QueueAttributes

VISIBILITY_SECONDS = range(10, 3601)
RETENTION_SECONDS_MIN = 86_400
NO_MESSAGE = "oms-relay-doctor"


@dataclass(frozen=True, slots=True)
class Receiving:
    """Whether a message that waits may be received, at the price of one delivery."""

    is_wished: bool


@dataclass(slots=True)
class Asked:
    """One queue and what a peek showed of it; `messages` is None while that is not known.

    `label` tells a second queue's checks apart.
    """

    client: MnsClient
    name: str
    label: str = ""
    messages: list[Message] | None = None

    @property
    def seen(self) -> int | None:
        """How many messages the peek showed."""
        return None if self.messages is None else len(self.messages)


async def queue_checks(
    prober: ServiceProber, asked: Asked, receiving: Receiving
) -> AsyncIterator[Check]:
    """Yield the checks of one queue; fills `asked` if it may be peeked at."""
    label, queue, name = asked.label, asked.client, asked.name
    found: list[QueueAttributes] = []

    def judge_queue(attributes: QueueAttributes) -> Check:
        found.append(attributes)
        return _judge_attributes(asked, attributes)

    def judge_peek(messages: list[Message]) -> Check:
        asked.messages = messages
        return Check(
            f"mns.{label}peek", CheckStatus.OK, f"{len(messages) or 'no'} visible messages seen"
        )

    checked = await prober.ask(
        f"mns.{label}queue",
        queue.attributes,
        judge_queue,
        queue=name,
        otherwise=CheckStatus.WARNING,
        note="without this right the relay takes the visibility to be 30 s",
    )
    peeked = await prober.ask(
        f"mns.{label}peek",
        queue.peek,
        judge_peek,
        queue=name,
        otherwise=CheckStatus.WARNING,
        note="the relay does without this right, nobody can tell the oldest message",
    )
    # Whether the counters are to be believed shows in the peek.
    yield _judge_attributes(asked, found[0]) if found else checked
    yield peeked
    yield await _receive(prober, asked, receiving)
    renew = Check(f"mns.{label}renew", CheckStatus.OK, "leases may be renewed")
    yield await prober.ask(
        renew.name, lambda: queue.change_visibility(NO_MESSAGE, 1), always(renew), queue=name
    )
    delete = Check(f"mns.{label}delete", CheckStatus.OK, "messages may be deleted")
    yield await prober.ask(
        delete.name, lambda: queue.delete([NO_MESSAGE]), always(delete), queue=name
    )


def brought_check(asked: Asked, source_bucket: str) -> Check:
    """Return whether the queue brings events of the task's bucket only; no call is made."""
    name = "mns.events"
    if asked.messages is None:
        return Check(name, CheckStatus.SKIPPED, "unknown: the queue could not be peeked at")
    found = brought(asked.messages, source_bucket)
    if not found.is_known:
        return Check(name, CheckStatus.SKIPPED, found.text)
    if found.foreign:
        return Check(name, CheckStatus.WARNING, found.text, NARROW_RULE)
    return Check(name, CheckStatus.OK, found.text)


async def _receive(prober: ServiceProber, asked: Asked, receiving: Receiving) -> Check:
    check, queue, name = f"mns.{asked.label}receive", asked.client, asked.name
    is_empty = asked.seen == 0

    async def take() -> int:
        messages = await queue.receive(0, 1)
        for message in messages:
            await queue.change_visibility(message.receipt_handle, 1)
        return len(messages)

    def judge(count: int) -> Check:
        price = "; one was taken and given back, its dequeue count is one higher" if count else ""
        return Check(check, CheckStatus.OK, f"messages may be received{price}")

    if is_empty or receiving.is_wished:
        return await prober.ask(check, take, judge, queue=name)

    async def nothing() -> None:
        return None

    waits = "messages wait" if asked.seen else "messages may wait"
    why = (
        f"not tried: {waits}, and a receive counts as a delivery of one of them. "
        "--receive takes one and gives it back"
    )
    return await prober.ask(
        check, nothing, always(Check(check, CheckStatus.SKIPPED, why)), queue=name
    )


def _judge_attributes(asked: Asked, found: QueueAttributes) -> Check:
    days = found.retention_seconds / 86_400
    counts = found.counts(asked.seen)
    held = (
        "how many wait is unknown: MNS's counters all read 0 (CloudMonitor has NumberOfMessagesVisible)"
        if counts is None
        else f"{counts.active} visible, {counts.inactive} in hand, {counts.delayed} delayed"
    )
    detail = (
        f"{asked.name}: visibility {found.visibility_seconds} s, retention {days:.3g} days; {held}"
    )
    fixes = []
    if found.visibility_seconds not in VISIBILITY_SECONDS:
        fixes.append("set its VisibilityTimeout to 10..3600 s, 30 if in doubt")
    if found.retention_seconds < RETENTION_SECONDS_MIN:
        fixes.append(
            "set its MessageRetentionPeriod to a day or more: an outage that outlasts it loses messages"
        )
    verdict = CheckStatus.WARNING if fixes else CheckStatus.OK
    return Check(f"mns.{asked.label}queue", verdict, detail, "; ".join(fixes))
