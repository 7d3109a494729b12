from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator

import pytest

from doubles.clock import QuickClock
from doubles.web import Asked, Vendor, vendor
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.mns import MnsClient
from worker.errors import Blame, CallFailed, Failure, Outcome

NAMESPACE = "http://mns.aliyuncs.com/doc/v1"
CREDENTIALS = AlibabaCredentials("AK", "secret", "token")


def error(code: str, message: str = "why") -> str:
    return (
        f'<?xml version="1.0" ?>\n<Error xmlns="{NAMESPACE}">\n  <Code>{code}</Code>\n'
        f"  <Message>{message}</Message>\n  <RequestId>R1</RequestId>\n"
        "  <HostId>http://1.mns.cn-shanghai.aliyuncs.com</HostId>\n</Error>"
    )


def errors(**codes: str) -> str:
    each = "".join(
        f"<Error><ErrorCode>{code}</ErrorCode><ErrorMessage>why</ErrorMessage>"
        f"<ReceiptHandle>{handle}</ReceiptHandle></Error>"
        for handle, code in codes.items()
    )
    return f'<?xml version="1.0" ?>\n<Errors xmlns="{NAMESPACE}">{each}</Errors>'


class Bench:
    def __init__(self, script: Vendor, client: MnsClient) -> None:
        self.mns = script
        self.client = client

    @property
    def asked(self) -> Asked:
        return self.mns.asked[-1]

    async def failure(self, operation: str = "receive") -> Failure:
        with pytest.raises(CallFailed) as raised:
            await self.call(operation)
        assert raised.value.failure.service == "mns"
        return raised.value.failure

    async def call(self, operation: str) -> object:
        match operation:
            case "receive":
                return await self.client.receive(20)
            case "delete":
                return await self.client.delete(["H1", "H2"])
            case "change_visibility":
                return await self.client.change_visibility("H1", 30)
            case _:
                return await self.client.attributes()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with vendor(x_mns_request_id="R") as (script, session):
        sessions = (session, session)
        clock = QuickClock()
        yield Bench(script, MnsClient(script.url, "q", lambda: CREDENTIALS, sessions, clock))


def is_signed(asked: Asked) -> bool:
    """Recompute the signature over the request as it arrived."""
    headers = {name.lower(): value for name, value in asked.headers.items()}
    own = sorted((name, value) for name, value in headers.items() if name.startswith("x-mns-"))
    parts = [
        asked.method,
        headers.get("content-md5", ""),
        headers.get("content-type", ""),
        headers["date"],
        "".join(f"{name}:{value}\n" for name, value in own) + asked.target,
    ]
    digest = hmac.digest(b"secret", "\n".join(parts).encode(), hashlib.sha1)
    return headers["authorization"] == f"MNS AK:{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("operation", ["receive", "delete", "change_visibility", "attributes"])
@pytest.mark.parametrize(("status", "body"), [(200, "<html>log in</html>"), (204, ""), (200, "{}")])
async def test_a_success_that_mns_never_gave_is_unknown(
    bench: Bench, operation: str, status: int, body: str
) -> None:
    bench.mns.mark.clear()
    bench.mns.answer(status, body)
    failure = await bench.failure(operation)
    assert "answered by something that is not MNS" in failure.message
    assert (failure.outcome, failure.blame) == (Outcome.UNKNOWN, Blame.PASSING)


async def test_a_poll_asks_for_sixteen_and_waits(bench: Bench) -> None:
    bench.mns.answer(
        200,
        f'<Messages xmlns="{NAMESPACE}"><Message><MessageId>M</MessageId><MessageBody>b</MessageBody>'
        "<ReceiptHandle>H</ReceiptHandle></Message></Messages>",
    )
    (message,) = await bench.client.receive(20)
    assert message.message_id == "M"
    assert bench.asked.target == "/queues/q/messages?numOfMessages=16&waitseconds=20"
    assert bench.asked.headers["security-token"] == "token"
    assert is_signed(bench.asked)


async def test_an_empty_queue_is_an_empty_list(bench: Bench) -> None:
    bench.mns.answer(404, error("MessageNotExist", "Message not exist."))
    assert await bench.client.receive(20) == []


async def test_a_new_visibility_gives_a_new_handle(bench: Bench) -> None:
    bench.mns.answer(200, "<ChangeVisibility><ReceiptHandle>H2</ReceiptHandle></ChangeVisibility>")
    assert await bench.client.change_visibility("1-ODU4+/==", 30) == "H2"
    assert bench.asked.target == (
        "/queues/q/messages?ReceiptHandle=1-ODU4%2B%2F%3D%3D&VisibilityTimeout=30"
    )
    assert is_signed(bench.asked)


@pytest.mark.parametrize(("asked", "sent"), [(0, 1), (-5, 1), (43_200, 43_200), (99_999, 43_200)])
async def test_a_visibility_is_kept_within_what_mns_takes(
    bench: Bench, asked: int, sent: int
) -> None:
    bench.mns.answer(404, error("MessageNotExist"))
    await bench.client.change_visibility("H", asked)
    assert bench.asked.target.endswith(f"VisibilityTimeout={sent}")


@pytest.mark.parametrize(
    ("status", "code"), [(404, "MessageNotExist"), (400, "ReceiptHandleError")]
)
async def test_a_dead_handle_is_a_lost_lease_and_a_done_delete(
    bench: Bench, status: int, code: str
) -> None:
    bench.mns.answer(status, error(code))
    assert await bench.client.change_visibility("H", 30) is None
    assert await bench.client.delete(["H"]) == {}


async def test_a_delete_of_all_is_one_signed_call(bench: Bench) -> None:
    bench.mns.answer(204)
    assert await bench.client.delete(["H1", "a&<b"]) == {}
    assert bench.asked.method == "DELETE"
    assert b"<ReceiptHandle>a&amp;&lt;b</ReceiptHandle>" in bench.asked.body
    assert is_signed(bench.asked)


async def test_a_partial_delete_names_what_failed_but_not_what_is_gone(bench: Bench) -> None:
    bench.mns.answer(404, errors(H1="MessageNotExist", H2="InternalError", H3="ReceiptHandleError"))
    assert await bench.client.delete(["H1", "H2", "H3", "H4"]) == {"H2": "InternalError"}


@pytest.mark.parametrize(
    "body",
    [
        "<Errors><Error><ErrorCode>InternalError</ErrorCode></Error></Errors>",
        "<Errors></Errors>",
        "<Errors><Error><ErrorCode><b/></ErrorCode></Error></Errors>",
        "<html>Bad Gateway</html>",
        "",
    ],
)
async def test_a_delete_whose_answer_says_nothing_failed_as_a_whole(
    bench: Bench, body: str
) -> None:
    bench.mns.answer(500, body)
    assert (await bench.failure("delete")).blame is Blame.PASSING


BLAMES = [
    (400, "InvalidAuthorizationHeader", Blame.SERVICE),
    (400, "InvalidDateHeader", Blame.CREDENTIALS),
    (400, "InvalidArgument", Blame.SERVICE),
    (400, "QpsLimitExceeded", Blame.PASSING),
    (401, "Whatever", Blame.CREDENTIALS),
    (403, "AccessDenied", Blame.SERVICE),
    (403, "InvalidAccessKeyId", Blame.CREDENTIALS),
    (403, "SignatureDoesNotMatch", Blame.CREDENTIALS),
    (403, "InvalidSecurityToken", Blame.CREDENTIALS),
    (403, "SomethingNewAboutTokens", Blame.CREDENTIALS),
    (404, "QueueNotExist", Blame.SERVICE),
    (408, "TimeExpired", Blame.CREDENTIALS),
    (408, "Slow", Blame.PASSING),
    (429, "TooManyRequests", Blame.PASSING),
    (500, "InternalError", Blame.PASSING),
    (503, "ServiceUnavailable", Blame.PASSING),
    (307, "Moved", Blame.SERVICE),
]


@pytest.mark.parametrize(("status", "code", "blame"), BLAMES)
@pytest.mark.parametrize("operation", ["receive", "attributes"])
async def test_a_refusal_of_the_queue_is_never_blamed_on_an_item(
    bench: Bench, operation: str, status: int, code: str, blame: Blame
) -> None:
    """A poll names no item: were one blamed, polls would go on at full speed and say nothing."""
    bench.mns.answer(status, error(code))
    failure = await bench.failure(operation)
    assert failure.blame is blame
    assert failure.outcome is Outcome.RETRY_LATER
    if status >= 400:
        assert (failure.status, failure.code, failure.request_id) == (status, code, "R1")


@pytest.mark.parametrize("operation", ["delete", "change_visibility"])
async def test_a_refusal_of_a_handle_is_blamed_on_it_alone(bench: Bench, operation: str) -> None:
    bench.mns.answer(400, error("InvalidArgument"))
    failure = await bench.failure(operation)
    assert (failure.blame, failure.outcome) == (Blame.ITEM, Outcome.REJECTED)


@pytest.mark.parametrize("operation", ["receive", "delete", "change_visibility", "attributes"])
@pytest.mark.parametrize(
    "body", ["", "<html>502 Bad Gateway</html>", "<Error><Code>x</Code>", "\x00"]
)
async def test_an_answer_that_is_not_from_mns_is_known_by_its_status(
    bench: Bench, operation: str, body: str
) -> None:
    bench.mns.answer(502, body)
    failure = await bench.failure(operation)
    assert (failure.blame, failure.code, failure.status) == (Blame.PASSING, "", 502)


async def test_a_wait_that_mns_asks_for_is_passed_on(bench: Bench) -> None:
    bench.mns.answer(429, error("TooManyRequests"), Retry_After="7")
    assert (await bench.failure()).retry_after_seconds == 7.0


@pytest.mark.parametrize("operation", ["receive", "change_visibility", "attributes"])
@pytest.mark.parametrize("body", ["", "<html>log in</html>", "<Messages><Mess", "<!DOCTYPE x><x/>"])
async def test_a_success_that_cannot_be_read_is_unknown(
    bench: Bench, operation: str, body: str
) -> None:
    """It may well have taken effect: the messages come back when their visibility ends."""
    bench.mns.answer(200, body)
    failure = await bench.failure(operation)
    assert (failure.outcome, failure.blame) == (Outcome.UNKNOWN, Blame.PASSING)


async def test_the_queues_attributes_are_read(bench: Bench) -> None:
    bench.mns.answer(
        200,
        "<Queue><VisibilityTimeout>45</VisibilityTimeout>"
        "<MessageRetentionPeriod>60</MessageRetentionPeriod></Queue>",
    )
    assert (await bench.client.attributes()).visibility_seconds == 45
    assert bench.asked.target == "/queues/q"
