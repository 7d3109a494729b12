from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from doubles.clock import EPOCH, QuickClock
from doubles.web import Vendor, vendor
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.http import object_url
from worker.clouds.oss import OssClient
from worker.clouds.oss_signature import sign
from worker.errors import Blame, CallFailed, Failure, Outcome

CREDENTIALS = AlibabaCredentials("AK", "secret", "token")
REGION = "cn-hangzhou"


def client(endpoint: str, session: aiohttp.ClientSession) -> OssClient:
    return OssClient(endpoint, REGION, lambda: CREDENTIALS, session, QuickClock())


@pytest.fixture
async def oss() -> AsyncIterator[tuple[Vendor, OssClient]]:
    async with vendor() as (script, session):
        yield script, client(script.url, session)


def error(code: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n  <Code>{code}</Code>\n'
        "  <Message>why</Message>\n  <RequestId>R1</RequestId>\n</Error>"
    )


async def refused(store: OssClient) -> Failure:
    with pytest.raises(CallFailed) as raised:
        await store.put("logs", "k", b"body", "application/json")
    return raised.value.failure


@pytest.mark.parametrize("key", ["a/b.json", "a b+c%41", "..//../été", "tab\tend", "a?b#c"])
async def test_an_object_is_put_under_its_name_byte_for_byte(
    oss: tuple[Vendor, OssClient], key: str
) -> None:
    script, store = oss
    script.answer(200, x_oss_request_id="R1")
    await store.put("logs", key, b"body", "application/json")
    (asked,) = script.asked
    assert asked.method == "PUT"
    assert URL(asked.target, encoded=True).raw_path.startswith("/logs/")
    assert "/" not in asked.target.removeprefix("/logs/")
    md5 = base64.b64encode(hashlib.md5(b"body").digest()).decode()
    headers = {"content-type": "application/json", "content-md5": md5}
    signed = sign("PUT", f"/logs/{key}", {}, headers, (CREDENTIALS, REGION), EPOCH)
    assert {name: asked.headers[name] for name in signed} == signed
    assert asked.body == b"body"


async def test_an_empty_object_has_no_digest(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(200, x_oss_request_id="R1")
    await store.put("logs", "k", b"", "application/json")
    assert "content-md5" not in script.asked[0].headers


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://oss-cn-hangzhou.aliyuncs.com", "https://logs.oss-cn-hangzhou.aliyuncs.com/a%2Fb"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/logs/a%2Fb"),
        ("http://[::1]:9000", "http://[::1]:9000/logs/a%2Fb"),
        ("http://localhost:9000", "http://localhost:9000/logs/a%2Fb"),
    ],
)
def test_the_bucket_stands_in_the_host_but_on_loopback_in_the_path(endpoint: str, url: str) -> None:
    assert str(object_url(endpoint, "logs", "a/b")) == url
    assert str(object_url(endpoint, "logs", "", "a=%20b")) == url.replace("a%2Fb", "?a=%20b")


@pytest.mark.parametrize(
    ("status", "code", "blame"),
    [
        (400, "InvalidObjectName", Blame.ITEM),
        (400, "InvalidArgument", Blame.SERVICE),
        (400, "AuthorizationHeaderMalformed", Blame.SERVICE),
        (401, "Whatever", Blame.CREDENTIALS),
        (403, "AccessDenied", Blame.SERVICE),
        (403, "InvalidAccessKeyId", Blame.CREDENTIALS),
        (403, "SecurityTokenExpired", Blame.CREDENTIALS),
        (403, "SignatureDoesNotMatch", Blame.CREDENTIALS),
        (403, "RequestTimeTooSkewed", Blame.CREDENTIALS),
        (404, "NoSuchBucket", Blame.SERVICE),
        (409, "FileAlreadyExists", Blame.ITEM),
        (408, "RequestTimeout", Blame.PASSING),
        (429, "QpsLimitExceeded", Blame.PASSING),
        (500, "InternalError", Blame.PASSING),
        (503, "TotalQpsLimitExceeded", Blame.PASSING),
        (307, "TemporaryRedirect", Blame.SERVICE),
    ],
)
async def test_status_and_code_say_who_has_to_act(
    oss: tuple[Vendor, OssClient], status: int, code: str, blame: Blame
) -> None:
    script, store = oss
    script.answer(status, error(code), x_oss_request_id="R1", Retry_After="9")
    failure = await refused(store)
    assert failure == Failure(
        "oss",
        "PutObject",
        Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER,
        blame,
        status,
        code,
        "why",
        "R1",
        9.0,
        resource="logs/k",
        place="cn-hangzhou",
    )


@pytest.mark.parametrize("body", ["<html>502 Bad Gateway</html>", "", "<Error><Code>", "\x00\xff"])
async def test_an_answer_that_is_not_from_oss_is_known_by_its_status(
    oss: tuple[Vendor, OssClient], body: str
) -> None:
    script, store = oss
    script.answer(502, body)
    failure = await refused(store)
    assert (failure.status, failure.code, failure.blame) == (502, "", Blame.PASSING)
    assert str(failure).isprintable()


async def test_a_success_that_oss_never_gave_is_unknown(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(200, "<html>please log in</html>")
    failure = await refused(store)
    assert (failure.outcome, failure.blame) == (Outcome.UNKNOWN, Blame.PASSING)


@pytest.mark.parametrize(
    ("status", "code", "found"),
    [
        (200, "", True),
        (404, "", False),
        (404, "NoSuchKey", False),
        (404, "NoSuchBucket", None),
        (403, "", None),
        (403, "SignatureDoesNotMatch", None),
    ],
)
async def test_a_look_says_yes_no_or_that_it_was_not_allowed(
    oss: tuple[Vendor, OssClient], status: int, code: str, found: bool | None
) -> None:
    script, store = oss
    named = {"x_oss_err": base64.b64encode(error(code).encode()).decode()} if code else {}
    script.answer(status, x_oss_request_id="R", **named)
    assert await store.exists("films", "a.txt") is found
    assert script.asked[0].method == "HEAD"


@pytest.mark.parametrize("status", [200, 404, 403])
async def test_a_look_that_a_stranger_answers_is_no_answer(
    oss: tuple[Vendor, OssClient], status: int
) -> None:
    script, store = oss
    script.answer(status)
    with pytest.raises(CallFailed, match="answered by something that is not OSS"):
        await store.exists("films", "a.txt")


async def test_a_look_that_fails_in_passing_is_no_answer(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(503)
    with pytest.raises(CallFailed):
        await store.exists("films", "a.txt")
