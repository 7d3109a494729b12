from __future__ import annotations

from contextlib import suppress
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.clouds.mns_wire import (
    Damaged,
    attributes,
    messages,
    receipt_handle,
)
from worker.events.event import Message
from worker.ports import QueueAttributes

SLASH = "http://mns.aliyuncs.com/doc/v1/"
NO_SLASH = "http://mns.aliyuncs.com/doc/v1"


def fields(number: int, body: str) -> dict[str, str]:
    return {
        "MessageId": f"M{number}",
        "MessageBodyMD5": "D41D8CD98F00B204E9800998ECF8427E",
        "MessageBody": body,
        "ReceiptHandle": f"M{number}-MSAxNzkwMjk5NzA4NzM4IDMwMDAw==",
        "EnqueueTime": "1790299708000",
        "FirstDequeueTime": "1790299708738",
        "NextVisibleTime": "1790299738738",
        "DequeueCount": "2",
        "Priority": "8",
    }


def answer(bodies: list[str], *, namespace: str = NO_SLASH, indent: bool = True) -> bytes:
    """Write an answer; the bodies stand in it as they are, escaped or not."""
    line, step = ("\n", "  ") if indent else ("", "")
    found = "".join(
        f"{step}<Message>{line}"
        + "".join(f"{step * 2}<{k}>{v}</{k}>{line}" for k, v in fields(n, body).items())
        + f"{step}</Message>{line}"
        for n, body in enumerate(bodies)
    )
    head = '<?xml version="1.0" ?>\n' if indent else '<?xml version="1.0" encoding="utf-8"?>'
    return f'{head}<Messages xmlns="{namespace}">{line}{found}</Messages>'.encode()


def read(number: int, body: str) -> Message:
    return Message(f"M{number}", body, fields(number, "")["ReceiptHandle"], 2, 1790299708000)


@pytest.mark.parametrize("indent", [True, False])
@pytest.mark.parametrize("namespace", [SLASH, NO_SLASH, "urn:other"])
def test_the_recorded_and_the_documented_form_read_alike(namespace: str, indent: bool) -> None:
    body = answer(["YQ==", "Yg=="], namespace=namespace, indent=indent)
    assert messages(body) == [read(0, "YQ=="), read(1, "Yg==")]


@pytest.mark.parametrize("indent", [True, False])
def test_escaped_bodies_are_restored(indent: bool) -> None:
    text = '{"key":"<a&b>"}'
    assert messages(answer([escape(text), "x"], indent=indent)) == [read(0, text), read(1, "x")]


@pytest.mark.parametrize(
    ("written", "body"),
    [
        ("a\x01b", "a\x01b"),
        ("a&#1;b", "a\x01b"),
        ("a&#x1F;b", "a\x1fb"),
        ("a&#x0000;b", "a\x00b"),
        ("a&#00031;b", "a\x1fb"),
        ("a\ufffeb&amp;", "a\ufffeb&"),
        ("a&#xFFFF;b", "a\uffffb"),
        ("a&#65534;b", "a\ufffeb"),
        ("tab&#9;line&#xA;", "tab\tline\n"),
        ("\x00\x08\x0b\x0c\x0e\x1f&lt;", "\x00\x08\x0b\x0c\x0e\x1f<"),
    ],
)
def test_one_body_that_is_not_xml_safe_costs_its_neighbours_nothing(
    written: str, body: str
) -> None:
    found = messages(answer(["YQ==", written, "&lt;x&gt;"]))
    assert found == [read(0, "YQ=="), read(1, body), read(2, "<x>")]


@pytest.mark.parametrize("private", ["\ue001", "\U000f0001", "\U0010ff01", "\U0010fffd"])
def test_private_characters_of_a_neighbour_stay_what_they_are(private: str) -> None:
    found = messages(answer(["&#1;", f"&lt;{private}"]))
    assert [each.body for each in found] == ["\x01", f"<{private}"]


def test_a_body_that_is_not_utf8_costs_its_neighbours_nothing_and_is_not_taken_for_another() -> (
    None
):
    """A key with a replaced byte would name another object: such a body must be refused later on."""
    body = answer(["YQ==", "bad @@ end"]).replace(b"@@", b"\xff\x80")
    found = messages(body)
    assert found[0] == read(0, "YQ==")
    assert found[1].body == "bad \udcff\udc80 end"


@example(["\x1f", "\U0010fe00"], False, True)
@given(st.lists(st.text(), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_any_text_that_can_be_escaped_is_read_back(
    bodies: list[str], indent: bool, references: bool
) -> None:
    def write(text: str) -> str:
        return "".join(f"&#{ord(c)};" if references or c == "\r" else escape(c) for c in text)

    found = messages(answer([write(body) for body in bodies], indent=indent))
    assert [each.body for each in found] == bodies


def test_half_a_surrogate_pair_as_a_reference_stays_one() -> None:
    assert messages(answer(["a&#xDC80;b"]))[0].body == "a\udc80b"


def test_no_message_is_an_empty_list() -> None:
    assert messages(b'<?xml version="1.0"?><Messages></Messages>') == []


def test_a_body_may_be_empty_and_other_elements_may_stand_between() -> None:
    body = answer([""]).replace(
        b"<Message>", b"<Extra/><Message><UserProperties><Name>n</Name></UserProperties>"
    )
    assert messages(body) == [read(0, "")]
    assert messages(body.replace(b"<MessageBody></MessageBody>", b"<MessageBody/>")) == [
        read(0, "")
    ]
    assert messages(body.replace(b"<MessageBody></MessageBody>", b"")) == [read(0, "")]


def test_a_body_may_be_cdata() -> None:
    assert messages(answer(["<![CDATA[<a>]]>"])) == [read(0, "<a>")]


def test_absent_numbers_have_harmless_values() -> None:
    bare = (
        b"<Messages><Message><MessageId>M</MessageId><MessageBody>b</MessageBody>"
        b"<ReceiptHandle>H</ReceiptHandle></Message></Messages>"
    )
    assert messages(bare) == [Message("M", "b", "H", 1, 0)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"not xml",
        b"<html><body>502 Bad Gateway</body></html>",
        b"<Message><MessageId>M</MessageId></Message>",
        b"<Error><Code>InternalError</Code></Error>",
        b"<Messages><Message><MessageId>M</MessageId><MessageBody>b</MessageBody></Message></Messages>",
        b"<Messages><Message><ReceiptHandle>H</ReceiptHandle></Message></Messages>",
        answer(["b"]).replace(b"<DequeueCount>2<", b"<DequeueCount>two<"),
        answer(["b"]).replace(b"<EnqueueTime>1790299708000<", b"<EnqueueTime><"),
        answer(["&bad;"]),
        answer(["\x01<unclosed>"]),
        b'<!DOCTYPE m [<!ENTITY a "b">]>' + answer(["b"], indent=False)[38:],
        b"\xff\xfe",
    ],
)
def test_what_is_no_batch_of_messages_is_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        messages(body)


@given(st.integers(0, 10_000), st.booleans())
def test_a_truncated_answer_is_damaged_or_shorter_but_never_wrong(at: int, indent: bool) -> None:
    whole = answer(["YQ==", "Yg==", "&lt;"][: 2 + indent], indent=indent)
    expected = messages(whole)
    cut = whole[: at % len(whole)]
    try:
        found = messages(cut)
    except Damaged:
        return
    for one, other in zip(found, expected, strict=False):
        assert (one.message_id, one.body, one.receipt_handle) == (
            other.message_id,
            other.body,
            other.receipt_handle,
        )


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_damaged(body: bytes) -> None:
    for text in (body, b"<Messages>" + body + b"</Messages>"):
        with suppress(Damaged):
            messages(text)


QUEUE = f"""<?xml version="1.0" ?>
<Queue xmlns="{NO_SLASH}">
  <QueueName>q</QueueName>
  <VisibilityTimeout>30</VisibilityTimeout>
  <MessageRetentionPeriod>345600</MessageRetentionPeriod>
  <ActiveMessages>5</ActiveMessages>
  <InactiveMessages>6</InactiveMessages>
  <DelayMessages>7</DelayMessages>
  <LoggingEnabled>False</LoggingEnabled>
</Queue>"""


def test_queue_attributes_are_read_from_the_recorded_form() -> None:
    assert attributes(QUEUE.encode()) == QueueAttributes(30, 345_600, 5, 6, 7)


def test_the_counters_that_are_being_retired_may_be_absent() -> None:
    lines = [line for line in QUEUE.splitlines() if "Messages>" not in line]
    assert attributes("\n".join(lines).encode()) == QueueAttributes(30, 345_600, 0, 0, 0)


@pytest.mark.parametrize("counter", ["ActiveMessages", "InactiveMessages", "DelayMessages"])
def test_the_counters_that_are_being_retired_may_be_empty(counter: str) -> None:
    lines = [f"<{counter}/>" if counter in line else line for line in QUEUE.splitlines()]
    assert attributes("\n".join(lines).encode()).visibility_seconds == 30


@pytest.mark.parametrize("name", ["VisibilityTimeout", "MessageRetentionPeriod"])
@pytest.mark.parametrize("value", ["", "<{0}/>", "<{0}>soon</{0}>"])
def test_attributes_without_what_the_relay_needs_are_damaged(name: str, value: str) -> None:
    lines = [value.format(name) if name in line else line for line in QUEUE.splitlines()]
    with pytest.raises(Damaged, match=name):
        attributes("\n".join(lines).encode())


def test_the_new_handle_is_read_from_the_recorded_form() -> None:
    body = (
        f'<?xml version="1.0" ?>\n<ChangeVisibility xmlns="{NO_SLASH}">\n'
        "  <ReceiptHandle>H2</ReceiptHandle>\n  <NextVisibleTime>1</NextVisibleTime>\n"
        "</ChangeVisibility>"
    )
    assert receipt_handle(body.encode()) == "H2"


@pytest.mark.parametrize("body", [b"", b"<ChangeVisibility/>", b"<x><ReceiptHandle/></x>", b"<x>"])
def test_an_answer_without_a_new_handle_is_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        receipt_handle(body)
