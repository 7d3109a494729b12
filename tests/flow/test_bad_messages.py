"""Messages that hold no event: each is kept byte for byte, and its neighbours are synced."""

from __future__ import annotations

import base64
import json

import pytest

from harness import account, deletes
from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.mns import Attributes

VALID = json.dumps(
    {
        "events": [
            {
                "eventName": "ObjectCreated:PutObject",
                "oss": {"bucket": {"name": "source"}, "object": {"key": "k"}},
            }
        ]
    }
)


def base64_of(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


BAD_BODIES = {
    "empty": "",
    "blanks": " \n\t ",
    "words": "hello, 世界",
    "truncated Base64": base64_of(VALID)[:-3],
    "Base64 with a line break in it": base64_of(VALID)[:60] + "\n" + base64_of(VALID)[60:],
    "Base64 of bytes": base64_of(b"\xff\xfe\x00\x01"),
    "Base64 of cut JSON": base64_of(VALID[:-10]),
    "cut JSON": VALID[:-10],
    "null": "null",
    "a list": "[]",
    "no events": '{"events":[]}',
    "10,000 events": json.dumps({"events": [{}] * 10_000}, separators=(",", ":")),
    "an event without a key": VALID.replace('"key"', '"name"'),
    "an empty key": VALID.replace('"k"', '""'),
    "half a surrogate pair": base64_of(VALID.replace('"k"', r'"\ud83d"')),
    "nested too deep": "[" * 30_000,
    "64 KB of letters": "A" * 65_536,
    "a DOCTYPE": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "HTML": "<html><body>503 &amp; more</body></html>",
}
# Such text cannot be sent to MNS; whatever put it there, it must not cost its neighbours.
NOT_XML = {
    "control characters": "\x01\x02 {\x0b\x1f",
    "NUL": "\x00",
    "a noncharacter": "\ufffe\uffff",
}


@pytest.mark.parametrize("name", [*BAD_BODIES, *NOT_XML])
async def test_a_message_that_cannot_be_read_is_kept_as_it_came(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cloud.prepare()
    early = deletes.watch(cloud, monkeypatch)
    body = (BAD_BODIES | NOT_XML)[name]
    # Past the check of a send, straight into the queue.
    store = cloud.mns.store
    message = store.send(cloud.mns.queue("oss-events"), store.new_message(body))
    for number in range(15):
        cloud.oss.put("source", f"neighbour {number}", b"x")
    async with relaying(cloud) as relay:
        await relay.settle()
        [line] = relay.logged("dead_letter")
    account.check(cloud, {f"neighbour {number}" for number in range(15)})
    assert not early
    [letter] = account.dead_letters(cloud, "undecodable")
    assert letter["body"] == body
    assert letter["message_id"] == message.id
    assert letter["error"]
    assert letter["attempts"] == 1
    assert line["message_id"] == message.id
    assert str(line["why"]) == f"undecodable: {letter['error']}"
    assert "dead letter" in str(line["event"])
    assert "dead list" in str(line["hint"])


async def test_a_dead_letter_that_cannot_be_written_keeps_its_message(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.put("source", "first", b"x")
    async with relaying(cloud) as relay:
        await relay.settle()
        del cloud.oss.buckets["relay-log"]
        cloud.mns.publish("oss-events", "no event")
        await relay.until(lambda: relay.logged("released"), "the message given back")
        assert account.waiting(cloud) == 1
        assert "NoSuchBucket" in str(relay.logged("released")[0]["why"])
        cloud.oss.create_bucket("relay-log")
        await relay.settle()
    [letter] = account.dead_letters(cloud, "undecodable")
    assert letter["body"] == "no event"


async def test_a_body_larger_than_mns_takes_is_kept(cloud: LocalCloud) -> None:
    cloud.prepare(attributes=Attributes(maximum_message_size=1_000_000))
    body = "x" * 1_000_000
    cloud.mns.publish("oss-events", body)
    cloud.oss.put("source", "neighbour", b"x")
    async with relaying(cloud) as relay:
        await relay.settle()
    account.check(cloud, {"neighbour"})
    assert [letter["body"] for letter in account.dead_letters(cloud, "undecodable")] == [body]


async def test_as_many_events_as_a_message_can_hold_are_synced(cloud: LocalCloud) -> None:
    cloud.prepare()
    keys = [f"k{number}" for number in range(256)]
    for key in keys:
        cloud.oss.buckets["source"].put(cloud.oss.put("source", key, key.encode()))
    queue = cloud.mns.queue("oss-events")
    cloud.mns.store.delete(queue.name)
    cloud.mns.create_queue(queue.name)
    [event] = json.loads(VALID)["events"]
    events = [
        event | {"oss": {"bucket": {"name": "source"}, "object": {"key": key}}} for key in keys
    ]
    cloud.mns.publish("oss-events", json.dumps({"events": events}))
    async with relaying(cloud) as relay:
        await relay.settle()
        assert [end["keys"] for end in relay.logged("delete")] == [256]
    account.check(cloud, set(keys))


async def test_an_event_with_a_neighbour_that_is_not_xml_keeps_its_private_characters(
    cloud: LocalCloud,
) -> None:
    # Legacy Chinese encodings map to the private use area from U+E000 on.
    cloud.prepare()
    key = "\ue000\ue001\ue01f.txt"
    cloud.oss.put("source", key, b"x")
    queue, store = cloud.mns.queue("oss-events"), cloud.mns.store
    [message] = queue.peek(1, store.now_ms())
    message.body = base64.b64decode(message.body).decode()
    store.send(queue, store.new_message("\x01"))
    async with relaying(cloud) as relay:
        await relay.settle()
    account.check(cloud, {key})
