"""The official SDK's signatures against the local OSS, and every way in which one is refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import oss2
import pytest
from oss2.credentials import StaticCredentialsProvider
from yarl import URL

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import ALIBABA, Identities, Identity
from localcloud.oss import OssService

REGION = "cn-hangzhou"
TEMPORARY = Identity("STS.local", "temporary-secret", security_token="token+/=")
PROVIDERS = {"v4": oss2.ProviderAuthV4, "v1": oss2.ProviderAuth}
both_versions = pytest.mark.parametrize("version", PROVIDERS)


@pytest.fixture
async def oss() -> AsyncIterator[OssService]:
    clock, faults = Clock(), Faults(random.Random(1))
    known = Identities(ALIBABA, TEMPORARY)
    service = OssService(clock, faults, known, lambda _queue, _body: None)
    service.create_bucket("source", REGION)
    await service.start()
    yield service
    await service.stop()


async def put(
    oss: OssService, version: str, identity: Identity = ALIBABA, *, region: str = REGION
) -> Any:
    """Put one object with the SDK; return its result or the refusal."""
    provider = StaticCredentialsProvider(
        identity.access_key, identity.secret, identity.security_token
    )
    bucket = oss2.Bucket(PROVIDERS[version](provider), oss.url, "source", region=region)
    try:
        return await asyncio.to_thread(bucket.put_object, "目录/k", b"content")
    except oss2.exceptions.ServerError as refusal:
        return refusal
    finally:
        bucket.session.session.close()


def signed(
    method: str,
    key: str,
    *,
    query: dict[str, str] | None = None,
    headers: dict[str, str],
    additional: set[str] | None = None,
) -> dict[str, str]:
    """Return the headers of a request that the SDK's own V4 signer signed."""
    req = oss2.http.Request(method, "", params=query, headers=headers, region=REGION, product="oss")
    auth = oss2.AuthV4(ALIBABA.access_key, ALIBABA.secret)
    auth._sign_request(req, "source", key, in_additional_headers=additional)
    return {name: value for name, value in req.headers.items() if value is not None}


async def status_of(oss: OssService, method: str, target: str, headers: dict[str, str]) -> int:
    """Send a request exactly as given; `target` comes behind `/source/`."""
    url = URL(f"{oss.url}/source/{target}", encoded=True)
    skipped = ["Content-Type"]
    async with (
        aiohttp.ClientSession(skip_auto_headers=skipped) as session,
        session.request(method, url, headers=headers) as answer,
    ):
        return answer.status


@both_versions
async def test_a_right_signature_is_accepted(oss: OssService, version: str) -> None:
    assert (await put(oss, version)).status == 200


@both_versions
async def test_a_wrong_secret_is_refused_with_what_was_signed(
    oss: OssService, version: str
) -> None:
    refusal = await put(oss, version, Identity(ALIBABA.access_key, "wrong"))
    assert (refusal.status, refusal.code) == (403, "SignatureDoesNotMatch")
    details = refusal.details
    assert details["OSSAccessKeyId"] == ALIBABA.access_key
    assert bytes.fromhex(details["StringToSignBytes"]).decode() == details["StringToSign"]
    if version == "v4":
        assert refusal.ec == "0002-00000201"
        assert details["CanonicalRequest"].startswith(f"PUT\n/source/{quote('目录/k')}\n\n")
        assert "x-oss-date:" in details["CanonicalRequest"]
    else:
        assert refusal.ec == "0002-00000040"
        assert details["StringToSign"].endswith("/source/目录/k")
    assert oss.read("source", "目录/k") is None


@both_versions
async def test_an_unknown_key_is_refused(oss: OssService, version: str) -> None:
    refusal = await put(oss, version, Identity("LTAInobody", "any"))
    assert (refusal.status, refusal.code) == (403, "InvalidAccessKeyId")
    assert refusal.details["OSSAccessKeyId"] == "LTAInobody"


@both_versions
@pytest.mark.parametrize("offset_seconds", [-850, 850])
async def test_a_clock_within_fifteen_minutes_is_accepted(
    oss: OssService, version: str, offset_seconds: float
) -> None:
    oss.clock.offset_seconds = offset_seconds
    assert (await put(oss, version)).status == 200


@both_versions
@pytest.mark.parametrize("offset_seconds", [-1000, 1000])
async def test_a_clock_beyond_fifteen_minutes_is_refused(
    oss: OssService, version: str, offset_seconds: float
) -> None:
    oss.clock.offset_seconds = offset_seconds
    refusal = await put(oss, version)
    assert (refusal.status, refusal.code) == (403, "RequestTimeTooSkewed")
    assert refusal.details["MaxAllowedSkewMilliseconds"] == "900000"
    assert refusal.details["RequestTime"] != refusal.details["ServerTime"]


@both_versions
async def test_a_temporary_key_needs_its_token(oss: OssService, version: str) -> None:
    assert (await put(oss, version, TEMPORARY)).status == 200
    key, secret = TEMPORARY.access_key, TEMPORARY.secret
    assert (await put(oss, version, Identity(key, secret))).code == "InvalidAccessKeyId"
    other = Identity(key, secret, security_token="another")
    assert (await put(oss, version, other)).code == "InvalidSecurityToken"


@both_versions
async def test_a_lasting_key_takes_no_token(oss: OssService, version: str) -> None:
    identity = Identity(ALIBABA.access_key, ALIBABA.secret, security_token="token")
    refusal = await put(oss, version, identity)
    assert (refusal.code, refusal.ec) == ("InvalidAccessKeyId", "0002-00000002")


async def test_the_signing_region_must_be_that_of_the_bucket(oss: OssService) -> None:
    refusal = await put(oss, "v4", region="cn-beijing")
    assert (refusal.status, refusal.code) == (400, "InvalidArgument")
    assert refusal.ec == refusal.headers["x-oss-ec"] == "0002-00000226"
    assert refusal.message == "Invalid signing region in Authorization header."


async def test_a_signature_covers_the_query_and_the_extra_headers(oss: OssService) -> None:
    query = {"prefix": "a b+", "list-type": "2"}
    headers = signed("GET", "", query=query, headers={"range": "bytes=0-1"}, additional={"Range"})
    good = "?list-type=2&prefix=a%20b%2B"
    assert await status_of(oss, "GET", good, headers) == 200
    assert await status_of(oss, "GET", "?prefix=a+b%2b&list-type=2", headers) == 200
    assert await status_of(oss, "GET", "?list-type=2&prefix=other", headers) == 403
    assert await status_of(oss, "GET", good, headers | {"range": "bytes=0-2"}) == 403
    assert await status_of(oss, "GET", good, headers | {"x-oss-added": "1"}) == 403
    assert await status_of(oss, "HEAD", good, headers) == 403


async def test_metadata_headers_are_signed_in_the_order_of_their_names(oss: OssService) -> None:
    metadata = {"x-oss-meta-a-b": "1", "x-oss-meta-a": "2", "x-oss-meta-Z": "gr\u00fc\u00dfe"}
    headers = signed("PUT", "k", headers=metadata)
    assert await status_of(oss, "PUT", "k", headers) == 200
    stored = oss.read("source", "k")
    assert stored is not None
    assert stored.described.meta == {"a-b": "1", "a": "2", "z": "gr\u00fc\u00dfe"}


@pytest.mark.parametrize("safe", ["", "/"])
@pytest.mark.parametrize("key", ["a/b/../c d", "目录//x+%41", "..", "a/./b"])
async def test_both_ways_to_write_a_slash_are_one_key(oss: OssService, key: str, safe: str) -> None:
    headers = signed("PUT", key, headers={"Content-Type": "application/json"})
    assert await status_of(oss, "PUT", quote(key, safe=safe), headers) == 200
    stored = oss.read("source", key)
    assert stored is not None
    assert stored.described.content_type == "application/json"


V4_HEAD = "OSS4-HMAC-SHA256 Credential=" + ALIBABA.access_key
SCOPE = "20260101/cn-hangzhou/oss/aliyun_v4_request"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 403, "AccessDenied"),
        ({"Authorization": "Basic abc"}, 400, "InvalidArgument"),
        ({"Authorization": "OSS4-HMAC-SHA256 nonsense"}, 400, "InvalidArgument"),
        ({"Authorization": f"{V4_HEAD}/{SCOPE}, Signature=0"}, 403, "AccessDenied"),
        (
            {"Authorization": f"{V4_HEAD}/{SCOPE},Signature=0", "x-oss-date": "yesterday"},
            403,
            "AccessDenied",
        ),
        ({"Authorization": f"OSS {ALIBABA.access_key}:sig"}, 403, "AccessDenied"),
        (
            {"Authorization": f"OSS {ALIBABA.access_key}:sig", "Date": "yesterday"},
            403,
            "AccessDenied",
        ),
    ],
)
async def test_a_call_without_a_readable_signature_is_refused(
    oss: OssService, headers: dict[str, str], status: int, code: str
) -> None:
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{oss.url}/source/k") as answer,
    ):
        assert answer.status == status
        assert f"<Code>{code}</Code>" in await answer.text()


@pytest.mark.parametrize(
    ("changed", "ec"),
    [
        ({"date": "20260102"}, "0002-00000225"),
        ({"product": "s3"}, "0002-00000227"),
        ({"terminator": "aws4_request"}, "0002-00000228"),
        ({"payload": "0" * 64}, "0002-00000215"),
    ],
)
async def test_each_part_of_the_scope_is_checked(changed: dict[str, str], ec: str) -> None:
    clock = Clock(lambda: 1_767_225_600.0)
    known = Identities(ALIBABA)
    service = OssService(clock, Faults(random.Random(1)), known, lambda _queue, _body: None)
    await service.start()
    parts = {"date": "20260101", "region": REGION, "product": "oss", "terminator": SCOPE[-17:]}
    scope = "/".join((parts | changed)[name] for name in parts)
    headers = {
        "Authorization": f"{V4_HEAD}/{scope}, Signature=0",
        "Date": "Thu, 01 Jan 2026 00:00:00 GMT",
        "x-oss-content-sha256": changed.get("payload", "UNSIGNED-PAYLOAD"),
    }
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{service.url}/source/k") as answer,
    ):
        assert (answer.status, answer.headers["x-oss-ec"]) == (400, ec)
    await service.stop()
