from __future__ import annotations

from collections.abc import AsyncIterator
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.clock import QuickClock
from doubles.web import Vendor, vendor
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.mns import MnsClient
from worker.clouds.mns_wire import Damaged, messages, outgoing, peeked, receipt_handles, sent_id
from worker.errors import Blame, CallFailed, Failure, Outcome

PEEKED = (
    "<Messages><Message><MessageId>M1</MessageId><MessageBody>a&lt;b</MessageBody>"
    "<DequeueCount>3</DequeueCount></Message></Messages>"
)


@pytest.fixture
async def mns() -> AsyncIterator[tuple[Vendor, MnsClient]]:
    async with vendor(x_mns_request_id="R") as (script, session):
        keys = AlibabaCredentials("AK", "secret")
        client = MnsClient(script.url, "q", lambda: keys, (session, session), QuickClock())
        yield script, client


async def test_a_message_is_sent_as_it_is_and_its_id_comes_back(
    mns: tuple[Vendor, MnsClient],
) -> None:
    script, client = mns
    script.answer(201, "<Message><MessageId>M9</MessageId></Message>")
    assert await client.send('{"a":"<&>"}') == "M9"
    (asked,) = script.asked
    assert (asked.method, asked.target) == ("POST", "/queues/q/messages")
    assert b'<MessageBody>{"a":"&lt;&amp;&gt;"}</MessageBody>' in asked.body


async def test_a_text_that_no_message_can_carry_is_refused_and_nothing_is_sent(
    mns: tuple[Vendor, MnsClient],
) -> None:
    script, client = mns
    with pytest.raises(CallFailed, match="surrogate") as raised:
        await client.send("half \ud800")
    assert raised.value.failure.blame is Blame.ITEM
    assert script.asked == []


async def test_a_refused_message_is_to_blame_itself(mns: tuple[Vendor, MnsClient]) -> None:
    script, client = mns
    script.answer(400, "<Error><Code>InvalidArgument</Code></Error>")
    with pytest.raises(CallFailed) as raised:
        await client.send("x" * 100_000)
    assert raised.value.failure.outcome is Outcome.REJECTED


async def test_a_success_without_an_id_is_unknown(mns: tuple[Vendor, MnsClient]) -> None:
    script, client = mns
    script.answer(201, "<Message></Message>")
    with pytest.raises(CallFailed) as raised:
        await client.send("body")
    assert raised.value.failure.outcome is Outcome.UNKNOWN


async def test_a_look_at_the_queue_changes_nothing(mns: tuple[Vendor, MnsClient]) -> None:
    script, client = mns
    script.answer(200, PEEKED)
    (message,) = await client.peek()
    assert (message.message_id, message.body, message.dequeue_count) == ("M1", "a<b", 3)
    assert message.receipt_handle == ""
    assert script.asked[0].target == "/queues/q/messages?peekonly=true&numOfMessages=16"


async def test_nothing_to_see_is_an_empty_list(mns: tuple[Vendor, MnsClient]) -> None:
    script, client = mns
    error = "<Error><Code>{}</Code><Message/><RequestId/><HostId/></Error>"
    script.answer(404, error.format("MessageNotExist"))
    script.answer(404, error.format("QueueNotExist"))
    assert await client.peek() == []
    with pytest.raises(CallFailed, match="QueueNotExist"):
        await client.peek()


def test_what_was_peeked_may_hold_characters_that_xml_forbids() -> None:
    assert [each.body for each in peeked(PEEKED.replace("b<", "\x01<").encode())] == ["a<\x01"]


@pytest.mark.parametrize("body", [b"", b"<Message/>", b"<Messages><Message/></Messages>"])
def test_what_is_no_batch_of_peeked_messages_is_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        peeked(body)


@given(st.text(st.characters(codec="utf-8")))
def test_every_text_arrives_as_it_was_sent(body: str) -> None:
    """What we write into a message is what we read out of one."""
    field = outgoing(body).split(b"<MessageBody>")[1].split(b"</MessageBody>")[0]
    answer = (
        b"<Messages><Message><MessageId>M</MessageId><MessageBody>%s</MessageBody>"
        b"<ReceiptHandle>H</ReceiptHandle></Message></Messages>"
    )
    assert messages(answer % field)[0].body == body


@pytest.mark.parametrize("body", [b"", b"<html>", b"<Message><MessageId/></Message>"])
def test_an_answer_without_a_message_id_is_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        sent_id(body)


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)), max_size=16))
def test_handles_of_any_kind_are_written_so_that_they_read_back(handles: list[str]) -> None:
    root = ET.fromstring(receipt_handles(handles))
    assert [each.text or "" for each in root] == handles


async def test_a_batch_carries_bodies_and_intents_and_brings_each_id(
    mns: tuple[Vendor, MnsClient],
) -> None:
    script, client = mns
    ids = "".join(f"<Message><MessageId>M{n}</MessageId></Message>" for n in (1, 2))
    script.answer(201, f"<Messages>{ids}</Messages>")
    assert await client.send_batch([("a<b", "L-1"), ("c", "")]) == ["M1", "M2"]
    (asked,) = script.asked
    assert (asked.method, asked.target) == ("POST", "/queues/q/messages")
    root = ET.fromstring(asked.body)
    space = "{http://mns.aliyuncs.com/doc/v1/}"
    assert [each.text for each in root.iter(f"{space}MessageBody")] == ["a<b", "c"]
    assert [each.text for each in root.iter(f"{space}Value")] == ["L-1"]


async def test_a_batch_that_was_taken_in_part_tells_which(mns: tuple[Vendor, MnsClient]) -> None:
    script, client = mns
    entries = (
        "<Message><ErrorCode>InternalError</ErrorCode></Message>",
        "<Message><MessageId>M2</MessageId></Message>",
        "<Message><ErrorCode>InvalidArgument</ErrorCode><ErrorMessage>No.</ErrorMessage></Message>",
    )
    script.answer(500, f"<Messages>{''.join(entries)}</Messages>")
    busy, sent, bad = await client.send_batch([("a", ""), ("b", ""), ("c", "")])
    assert sent == "M2"
    assert isinstance(busy, Failure)
    assert isinstance(bad, Failure)
    assert (busy.blame, bad.blame, bad.message) == (Blame.PASSING, Blame.ITEM, "No.")


@pytest.mark.parametrize(
    ("status", "body", "blame"),
    [
        (201, "<Messages><Message><MessageId>M1</MessageId></Message></Messages>", Blame.PASSING),
        (400, "<Error><Code>MalformedXML</Code></Error>", Blame.ITEM),
        (503, "<Error><Code>ServiceUnavailable</Code></Error>", Blame.PASSING),
    ],
)
async def test_a_batch_of_which_nothing_is_told_has_failed_as_a_whole(
    mns: tuple[Vendor, MnsClient], status: int, body: str, blame: Blame
) -> None:
    script, client = mns
    script.answer(status, body)
    with pytest.raises(CallFailed) as raised:
        await client.send_batch([("a", ""), ("b", "")])
    assert raised.value.failure.blame is blame


def test_an_intent_comes_back_beside_the_body() -> None:
    fields = "<MessageId>M1</MessageId><MessageBody>b</MessageBody><ReceiptHandle>h</ReceiptHandle>"
    value = "<PropertyValue><Name>oms-relay-redrive</Name><Value>L-2</Value></PropertyValue>"
    other = "<PropertyValue><Name>colour</Name><Value>red</Value></PropertyValue>"
    times = "<EnqueueTime>1</EnqueueTime><DequeueCount>1</DequeueCount>"

    def read(properties: str) -> str:
        body = f"<Messages><Message>{fields}{times}{properties}</Message></Messages>"
        return messages(body.encode())[0].intent

    assert read(f"<UserProperties>{other}{value}</UserProperties>") == "L-2"
    assert read(f"<UserProperties>{other}</UserProperties>") == read("") == ""
