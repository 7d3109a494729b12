from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from doubles.clock import EPOCH, QuickClock
from doubles.web import Vendor, talked, vendor
from worker.advice import advise
from worker.clouds.http import Answer, open_session
from worker.clouds.oms import OmsClient, classify, is_acceptance
from worker.clouds.oms_signature import HuaweiCredentials, sign
from worker.errors import FROM_ELSEWHERE, Blame, CallFailed, Outcome
from worker.settings import SyncTask

CREDENTIALS = HuaweiCredentials("AK", "SK", "")
# Of the account, the right, the task or the API: no key could be at fault.
NEVER_THE_KEYS = [
    f"OMS.{number}"
    for number in (
        *("0005", "0053", "0054", "0066", "0070", "0072", "0079", "0080"),
        *("0201", "0202", "0203", "0204", "1008", "1009", "1020", "1021"),
    )
]
PERHAPS_A_KEY = [
    f"OMS.{number}"
    for number in (
        *("0001", "0002", "0004", "0063", "0065", "0067", "0073", "0074", "0077", "0078"),
        *("0151", "1002", "1003", "1004", "1006", "1007", "0999", "1010", "9999"),
    )
]
PATH = "/v2/project/sync-tasks/task/events"


def client(url: str, session: object) -> OmsClient:
    task = SyncTask.parse(url + PATH)
    return OmsClient(task, lambda: CREDENTIALS, session, QuickClock())  # type: ignore[arg-type]


@pytest.fixture
async def oms() -> AsyncIterator[tuple[Vendor, OmsClient]]:
    async with vendor() as (script, session):
        yield script, client(script.url, session)


def answer(status: int, body: str | bytes | dict[str, object] = b"", **headers: str) -> Answer:
    data = json.dumps(body) if isinstance(body, dict) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, data.encode() if isinstance(data, str) else data)


async def test_keys_are_posted_encoded_once_and_signed(oms: tuple[Vendor, OmsClient]) -> None:
    script, sink = oms
    script.answer(200, X_Request_Id="R1")
    assert await sink.post(["a b/c+d%41.txt", "été"]) == "R1"
    (asked,) = script.asked
    assert (asked.method, asked.target) == ("POST", PATH)
    assert asked.body == b'{"object_keys":["a%20b%2Fc%2Bd%2541.txt","%C3%A9t%C3%A9"]}'
    expected = sign(
        "POST",
        URL(script.url + PATH),
        {"Content-Type": "application/json"},
        asked.body,
        CREDENTIALS,
        EPOCH,
    )
    assert asked.headers["Authorization"] == expected["Authorization"]


async def test_accepted_is_any_answer_of_success(oms: tuple[Vendor, OmsClient]) -> None:
    script, sink = oms
    script.answer(202, "{}")
    assert await sink.post(["a"]) == ""


@pytest.mark.parametrize("status", [203, 205, 206, 208, 226, 299])
def test_a_success_that_answers_another_question_is_no_acceptance(status: int) -> None:
    assert is_acceptance(answer(200))
    assert not is_acceptance(answer(status))


@pytest.mark.parametrize("status", [400, 413, 421, 451])
@pytest.mark.parametrize("code", ["WAF.001", 1, "LEGAL", "OMS", "OMS.1 or so", ""])
def test_a_code_that_is_not_of_oms_is_no_verdict_on_a_key(status: int, code: object) -> None:
    failure = classify("CreateSyncEvents", answer(status, {"error_code": code}), EPOCH)
    assert (failure.blame, failure.outcome) == (Blame.PASSING, Outcome.UNKNOWN)
    assert failure.message.startswith(FROM_ELSEWHERE)


async def test_a_refused_post_carries_its_failure(oms: tuple[Vendor, OmsClient]) -> None:
    script, sink = oms
    script.answer(400, '{"error_code":"OMS.0064","error_msg":"bad key"}')
    with pytest.raises(CallFailed) as raised:
        await sink.post(["a"])
    assert raised.value.failure.outcome is Outcome.REJECTED


STRANGERS = [
    ("", {"Content_Type": "text/html"}),
    ("", {"Content_Type": "application/xml; charset=utf-8"}),
    ("", {"Location": "https://portal.example/"}),
    ("", {"X_Squid_Error": "ERR_ACCESS_DENIED 0"}),
    ("", {"Refresh": "0; url=https://portal.example/"}),
    ("", {"Age": "100", "X_Cache": "HIT"}),
    ("", {"Content_Range": "bytes */0"}),
    ("", {"Content_Type": "image/gif"}),
    ("", {"Content_Type": "text/javascript"}),
    (" " * 1000, {}),
    ('{"error_code":"APIGW.0308","error_msg":"throttled"}', {}),
    ('{"blocked":true}', {"Content_Type": "application/json"}),
    ("[]", {}),
    ("null", {}),
    ("OK", {"Content_Type": "text/plain"}),
    ("{", {}),
    ("{{}", {}),
    ("\ufeff<html>log in</html>", {}),
    ("\x00<html>log in</html>", {}),
    ("\n <html>please log in</html>", {}),
]


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(("body", "headers"), STRANGERS)
async def test_only_what_oms_says_is_a_success(
    oms: tuple[Vendor, OmsClient], status: int, body: str, headers: dict[str, str]
) -> None:
    script, sink = oms
    script.answer(status, body, **headers)
    with pytest.raises(CallFailed, match="answered by something that is not OMS") as raised:
        await sink.post(["a"])
    failure = raised.value.failure
    assert (failure.outcome, failure.blame) == (Outcome.UNKNOWN, Blame.PASSING)


@pytest.mark.parametrize("body", ["", "{}", " {\n} \r\n"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
async def test_no_body_and_an_empty_object_are_success(
    oms: tuple[Vendor, OmsClient], body: str, kind: str
) -> None:
    script, sink = oms
    script.answer(200, body, Content_Type=kind, X_Request_Id="R1")
    assert await sink.post(["a"]) == "R1"


@pytest.mark.parametrize("body", ["{}", "", "[1]", "<html>", '{"blocked":true}'])
async def test_an_answer_without_a_status_is_not_the_tasks(
    oms: tuple[Vendor, OmsClient], body: str
) -> None:
    script, sink = oms
    script.answer(200, body)
    with pytest.raises(CallFailed, match="answered by something that is not OMS"):
        await sink.show()


@pytest.mark.parametrize("body", ["", "<html>blocked</html>", '{"blocked":true}', '{"code":""}'])
async def test_a_refusal_without_a_code_costs_no_key(
    oms: tuple[Vendor, OmsClient], body: str
) -> None:
    script, sink = oms
    script.answer(400, body)
    with pytest.raises(CallFailed, match="answered by something that is not OMS") as raised:
        await sink.post(["a"])
    assert raised.value.failure.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "status", "is_synchronizing"),
    [
        ('{"status":"SYNCHRONIZING","monthly_acceptance_request":1}', "SYNCHRONIZING", True),
        ('{"status":"STOPPED"}', "STOPPED", False),
        ('{"status":""}', "", False),
    ],
)
async def test_the_task_is_synchronizing_only_if_it_says_so(
    oms: tuple[Vendor, OmsClient], body: str, status: str, is_synchronizing: bool
) -> None:
    script, sink = oms
    script.answer(200, body)
    state = await sink.show()
    assert (state.status, state.is_synchronizing) == (status, is_synchronizing)
    target = f"{PATH.removesuffix('/events')}?query_time={int(EPOCH * 1000)}"
    assert script.asked[0].target == target


async def test_a_refused_look_carries_its_failure(oms: tuple[Vendor, OmsClient]) -> None:
    script, sink = oms
    script.answer(403, '{"error_code":"OMS.0072"}')
    with pytest.raises(CallFailed) as raised:
        await sink.show()
    assert raised.value.failure.blame is Blame.SERVICE


@pytest.mark.parametrize(
    ("status", "code", "blame"),
    [
        (400, "OMS.0064", Blame.ITEM),
        (400, "OMS.0089", Blame.ITEM),
        (400, "OMS.1001", Blame.PASSING),
        *((400, code, Blame.SERVICE) for code in NEVER_THE_KEYS),
        (400, "OMS.0068", Blame.CREDENTIALS),
        (400, "OMS.1005", Blame.CREDENTIALS),
        (400, "S3M.0202", Blame.SERVICE),
        *((400, code, Blame.ITEM) for code in PERHAPS_A_KEY),
        (400, "APIGW.0202", Blame.ITEM),
        (503, "OMS.0202", Blame.PASSING),
        (401, "APIGW.0301", Blame.CREDENTIALS),
        (401, "APIGW.0303", Blame.CREDENTIALS),
        (401, "", Blame.CREDENTIALS),
        (403, "APIGW.0302", Blame.SERVICE),
        (403, "APIGW.0402", Blame.SERVICE),
        (403, "OMS.0072", Blame.SERVICE),
        (404, "APIGW.0101", Blame.SERVICE),
        (405, "APIGW.0501", Blame.SERVICE),
        (408, "", Blame.PASSING),
        (413, "APIGW.0201", Blame.ITEM),
        (414, "APIGW.0201", Blame.ITEM),
        (429, "APIGW.0308", Blame.PASSING),
        (494, "APIGW.0201", Blame.ITEM),
        (500, "APIGW.0601", Blame.PASSING),
        (502, "APIGW.0201", Blame.PASSING),
        (503, "", Blame.PASSING),
        (504, "APIGW.0201", Blame.PASSING),
        (301, "", Blame.SERVICE),
        (307, "", Blame.SERVICE),
    ],
)
def test_status_first_code_second_say_who_has_to_act(status: int, code: str, blame: Blame) -> None:
    failure = classify("Post", answer(status, {"error_code": code, "error_msg": "why"}), EPOCH)
    assert failure.blame is blame
    assert failure.outcome is (Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER)
    assert (failure.status, failure.code, failure.message) == (status, code, "why")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error_code": "A", "error_msg": "b", "error_detail": "c"}, "A", "b"),
        ({"errorCode": "A", "errorMsg": "b"}, "A", "b"),
        ({"code": "A", "message": "b"}, "A", "b"),
        ({"error_code": 7, "error_msg": None}, "7", '{"error_code": 7, "error_msg": null}'),
        ("", "", ""),
        ("<html>\n502</html>", "", "<html> 502</html>"),
        ("[" * 100_000, "", "[" * 299 + "…"),
        (b"\xff", "", "\ufffd"),
    ],
)
def test_errors_are_read_in_every_form(
    body: str | dict[str, object], code: str, message: str
) -> None:
    failure = classify("Post", answer(500, body), EPOCH)
    assert (failure.code, failure.message) == (code, message)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("policy user over ratelimit,limit:100,time:1 minute", 60.0),
        ("policy api over ratelimit,limit:5,time:5 second", 5.0),
        ("policy ip over ratelimit,limit:5,time:2 hour", 7200.0),
        ("policy app over ratelimit,limit:5,time:1 fortnight", None),
        (f"policy user over ratelimit,limit:1,time:{'9' * 5000} second", None),
        ("slow down", None),
    ],
)
def test_a_throttle_says_how_long_its_window_is(text: str, seconds: float | None) -> None:
    body: dict[str, object] = {
        "error_code": "APIGW.0308",
        "error_msg": f"The throttling threshold has been reached: {text}",
    }
    assert classify("Post", answer(429, body), EPOCH).retry_after_seconds == seconds
    asked = classify("Post", answer(429, body, Retry_After="3"), EPOCH)
    assert asked.retry_after_seconds == 3.0


@pytest.mark.parametrize(
    ("date", "text"),
    [
        ("Mon, 21 Sep 2026 13:13:20 GMT", "3600 s ahead of Huawei's"),
        ("Mon, 21 Sep 2026 14:33:20 GMT", "1200 s behind Huawei's"),
    ],
)
def test_a_refused_signature_is_explained_by_a_clock_that_is_off(date: str, text: str) -> None:
    failure = classify("Post", answer(401, {"error_msg": "signature expired"}, Date=date), EPOCH)
    assert text in failure.message
    assert advise(failure).name == "clock"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, {}),
        (401, {"Date": "Mon, 21 Sep 2026 14:13:21 GMT"}),
        (503, {"Date": "Mon, 21 Sep 2020 14:13:21 GMT"}),
    ],
)
def test_otherwise_the_clock_is_not_blamed(status: int, headers: dict[str, str]) -> None:
    failure = classify("Post", answer(status, {"error_msg": "why"}, **headers), EPOCH)
    assert failure.message == "why"


def test_the_request_id_comes_from_the_body_or_the_header() -> None:
    assert classify("Post", answer(500, {"request_id": "B"}), EPOCH).request_id == "B"
    assert classify("Post", answer(500, X_Request_Id="H"), EPOCH).request_id == "H"


@given(st.integers(300, 599), st.binary(max_size=200))
def test_any_answer_is_a_failure_that_can_be_logged(status: int, body: bytes) -> None:
    failure = classify("Post", answer(status, body), EPOCH)
    assert str(failure).isprintable()


@given(st.dictionaries(st.sampled_from(["error_code", "error_msg", "request_id"]), st.text()))
def test_any_text_in_an_answer_can_be_logged(body: dict[str, object]) -> None:
    assert str(classify("Post", answer(500, body), EPOCH)).isprintable()


async def test_a_request_id_of_any_bytes_can_be_recorded() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Request-Id: R\xff\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with talked(talk) as url, open_session(connections=1, total_seconds=20) as session:
        request_id = await client(str(url).rstrip("/"), session).post(["a"])
    assert request_id == "R"
