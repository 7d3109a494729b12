"""Messages that MNS itself gave up on: drained from its dead-letter queue into the store."""

from __future__ import annotations

import base64
import json

import pytest

from harness import account
from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault


def given_up(cloud: LocalCloud, *keys: str) -> None:
    """Put objects whose messages were received too often, and by nobody who deleted them."""
    queue, store = cloud.mns.queue("oss-events"), cloud.mns.store
    for key in keys:
        cloud.oss.put("source", key, key.encode())
    for _ in range(2):
        queue.receive(16, store.now_ms())
        cloud.mns.clock.offset_seconds += 31
    assert queue.receive(16, store.now_ms()) == []
    assert len(cloud.mns.queue("dead")) == len(keys)


async def test_they_become_dead_letters_with_their_body(cloud: LocalCloud) -> None:
    cloud.prepare(dead_letter_queue="dead", max_receive_count=2)
    given_up(cloud, "照片/a", "b")
    async with relaying(cloud) as relay:
        await relay.until(lambda: len(cloud.mns.queue("dead")) == 0, "an empty dead-letter queue")
        lines = relay.logged("dead_letter")
    letters = account.dead_letters(cloud, "receive-limit")
    events = [json.loads(base64.b64decode(letter["body"]))["events"][0] for letter in letters]
    assert {event["oss"]["object"]["key"] for event in events} == {"照片/a", "b"}
    assert {line["message_id"] for line in lines} == {letter["message_id"] for letter in letters}


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("BatchReceiveMessage", Action.CUT_AFTER),
        ("BatchDeleteMessage", Action.STATUS),
        ("BatchDeleteMessage", Action.CUT_AFTER),
    ],
)
async def test_no_fault_loses_one(cloud: LocalCloud, operation: str, action: Action) -> None:
    cloud.prepare(dead_letter_queue="dead", max_receive_count=2)
    given_up(cloud, "照片/a", "b")
    cloud.faults.add(Fault("mns", operation, action, times=1))
    async with relaying(cloud) as relay:

        def is_drained() -> bool:
            # The leases of a lost answer end after 30 s.
            cloud.mns.clock.offset_seconds = min(800, cloud.mns.clock.offset_seconds + 0.25)
            return len(cloud.mns.queue("dead")) == 0

        await relay.until(is_drained, "an empty dead-letter queue")
    assert len(account.dead_letters(cloud, "receive-limit")) == 2


async def test_polls_that_are_answered_too_early_do_not_spin(cloud: LocalCloud) -> None:
    cloud.prepare(dead_letter_queue="dead")
    cloud.mns.behaviour.long_polls_max = 0
    async with relaying(cloud) as relay:

        def polls_of_dead() -> int:
            return sum("/queues/dead/" in call.target for call in cloud.mns.served)

        await relay.until(lambda: polls_of_dead() > 0, "the first poll")
        await relay.until(lambda: relay.count("mns", "BatchReceiveMessage") > 6, "a few polls")
        assert polls_of_dead() <= 2
