"""The official SDK against the local MNS: every operation it has on queues."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from mns.account import Account
from mns.message_property import MessagePropertyValue
from mns.mns_exception import MNSServerException
from mns.queue import Message, QueueMeta

from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults
from localcloud.identity import ALIBABA, Identities, Identity
from localcloud.mns import Attributes, DeadLetterPolicy, MnsService

NEVER_GIVEN = "0" * 32 + "-MSAy"


@pytest.fixture
async def mns() -> AsyncIterator[MnsService]:
    # The SDK signs with the time of day; the service's clock stands still near it.
    started = time.time()
    service = MnsService(
        Clock(lambda: started), Faults(random.Random(1)), Identities(ALIBABA), random.Random(2)
    )
    service.create_queue("q")
    await service.start()
    yield service
    await service.stop()


Login = Callable[..., Any]


@pytest.fixture
def login(mns: MnsService) -> Iterator[Login]:
    """Return an account of the SDK; all its connections are closed at the end."""
    opened: list[Any] = []

    def account(
        access_key: str = ALIBABA.access_key, secret: str = ALIBABA.secret, **more: Any
    ) -> Any:
        opened.append(Account(mns.url, access_key, secret, **more))
        return opened[-1]

    yield account
    for one in opened:
        one.get_client().close_connection()


@pytest.fixture
def queue(login: Login) -> Any:
    return login().get_queue("q")


async def do(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)


async def refused(call: Callable[..., Any], *arguments: Any) -> Any:
    with pytest.raises(MNSServerException) as caught:
        await do(call, *arguments)
    return caught.value


async def test_a_queue_is_created_once(mns: MnsService, login: Login) -> None:
    queue = login().get_queue("new")
    url = f"{mns.url}/queues/new"
    assert await do(queue.create, QueueMeta(vis_timeout=60)) == url
    assert await do(queue.create, QueueMeta(vis_timeout=60)) == url
    assert (await refused(queue.create, QueueMeta(vis_timeout=61))).type == "QueueAlreadyExist"
    assert mns.counts == {("CreateQueue", 201): 1, ("CreateQueue", 204): 1, ("CreateQueue", 409): 1}


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
async def test_attributes_can_be_set_and_read(mns: MnsService, queue: Any) -> None:
    meta = QueueMeta(45, 2048, 120, 7, 3, logging_enabled=True)
    await do(queue.set_attributes, meta)
    mns.create_queue("q").send(mns.store.new_message("x"), mns.store.now_ms(), 0)
    read = await do(queue.get_attributes)
    assert (read.queue_name, read.visibility_timeout, read.maximum_message_size) == ("q", 45, 2048)
    assert (read.message_retention_period, read.delay_seconds) == (120, 7)
    assert (read.polling_wait_seconds, read.logging_enabled) == (3, True)
    assert (read.active_messages, read.inactive_messages, read.delay_messages) == (1, 0, 0)
    assert read.create_time == int(mns.clock.now())


async def test_attributes_out_of_range_are_refused(queue: Any) -> None:
    error = await refused(queue.set_attributes, QueueMeta(vis_timeout=43_201))
    assert error.type == "InvalidArgument"
    assert error.message == "The value of VisibilityTimeout should between 1 and 43200 seconds."


async def test_a_deleted_queue_is_gone(queue: Any) -> None:
    await do(queue.delete)
    assert (await refused(queue.delete)).type == "QueueNotExist"
    assert (await refused(queue.receive_message)).type == "QueueNotExist"


async def test_queues_are_listed_page_by_page(mns: MnsService, login: Login) -> None:
    for number in range(5):
        mns.create_queue(f"list-{number}")
    account = login()
    first, marker = await do(account.list_queue, "list-", 3)
    assert [url.rpartition("/")[2] for url in first] == ["list-0", "list-1", "list-2"]
    rest, end = await do(account.list_queue, "list-", 3, marker)
    assert [url.rpartition("/")[2] for url in rest] == ["list-3", "list-4"]
    assert end == ""


async def test_a_message_goes_in_and_out_as_base64(mns: MnsService, queue: Any) -> None:
    sent = await do(queue.send_message, Message("Grüße, <&> 世界"))
    assert mns.queue("q").peek(1, mns.store.now_ms())[0].body == "R3LDvMOfZSwgPCY+IOS4lueVjA=="
    received = await do(queue.receive_message)
    now_ms = mns.store.now_ms()
    assert received.message_body == "Grüße, <&> 世界".encode()
    assert received.message_id == sent.message_id
    assert received.message_body_md5 == sent.message_body_md5
    assert (received.dequeue_count, received.priority) == (1, 8)
    assert received.enqueue_time == received.first_dequeue_time == now_ms
    assert received.next_visible_time == now_ms + 30_000


async def test_a_message_goes_in_and_out_as_text(mns: MnsService, queue: Any) -> None:
    queue.set_encoding(False)
    await do(queue.send_message, Message('{"events": [{"key": "a<b>&c"}]}'))
    assert mns.queue("q").peek(1, mns.store.now_ms())[0].body.startswith("{")
    received = await do(queue.receive_message_with_str_body)
    assert received.message_body == '{"events": [{"key": "a<b>&c"}]}'


async def test_a_batch_goes_in_and_out(queue: Any) -> None:
    sent = await do(queue.batch_send_message, [Message(f"m{number}") for number in range(16)])
    received = await do(queue.batch_receive_message_with_str_body, 16)
    assert [message.message_body for message in received] == [f"m{n}" for n in range(16)]
    assert [message.message_id for message in received] == [message.message_id for message in sent]


async def test_a_batch_that_fails_in_part_names_what_failed(queue: Any) -> None:
    await do(queue.set_attributes, QueueMeta(max_msg_size=1024))
    error = await refused(queue.batch_send_message, [Message("x" * 1024), Message("good")])
    assert error.type == "InvalidArgument"
    received = await do(queue.batch_receive_message_with_str_body, 16)
    assert [message.message_body for message in received] == ["good"]


async def test_properties_and_groups_come_back(queue: Any) -> None:
    message = Message("x", message_group_id="group")
    message.add_user_property("n", MessagePropertyValue("NUMBER", 7))
    message.add_user_property("raw", MessagePropertyValue("BINARY", b"\x00\xff"))
    await do(queue.send_message, message)
    received = await do(queue.receive_message)
    properties = received.get_user_properties()
    assert properties["n"].string_value == "7"
    assert properties["raw"].binary_value == b"\x00\xff"
    assert received.message_group_id == "group"
    [in_batch] = await _again(queue, received)
    assert in_batch.get_user_properties()["n"].string_value == "7"


async def _again(queue: Any, received: Any) -> Any:
    """Send another message like it and receive it in a batch."""
    message = Message("y")
    message.add_user_property("n", received.get_user_properties()["n"])
    await do(queue.send_message, message)
    return await do(queue.batch_receive_message, 16)


async def test_an_empty_queue_is_an_error_type_of_its_own(queue: Any) -> None:
    for call, arguments in (
        (queue.receive_message, ()),
        (queue.batch_receive_message, (16,)),
        (queue.peek_message, ()),
        (queue.batch_peek_message, (16,)),
    ):
        error = await refused(call, *arguments)
        assert (error.type, error.message) == ("MessageNotExist", "Message not exist.")
        assert len(error.request_id) == 24


async def test_a_peek_leaves_messages_where_they_are(queue: Any) -> None:
    await do(queue.send_message, Message("x"))
    peeked = await do(queue.peek_message_with_str_body)
    assert (peeked.message_body, peeked.dequeue_count) == ("x", 0)
    assert peeked.first_dequeue_time == peeked.enqueue_time
    [in_batch] = await do(queue.batch_peek_message, 16)
    assert (await do(queue.receive_message)).message_id == in_batch.message_id


async def test_a_message_is_deleted_by_its_handle_once(queue: Any) -> None:
    await do(queue.send_message, Message("x"))
    handle = (await do(queue.receive_message)).receipt_handle
    await do(queue.delete_message, handle)
    assert (await refused(queue.delete_message, handle)).type == "MessageNotExist"
    error = await refused(queue.delete_message, "not-a-handle")
    assert (error.type, error.message) == (
        "ReceiptHandleError",
        "The receipt handle you provide is not valid.",
    )


async def test_every_handle_survives_its_way_through_a_url(mns: MnsService, queue: Any) -> None:
    for _ in range(40):
        mns.publish("q", "eA==")
    handles = []
    while len(mns.queue("q")):
        for message in await do(queue.batch_receive_message, 16):
            handles.append(message.receipt_handle)
            await do(queue.delete_message, message.receipt_handle)
    assert {"+", "="} <= set("".join(handles))


async def test_a_batch_delete_deletes_what_it_can(mns: MnsService, queue: Any) -> None:
    await do(queue.batch_send_message, [Message(name) for name in "abc"])
    handles = [m.receipt_handle for m in await do(queue.batch_receive_message, 16)]
    error = await refused(queue.batch_delete_message, [*handles[:2], NEVER_GIVEN, "bad"])
    assert error.type == "MessageNotExist"
    assert [(sub["ErrorCode"], sub["ReceiptHandle"]) for sub in error.sub_errors] == [
        ("MessageNotExist", NEVER_GIVEN),
        ("ReceiptHandleError", "bad"),
    ]
    assert len(mns.queue("q")) == 1
    await do(queue.batch_delete_message, handles[2:])
    assert len(mns.queue("q")) == 0


async def test_a_change_of_visibility_counts_from_the_change(mns: MnsService, queue: Any) -> None:
    await do(queue.send_message, Message("x"))
    first = await do(queue.receive_message)
    mns.clock.offset_seconds = 10
    renewed = await do(queue.change_message_visibility, first.receipt_handle, 60)
    assert int(renewed.next_visible_time) == mns.store.now_ms() + 60_000
    assert (await refused(queue.delete_message, first.receipt_handle)).type == "MessageNotExist"
    mns.clock.offset_seconds = 40
    assert (await refused(queue.receive_message)).type == "MessageNotExist"
    await do(queue.delete_message, renewed.receipt_handle)


async def test_a_message_is_released_by_one_second_and_not_by_none(
    mns: MnsService, queue: Any
) -> None:
    await do(queue.send_message, Message("x"))
    first = await do(queue.receive_message)
    error = await refused(queue.change_message_visibility, first.receipt_handle, 0)
    assert error.type == "InvalidArgument"
    await do(queue.change_message_visibility, first.receipt_handle, 1)
    mns.clock.offset_seconds = 1
    again = await do(queue.receive_message)
    assert (again.message_id, again.dequeue_count) == (first.message_id, 2)
    assert again.first_dequeue_time == first.first_dequeue_time
    error = await refused(queue.change_message_visibility, first.receipt_handle, 9)
    assert error.type == "MessageNotExist"


async def test_a_delayed_message_can_be_cancelled(mns: MnsService, queue: Any) -> None:
    kept = await do(queue.send_message, Message("kept", delay_seconds=5))
    sent = await do(queue.send_message, Message("cancelled", delay_seconds=5))
    await do(queue.delete_message, sent.receipt_handle)
    assert (await refused(queue.receive_message)).type == "MessageNotExist"
    mns.clock.offset_seconds = 5
    [received] = await do(queue.batch_receive_message, 16)
    assert received.message_id == kept.message_id


async def test_a_wrong_secret_is_told_from_an_unknown_key(login: Login) -> None:
    wrong = await refused(login(secret="wrong").get_queue("q").receive_message)
    assert wrong.type == "SignatureDoesNotMatch"
    unknown = await refused(login(access_key="LTAIunknown").get_queue("q").receive_message)
    assert unknown.type == "InvalidAccessKeyId"


@pytest.mark.parametrize("offset", [-16 * 60, 16 * 60])
async def test_a_clock_wrong_by_more_than_fifteen_minutes_is_refused(
    mns: MnsService, queue: Any, offset: int
) -> None:
    mns.clock.offset_seconds = offset
    assert (await refused(queue.receive_message)).type == "TimeExpired"


async def test_an_unknown_queue_is_named_so(login: Login) -> None:
    error = await refused(login().get_queue("nowhere").batch_receive_message, 16)
    assert (error.type, error.message) == (
        "QueueNotExist",
        "The queue name you provided is not exist.",
    )


async def test_temporary_keys_and_permissions(mns: MnsService, login: Login) -> None:
    reader = Identity("STS.reader", "s", security_token="t", allowed=("mns:ReceiveMessage",))
    mns._identities.add(reader)
    mns.publish("q", "eA==")
    queue = login("STS.reader", "s", security_token="t").get_queue("q")
    [message] = await do(queue.batch_receive_message, 16)
    assert (await refused(queue.delete_message, message.receipt_handle)).type == "AccessDenied"
    without = login("STS.reader", "s").get_queue("q")
    assert (await refused(without.receive_message)).type == "InvalidSecurityToken"


async def test_a_refusal_can_be_ordered_as_a_fault(mns: MnsService, queue: Any) -> None:
    mns.faults.add(mns.refusal("TooManyRequests", "*ReceiveMessage", times=1))
    error = await refused(queue.receive_message)
    assert error.type == "TooManyRequests"
    assert (await refused(queue.receive_message)).type == "MessageNotExist"


async def test_a_fault_delivers_a_message_twice(mns: MnsService, queue: Any) -> None:
    mns.faults.add(Fault("mns", "BatchReceiveMessage", Action.CUSTOM, name="duplicate", times=1))
    mns.publish("q", "eA==")
    [first] = await do(queue.batch_receive_message, 16)
    [second] = await do(queue.batch_receive_message, 16)
    assert (second.message_id, second.dequeue_count) == (first.message_id, 2)
    assert (await refused(queue.receive_message)).type == "MessageNotExist"


async def test_a_fault_reorders_messages(mns: MnsService, queue: Any) -> None:
    sent = [mns.publish("q", "eA==") for _ in range(16)]
    mns.faults.add(Fault("mns", "*", Action.CUSTOM, name="reorder"))
    received = [message.message_id for message in await do(queue.batch_receive_message, 16)]
    assert received != sent
    assert sorted(received) == sorted(sent)


async def test_dead_letters_carry_where_they_come_from(mns: MnsService, login: Login) -> None:
    mns.create_queue("dead")
    source = mns.create_queue("source", Attributes(visibility_timeout=1))
    mns.store.set_dead_letter("source", DeadLetterPolicy("dead", max_receive_count=1))
    sent = mns.publish("source", "eA==")
    assert source.receive(1, mns.store.now_ms())
    mns.clock.offset_seconds = 1
    account = login()
    assert (await refused(account.get_queue("source").receive_message)).type == "MessageNotExist"
    dead = await do(account.get_queue("dead").receive_message)
    properties = {name: value.string_value for name, value in dead.get_system_properties().items()}
    assert properties["DLQOriginMessageId"] == sent
    assert properties["DLQSourceArn"].endswith(":/queues/source")
    assert (dead.message_body, dead.dequeue_count) == (b"x", 1)
