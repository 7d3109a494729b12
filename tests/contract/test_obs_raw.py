"""OBS on the wire, where the official SDK shows too little: headers, refusals, and hosts."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import HUAWEI, Identities, Identity
from localcloud.obs import ObsBehaviour, ObsService
from localcloud.obs.behaviour import CHECKSUM_HEADER, HASH_HEADER, NO_CRC64
from localcloud.obs.signature import resource_of, sign, string_to_sign

NOW = 1_767_323_045.678
HOST = "destination.obs.cn-north-4.myhuaweicloud.com"
GETTER = Identity("LOCALCLOUDGETTER0001", "getter", denied=("obs:bucket:ListBucket",))
DENIED = Identity("LOCALCLOUDDENIED0001", "denied", denied=("obs:*",))
CRC = "11051210869376104954"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return ET.fromstring(self.body).findtext("Code", "")


class Wire:
    """One OBS at a fixed instant, and calls signed as a test wants them."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.clock = Clock(lambda: NOW)
        identities = Identities(HUAWEI, GETTER, DENIED)
        self.obs = ObsService(self.clock, Faults(random.Random(1)), identities)
        self.obs.create_bucket("destination")

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        url = URL(self.obs.url + target, encoded=True)
        async with self.session.request(method, url, data=body, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def call(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str | None] | None = None,
        body: bytes = b"",
        *,
        identity: Identity = HUAWEI,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call with the bucket in the host."""
        query = query or {}
        sent = {"Date": formatdate(self.clock.now(), usegmt=True), "Host": HOST}
        sent |= {"Content-Type": "text/plain", **(headers or {})}
        text = string_to_sign(method, sent, resource_of("destination", key, query))
        sent["Authorization"] = f"OBS {identity.access_key}:{sign(identity.secret, text)}"
        pairs = [n if v is None else f"{n}={quote(v, safe='')}" for n, v in query.items()]
        target = f"/{quote(key, safe='/')}" + ("?" + "&".join(pairs) if pairs else "")
        return await self.send(method, target, sent, body)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with aiohttp.ClientSession() as session:
        wire = Wire(session)
        await wire.obs.start()
        yield wire
        await wire.obs.stop()


def md5(body: bytes) -> dict[str, str]:
    return {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def deletion(count: int) -> bytes:
    keys = "".join(f"<Object><Key>k{number}</Key></Object>" for number in range(count))
    return f"<Delete>{keys}</Delete>".encode()


async def test_head_tells_the_object_in_headers_and_nothing_more(wire: Wire) -> None:
    wire.obs.write("destination", "a", b"123456789")
    answer = await wire.call("HEAD", "a")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == "9"
    assert answer.headers["Last-Modified"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert answer.headers["ETag"] == '"25f9e794323b453885f5181f1b624d0b"'
    assert answer.headers["Content-Type"] == "binary/octet-stream"
    assert answer.headers["Server"] == "OBS"
    assert not {"x-obs-storage-class", "x-obs-uploadId"} & set(answer.headers)


async def test_head_of_a_missing_object_is_404_without_a_body(wire: Wire) -> None:
    answer = await wire.call("HEAD", "a")
    assert (answer.status, answer.body) == (404, b"")


async def test_every_answer_has_a_request_id_of_its_own(wire: Wire) -> None:
    answers = [
        await wire.call("GET"),
        await wire.call("HEAD", "missing"),
        await wire.call("GET", "missing"),
        await wire.call("GET", identity=Identity("UNKNOWN", "x")),
        await wire.send("GET", "/", {"Host": HOST}),
    ]
    ids = [answer.headers["x-obs-request-id"] for answer in answers]
    assert all(re.fullmatch(r"[0-9A-F]{32}", each) for each in ids)
    assert len(set(ids)) == len(ids)
    assert all(answer.headers["x-obs-id-2"] for answer in answers)


async def test_a_refusal_is_xml_that_names_the_request(wire: Wire) -> None:
    answer = await wire.call("GET", "目录/a")
    root = ET.fromstring(answer.body)
    assert (answer.status, answer.code, root.findtext("Key")) == (404, "NoSuchKey", "目录/a")
    assert root.findtext("RequestId") == answer.headers["x-obs-request-id"]
    assert root.findtext("HostId")
    assert answer.headers["Content-Type"] == "application/xml"


@pytest.mark.parametrize("name", [HASH_HEADER, CHECKSUM_HEADER, NO_CRC64])
async def test_the_checksum_stands_under_the_name_that_is_set(wire: Wire, name: str) -> None:
    wire.obs.behaviour.crc64_header = name
    expected = {name: CRC} if name else {}
    for method in ("PUT", "HEAD", "GET"):
        answer = await wire.call(method, "a", body=b"123456789" if method == "PUT" else b"")
        told = {n: v for n, v in answer.headers.items() if "crc64" in n}
        assert (answer.status, told) == (200, expected)
    stored = wire.obs.read("destination", "a")
    assert stored is not None
    assert stored.crc64 == (int(CRC) if name else None)
    wire.obs.write("destination", "b", b"1", has_crc64=False)
    assert not [n for n in (await wire.call("HEAD", "b")).headers if "crc64" in n]


def test_a_checksum_has_one_of_two_names() -> None:
    with pytest.raises(ValueError, match="crc64_header must be"):
        ObsBehaviour(crc64_header="x-obs-crc")
    with pytest.raises(ValueError, match="0 or more"):
        ObsBehaviour(locked_seconds=-1)


async def test_a_copy_in_parts_has_the_etag_of_its_parts(wire: Wire) -> None:
    stored = wire.obs.write("destination", "a", b"12345", part_bytes=2)
    digests = b"".join(hashlib.md5(part).digest() for part in (b"12", b"34", b"5"))
    assert stored.etag == f"{hashlib.md5(digests).hexdigest()}-3"
    answer = await wire.call("HEAD", "a")
    assert answer.headers["ETag"] == f'"{stored.etag}"'
    assert answer.headers["x-obs-uploadId"] == stored.upload_id
    assert (
        wire.obs.write("destination", "b", b"12", part_bytes=2).etag
        == hashlib.md5(b"12").hexdigest()
    )


async def test_a_listing_is_xml_of_obs_in_pages_of_at_most_1000(wire: Wire) -> None:
    for number in range(1_001):
        wire.obs.write("destination", f"{number:04}", b"1")
    for asked in ("", "0", "-1", "1001"):
        answer = await wire.call("GET", query={"max-keys": asked})
        assert answer.body.count(b"<Contents>") == 1_000
        assert b"<NextMarker>0999</NextMarker><MaxKeys>1000</MaxKeys>" in answer.body
    assert b'<ListBucketResult xmlns="http://obs.' in answer.body
    assert b"<LastModified>2026-01-02T03:04:05.000Z</LastModified>" in answer.body
    assert answer.headers["x-obs-bucket-location"] == "cn-north-4"
    assert (await wire.call("GET", query={"max-keys": "many"})).code == "InvalidArgument"
    assert (await wire.call("GET", query={"encoding-type": "xml"})).code == "InvalidArgument"


async def test_a_listing_may_tell_milliseconds(wire: Wire) -> None:
    wire.obs.write("destination", "a", b"1")
    wire.obs.behaviour.lists_milliseconds = True
    answer = await wire.call("GET")
    assert b"<LastModified>2026-01-02T03:04:05.678Z</LastModified>" in answer.body


@pytest.mark.parametrize(("plus_is_space", "encoded"), [(False, b"a%20%2B"), (True, b"a+%2B")])
async def test_a_space_in_an_encoded_key_is_what_is_set(
    wire: Wire, plus_is_space: bool, encoded: bytes
) -> None:
    wire.obs.write("destination", "a +", b"1")
    wire.obs.behaviour.plus_is_space_in_keys = plus_is_space
    answer = await wire.call("GET", query={"encoding-type": "url", "prefix": "a +"})
    assert b"<Key>" + encoded + b"</Key>" in answer.body
    assert b"<EncodingType>url</EncodingType>" in answer.body


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (deletion(1), {}, "InvalidRequest"),
        (deletion(1), {"Content-MD5": "!"}, "InvalidDigest"),
        (deletion(1), md5(b"other"), "BadDigest"),
        (deletion(0), md5(deletion(0)), "MalformedXML"),
        (deletion(1_001), md5(deletion(1_001)), "MalformedXML"),
        (b"<Delete>", md5(b"<Delete>"), "MalformedXML"),
        (b"<!DOCTYPE a><Delete/>", md5(b"<!DOCTYPE a><Delete/>"), "MalformedXML"),
    ],
)
async def test_a_deletion_of_many_is_checked(
    wire: Wire, body: bytes, headers: dict[str, str], code: str
) -> None:
    answer = await wire.call("POST", query={"delete": None}, body=body, headers=headers)
    assert (answer.status, answer.code) == (400, code)


async def test_a_deletion_of_many_takes_a_namespace_and_1000_keys(wire: Wire) -> None:
    for number in range(1_000):
        wire.obs.write("destination", f"k{number}", b"1")
    body = deletion(1_000).replace(b"<Delete>", b'<Delete xmlns="http://obs.example/doc/">')
    answer = await wire.call("POST", query={"delete": None}, body=body, headers=md5(body))
    assert answer.body.count(b"<Deleted>") == 1_000
    assert wire.obs.keys("destination") == []


async def test_who_may_not_delete_is_told_so_key_by_key(wire: Wire) -> None:
    wire.obs.write("destination", "k0", b"1")
    body = deletion(2)
    answer = await wire.call(
        "POST", query={"delete": None}, body=body, headers=md5(body), identity=DENIED
    )
    assert (answer.status, answer.body.count(b"<Code>AccessDenied</Code>")) == (200, 2)
    assert wire.obs.keys("destination") == ["k0"]


@pytest.mark.parametrize("name", ["Date", "x-obs-date"])
async def test_a_call_is_dated_by_either_header(wire: Wire, name: str) -> None:
    stale = formatdate(NOW - 3_600, usegmt=True)
    fresh = formatdate(NOW, usegmt=True)
    assert (await wire.call("GET", headers={"Date": stale, name: fresh})).status == 200
    late = await wire.call("GET", headers={name: stale})
    assert (late.status, late.code) == (403, "RequestTimeTooSkewed")
    assert b"no longer valid" in late.body
    early = await wire.call("GET", headers={name: formatdate(NOW + 3_600, usegmt=True)})
    assert b"not yet valid" in early.body


@pytest.mark.parametrize("date", ["", "yesterday", "20260102T030405Z"])
async def test_a_call_without_a_date_that_can_be_read_is_refused(wire: Wire, date: str) -> None:
    answer = await wire.call("GET", headers={"Date": date})
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        (None, 403, "AccessDenied"),
        ("OBS no-colon", 400, "InvalidArgument"),
        ("AWS4-HMAC-SHA256 Credential=x", 400, "InvalidArgument"),
        ("OBS UNKNOWN:x", 403, "InvalidAccessKeyId"),
        (f"OBS {HUAWEI.access_key}:wrong", 403, "SignatureDoesNotMatch"),
    ],
)
async def test_what_is_not_signed_as_obs_is_refused(
    wire: Wire, authorization: str | None, status: int, code: str
) -> None:
    headers = {"Host": HOST, "Date": formatdate(NOW, usegmt=True)}
    if authorization is not None:
        headers["Authorization"] = authorization
    answer = await wire.send("GET", "/", headers)
    assert (answer.status, answer.code) == (status, code)
    assert b"secret" not in answer.body


async def test_a_bucket_in_the_path_is_refused_except_on_an_address(wire: Wire) -> None:
    named = await wire.send("GET", "/destination/a", {"Host": "obs.cn-north-4.myhuaweicloud.com"})
    assert (named.status, named.code) == (403, "VirtualHostDomainRequired")
    here = f"127.0.0.1:{wire.obs.port}"
    assert (await wire.send("GET", "/destination/a", {"Host": here})).code == "AccessDenied"
    wire.obs.behaviour.takes_path_style = False
    refused = await wire.send("GET", "/destination/a", {"Host": here})
    assert (refused.status, refused.code) == (403, "VirtualHostDomainRequired")


async def test_names_that_break_the_rules_are_refused(wire: Wire) -> None:
    too_long = await wire.call("PUT", "n" * 1_025, body=b"1")
    assert (too_long.status, too_long.code) == (400, "KeyTooLongError")
    stale = await wire.call("PUT", "a", body=b"1", headers=md5(b"2"))
    assert (stale.status, stale.code) == (400, "BadDigest")
    other = await wire.call("PUT", "a", headers={"x-obs-storage-class": "FROZEN"})
    assert (other.status, other.code) == (400, "InvalidStorageClass")
    unserved = await wire.call("PUT", "a", {"acl": None}, b"1")
    assert (unserved.status, unserved.code) == (405, "MethodNotAllowed")
    assert wire.obs.keys("destination") == []


async def test_a_range_that_an_object_does_not_have_is_refused(wire: Wire) -> None:
    wire.obs.write("destination", "a", b"12345")
    tail = await wire.call("GET", "a", headers={"Range": "bytes=-2"})
    assert (tail.status, tail.body, tail.headers["Content-Range"]) == (206, b"45", "bytes 3-4/5")
    beyond = await wire.call("GET", "a", headers={"Range": "bytes=5-"})
    assert (beyond.status, beyond.code) == (416, "InvalidRange")


@pytest.mark.parametrize(("hides", "status"), [(False, 404), (True, 403)])
async def test_a_missing_key_may_be_hidden_from_who_may_not_list(
    wire: Wire, hides: bool, status: int
) -> None:
    wire.obs.behaviour.hides_missing = hides
    assert (await wire.call("HEAD", "a", identity=GETTER)).status == status
    assert (await wire.call("HEAD", "a")).status == 404
    assert (await wire.call("GET", identity=GETTER)).code == "AccessDenied"


async def test_a_bucket_says_that_it_speaks_obs_to_anybody(wire: Wire) -> None:
    answer = await wire.send("HEAD", "/?apiversion", {"Host": HOST})
    assert (answer.status, answer.headers["x-obs-api"]) == (200, "3.0")
    unknown: Any = await wire.send("HEAD", "/?apiversion", {"Host": HOST.replace("dest", "other")})
    assert (unknown.status, unknown.body) == (404, b"")


async def test_the_last_slash_of_a_bucket_in_the_path_may_be_left_unsigned(wire: Wire) -> None:
    here = {"Host": f"127.0.0.1:{wire.obs.port}", "Date": formatdate(NOW, usegmt=True)}
    here["Content-Type"] = "text/plain"
    for resource in ("/destination", "/destination/"):
        signature = sign(HUAWEI.secret, string_to_sign("GET", here, resource))
        signed = here | {"Authorization": f"OBS {HUAWEI.access_key}:{signature}"}
        assert (await wire.send("GET", "/destination", signed)).status == 200
        assert (await wire.send("GET", "/destination/", signed)).status == 200
