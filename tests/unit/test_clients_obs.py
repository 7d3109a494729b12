"""The OBS client: what it sends, and what it makes of any answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from doubles.clock import QuickClock
from doubles.web import Vendor, vendor
from worker.clouds.listing import Damaged, obs_page, obs_question
from worker.clouds.obs import NO_CODE, ObsClient, facts_of
from worker.clouds.obs_signature import sign, string_to_sign
from worker.clouds.oms_signature import HuaweiCredentials
from worker.errors import Blame, CallFailed, Outcome
from worker.ports import ObjectFacts

KNOWN = json.loads(Path(__file__).with_name("obs_vectors.json").read_text())
KEY = HuaweiCredentials("AK", "secret", "the token")
MARK = "R1"


@pytest.fixture
async def obs() -> AsyncIterator[tuple[Vendor, ObsClient]]:
    async with vendor() as (script, session):
        yield script, ObsClient(script.url, lambda: KEY, session, QuickClock())


def error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>why</Message><RequestId>R2</RequestId></Error>"


@pytest.mark.parametrize("vector", KNOWN["vectors"], ids=lambda vector: vector["name"])
def test_a_known_request_has_its_known_signature(vector: dict[str, Any]) -> None:
    headers = {name.lower(): value for name, value in vector["headers"].items()}
    resource = (vector["bucket"], vector["key"])
    text = string_to_sign(vector["method"], resource, vector["query"], headers)
    assert text == vector["string_to_sign"]


def test_a_signature_is_of_its_time_and_its_key() -> None:
    # 2026-01-02T03:04:05Z, as in the vectors.
    at = 1_767_323_045.9
    key = HuaweiCredentials(KNOWN["ak"], KNOWN["sk"])
    signed = sign("HEAD", ("dest-bucket", "a/b.txt"), {}, {}, key, at)
    assert signed == {
        "date": "Fri, 02 Jan 2026 03:04:05 GMT",
        "authorization": KNOWN["vectors"][0]["authorization"],
    }


def test_a_token_is_sent_and_signed() -> None:
    with_token = sign("HEAD", ("b", "k"), {}, {}, KEY, 0.0)
    other = sign("HEAD", ("b", "k"), {}, {}, HuaweiCredentials("AK", "secret", "another"), 0.0)
    assert with_token["x-obs-security-token"] == "the token"
    assert with_token["authorization"] != other["authorization"]


def test_neither_secret_nor_token_is_shown() -> None:
    assert "secret" not in repr(KEY)
    assert "token" not in repr(KEY).replace("security_token", "")


async def test_a_key_keeps_every_byte_on_the_wire(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(404, x_obs_request_id=MARK)
    await client.facts("dest", "a/../b //+%41中")
    assert script.asked[0].method == "HEAD"
    assert script.asked[0].target == "/dest/a%2F..%2Fb%20%2F%2F%2B%2541%E4%B8%AD"


async def test_an_object_is_told_by_its_headers(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(
        200,
        ETag='"0cc175b9c0f1b6a831c399e269772661"',
        Content_Length="9",
        Last_Modified="Fri, 02 Jan 2026 03:04:05 GMT",
        x_obs_hash_crc64ecma="11051210869376104954",
        x_obs_request_id=MARK,
    )
    found = await client.facts("dest", "k")
    assert found is not None
    assert (found.etag, found.last_modified) == ("0cc175b9c0f1b6a831c399e269772661", 1_767_323_045)
    assert (found.crc64, found.kind, found.storage_class) == (
        11051210869376104954,
        "Normal",
        "STANDARD",
    )


@pytest.mark.parametrize(
    ("headers", "facts"),
    [
        (
            {"Content-Length": "0"},
            ObjectFacts(0, 0.0, "", None, "Normal", "STANDARD", is_encrypted=False),
        ),
        (
            {
                "Content-Length": "1",
                "x-obs-checksum-crc64ecma": "5",
                "x-obs-object-type": "Appendable",
            },
            ObjectFacts(1, 0.0, "", 5, "Appendable", "STANDARD", is_encrypted=False),
        ),
        (
            {"x-obs-uploadId": "U", "Content-Length": "7", "x-obs-storage-class": "COLD"},
            ObjectFacts(7, 0.0, "", None, "Multipart", "COLD", is_encrypted=False),
        ),
        (
            {
                "Content-Length": "0",
                "x-obs-server-side-encryption": "kms",
                "x-obs-hash-crc64ecma": "-1",
            },
            ObjectFacts(0, 0.0, "", None, "Normal", "STANDARD", is_encrypted=True),
        ),
        (
            {"Content-Length": "0", "x-obs-server-side-encryption-customer-algorithm": "A"},
            ObjectFacts(0, 0.0, "", None, "Normal", "STANDARD", is_encrypted=True),
        ),
    ],
)
def test_what_is_not_told_is_not_known(headers: dict[str, str], facts: ObjectFacts) -> None:
    assert facts_of(headers) == facts


def test_an_object_without_a_size_is_damaged() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        facts_of({"ETag": "x"})
    with pytest.raises(ValueError, match="invalid literal"):
        facts_of({"Content-Length": "many"})


async def test_an_object_that_is_not_there_is_none(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(404, x_obs_request_id=MARK)
    assert await client.facts("dest", "k") is None


async def test_a_part_is_asked_for_and_read(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(206, b"tail", Content_Range="bytes 9-12/13", x_obs_request_id=MARK)
    assert await client.read("dest", "k", 9) == b"tail"
    assert script.asked[0].headers["Range"] == "bytes=9-1048584"


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (416, "InvalidRange")])
async def test_at_its_end_an_object_is_empty(
    obs: tuple[Vendor, ObsClient], status: int, code: str
) -> None:
    script, client = obs
    script.answer(status, error(code), x_obs_request_id=MARK)
    assert await client.read("dest", "k", 9) == b""


async def test_another_range_is_not_taken(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(206, b"head", Content_Range="bytes 0-3/13", x_obs_request_id=MARK)
    with pytest.raises(CallFailed, match="another range"):
        await client.read("dest", "k", 9)


async def test_a_whole_object_is_no_part(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(200, b"whole", x_obs_request_id=MARK)
    with pytest.raises(CallFailed, match="none of this call"):
        await client.read("dest", "k", 9)


async def test_a_deletion_is_confirmed_by_204_only(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(204, x_obs_request_id=MARK)
    script.answer(200, x_obs_request_id=MARK)
    await client.delete("dest", "k")
    with pytest.raises(CallFailed):
        await client.delete("dest", "k")


CALLS: dict[str, Callable[[ObsClient], Awaitable[object]]] = {
    "facts": lambda client: client.facts("dest", "k"),
    "read": lambda client: client.read("dest", "k"),
    "list": lambda client: anext(client.list("dest")),
    "delete": lambda client: client.delete("dest", "k"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("status", [200, 204, 206, 404, 416])
async def test_what_does_not_carry_the_mark_of_obs_is_a_strangers(
    obs: tuple[Vendor, ObsClient], call: Callable[[ObsClient], Awaitable[object]], status: int
) -> None:
    script, client = obs
    script.answer(status, error("NoSuchKey"))
    with pytest.raises(CallFailed) as raised:
        await call(client)
    failure = raised.value.failure
    assert (failure.blame, failure.outcome) == (Blame.PASSING, Outcome.UNKNOWN)
    assert "something that is not OBS" in failure.message


@pytest.mark.parametrize(
    ("status", "code", "blame"),
    [
        (403, "SignatureDoesNotMatch", Blame.CREDENTIALS),
        (403, "InvalidAccessKeyId", Blame.CREDENTIALS),
        (403, "RequestTimeTooSkewed", Blame.CREDENTIALS),
        (400, "TooManyWrongSignature", Blame.CREDENTIALS),
        (401, "Anything", Blame.CREDENTIALS),
        (403, "AccessDenied", Blame.SERVICE),
        (404, "NoSuchBucket", Blame.SERVICE),
        (403, "VirtualHostDomainRequired", Blame.SERVICE),
        (409, "OperationAborted", Blame.PASSING),
        (503, "SlowDown", Blame.PASSING),
        (429, "", Blame.PASSING),
        (500, "InternalError", Blame.PASSING),
    ],
)
async def test_each_refusal_says_who_has_to_act(
    obs: tuple[Vendor, ObsClient], status: int, code: str, blame: Blame
) -> None:
    script, client = obs
    script.answer(status, error(code), x_obs_request_id=MARK)
    with pytest.raises(CallFailed) as raised:
        await client.read("dest", "k")
    failure = raised.value.failure
    assert (failure.blame, failure.code, failure.request_id) == (blame, code, "R2")


async def test_a_403_without_a_code_may_be_a_wrong_signature(
    obs: tuple[Vendor, ObsClient],
) -> None:
    script, client = obs
    script.answer(403, x_obs_request_id=MARK)
    with pytest.raises(CallFailed) as raised:
        await client.facts("dest", "k")
    assert raised.value.failure.blame is Blame.CREDENTIALS
    assert raised.value.failure.message.startswith(NO_CODE)


def listing(*keys: str, more: str = "", truncated: bool = False) -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        f"<ETag>&quot;e&quot;</ETag><Size>3</Size><StorageClass>WARM</StorageClass></Contents>"
        for key in keys
    )
    return (
        f'<ListBucketResult xmlns="http://obs.myhwclouds.com/doc/2015-06-30/">'
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{more}{contents}</ListBucketResult>"
    ).encode()


def test_a_listing_is_asked_for_in_an_encoding_that_carries_all_names() -> None:
    assert obs_question("p", marker="m") == {
        "prefix": "p",
        "marker": "m",
        "encoding-type": "url",
        "max-keys": "1000",
    }


def test_a_page_without_a_next_marker_goes_on_after_its_last_name() -> None:
    page = obs_page(listing("a", "b%0A", truncated=True))
    assert [each.key for each in page.objects] == ["a", "b\n"]
    assert page.next_token == "b\n"
    first = page.objects[0]
    assert (first.etag, first.storage_class, first.last_modified) == ("e", "WARM", 1_767_323_045)


def test_a_next_marker_is_taken_decoded() -> None:
    more = "<NextMarker>x%2Fy</NextMarker>"
    assert obs_page(listing("a", more=more, truncated=True)).next_token == "x/y"
    assert obs_page(listing("a", more=more)).next_token == ""


@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", listing(truncated=True), b"<ListBucketResult><Contents/></a>"]
)
def test_what_is_no_listing_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(Damaged):
        obs_page(body)


async def test_pages_follow_each_other(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(200, listing("a", truncated=True), x_obs_request_id=MARK)
    script.answer(200, listing("b"), x_obs_request_id=MARK)
    found = [each.key async for page in client.list("dest", "") for each in page.objects]
    assert found == ["a", "b"]
    assert [asked.target.partition("?")[2] for asked in script.asked] == [
        "encoding-type=url&max-keys=1000",
        "encoding-type=url&max-keys=1000&marker=a",
    ]


def page_of(*keys: str, prefix: str = "") -> str:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        "</Contents>"
        for key in keys
    )
    return f"<ListBucketResult><Prefix>{prefix}</Prefix>{contents}</ListBucketResult>"


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (("a%20b", "c+d"), ["a b", "c+d"]),
        (("a+b", "c%2Bd"), ["a b", "c+d"]),
        (("a+b", "c%2bd"), ["a b", "c+d"]),
        (("%2520", "a%2Fb"), ["%20", "a/b"]),
    ],
)
async def test_a_page_tells_itself_what_a_plus_is(
    obs: tuple[Vendor, ObsClient], keys: tuple[str, ...], names: list[str]
) -> None:
    script, client = obs
    script.answer(200, page_of(*keys), x_obs_request_id=MARK)
    assert [each.key async for page in client.list("b") for each in page.objects] == names
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("prefix", "name"), [("+%2B", "a b"), ("%20%2B", "a+b"), ("%20+", "a+b"), ("", "a+b")]
)
async def test_where_a_page_does_not_tell_obs_is_asked_once(
    obs: tuple[Vendor, ObsClient], prefix: str, name: str
) -> None:
    script, client = obs
    for page in (page_of("a+b"), page_of(prefix=prefix), page_of("a+b")):
        script.answer(200, page, x_obs_request_id=MARK)
    for _ in range(2):
        assert [each.key async for page in client.list("b") for each in page.objects] == [name]
    assert len(script.asked) == 3


async def test_a_listing_that_begins_again_is_no_listing(obs: tuple[Vendor, ObsClient]) -> None:
    script, client = obs
    script.answer(200, listing("a", truncated=True), x_obs_request_id=MARK)
    with pytest.raises(CallFailed, match="would begin again"):
        [page async for page in client.list("dest", "")]
    assert len(script.asked) == 2


async def test_a_refusal_in_an_odd_encoding_is_still_a_refusal(
    obs: tuple[Vendor, ObsClient],
) -> None:
    script, client = obs
    for name in ("gbk", "nonsense"):
        body = f'<?xml version="1.0" encoding="{name}"?><Error><Code>X</Code></Error>'
        script.answer(503, body, x_obs_request_id=MARK)
    for _ in range(2):
        with pytest.raises(CallFailed) as raised:
            await client.read("dest", "k")
        assert raised.value.failure.blame is Blame.PASSING
