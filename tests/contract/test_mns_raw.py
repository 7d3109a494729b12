"""What the SDK cannot say to MNS, said over plain HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aiohttp
import pytest
import yarl

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import ALIBABA, Identities
from localcloud.mns import Attributes, MnsError, MnsService
from localcloud.mns.signature import VERSION, sign

NOW = 1_790_000_000.0
MESSAGES = "/queues/q/messages"
NS = "{http://mns.aliyuncs.com/doc/v1}"


class Wire:
    """Sends signed requests with the target exactly as given."""

    def __init__(self, mns: MnsService, session: aiohttp.ClientSession) -> None:
        self.mns = mns
        self.session = session
        self.headers: dict[str, str] = {}

    async def __call__(
        self, method: str, target: str, body: str = "", **headers: str
    ) -> tuple[int, str]:
        sent = {"Date": formatdate(self.mns.clock.now(), usegmt=True), "x-mns-version": VERSION}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body:
            sent.setdefault("Content-Type", "text/xml")
        signature = sign(ALIBABA.secret, method, target, sent)
        sent["Authorization"] = f"MNS {ALIBABA.access_key}:{signature}"
        url = yarl.URL(self.mns.url + target, encoded=True)
        data = body.encode() or None
        async with self.session.request(method, url, data=data, headers=sent) as response:
            self.headers = dict(response.headers)
            return response.status, await response.text()


@pytest.fixture
async def mns() -> AsyncIterator[MnsService]:
    service = MnsService(
        Clock(lambda: NOW), Faults(random.Random(1)), Identities(ALIBABA), random.Random(2)
    )
    service.create_queue("q")
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def wire(mns: MnsService) -> AsyncIterator[Wire]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), skip_auto_headers={"Content-Type"}
    ) as session:
        yield Wire(mns, session)


def value(xml: str, name: str) -> str:
    found = next(ET.fromstring(xml).iter(NS + name))
    return found.text or ""


async def until(is_so: Callable[[], bool]) -> None:
    """Let the service run until something is so; the test's own timeout ends a vain wait."""
    while not is_so():  # noqa: ASYNC110  network traffic has no event to wait on
        await asyncio.sleep(0)


async def polls(mns: MnsService, number: int) -> None:
    await until(lambda: mns.store.polls_open("q") == number)


async def test_an_answer_has_the_recorded_headers(wire: Wire) -> None:
    status, body = await wire("GET", MESSAGES)
    assert status == 404
    headers = wire.headers
    assert headers["Server"] == "AliyunMQS"
    assert headers["Content-Type"] == "text/xml;charset=utf-8"
    assert headers["x-mns-version"] == VERSION
    assert headers["x-mns-response-format"] == "xml"
    assert headers["x-mns-request-id"] == value(body, "RequestId")
    assert headers["Date"] == formatdate(NOW, usegmt=True)
    assert value(body, "HostId") == wire.mns.url


async def test_an_answer_without_a_body_has_its_content_type_too(wire: Wire) -> None:
    assert await wire("PUT", "/queues/q") == (204, "")
    headers = wire.headers
    assert headers["Content-Type"] == "text/xml;charset=utf-8"
    assert headers["Location"] == f"{wire.mns.url}/queues/q"


async def test_a_handle_may_come_percent_encoded(wire: Wire) -> None:
    for encode in (quote, lambda handle: quote(handle, safe="")):
        wire.mns.publish("q", "{}")
        _, body = await wire("GET", MESSAGES)
        handle = encode(value(body, "ReceiptHandle"))
        status, body = await wire("PUT", f"{MESSAGES}?receiptHandle={handle}&visibilityTimeout=60")
        assert status == 200
        handle = encode(value(body, "ReceiptHandle"))
        assert await wire("DELETE", f"{MESSAGES}?ReceiptHandle={handle}") == (204, "")


async def test_a_body_need_not_be_base64(wire: Wire) -> None:
    for text in ('{"events": []}', "<Notification>&</Notification>", "ünïcödé 世界", " spaces "):
        wire.mns.publish("q", text)
        _, body = await wire("GET", MESSAGES)
        assert value(body, "MessageBody") == text


async def test_an_empty_body_can_be_published_but_not_sent(wire: Wire) -> None:
    wire.mns.publish("q", "")
    _, body = await wire("GET", MESSAGES)
    assert value(body, "MessageBody") == ""
    status, body = await wire("POST", MESSAGES, "<Message><MessageBody/></Message>")
    assert (status, value(body, "Code")) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", f"{MESSAGES}?numOfMessages=0", 400, "InvalidArgument"),
        ("GET", f"{MESSAGES}?numOfMessages=17", 400, "InvalidArgument"),
        ("GET", f"{MESSAGES}?numOfMessages=many", 400, "InvalidArgument"),
        ("GET", f"{MESSAGES}?waitseconds=31", 400, "InvalidArgument"),
        ("GET", f"{MESSAGES}?waitseconds=-1", 400, "InvalidArgument"),
        ("GET", f"{MESSAGES}?WaitSeconds=1", 500, "InternalError"),
        ("PUT", MESSAGES, 400, "MissingReceiptHandle"),
        ("PUT", f"{MESSAGES}?ReceiptHandle=x", 400, "MissingVisibilityTimeout"),
        ("PUT", f"{MESSAGES}?ReceiptHandle=x&VisibilityTimeout=9", 400, "ReceiptHandleError"),
        ("DELETE", f"{MESSAGES}?ReceiptHandle=", 400, "ReceiptHandleError"),
        ("DELETE", MESSAGES, 400, "MissingReceiptHandle"),
        ("POST", MESSAGES, 400, "MalformedXML"),
        ("PUT", "/queues/-bad", 400, "InvalidQueueName"),
        ("PUT", "/queues/" + "q" * 121, 400, "QueueNameLengthError"),
        ("GET", "/topics/t", 400, "InvalidRequestURL"),
    ],
)
async def test_what_is_wrong_is_named(
    wire: Wire, method: str, target: str, status: int, code: str
) -> None:
    answered, body = await wire(method, target)
    assert (answered, value(body, "Code")) == (status, code)


async def test_a_batch_has_one_to_sixteen_entries(wire: Wire) -> None:
    handle = "<ReceiptHandle>x</ReceiptHandle>"
    for number, code in ((0, "MalformedXML"), (17, "InvalidArgument")):
        xml = f"<ReceiptHandles>{handle * number}</ReceiptHandles>"
        status, body = await wire("DELETE", MESSAGES, xml)
        assert (status, value(body, "Code")) == (400, code)


async def test_a_batch_is_limited_to_64_kb_in_all(wire: Wire) -> None:
    entry = f"<Message><MessageBody>{'x' * 33_000}</MessageBody></Message>"
    status, _ = await wire("POST", MESSAGES, f"<Messages>{entry}</Messages>")
    assert status == 201
    status, body = await wire("POST", MESSAGES, f"<Messages>{entry * 2}</Messages>")
    assert (status, value(body, "Code")) == (400, "InvalidArgument")
    assert len(wire.mns.queue("q")) == 1


async def test_a_queue_is_listed_with_its_attributes(wire: Wire) -> None:
    _, body = await wire("GET", "/queues", x_mns_with_meta="true", x_mns_prefix="q")
    assert value(body, "QueueURL") == f"{wire.mns.url}/queues/q"
    assert value(body, "VisibilityTimeout") == "30"


async def test_a_long_poll_wakes_when_a_message_is_sent(wire: Wire) -> None:
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(wire("GET", f"{MESSAGES}?numOfMessages=16&waitseconds=30"))
        await polls(wire.mns, 1)
        wire.mns.publish("q", "hello")
    status, body = poll.result()
    assert (status, value(body, "MessageBody")) == (200, "hello")
    assert wire.mns.store.polls_open("q") == 0


async def test_a_long_poll_wakes_when_a_message_becomes_visible(wire: Wire) -> None:
    wire.mns.create_queue("q").set_attributes(Attributes(visibility_timeout=10), 0)
    wire.mns.publish("q", "again")
    await wire("GET", MESSAGES)
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(wire("GET", f"{MESSAGES}?waitseconds=30"))
        await polls(wire.mns, 1)
        wire.mns.clock.offset_seconds = 10
    status, body = poll.result()
    assert (status, value(body, "DequeueCount")) == (200, "2")


async def test_a_long_poll_ends_empty(wire: Wire) -> None:
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(wire("GET", f"{MESSAGES}?waitseconds=30"))
        await polls(wire.mns, 1)
        wire.mns.clock.offset_seconds = 23
        await wire("GET", "/queues/q")
        assert not poll.done()
        wire.mns.clock.offset_seconds = 30
    status, body = poll.result()
    assert (status, value(body, "Code")) == (404, "MessageNotExist")


async def test_the_wait_of_the_queue_counts_unless_the_call_has_its_own(wire: Wire) -> None:
    wire.mns.queue("q").set_attributes(Attributes(polling_wait_seconds=30), 0)
    assert (await wire("GET", f"{MESSAGES}?waitseconds=0"))[0] == 404
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(wire("GET", MESSAGES))
        await polls(wire.mns, 1)
        wire.mns.publish("q", "x")
    assert poll.result()[0] == 200


async def test_one_long_poll_too_many_is_answered_empty_at_once(wire: Wire) -> None:
    wire.mns.behaviour.long_polls_max = 2
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(wire("GET", f"{MESSAGES}?waitseconds=30")) for _ in range(2)]
        await polls(wire.mns, 2)
        status, body = await wire("GET", f"{MESSAGES}?waitseconds=30")
        assert (status, value(body, "Code")) == (404, "MessageNotExist")
        wire.mns.publish("q", "a")
        wire.mns.publish("q", "b")
    assert sorted(value(poll.result()[1], "MessageBody") for poll in held) == ["a", "b"]


async def test_every_waiting_poll_gets_its_share(wire: Wire) -> None:
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(wire("GET", f"{MESSAGES}?waitseconds=30")) for _ in range(20)]
        await polls(wire.mns, 20)
        for number in range(20):
            wire.mns.publish("q", str(number))
    received = {value(poll.result()[1], "MessageBody") for poll in held}
    assert received == {str(number) for number in range(20)}


async def test_a_poll_whose_caller_has_gone_leases_nothing(wire: Wire) -> None:
    gone = asyncio.create_task(wire("GET", f"{MESSAGES}?waitseconds=30"))
    await polls(wire.mns, 1)
    kept = asyncio.create_task(wire("GET", f"{MESSAGES}?waitseconds=30"))
    await polls(wire.mns, 2)
    await _hang_up(gone)
    # A whole exchange on another connection: by then the service has seen the first one close.
    await wire("GET", "/queues/q")
    wire.mns.publish("q", "x")
    assert value((await kept)[1], "DequeueCount") == "1"


async def test_a_poll_whose_caller_has_gone_can_be_made_to_lease(wire: Wire) -> None:
    wire.mns.behaviour.leases_to_the_gone = True
    gone = asyncio.create_task(wire("GET", f"{MESSAGES}?waitseconds=30"))
    await polls(wire.mns, 1)
    await _hang_up(gone)
    wire.mns.publish("q", "x")
    await polls(wire.mns, 0)
    assert wire.mns.queue("q").counts(wire.mns.store.now_ms()).inactive == 1


async def _hang_up(poll: asyncio.Task[tuple[int, str]]) -> None:
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll


async def test_deleting_a_queue_ends_its_long_polls(wire: Wire) -> None:
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(wire("GET", f"{MESSAGES}?waitseconds=30"))
        await polls(wire.mns, 1)
        assert (await wire("DELETE", "/queues/q"))[0] == 204
    status, body = poll.result()
    assert (status, value(body, "Code")) == (404, "QueueNotExist")


async def test_a_stop_does_not_wait_for_long_polls(wire: Wire) -> None:
    poll = asyncio.create_task(wire("GET", f"{MESSAGES}?waitseconds=30"))
    await polls(wire.mns, 1)
    await wire.mns.stop()
    with pytest.raises(aiohttp.ClientError):
        await poll


async def test_short_batches_lose_nothing(wire: Wire) -> None:
    wire.mns.behaviour.short_batches = True
    for number in range(30):
        wire.mns.publish("q", str(number))
    sizes = []
    while wire.mns.queue("q").counts(wire.mns.store.now_ms()).active:
        _, body = await wire("GET", f"{MESSAGES}?numOfMessages=16")
        sizes.append(len(ET.fromstring(body)))
    assert sum(sizes) == 30
    assert min(sizes) < 16


async def test_too_many_unacknowledged_messages_are_throttled(wire: Wire) -> None:
    wire.mns.behaviour.in_flight_max = 1
    wire.mns.publish("q", "a")
    wire.mns.publish("q", "b")
    assert (await wire("GET", MESSAGES))[0] == 200
    status, body = await wire("GET", MESSAGES)
    assert (status, value(body, "Code")) == (429, "TooManyRequests")


async def test_the_documented_looks_are_switches(wire: Wire) -> None:
    wire.mns.behaviour.compact_xml = True
    wire.mns.behaviour.namespace_slash = True
    _, body = await wire("GET", MESSAGES)
    assert body.startswith('<?xml version="1.0" ?><Error xmlns="http://mns.aliyuncs.com/doc/v1/">')


async def test_a_publish_that_mns_would_refuse_is_refused(mns: MnsService) -> None:
    for text in ("\x00", "\ud800", "x" * 65_537):
        with pytest.raises(MnsError):
            mns.publish("q", text)
    with pytest.raises(MnsError, match="QueueNotExist"):
        mns.publish("nowhere", "x")
    assert len(mns.queue("q")) == 0
