"""The official Python SDK of OBS against the local OBS: objects, listings, deletions, uploads, keys.

Options of the client that matter here: an address as `server` makes it use path style, and then, as
`client_mode` is "obs", the scheme AWS of old instead of OBS: `client_mode="workflow"` keeps it from that.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from obs import (
    CompleteMultipartUploadRequest,
    CompletePart,
    DeleteObjectsRequest,
    GetObjectHeader,
    Object,
    ObsClient,
    PutObjectHeader,
)

from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults
from localcloud.identity import HUAWEI, Identities, Identity
from localcloud.obs import ObsService
from localcloud.obs.behaviour import CHECKSUM_HEADER, NO_CRC64
from localcloud.storage.crc64 import crc64

HOST = "obs.cn-north-4.test"
TOKEN = Identity("LOCALCLOUDTEMPORARY1", "temporary-secret", "security/token+1==")
READER = Identity("LOCALCLOUDREADER0001", "reader", denied=("obs:object:PutObject",))
ODD_KEYS = [
    "plain.txt",
    "目录/文件 名.jpg",
    "emoji/😀🚀.png",
    "a b  c ",
    "1+1=2&x=y?z#f;a,b",
    "literal%41%2F%zz",
    "double//slash///end/",
    "/leading/slash",
    "dots/../up/./here/..",
    "../up",
    ".",
    "ctrl/\x01\t\r\n\x1f\x7f",
    "quotes'\"<&>|`^{}[]~",
    "\u00a0nbsp\u2028separator\ufeff",
    "é" * 512,
    "n" * 1024,
]

Make = Callable[..., Any]


@pytest.fixture
def identities() -> Identities:
    return Identities(HUAWEI, TOKEN, READER)


@pytest.fixture
async def obs(identities: Identities) -> AsyncIterator[ObsService]:
    service = ObsService(Clock(), Faults(random.Random(1)), identities)
    service.create_bucket("destination")
    await service.start()
    yield service
    await service.stop()


@pytest.fixture(params=["path", "host"])
def client_of(
    obs: ObsService, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Make clients that name the bucket in the path, or in a host that leads to this machine."""
    resolve = socket.getaddrinfo

    def home(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(HOST) else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", home)
    made: list[Any] = []

    def make(identity: Identity = HUAWEI, secret: str | None = None) -> Any:
        address = {"server": HOST, "is_signature_negotiation": False}
        if request.param == "path":
            address = {"server": "127.0.0.1", "path_style": True, "client_mode": "workflow"}
        client = ObsClient(
            access_key_id=identity.access_key,
            secret_access_key=identity.secret if secret is None else secret,
            security_token=identity.security_token or None,
            is_secure=False,
            signature="obs",
            port=urlsplit(obs.url).port,
            max_retry_count=0,
            **address,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def call(client_of: Make) -> Make:
    """Call one method of a client, in a thread."""
    client = client_of()

    async def call(method: str, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(client, method), "destination", *args, **kwargs)

    return call


def header(answer: Any, name: str) -> str | None:
    found: str | None = dict(answer.header).get(name)
    return found


async def test_an_object_is_put_told_of_read_and_deleted(obs: ObsService, call: Make) -> None:
    data = random.Random(2).randbytes(3_000)
    headers = PutObjectHeader(contentType="image/png", storageClass="WARM")
    answer = await call("putContent", "a/b.png", data, metadata={"Who": "me"}, headers=headers)
    etag = hashlib.md5(data).hexdigest()
    assert (answer.status, answer.body.etag) == (200, f'"{etag}"')
    assert answer.requestId
    told = await call("getObjectMetadata", "a/b.png")
    assert (told.status, told.body.etag, told.body.contentLength) == (200, f'"{etag}"', 3_000)
    assert (told.body.contentType, told.body.storageClass) == ("image/png", "WARM")
    assert header(told, "who") == "me"
    assert told.body.lastModified.endswith("GMT")
    read = await call("getObject", "a/b.png", loadStreamInMemory=True)
    assert bytes(read.body.buffer) == data
    part = await call(
        "getObject", "a/b.png", headers=GetObjectHeader(range="5-9"), loadStreamInMemory=True
    )
    assert (part.status, bytes(part.body.buffer)) == (206, data[5:10])
    assert (await call("deleteObject", "a/b.png")).status == 204
    assert (await call("deleteObject", "a/b.png")).status == 204
    assert obs.read("destination", "a/b.png") is None
    assert (await call("getObjectMetadata", "a/b.png")).status == 404
    missing = await call("getObject", "a/b.png")
    assert (missing.status, missing.errorCode) == (404, "NoSuchKey")


@pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: ascii(key)[:20])
async def test_any_key_is_put_told_of_and_read(obs: ObsService, call: Make, key: str) -> None:
    assert (await call("putContent", key, b"1")).status == 200
    stored = obs.read("destination", key)
    assert stored is not None
    assert stored.data == b"1"
    assert (await call("getObjectMetadata", key)).status == 200
    assert (await call("deleteObject", key)).status == 204
    assert len(obs.buckets["destination"]) == 0


@pytest.mark.parametrize("plus_is_space", [False, True])
async def test_every_key_is_listed_once_in_the_order_of_its_bytes(
    obs: ObsService, call: Make, plus_is_space: bool
) -> None:
    obs.behaviour.plus_is_space_in_keys = plus_is_space
    for key in ODD_KEYS:
        obs.write("destination", key, b"12")
    found: list[str] = []
    marker = None
    while True:
        page = (await call("listObjects", marker=marker, max_keys=3, encoding_type="url")).body
        assert len(page.contents) <= 3
        assert {(each.size, each.storageClass) for each in page.contents} == {(2, "STANDARD")}
        found += [each.key for each in page.contents]
        if not page.is_truncated:
            break
        marker = page.next_marker
        assert marker == found[-1]
    assert found == sorted(ODD_KEYS, key=str.encode)


async def test_a_listing_has_a_prefix_a_marker_and_folders(obs: ObsService, call: Make) -> None:
    for key in ("a/1", "a/b/1", "a/b/2", "a/c/1", "b"):
        obs.write("destination", key, b"")
    page = (await call("listObjects", prefix="a/", delimiter="/")).body
    assert [each.key for each in page.contents] == ["a/1"]
    assert [each.prefix for each in page.commonPrefixs] == ["a/b/", "a/c/"]
    assert (page.is_truncated, page.location) == (False, "cn-north-4")
    first = (await call("listObjects", prefix="a/", delimiter="/", max_keys=2)).body
    assert (first.is_truncated, first.next_marker) == (True, "a/b/")
    rest = (await call("listObjects", prefix="a/", delimiter="/", marker="a/b/")).body
    assert [each.prefix for each in rest.commonPrefixs] == ["a/c/"]
    after = (await call("listObjects", marker="a/b/2")).body
    assert [each.key for each in after.contents] == ["a/c/1", "b"]
    obs.behaviour.gives_next_marker = False
    assert (await call("listObjects", max_keys=1)).body.next_marker is None


@pytest.mark.parametrize("encoding_type", [None, "url"])
async def test_many_objects_are_deleted_in_one_call(
    obs: ObsService, call: Make, encoding_type: str | None
) -> None:
    # Without the encoding, XML cannot carry control characters.
    keys = [key for key in ODD_KEYS if encoding_type or "ctrl" not in key]
    for key in keys:
        obs.write("destination", key, b"1")
    obs.faults.add(Fault("obs", "DeleteObjects", Action.CUSTOM, name="delete_fails", times=1))
    objects = [Object(key=key) for key in [*keys, "missing"]]
    request = DeleteObjectsRequest(quiet=False, objects=objects, encoding_type=encoding_type)
    answer = await call("deleteObjects", request)
    (failed,) = answer.body.error
    assert (failed.key, failed.code) == (keys[0], "InternalError")
    assert [each.key for each in answer.body.deleted] == [*keys[1:], "missing"]
    assert obs.keys("destination") == keys[:1]
    quiet = DeleteObjectsRequest(quiet=True, objects=objects, encoding_type=encoding_type)
    answer = await call("deleteObjects", quiet)
    assert (answer.status, answer.body.deleted, answer.body.error) == (200, [], [])
    assert obs.keys("destination") == []


async def test_an_object_is_uploaded_in_parts(obs: ObsService, call: Make) -> None:
    parts = [random.Random(3).randbytes(102_400), b"tail"]
    begun = await call("initiateMultipartUpload", "big", contentType="text/plain")
    upload_id = begun.body.uploadId
    sent = [
        await call("uploadPart", "big", number, upload_id, content=part)
        for number, part in enumerate(parts, 1)
    ]
    named = [CompletePart(number, each.body.etag) for number, each in enumerate(sent, 1)]
    answer = await call(
        "completeMultipartUpload", "big", upload_id, CompleteMultipartUploadRequest(named)
    )
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    etag = f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert (answer.status, answer.body.etag, answer.body.key) == (200, etag, "big")
    told = await call("getObjectMetadata", "big")
    assert (told.body.etag, told.body.contentType) == (etag, "text/plain")
    assert header(told, "uploadid") == upload_id
    stored = obs.read("destination", "big")
    assert stored is not None
    assert stored.data == b"".join(parts)
    assert obs.buckets["destination"].uploads == {}


async def test_an_upload_is_dropped_or_refused(obs: ObsService, call: Make) -> None:
    begun = await call("initiateMultipartUpload", "big")
    upload_id = begun.body.uploadId
    sent = [
        await call("uploadPart", "big", number, upload_id, content=b"small") for number in (1, 2)
    ]
    named = [CompletePart(number, each.body.etag) for number, each in enumerate(sent, 1)]
    finish = CompleteMultipartUploadRequest(named)
    refused = await call("completeMultipartUpload", "big", upload_id, finish)
    assert (refused.status, refused.errorCode) == (400, "EntityTooSmall")
    wrong = CompleteMultipartUploadRequest([CompletePart(1, '"00"')])
    refused = await call("completeMultipartUpload", "big", upload_id, wrong)
    assert (refused.status, refused.errorCode) == (400, "InvalidPart")
    refused = await call("uploadPart", "big", 10_001, upload_id, content=b"1")
    assert (refused.status, refused.errorCode) == (400, "InvalidArgument")
    assert (await call("abortMultipartUpload", "big", upload_id)).status == 204
    gone = await call("abortMultipartUpload", "big", upload_id)
    assert (gone.status, gone.errorCode) == (404, "NoSuchUpload")
    assert obs.keys("destination") == []


async def test_checksums_are_told_and_checked(obs: ObsService, call: Make) -> None:
    obs.behaviour.crc64_header = CHECKSUM_HEADER
    told = str(crc64(b"123456789"))
    assert (await call("putContent", "a", b"123456789")).body.crc64 == told
    assert (await call("getObjectMetadata", "a")).body.crc64 == told
    # The SDK works the number out while it reads.
    read = await call("getObject", "a", loadStreamInMemory=True, isAttachCrc64=True)
    assert bytes(read.body.buffer) == b"123456789"
    begun = (await call("initiateMultipartUpload", "b")).body.uploadId
    part = await call("uploadPart", "b", 1, begun, content=b"123456789", isAttachCrc64=True)
    assert (part.status, part.body.crc64) == (200, told)
    headers = PutObjectHeader(crc64="1")
    refused = await call("putContent", "c", b"123456789", headers=headers)
    assert (refused.status, refused.errorCode) == (400, "BadDigest")
    obs.behaviour.crc64_header = NO_CRC64
    assert (await call("getObjectMetadata", "a")).body.crc64 is None


async def test_a_bucket_is_made_found_and_removed(obs: ObsService, client_of: Make) -> None:
    client = client_of()

    async def call(method: str) -> int:
        status: int = (await asyncio.to_thread(getattr(client, method), "another")).status
        return status

    assert await call("headBucket") == 404
    assert await call("createBucket") == 200
    assert await call("headBucket") == 200
    obs.write("another", "k", b"1")
    assert await call("deleteBucket") == 409
    obs.remove("another", "k")
    assert await call("deleteBucket") == 204
    assert "another" not in obs.buckets


async def test_temporary_keys_need_their_token(client_of: Make) -> None:
    temporary = client_of(TOKEN)
    answer = await asyncio.to_thread(temporary.putContent, "destination", "a", b"1")
    assert answer.status == 200
    for identity in (
        Identity(TOKEN.access_key, TOKEN.secret),
        Identity(TOKEN.access_key, TOKEN.secret, "another token"),
        Identity(HUAWEI.access_key, HUAWEI.secret, "needless"),
        Identity("UNKNOWN", "secret"),
    ):
        client = client_of(identity)
        answer = await asyncio.to_thread(client.putContent, "destination", "a", b"1")
        assert (answer.status, answer.errorCode) == (403, "InvalidAccessKeyId")


async def test_a_wrong_secret_is_refused_and_locks_the_key_in_the_end(
    obs: ObsService, client_of: Make
) -> None:
    obs.behaviour.wrong_signatures_max = 3
    right, wrong = client_of(), client_of(secret="wrong")

    async def list_with(client: Any) -> tuple[int, str | None]:
        answer = await asyncio.to_thread(client.listObjects, "destination")
        return answer.status, answer.errorCode

    for _ in range(2):
        assert await list_with(wrong) == (403, "SignatureDoesNotMatch")
    assert await list_with(right) == (200, None)
    for _ in range(3):
        assert await list_with(wrong) == (403, "SignatureDoesNotMatch")
    assert await list_with(wrong) == (400, "TooManyWrongSignature")
    assert await list_with(right) == (400, "TooManyWrongSignature")
    obs.clock.offset_seconds = obs.behaviour.locked_seconds + 1
    assert await list_with(right) == (200, None)
    obs.behaviour.wrong_signatures_max = 1
    assert await list_with(wrong) == (403, "SignatureDoesNotMatch")
    obs.verifier.unlock()
    assert await list_with(right) == (200, None)


async def test_a_key_may_do_what_its_policy_allows(obs: ObsService, client_of: Make) -> None:
    obs.write("destination", "a", b"1")
    reader = client_of(READER)
    answer = await asyncio.to_thread(reader.getObjectMetadata, "destination", "a")
    assert answer.status == 200
    refused = await asyncio.to_thread(reader.putContent, "destination", "a", b"2")
    assert (refused.status, refused.errorCode) == (403, "AccessDenied")


@pytest.mark.parametrize("seconds", [-901, 901])
async def test_a_clock_that_is_wrong_is_told(obs: ObsService, call: Make, seconds: int) -> None:
    obs.clock.offset_seconds = seconds
    refused = await call("listObjects")
    assert (refused.status, refused.errorCode) == (403, "RequestTimeTooSkewed")
    obs.clock.offset_seconds = seconds * 0.99
    assert (await call("listObjects")).status == 200


async def test_faults_strike_obs_as_every_service(obs: ObsService, call: Make) -> None:
    obs.write("destination", "a", b"1")
    obs.faults.add(Fault("obs", "HeadObject", Action.STATUS, 503, times=1))
    assert (await call("getObjectMetadata", "a")).status == 503
    assert (await call("getObjectMetadata", "a")).status == 200
    assert obs.counts["HeadObject", 200] == 1
