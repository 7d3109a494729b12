from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.events.decode import KEY_BYTES_MAX, TEXT_CHARS_MAX, classify, decode
from worker.events.envelope import BODY_CHARS_MAX, ENVELOPES_MAX, EVENTS_MAX
from worker.events.event import Kind, ObjectEvent, Undecodable

Form = Callable[[list[dict[str, Any]]], str]


def event(key: str = "a.MP4", name: str = "ObjectCreated:PostObject") -> dict[str, Any]:
    """One event as captures show it, everything beside `oss`."""
    return {
        "eventName": name,
        "eventSource": "acs:oss",
        "eventTime": "2025-12-13T17:17:27.000Z",
        "eventVersion": "1.0",
        "oss": {
            "bucket": {
                "arn": "acs:oss:cn-hangzhou:123:films",
                "name": "films",
                "ownerIdentity": "123",
                "virtualBucket": "",
            },
            "object": {
                "deltaSize": -6,
                "eTag": "4EE2A1B2C3D4E5F6",
                "key": key,
                "size": 6226470,
                "objectMeta": {"mimeType": "video/mp4"},
            },
            "ossSchemaVersion": "1.0",
            "ruleId": "rule",
        },
        "region": "cn-hangzhou",
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"requestId": "657A1B2C3D4E5F6071829301"},
        "userIdentity": {"principalId": "123"},
        "xVars": {"x:callback-var1": "value1"},
    }


READ = ObjectEvent(
    name="ObjectCreated:PostObject",
    kind=Kind.CREATED,
    bucket="films",
    key="a.MP4",
    time="2025-12-13T17:17:27.000Z",
    etag="4EE2A1B2C3D4E5F6",
    request_id="657A1B2C3D4E5F6071829301",
)


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def plain(events: list[dict[str, Any]]) -> str:
    return json.dumps({"events": events}, ensure_ascii=False)


def documented(events: list[dict[str, Any]]) -> str:
    """Everything after `oss` inside it, as the braces of the documentation close."""
    moved = []
    for one in events:
        outer = dict(one)
        names = ("region", "requestParameters", "responseElements", "userIdentity", "xVars")
        outer["oss"] = {**one["oss"], **{name: outer.pop(name) for name in names}}
        moved.append(outer)
    return json.dumps({"events": moved}, indent=2)


def json_wrapper(message: str) -> str:
    return json.dumps(
        {
            "TopicOwner": "123",
            "Message": message,
            "Subscriber": "123",
            "PublishTime": "1790622241793",
            "SubscriptionName": "relay",
            "MessageMD5": "F1E92841751D795AB325836B50641B06",
            "TopicName": "changes",
            "MessageId": "64F8B76C2AE27D4E9E0B0A7D0A8E3D1F",
        }
    )


def xml_wrapper(message: str, namespace: str = ' xmlns="http://mns.aliyuncs.com/doc/v1/"') -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<Notification{namespace}>\n'
        "  <TopicOwner>123</TopicOwner>\n  <TopicName>changes</TopicName>\n"
        "  <Subscriber>123</Subscriber>\n  <SubscriptionName>relay</SubscriptionName>\n"
        f"  <MessageId>64F8</MessageId>\n  <Message>{message}</Message>\n"
        "  <MessageMD5>F1E9</MessageMD5>\n  <PublishTime>1449556920975</PublishTime>\n"
        "</Notification>\n"
    )


def cloud_event(data: Any, **changes: Any) -> str:
    envelope = {
        "id": "45ef4dewdwe1-7c35-447a-bd93-fab",
        "source": "acs.oss",
        "specversion": "1.0",
        "type": "oss:ObjectCreated:PostObject",
        "datacontenttype": "application/json; charset=utf-8",
        "subject": "acs:oss:cn-hangzhou:123:films/a.MP4",
        "time": "2025-12-13T17:17:27.000Z",
        "aliyunaccountid": "123",
        "data": data,
    }
    return json.dumps({**envelope, **changes})


def one(events: list[dict[str, Any]]) -> dict[str, Any]:
    return events[0]


FORMS: dict[str, Form] = {
    "base64": lambda events: b64(plain(events)),
    "plain": plain,
    "documented nesting": documented,
    "documented nesting in base64": lambda events: b64(documented(events)),
    "json wrapper": lambda events: json_wrapper(b64(plain(events))),
    "json wrapper around plain": lambda events: json_wrapper(plain(events)),
    "json wrapper in base64": lambda events: b64(json_wrapper(b64(plain(events)))),
    "xml wrapper": lambda events: xml_wrapper(b64(plain(events))),
    "xml wrapper around plain": lambda events: xml_wrapper(escape(plain(events))),
    "xml wrapper, misspelt namespace": lambda events: xml_wrapper(b64(plain(events)), ' xlmns="x"'),
    "xml wrapper with cdata": lambda events: xml_wrapper(
        f"<![CDATA[{b64(plain(events))[:9]}]]><!-- -->{b64(plain(events))[9:]}"
    ),
    "xml wrapper in base64": lambda events: b64(xml_wrapper(b64(plain(events)))),
    "json string of base64": lambda events: json.dumps(b64(plain(events))),
    "blanks around": lambda events: f"\ufeff\r\n {b64(plain(events))} \n",
    "blanks around and within json": lambda events: (
        f" {json.dumps({'events': events}, indent=1)}\n"
    ),
}
SINGLE_FORMS: dict[str, Form] = {
    "bare event": lambda events: json.dumps(one(events)),
    "cloud event": lambda events: cloud_event(one(events)),
    "cloud event in base64": lambda events: b64(cloud_event(one(events))),
    "cloud event with text data": lambda events: cloud_event(plain(events)),
    "cloud event with base64 data": lambda events: cloud_event(
        None, data_base64=b64(plain(events))
    ),
}
ALL_FORMS = {**FORMS, **SINGLE_FORMS}


@pytest.mark.parametrize("form", ALL_FORMS)
def test_every_form_of_a_body_gives_the_same_event(form: str) -> None:
    assert decode(ALL_FORMS[form]([event()])) == (READ,)


@pytest.mark.parametrize("form", FORMS)
def test_several_events_come_in_their_order(form: str) -> None:
    keys = ["one", "two", "日本 %41+.txt"]
    assert [read.key for read in decode(FORMS[form]([event(key) for key in keys]))] == keys


def test_a_cloud_event_without_a_name_inside_takes_its_type() -> None:
    data = event()
    del data["eventName"]
    assert decode(cloud_event(data)) == (READ,)


@pytest.mark.parametrize("name", ["oss:ObjectCreated:PostObject", "OSS:ObjectCreated:PostObject"])
def test_the_oss_prefix_of_a_name_is_dropped(name: str) -> None:
    assert decode(plain([event(name=name)])) == (READ,)


def test_what_is_optional_may_be_absent_or_null() -> None:
    bare = {"eventName": "X", "oss": {"bucket": {"name": "b"}, "object": {"key": "k"}}}
    assert decode(json.dumps(bare)) == (ObjectEvent("X", Kind.UNKNOWN, "b", "k"),)
    nulls = {**bare, "eventTime": None, "region": None, "responseElements": None}
    assert decode(json.dumps(nulls)) == decode(json.dumps(bare))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"ObjectCreated:{verb}", Kind.CREATED) for verb in ("PutObject", "PostObject")),
        *((f"ObjectCreated:{verb}", Kind.CREATED) for verb in ("CopyObject", "AppendObject")),
        *((f"ObjectCreated:{verb}", Kind.CREATED) for verb in ("PutSymlink", "Mirror")),
        ("ObjectCreated:CompleteMultipartUpload", Kind.CREATED),
        ("ObjectCreated:InitiateMultipartUpload", Kind.UNFINISHED),
        ("ObjectCreated:UploadPart", Kind.UNFINISHED),
        ("ObjectCreated:UploadPartCopy", Kind.UNFINISHED),
        ("ObjectCreated:CompleteUpload2", Kind.UNKNOWN),
        ("ObjectModified:UpdateObjectMeta", Kind.MODIFIED),
        ("ObjectModified:ChangeStorageClass", Kind.MODIFIED),
        ("ObjectReplication:ObjectCreated", Kind.REPLICATED),
        ("ObjectReplication:ObjectModified", Kind.REPLICATED),
        ("ObjectReplication:ObjectRemoved", Kind.REMOVED),
        ("ObjectReplication:ObjectMoved", Kind.UNKNOWN),
        ("ObjectRemoved:DeleteObject", Kind.REMOVED),
        ("ObjectRemoved:DeleteObjects", Kind.REMOVED),
        ("ObjectRemoved:AbortMultipartUpload", Kind.UNFINISHED),
        ("ObjectDownloaded:GetObject", Kind.DOWNLOADED),
        ("ObjectRestore:FinishRestore", Kind.RESTORED),
        ("ObjectRenamed:Rename", Kind.UNKNOWN),
        ("PutObject", Kind.UNKNOWN),
        ("", Kind.UNKNOWN),
    ],
)
def test_names_are_classified_whatever_their_case_and_prefix(name: str, kind: Kind) -> None:
    assert classify(name) is kind
    assert classify(f"oss:{name}") is kind
    assert classify(f"OSS:{name.upper()}") is kind


def spoilt(path: str, value: Any) -> str:
    """A body whose event has one field changed, or taken away where the value is `...`."""
    made = event()
    *parents, last = path.split(".")
    place = made
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return plain([made])


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("eventName", ..., "event 0: eventName is missing or null, not a string"),
        ("eventName", "", "event 0: eventName is empty"),
        ("eventName", 5, "event 0: eventName is a number, not a string"),
        ("eventName", "x" * (TEXT_CHARS_MAX + 1), "event 0: eventName is longer than 1024"),
        ("eventTime", [], "event 0: eventTime is a list, not a string"),
        ("oss", ..., "the JSON is no OSS event"),
        ("oss", None, "event 0: oss is missing or null, not an object"),
        ("oss.bucket", ..., "event 0: oss.bucket is missing or null, not an object"),
        ("oss.bucket.name", ..., "event 0: oss.bucket.name is missing or null, not a string"),
        ("oss.bucket.name", "evil.example/", "event 0: oss.bucket.name is no bucket name: 'evil"),
        ("oss.object", "k", "event 0: oss.object is a string, not an object"),
        ("oss.object.key", ..., "event 0: oss.object.key is missing or null, not a string"),
        ("oss.object.key", "", "event 0: oss.object.key is empty"),
        ("oss.object.key", 1.5, "event 0: oss.object.key is a number, not a string"),
        ("oss.object.key", {}, "event 0: oss.object.key is an object, not a string"),
        ("oss.object.key", "日" * 342, "event 0: oss.object.key is longer than 1023 bytes"),
        ("oss.object.eTag", 1, "event 0: oss.object.eTag is a number, not a string"),
        ("responseElements", "x", "event 0: responseElements is a string, not an object"),
        ("responseElements.requestId", 7, "event 0: responseElements.requestId is a number"),
    ],
)
def test_a_field_of_another_type_is_told_precisely(path: str, value: Any, reason: str) -> None:
    body = spoilt(path, value)
    if path == "oss" and value is ...:
        body = json.dumps(json.loads(body)["events"][0])
    with pytest.raises(Undecodable) as caught:
        decode(body)
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize(
    "path", ["region", "oss.object.size", "oss.object.objectMeta", "eventVersion"]
)
@pytest.mark.parametrize("value", [None, "1", -1, True, [], {}])
def test_a_field_that_is_not_needed_may_be_anything(path: str, value: Any) -> None:
    assert decode(spoilt(path, value)) == decode(plain([event()]))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "the body is empty, or an envelope in it is"),
        (" \n\t", "the body is empty, or an envelope in it is"),
        ("%%%", "'%%%' is neither JSON, XML nor Base64"),
        ("日本", "'\\u65e5\\u672c' is neither JSON, XML nor Base64"),
        ("/w==", "the body is Base64 of b'\\xff', which is not UTF-8"),
        ("eyJl\nbnRz", "'eyJl\\nbnRz' is neither JSON, XML nor Base64"),
        ("e30", "'e30' is neither JSON, XML nor Base64"),
        ("e30==", "'e30==' is neither JSON, XML nor Base64"),
        ("A" * 99 + "!", f"'{'A' * 40}'... is neither JSON, XML nor Base64"),
        ("{}", "the JSON is no OSS event, topic notification or CloudEvent"),
        ("e30=", "the JSON is no OSS event, topic notification or CloudEvent"),
        ("[]", "the body is a list, not an object"),
        ('{"events":[]', "broken JSON: "),
        ('{"events":NaN}', "broken JSON: "),
        ('{"events":-Infinity}', "broken JSON: "),
        ('{"events":%s}' % ("9" * 5000), ("broken JSON: ", "events is a number, not a list")),
        ('{"events":[]}', "events is an empty list"),
        ('{"events":null}', "events is missing or null, not a list"),
        ('{"events":{}}', "events is an object, not a list"),
        ('{"events":[null]}', "event 0: it is missing or null, not an object"),
        ('{"TopicName":"t","Message":5}', "Message is a number, not a string"),
        ('{"TopicName":"t","Message":""}', "the body is empty, or an envelope in it is"),
        ('{"data":null}', "data is missing or null, not an object"),
        ('{"data_base64":1}', "data_base64 is a number, not a string"),
        ("<a/>", "the XML is not a Notification with one Message of text"),
        ("<Notification/>", "the XML is not a Notification with one Message of text"),
        ("<Notification><Message><a/></Message></Notification>", "the XML is not a Notification"),
        ("<Notification><Message/></Notification>", "the body is empty, or an envelope in it is"),
        ("<Notification>", "broken XML: no element found"),
        ("<a>\ud800</a>", "broken XML: "),
        (xml_wrapper("&x;"), "broken XML: undefined entity"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "the XML has a DOCTYPE"),
    ],
)
def test_a_body_that_is_no_event_says_what_it_is(body: str, reason: str | tuple[str, ...]) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(body)
    assert caught.value.reason.startswith(reason)
    assert len(caught.value.reason) < 200


@pytest.mark.parametrize("field", ["key", "eTag"])
def test_half_of_a_surrogate_pair_is_refused_and_a_whole_one_is_not(field: str) -> None:
    half = plain([event()]).replace(event()["oss"]["object"][field], r"a\ud83d")
    with pytest.raises(Undecodable, match="broken JSON: "):
        decode(half)
    assert len(decode(half.replace(r"\ud83d", r"\ud83d\ude00"))) == 1


def test_one_bad_event_makes_the_whole_message_undecodable() -> None:
    with pytest.raises(Undecodable, match=r"event 2: oss\.object\.key is empty"):
        decode(plain([event("1"), event("2"), event(""), event("4")]))


def test_keys_end_at_the_length_that_oss_takes() -> None:
    longest = "日" * 341
    assert len(longest.encode()) == KEY_BYTES_MAX
    assert decode(FORMS["base64"]([event(longest)]))[0].key == longest


def test_the_body_has_a_longest_length() -> None:
    body = plain([event()])
    assert decode(body + " " * (BODY_CHARS_MAX - len(body))) == (READ,)
    with pytest.raises(Undecodable, match="the body is longer than"):
        decode(body + " " * (BODY_CHARS_MAX + 1 - len(body)))


def test_the_events_of_one_message_are_limited() -> None:
    least = {"eventName": "X", "oss": {"bucket": {"name": "b"}, "object": {"key": "k"}}}
    assert len(decode(plain([least] * EVENTS_MAX))) == EVENTS_MAX
    with pytest.raises(Undecodable, match=f"more than {EVENTS_MAX} entries"):
        decode(plain([least] * (EVENTS_MAX + 1)))


def test_envelopes_within_envelopes_are_limited() -> None:
    body = plain([event()])
    for _ in range(ENVELOPES_MAX):
        body = b64(body)
    assert decode(body) == (READ,)
    with pytest.raises(Undecodable, match=f"more than {ENVELOPES_MAX} envelopes"):
        decode(b64(body))


@pytest.mark.parametrize("body", ["[" * 70_000, '{"a":' * 14_000, '{"events":' + "[" * 60_000])
def test_deep_json_is_refused_before_it_can_exhaust_the_stack(body: str) -> None:
    with pytest.raises(Undecodable, match="broken JSON: "):
        decode(body)


def test_deep_xml_is_refused() -> None:
    with pytest.raises(Undecodable):
        decode("<a>" * 10_000 + "</a>" * 10_000)


def is_decoded_or_undecodable(body: str) -> bool:
    try:
        events = decode(body)
    except Undecodable as error:
        return 0 < len(error.reason) < 300
    return len(events) > 0 and all(type(read) is ObjectEvent for read in events)


@given(st.text())
@example("\U00010000" * 50)
@example('"')
@example("[" * 3000)
@example(
    '<?xml version="1.0" encoding="big5"?><Notification><Message>e30=</Message></Notification>'
)
@example('<?xml version="1.0" encoding="no-such"?><a/>')
@example("<a>\x00</a>")
def test_any_text_is_decoded_or_undecodable(body: str) -> None:
    assert is_decoded_or_undecodable(body)


@given(
    form=st.sampled_from(sorted(ALL_FORMS)),
    cut=st.tuples(st.integers(0, 2000), st.integers(0, 20)),
    patch=st.text(max_size=5)
    | st.sampled_from(["null", '"', "{", "}", "[", "\\ud800", "&", "1e999"]),
)
def test_a_damaged_genuine_body_is_decoded_or_undecodable(
    form: str, cut: tuple[int, int], patch: str
) -> None:
    body = ALL_FORMS[form]([event()])
    start = cut[0] % len(body)
    assert is_decoded_or_undecodable(body[:start] + patch + body[start + cut[1] :])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["events", "oss", "bucket", "object", "key", "name", "eventName", "data", "Message", "size"]


@given(
    st.recursive(
        JSON_VALUES,
        lambda inner: st.dictionaries(st.sampled_from([*NAMES, "TopicName"]), inner, max_size=5),
        max_leaves=12,
    )
)
def test_any_json_is_decoded_or_undecodable(document: Any) -> None:
    assert is_decoded_or_undecodable(json.dumps(document))
    assert is_decoded_or_undecodable(b64(json.dumps(document)))


KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=255)


@given(form=st.sampled_from(sorted(FORMS)), keys=st.lists(KEYS, min_size=1, max_size=5))
def test_keys_survive_every_form(form: str, keys: list[str]) -> None:
    # XML can't carry control characters, and turns a carriage return into a line feed; escapes are longer.
    if form == "xml wrapper around plain":
        keys = [json.dumps(key)[:KEY_BYTES_MAX] for key in keys]
    assert [read.key for read in decode(FORMS[form]([event(key) for key in keys]))] == keys


@given(form=st.sampled_from(sorted(SINGLE_FORMS)), key=KEYS)
def test_a_key_survives_every_form_of_one_event(form: str, key: str) -> None:
    (read,) = decode(SINGLE_FORMS[form]([event(key)]))
    assert read.key == key
