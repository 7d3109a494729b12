"""Which changes a rule announces, and what every form of message looks like."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import ALIBABA, Identities
from localcloud.oss import EventRule, Form, KeyForm, OssService
from localcloud.oss.events import Announcement, Path, messages
from localcloud.oss.turn import Change

ABOUT = Announcement("source", "cn-hangzhou", "6B05355A33B86A4F00000001", 1_767_225_600.75)
CHANGE = Change("ObjectCreated:PutObject", "目录/a +%41.jpg", 12, "ABCDEF", 5, "image/jpeg")
EVENT = {
    "eventName": "ObjectCreated:PutObject",
    "eventSource": "acs:oss",
    "eventTime": "2026-01-01T00:00:00.000Z",
    "eventVersion": "1.0",
    "oss": {
        "bucket": {
            "arn": "acs:oss:cn-hangzhou:1000000000000001:source",
            "name": "source",
            "ownerIdentity": "1000000000000001",
            "virtualBucket": "",
        },
        "object": {
            "deltaSize": 5,
            "eTag": "ABCDEF",
            "key": "目录/a +%41.jpg",
            "size": 12,
            "objectMeta": {"mimeType": "image/jpeg"},
        },
        "ossSchemaVersion": "1.0",
        "ruleId": "rule",
    },
    "region": "cn-hangzhou",
    "requestParameters": {"sourceIPAddress": "127.0.0.1"},
    "responseElements": {"requestId": "6B05355A33B86A4F00000001"},
    "userIdentity": {"principalId": "1000000000000001"},
}


def rule(form: Form = Form.BASE64, **more: Any) -> EventRule:
    return EventRule("source", "queue", name="rule", form=form, **more)


def body(form: Form, change: Change = CHANGE, **more: Any) -> str:
    ((queue, text),) = messages([rule(form, **more)], [change], ABOUT)
    assert queue == "queue"
    return text


def decoded(text: str) -> Any:
    return json.loads(base64.b64decode(text, validate=True))


def test_the_real_form_is_base64_of_an_events_list() -> None:
    assert rule().form is Form.BASE64
    assert decoded(body(Form.BASE64)) == {"events": [EVENT]}


def test_the_plain_form_is_the_same_uncoded_with_keys_as_utf8() -> None:
    text = body(Form.PLAIN)
    assert json.loads(text) == {"events": [EVENT]}
    assert "目录/a +%41.jpg" in text


def test_the_documented_form_nests_the_rest_inside_oss() -> None:
    (event,) = decoded(body(Form.DOCUMENTED))["events"]
    assert set(event) == {"eventName", "eventSource", "eventTime", "eventVersion", "oss"}
    inner = event["oss"]
    assert inner["region"] == "cn-hangzhou"
    assert inner["responseElements"] == {"requestId": ABOUT.request_id}
    assert inner["object"] == EVENT["oss"]["object"]  # type: ignore[index]


def check_wrapper(wrapper: dict[str, str | None]) -> None:
    message = wrapper["Message"]
    assert message is not None
    assert decoded(message) == {"events": [EVENT]}
    assert wrapper["MessageMD5"] == hashlib.md5(message.encode()).hexdigest().upper()
    assert wrapper["PublishTime"] == "1767225600750"
    assert wrapper["TopicName"] == "mns-en-topics-oss-rule-1767225600750"
    assert wrapper["SubscriptionName"] == "mns-en-subs-oss-rule-0-1767225600750"
    assert set(wrapper) >= {"TopicOwner", "Subscriber", "MessageId"}


def test_the_json_wrapper_holds_only_strings() -> None:
    text = body(Form.TOPIC_JSON)
    assert "\n" not in text
    check_wrapper(json.loads(text))


def test_the_xml_wrapper_is_a_notification() -> None:
    root = ET.fromstring(body(Form.TOPIC_XML))
    namespace = "{http://mns.aliyuncs.com/doc/v1/}"
    assert root.tag == f"{namespace}Notification"
    check_wrapper({node.tag.removeprefix(namespace): node.text for node in root})


def test_the_simplified_form_is_the_published_body() -> None:
    assert body(Form.SIMPLIFIED) == body(Form.BASE64)


@pytest.mark.parametrize("form", [Form.CLOUD_EVENT, Form.CLOUD_EVENT_BASE64])
def test_a_cloud_event_carries_one_event_under_data(form: Form) -> None:
    text = body(form)
    event = decoded(text) if form is Form.CLOUD_EVENT_BASE64 else json.loads(text)
    assert event["type"] == "oss:ObjectCreated:PutObject"
    assert (event["source"], event["specversion"]) == ("acs.oss", "1.0")
    assert event["subject"] == "acs:oss:cn-hangzhou:1000000000000001:source/目录/a +%41.jpg"
    assert event["data"]["eventName"] == "ObjectCreated:PutObject"
    assert event["data"]["oss"]["object"] == EVENT["oss"]["object"]  # type: ignore[index]
    assert event["data"]["responseElements"] == {"requestId": ABOUT.request_id}
    assert "ruleId" not in event["data"]["oss"]


@pytest.mark.parametrize(
    ("form", "path"),
    [
        (Form.BASE64, Path.QUEUE),
        (Form.PLAIN, Path.QUEUE),
        (Form.DOCUMENTED, Path.QUEUE),
        (Form.TOPIC_XML, Path.TOPIC),
        (Form.TOPIC_JSON, Path.TOPIC),
        (Form.SIMPLIFIED, Path.TOPIC),
        (Form.CLOUD_EVENT, Path.EVENTBRIDGE),
        (Form.CLOUD_EVENT_BASE64, Path.EVENTBRIDGE),
    ],
)
def test_each_form_travels_one_path(form: Form, path: Path) -> None:
    assert rule(form).path is path


@pytest.mark.parametrize(
    ("key_form", "key"),
    [
        (KeyForm.RAW, "目录/a +%41.jpg"),
        (KeyForm.QUOTE, "%E7%9B%AE%E5%BD%95/a%20%2B%2541.jpg"),
        (KeyForm.QUOTE_PLUS, "%E7%9B%AE%E5%BD%95/a+%2B%2541.jpg"),
    ],
)
@pytest.mark.parametrize("form", [Form.BASE64, Form.CLOUD_EVENT_BASE64])
def test_the_key_stands_in_the_form_the_rule_says(form: Form, key_form: KeyForm, key: str) -> None:
    told = decoded(body(form, key_form=key_form))
    event = told["events"][0] if form is Form.BASE64 else told["data"]
    assert event["oss"]["object"]["key"] == key


def test_positions_and_ranges_are_told_only_where_they_belong() -> None:
    assert {"position", "readFrom", "readTo"}.isdisjoint(
        EVENT["oss"]["object"]  # type: ignore[index]
    )
    appended = Change("ObjectCreated:AppendObject", "k", 4, "E", 4, position=0)
    (event,) = decoded(body(Form.BASE64, appended))["events"]
    assert event["oss"]["object"]["position"] == 0
    assert "objectMeta" not in event["oss"]["object"]
    got = Change("ObjectDownloaded:GetObject", "k", 4, "E", read=(1, 3))
    (event,) = decoded(body(Form.BASE64, got, event_patterns=("*",)))["events"]
    assert (event["oss"]["object"]["readFrom"], event["oss"]["object"]["readTo"]) == (1, 3)


@pytest.mark.parametrize(
    ("given", "is_announced"),
    [
        ({}, True),
        ({"event_patterns": ("ObjectCreated:PutObject",)}, True),
        ({"event_patterns": ("ObjectCreated:PostObject", "ObjectCreated:*")}, True),
        ({"event_patterns": ("ObjectCreated:Put",)}, False),
        ({"event_patterns": ("ObjectRemoved:*",)}, False),
        ({"event_patterns": ()}, False),
        ({"prefix": "目录/"}, True),
        ({"prefix": "目录/b"}, False),
        ({"suffix": ".jpg"}, True),
        ({"suffix": ".JPG"}, False),
        ({"prefix": "目录/", "suffix": ".png"}, False),
    ],
)
def test_a_rule_chooses_by_name_prefix_and_suffix(
    given: dict[str, Any], is_announced: bool
) -> None:
    assert rule(**given).matches("source", CHANGE) is is_announced
    assert not rule(**given).matches("another", CHANGE)


@pytest.mark.parametrize(
    "name",
    [
        "ObjectCreated:PutObject",
        "ObjectCreated:InitiateMultipartUpload",
        "ObjectCreated:UploadPart",
        "ObjectCreated:UploadPartCopy",
        "ObjectCreated:CompleteMultipartUpload",
    ],
)
def test_the_wildcard_takes_in_unfinished_uploads(name: str) -> None:
    assert rule().matches("source", Change(name, "k"))


def test_every_matching_rule_announces_on_its_own_queue() -> None:
    rules = [
        EventRule("source", "one"),
        EventRule("source", "two", prefix="elsewhere/"),
        EventRule("another", "three"),
        EventRule("source", "four", form=Form.PLAIN),
    ]
    assert [queue for queue, _ in messages(rules, [CHANGE], ABOUT)] == ["one", "four"]


def test_rules_without_a_name_get_one_each() -> None:
    assert EventRule("source", "one").name != EventRule("source", "one").name


@pytest.mark.parametrize(("size", "groups"), [(1, [1] * 5), (2, [2, 2, 1]), (16, [5])])
def test_the_events_of_one_call_may_share_messages(size: int, groups: list[int]) -> None:
    changes = [Change("ObjectCreated:PutObject", str(number)) for number in range(5)]
    sent = [decoded(text) for _, text in messages([rule(events_per_message=size)], changes, ABOUT)]
    assert [len(told["events"]) for told in sent] == groups
    keys = [event["oss"]["object"]["key"] for told in sent for event in told["events"]]
    assert keys == ["0", "1", "2", "3", "4"]


def test_a_cloud_event_never_shares_its_message() -> None:
    changes = [Change("ObjectCreated:PutObject", key) for key in "abc"]
    shared = rule(Form.CLOUD_EVENT, events_per_message=16)
    sent = [json.loads(text) for _, text in messages([shared], changes, ABOUT)]
    assert [event["data"]["oss"]["object"]["key"] for event in sent] == ["a", "b", "c"]
    assert len({event["id"] for event in sent}) == 3


def test_a_message_holds_at_least_one_event() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rule(events_per_message=0)


def test_objects_put_in_process_are_announced_like_any_other() -> None:
    sent: list[tuple[str, str]] = []
    oss = OssService(
        Clock(),
        Faults(random.Random(1)),
        Identities(ALIBABA),
        lambda queue, text: sent.append((queue, text)),
    )
    oss.create_bucket("source", "cn-beijing")
    oss.rules.append(EventRule("source", "queue", events_per_message=2))
    oss.put("source", "k", b"four")
    oss.put_many("source", {"k": b"seven77", "l": b"", "m": b"x"})
    told = [decoded(text)["events"] for _, text in sent]
    assert [[event["oss"]["object"]["key"] for event in events] for events in told] == [
        ["k"],
        ["k", "l"],
        ["m"],
    ]
    assert told[1][0]["oss"]["object"]["deltaSize"] == 3
    assert told[0][0]["region"] == "cn-beijing"
    ids = {event["responseElements"]["requestId"] for events in told for event in events}
    assert len(ids) == 2
    stored = oss.read("source", "k")
    assert stored is not None
    assert stored.data == b"seven77"
    assert oss.read("source", "none") is None
    assert oss.read("nowhere", "k") is None
