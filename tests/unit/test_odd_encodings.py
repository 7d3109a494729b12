"""Answers in encodings that no vendor writes: whatever comes, a call ends with a value or as a failed one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from doubles.clock import QuickClock
from doubles.web import Vendor, vendor
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.mns import MnsClient
from worker.clouds.obs import ObsClient
from worker.clouds.oms_signature import HuaweiCredentials
from worker.clouds.oss import OssClient
from worker.errors import CallFailed

HEAD = '<?xml version="1.0" encoding="{}"?>'
ERROR = "<Error><Code>AccessDenied</Code><Message>why</Message><RequestId>R</RequestId></Error>"
LISTING = (
    "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key></Contents>"
    "</ListBucketResult>"
)
# As it is declared, and as it is written; nothing: only declared.
ENCODINGS = {
    "utf-16 only declared": ("UTF-16", "utf-8"),
    "utf-16": ("UTF-16", "utf-16"),
    "utf-16 without a mark": ("UTF-16LE", "utf-16-le"),
    "utf-32": ("UTF-32", "utf-32"),
    "utf-8 with a mark": ("UTF-8", "utf-8-sig"),
    "of many bytes": ("GB18030", "gb18030"),
    "unknown": ("x-no-such-encoding", "utf-8"),
    "no text": ("zlib", "utf-8"),
    "that python refuses": ("idna", "utf-8"),
    "that shifts": ("utf-7", "utf-8"),
}
STATUSES = [200, 206, 400, 403, 404, 409, 500]

ALIBABA, HUAWEI = AlibabaCredentials("AK", "secret", ""), HuaweiCredentials("AK", "secret")


async def first(pages: AsyncIterator[object]) -> object:
    return await anext(pages)


@pytest.fixture
async def script() -> AsyncIterator[tuple[Vendor, dict[str, Callable[[], Awaitable[object]]]]]:
    """A vendor, and every call whose answer is XML."""
    marks = {"x_mns_request_id": "R", "x_oss_request_id": "R", "x_obs_request_id": "R"}
    async with vendor(**marks) as (found, session):
        clock = QuickClock()
        mns = MnsClient(found.url, "q", lambda: ALIBABA, (session, session), clock)
        oss = OssClient(found.url, "cn-hangzhou", lambda: ALIBABA, session, clock)
        obs = ObsClient(found.url, lambda: HUAWEI, session, clock)
        yield (
            found,
            {
                "receive": lambda: mns.receive(1),
                "delete": lambda: mns.delete(["H1", "H2"]),
                "change": lambda: mns.change_visibility("H1", 30),
                "attributes": mns.attributes,
                "peek": mns.peek,
                "put": lambda: oss.put("b", "k", b"x", "text/plain"),
                "get": lambda: oss.get("b", "k"),
                "has": lambda: oss.has("b", "k"),
                "exists oss": lambda: oss.exists("b", "k"),
                "facts oss": lambda: oss.facts("b", "k"),
                "facts obs": lambda: obs.facts("b", "k"),
                "list oss": lambda: first(oss.list("b")),
                "read": lambda: obs.read("b", "k"),
                "list obs": lambda: first(obs.list("b")),
                "delete obs": lambda: obs.delete("b", "k"),
            },
        )


async def ended(call: Callable[[], Awaitable[object]]) -> str:
    """Make a call; return what it failed with, if it did."""
    try:
        await call()
    except CallFailed as failed:
        return str(failed)
    return ""


@pytest.mark.parametrize("name", ENCODINGS)
async def test_an_answer_in_an_odd_encoding_ends_no_call_otherwise_than_it_may(
    script: tuple[Vendor, dict[str, Callable[[], Awaitable[object]]]], name: str
) -> None:
    found, calls = script
    declared, written = ENCODINGS[name]
    for text in (ERROR, LISTING):
        body = (HEAD.format(declared) + text).encode(written)
        for status in STATUSES:
            found.answers.clear()
            found.answer(status, body)
            for what, call in calls.items():
                told = await ended(call)
                assert told.isprintable(), (what, status)


@pytest.mark.parametrize("name", ENCODINGS)
async def test_an_error_in_the_header_of_a_head_may_be_in_any_encoding(
    script: tuple[Vendor, dict[str, Callable[[], Awaitable[object]]]], name: str
) -> None:
    found, calls = script
    declared, written = ENCODINGS[name]
    told = base64.b64encode((HEAD.format(declared) + ERROR).encode(written)).decode()
    found.answer(403, b"", x_oss_err=told)
    for what in ("exists oss", "facts oss", "facts obs"):
        assert (await ended(calls[what])).isprintable()
