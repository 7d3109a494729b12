from __future__ import annotations

import random
from hashlib import md5

import pytest

from localcloud.mns import Attributes, Message, MnsError, Queue
from localcloud.mns.message import Counts, Property
from localcloud.mns.route import route
from localcloud.mns.wire import (
    NAMESPACE,
    Style,
    attributes_from,
    body_md5,
    message_xml,
    parse,
    queue_fields,
    texts,
)
from localcloud.service import Call

MESSAGE = Message(
    "A" * 32, "a<&>b", 1_790_000_000_001, dequeue_count=2, first_dequeue_ms=1_790_000_000_002
)

RECORDED_FORM = f"""\
<?xml version="1.0" ?>
<Message xmlns="http://mns.aliyuncs.com/doc/v1">
  <MessageId>{"A" * 32}</MessageId>
  <MessageBodyMD5>{md5(b"a<&>b").hexdigest().upper()}</MessageBodyMD5>
  <MessageBody>a&lt;&amp;&gt;b</MessageBody>
  <ReceiptHandle>H</ReceiptHandle>
  <EnqueueTime>1790000000001</EnqueueTime>
  <FirstDequeueTime>1790000000002</FirstDequeueTime>
  <NextVisibleTime>1790000030000</NextVisibleTime>
  <DequeueCount>2</DequeueCount>
  <Priority>8</Priority>
</Message>"""


def test_a_received_message_looks_as_recorded() -> None:
    MESSAGE.handle, MESSAGE.next_visible_ms = "H", 1_790_000_030_000
    content = message_xml(MESSAGE, Style(), 1, is_leased=True)
    assert Style().document("Message", content) == RECORDED_FORM


def test_the_documented_form_is_a_switch() -> None:
    style = Style(compact=True, namespace=NAMESPACE + "/")
    assert style.document("Queue", style.fields([("A", 1)])) == (
        '<?xml version="1.0" ?><Queue xmlns="http://mns.aliyuncs.com/doc/v1/"><A>1</A></Queue>'
    )


def test_the_digest_of_a_message_with_properties_cannot_be_verified() -> None:
    plain = Message("A" * 32, "x", 0)
    rich = Message("A" * 32, "x", 0, user_properties=(Property("n", "v"),))
    assert body_md5(plain) == md5(b"x").hexdigest().upper()
    assert body_md5(rich) != body_md5(plain)


def test_all_fourteen_attributes_are_there_in_the_recorded_order() -> None:
    queue = Queue("q", Attributes(), 1_790_184_301_999, random.Random(1))
    assert queue_fields(queue, Counts(1, 2, 3)) == [
        ("QueueName", "q"),
        ("DelaySeconds", 0),
        ("MaximumMessageSize", 65536),
        ("MessageRetentionPeriod", 345600),
        ("VisibilityTimeout", 30),
        ("CreateTime", 1790184301),
        ("LastModifyTime", 1790184301),
        ("PollingWaitSeconds", 0),
        ("ActiveMessages", 1),
        ("InactiveMessages", 2),
        ("DelayMessages", 3),
        ("LoggingEnabled", False),
        ("MessageType", 0),
        ("EnableSSE", False),
    ]


@pytest.mark.parametrize("namespace", ["", f' xmlns="{NAMESPACE}"', f' xmlns="{NAMESPACE}/"'])
@pytest.mark.parametrize("head", ["", '<?xml version="1.0" encoding="utf-8"?>\n', "\ufeff"])
def test_requests_are_read_whatever_their_namespace(namespace: str, head: str) -> None:
    body = f"{head}<Message{namespace}><MessageBody>ä<![CDATA[<x>]]></MessageBody></Message>"
    assert texts(parse(body.encode(), "Message")) == {"MessageBody": "ä<x>"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"text",
        b"<Message>",
        b"<Other/>",
        b"\xff\xfe<Message/>",
        b'<!DOCTYPE Message [<!ENTITY a "b">]><Message><MessageBody>&a;</MessageBody></Message>',
    ],
)
def test_what_is_not_the_xml_asked_for_is_malformed(body: bytes) -> None:
    with pytest.raises(MnsError, match="MalformedXML"):
        parse(body, "Message")


@pytest.mark.parametrize(
    ("element", "problem"),
    [
        ("<VisibilityTimeout>0</VisibilityTimeout>", "between 1 and 43200 seconds"),
        ("<VisibilityTimeout>43201</VisibilityTimeout>", "between 1 and 43200 seconds"),
        ("<MaximumMessageSize>1023</MaximumMessageSize>", "between 1024 and 65536 bytes"),
        ("<MessageRetentionPeriod>59</MessageRetentionPeriod>", "between 60 and 604800"),
        ("<DelaySeconds>x</DelaySeconds>", "DelaySeconds"),
        ("<PollingWaitSeconds>31</PollingWaitSeconds>", "between 0 and 30"),
        ("<LoggingEnabled>perhaps</LoggingEnabled>", "LoggingEnabled"),
    ],
)
def test_an_attribute_out_of_range_is_an_invalid_argument(element: str, problem: str) -> None:
    root = parse(f"<Queue>{element}</Queue>".encode(), "Queue")
    with pytest.raises(MnsError, match=problem) as caught:
        attributes_from(root, Attributes())
    assert (caught.value.status, caught.value.code) == (400, "InvalidArgument")


@pytest.mark.parametrize("truth", ["True", "true"])
def test_attributes_left_out_keep_their_value(truth: str) -> None:
    root = parse(f"<Queue><LoggingEnabled>{truth}</LoggingEnabled></Queue>".encode(), "Queue")
    base = Attributes(visibility_timeout=77)
    assert attributes_from(root, base) == Attributes(visibility_timeout=77, logging_enabled=True)


@pytest.mark.parametrize(
    ("method", "target", "body", "operation"),
    [
        ("GET", "/queues", "", "ListQueue"),
        ("PUT", "/queues/q", "", "CreateQueue"),
        ("PUT", "/queues/q?metaoverride=true", "", "SetQueueAttributes"),
        ("PUT", "/queues/q?metaOverride=true", "", "SetQueueAttributes"),
        ("GET", "/queues/q", "", "GetQueueAttributes"),
        ("DELETE", "/queues/q", "", "DeleteQueue"),
        ("POST", "/queues/q/messages", "<Message/>", "SendMessage"),
        ("POST", "/queues/q/messages", '<?xml version="1.0"?>\n<Messages/>', "BatchSendMessage"),
        ("GET", "/queues/q/messages", "", "ReceiveMessage"),
        ("GET", "/queues/q/messages?waitseconds=3", "", "ReceiveMessage"),
        ("GET", "/queues/q/messages?numOfMessages=16", "", "BatchReceiveMessage"),
        ("GET", "/queues/q/messages?peekonly=true", "", "PeekMessage"),
        ("GET", "/queues/q/messages?peekonly=true&numOfMessages=2", "", "BatchPeekMessage"),
        ("DELETE", "/queues/q/messages?ReceiptHandle=a%2Bb%3D", "", "DeleteMessage"),
        ("DELETE", "/queues/q/messages?receiptHandle=a", "", "DeleteMessage"),
        ("DELETE", "/queues/q/messages", "<ReceiptHandles/>", "BatchDeleteMessage"),
        ("PUT", "/queues/q/messages?ReceiptHandle=a", "", "ChangeMessageVisibility"),
        ("PATCH", "/queues/q/messages", "", "Unknown"),
        ("PATCH", "/queues/q", "", "Unknown"),
        ("POST", "/queues", "", "Unknown"),
        ("GET", "/topics/t", "", "Unknown"),
        ("GET", "/", "", "Unknown"),
    ],
)
def test_every_request_has_its_operation(
    method: str, target: str, body: str, operation: str
) -> None:
    assert route(Call(method, target, {}, body.encode())).operation == operation
