from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.clock import QuickClock
from doubles.web import Vendor, vendor
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.listing import Damaged
from worker.clouds.listing import oss_page as page
from worker.clouds.listing import oss_question as question
from worker.clouds.oss import OssClient
from worker.errors import Blame, CallFailed, Outcome
from worker.ports import Listed, Page, Stored

KEYS = AlibabaCredentials("AK", "secret")
NO_SUCH_KEY = "<Error><Code>NoSuchKey</Code></Error>"


@pytest.fixture
async def oss() -> AsyncIterator[tuple[Vendor, OssClient]]:
    async with vendor() as (script, session):
        yield script, OssClient(script.url, "cn-hangzhou", lambda: KEYS, session, QuickClock())


def listing(*keys: str, token: str = "", prefixes: tuple[str, ...] = ()) -> str:
    contents = "".join(
        f"<Contents><Key>{quote(key, safe='')}</Key><Size>5</Size>"
        "<LastModified>2026-09-21T14:13:20.000Z</LastModified></Contents>"
        for key in keys
    )
    groups = "".join(
        f"<CommonPrefixes><Prefix>{quote(each, safe='')}</Prefix></CommonPrefixes>"
        for each in prefixes
    )
    more = (
        f"<NextContinuationToken>{quote(token, safe='')}</NextContinuationToken>" if token else ""
    )
    return (
        f"<ListBucketResult><IsTruncated>{str(bool(token)).lower()}</IsTruncated>"
        f"{more}{contents}{groups}</ListBucketResult>"
    )


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Mon, 21 Sep 2026 14:13:20 GMT", 1_790_000_000.0),
        ("", 0.0),
        ("yesterday", 0.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0.0),
    ],
)
async def test_an_object_is_read_whole_with_its_time(
    oss: tuple[Vendor, OssClient], date: str, seconds: float
) -> None:
    script, store = oss
    script.answer(200, b"\x00body", x_oss_request_id="R1", Last_Modified=date)
    found = await store.get("logs", "a/b")
    assert found is not None
    assert found == Stored(b"\x00body", seconds, found.at)
    assert found.at > 0
    assert (script.asked[0].method, script.asked[0].target) == ("GET", "/logs/a%2Fb")


async def test_an_object_that_is_not_there_is_none(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(404, NO_SUCH_KEY, x_oss_request_id="R1")
    assert await store.get("logs", "a") is None


async def test_a_bucket_that_is_not_there_is_no_answer(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(404, "<Error><Code>NoSuchBucket</Code></Error>", x_oss_request_id="R1")
    with pytest.raises(CallFailed) as raised:
        await store.get("logs", "a")
    assert raised.value.failure.blame is Blame.SERVICE


async def test_a_page_that_oss_never_gave_is_no_object(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(200, "<html>please log in</html>")
    with pytest.raises(CallFailed, match="something that is not OSS"):
        await store.get("logs", "a")


async def test_an_object_is_deleted_and_a_refusal_is_told(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(204, x_oss_request_id="R1")
    script.answer(403, "<Error><Code>AccessDenied</Code></Error>", x_oss_request_id="R1")
    await store.delete("logs", "a")
    assert script.asked[0].method == "DELETE"
    with pytest.raises(CallFailed, match="AccessDenied"):
        await store.delete("logs", "a")


async def test_a_listing_goes_on_until_it_ends(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(200, listing("p/a", "p/b c", token="t/+=1"), x_oss_request_id="R1")
    script.answer(200, listing("p/\x01", prefixes=("p/d/",)), x_oss_request_id="R2")
    pages = [found async for found in store.list("logs", "p/", delimiter="/", start_after="p/A")]
    assert [[each.key for each in found.objects] for found in pages] == [
        ["p/a", "p/b c"],
        ["p/\x01"],
    ]
    assert pages[1].prefixes == ("p/d/",)
    first, second = (parse_qs(urlsplit(asked.target).query) for asked in script.asked)
    assert first == {
        "list-type": ["2"],
        "encoding-type": ["url"],
        "max-keys": ["1000"],
        "prefix": ["p/"],
        "delimiter": ["/"],
        "start-after": ["p/A"],
    }
    assert second["continuation-token"] == ["t/+=1"]
    assert "start-after" not in second


async def test_each_page_of_a_listing_can_be_repeated_alone(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(503)
    script.answer(200, listing("a"), x_oss_request_id="R1")

    async def twice(fetch: Callable[[], Awaitable[Page]]) -> Page:
        with pytest.raises(CallFailed):
            await fetch()
        return await fetch()

    pages = [found async for found in store.list("logs", attempt=twice)]
    assert [each.key for found in pages for each in found.objects] == ["a"]


async def test_a_listing_that_cannot_be_read_is_unknown(oss: tuple[Vendor, OssClient]) -> None:
    script, store = oss
    script.answer(200, "<ListBucket", x_oss_request_id="R1")
    with pytest.raises(CallFailed) as raised:
        await anext(store.list("logs"))
    assert raised.value.failure.outcome is Outcome.UNKNOWN


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=4))
def test_names_of_any_characters_are_listed_as_they_are(keys: list[str]) -> None:
    found = page(listing(*keys).encode())
    assert found.objects == tuple(Listed(key, 5, 1_790_000_000.0) for key in keys)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "<Error><Code>x</Code></Error>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        listing("a").replace("<Size>5<", "<Size>big<"),
        listing("a").replace("2026-", "soon"),
    ],
)
def test_what_is_no_listing_is_damaged(body: str) -> None:
    with pytest.raises(Damaged):
        page(body.encode())


def test_nothing_is_asked_that_was_not_wanted() -> None:
    assert question("") == {"list-type": "2", "encoding-type": "url", "max-keys": "1000"}
