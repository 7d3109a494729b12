"""The official SDK against the local OSS: objects, copies, appends, uploads and buckets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import oss2
import pytest
from oss2.models import PartInfo

from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults
from localcloud.identity import ALIBABA, Identities, Identity
from localcloud.oss import EventRule, OssService
from localcloud.storage.crc64 import crc64

REGION = "cn-hangzhou"
ODD_KEYS = [
    "plain.txt",
    "目录/文件 名.jpg",
    "emoji/😀🚀.png",
    "a b  c ",
    "1+1=2&x=y?z#f;a,b",
    "literal%41%2F%zz",
    "double//slash///end/",
    "dots/../up/./here/..",
    "ctrl/\x01\t\r\n\x1f\x7f",
    "quotes'\"<&>|`^{}[]~",
    "\u00a0nbsp\u2028separator\ufeff",
    "é" * 511 + "x",
    "n" * 1023,
]


class Published:
    """The messages handed to MNS, as (queue, body)."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def __call__(self, queue: str, body: str) -> None:
        self.sent.append((queue, body))

    @property
    def events(self) -> list[dict[str, Any]]:
        bodies = (json.loads(base64.b64decode(body, validate=True)) for _, body in self.sent)
        return [event for body in bodies for event in body["events"]]

    @property
    def names(self) -> list[str]:
        return [event["eventName"] for event in self.events]


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
async def oss(published: Published) -> AsyncIterator[OssService]:
    service = OssService(Clock(), Faults(random.Random(1)), Identities(ALIBABA), published)
    service.create_bucket("source", REGION)
    await service.start()
    yield service
    await service.stop()


@pytest.fixture(params=["v4", "v1"])
def bucket(oss: OssService, request: pytest.FixtureRequest) -> Iterator[Any]:
    kind = {"v4": oss2.AuthV4, "v1": oss2.Auth}[request.param]
    auth = kind(ALIBABA.access_key, ALIBABA.secret)
    client = oss2.Bucket(auth, oss.url, "source", region=REGION)
    yield client
    client.session.session.close()


async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the blocking SDK beside the loop that serves it."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def refused(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        await call(function, *args, **kwargs)
    return caught.value


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_any_valid_key_survives_the_round_trip(
    oss: OssService, bucket: Any, published: Published, key: str
) -> None:
    oss.rules.append(EventRule("source", "queue"))
    put = await call(bucket.put_object, key, b"content")
    stored = oss.read("source", key)
    assert stored is not None
    assert stored.data == b"content"
    assert put.etag == hashlib.md5(b"content").hexdigest().upper() == stored.etag
    got = await call(bucket.get_object, key)
    assert await call(got.read) == b"content"
    assert (await call(bucket.head_object, key)).content_length == len(b"content")
    assert [event["oss"]["object"]["key"] for event in published.events] == [key]
    assert await call(bucket.object_exists, key)
    await call(bucket.delete_object, key)
    assert not await call(bucket.object_exists, key)


@pytest.mark.parametrize("key", ["/leading", "\\leading", "n" * 1024, "é" * 512])
async def test_an_invalid_key_is_refused(oss: OssService, bucket: Any, key: str) -> None:
    error = await refused(bucket.put_object, key, b"")
    assert (error.status, error.code) == (400, "InvalidObjectName")
    assert len(oss.buckets["source"]) == 0


async def test_head_tells_what_was_put(oss: OssService, bucket: Any) -> None:
    headers = {"Content-Type": "text/plain; charset=utf-8", "x-oss-meta-Owner-Id": "7"}
    await call(bucket.put_object, "k", "grüße", headers=headers)
    head = await call(bucket.head_object, "k")
    assert head.content_type == "text/plain; charset=utf-8"
    assert head.object_type == "Normal"
    assert head.headers["x-oss-meta-owner-id"] == "7"
    assert abs(head.last_modified - oss.clock.now()) < 60
    meta = await call(bucket.get_object_meta, "k")
    assert (meta.content_length, meta.etag) == (7, head.etag)


async def test_a_missing_key_is_told_apart_from_a_missing_bucket(
    oss: OssService, bucket: Any
) -> None:
    error = await refused(bucket.get_object, "nowhere")
    assert (error.status, error.code, error.ec) == (404, "NoSuchKey", "0026-00000001")
    assert error.details["Key"] == "nowhere"
    assert error.request_id == error.details["RequestId"]
    assert (await refused(bucket.head_object, "nowhere")).code == "NoSuchKey"
    other = oss2.Bucket(bucket.auth, oss.url, "no-such-bucket", region=REGION)
    for attempt in (other.get_object, other.delete_object, other.object_exists):
        error = await refused(attempt, "k")
        assert (error.status, error.code) == (404, "NoSuchBucket")
    other.session.session.close()


@pytest.mark.parametrize(
    ("byte_range", "expected"),
    [((0, 3), b"0123"), ((4, None), b"456789"), ((None, 2), b"89"), ((8, 50), b"89")],
)
async def test_a_range_is_read(bucket: Any, byte_range: Any, expected: bytes) -> None:
    await call(bucket.put_object, "k", b"0123456789")
    got = await call(bucket.get_object, "k", byte_range=byte_range)
    assert (got.status, await call(got.read)) == (206, expected)


async def test_a_range_beyond_the_end_gives_the_whole_object(bucket: Any) -> None:
    await call(bucket.put_object, "k", b"0123456789")
    got = await call(bucket.get_object, "k", byte_range=(10, 20))
    assert (got.status, await call(got.read)) == (200, b"0123456789")


async def test_forbid_overwrite_refuses_only_an_existing_object(bucket: Any) -> None:
    headers = {"x-oss-forbid-overwrite": "true"}
    await call(bucket.put_object, "k", b"first", headers=dict(headers))
    error = await refused(bucket.put_object, "k", b"second", headers=dict(headers))
    assert (error.status, error.code) == (409, "FileAlreadyExists")
    got = await call(bucket.get_object, "k")
    assert await call(got.read) == b"first"


async def test_content_md5_is_checked(oss: OssService, bucket: Any) -> None:
    right = base64.b64encode(hashlib.md5(b"body").digest()).decode()
    await call(bucket.put_object, "right", b"body", headers={"Content-MD5": right})
    for wrong in (base64.b64encode(b"x" * 16).decode(), "not base64"):
        error = await refused(bucket.put_object, "wrong", b"body", headers={"Content-MD5": wrong})
        assert (error.status, error.code) == (400, "InvalidDigest")
    assert oss.read("source", "wrong") is None


async def test_batch_delete_names_every_key(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue", ("ObjectRemoved:*",)))
    keys = ["a b", "目录/x", "<&>", "literal%41", "1+1"]
    for key in keys:
        oss.put("source", key, b"1234")
    result = await call(bucket.batch_delete_objects, [*keys, "never was"])
    assert result.deleted_keys == [*keys, "never was"]
    assert len(oss.buckets["source"]) == 0
    assert published.names == ["ObjectRemoved:DeleteObjects"] * len(keys)
    assert [event["oss"]["object"]["deltaSize"] for event in published.events] == [-4] * len(keys)
    assert {e["responseElements"]["requestId"] for e in published.events} == {result.request_id}


async def test_too_many_deletes_are_refused(bucket: Any) -> None:
    error = await refused(bucket.batch_delete_objects, [str(number) for number in range(1001)])
    assert (error.status, error.code) == (400, "MalformedXML")


async def test_keys_that_xml_cannot_carry_are_refused_in_a_batch(bucket: Any) -> None:
    error = await refused(bucket.batch_delete_objects, ["\x01"])
    assert (error.status, error.code) == (400, "MalformedXML")


async def test_copy_keeps_metadata_unless_told_to_replace(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue"))
    source = "odd/目录 +%41//k"
    await call(bucket.put_object, source, b"data", headers={"x-oss-meta-a": "1"})
    copied = await call(bucket.copy_object, "source", source, "kept")
    replacing = {"x-oss-metadata-directive": "REPLACE", "x-oss-meta-b": "2"}
    await call(bucket.copy_object, "source", source, "replaced", headers=replacing)
    kept, replaced = oss.read("source", "kept"), oss.read("source", "replaced")
    assert kept is not None
    assert replaced is not None
    assert (kept.data, kept.described.meta, kept.etag) == (b"data", {"a": "1"}, copied.etag)
    assert (replaced.data, replaced.described.meta) == (b"data", {"b": "2"})
    assert published.names[1:] == ["ObjectCreated:CopyObject"] * 2


async def test_a_copy_onto_itself_is_a_change_of_metadata(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue", ("ObjectCreated:*", "ObjectModified:*")))
    await call(bucket.put_object, "目录/k", b"data", headers={"x-oss-meta-a": "1"})
    await call(bucket.update_object_meta, "目录/k", {"x-oss-meta-b": "2"})
    stored = oss.read("source", "目录/k")
    assert stored is not None
    assert stored.described.meta == {"b": "2"}
    to_archive = {"x-oss-storage-class": "IA"}
    await call(bucket.copy_object, "source", "目录/k", "目录/k", headers=to_archive)
    assert published.names == [
        "ObjectCreated:PutObject",
        "ObjectModified:UpdateObjectMeta",
        "ObjectModified:ChangeStorageClass",
    ]
    assert [event["oss"]["object"]["deltaSize"] for event in published.events] == [4, 0, 0]


async def test_copying_what_is_not_there_is_refused(bucket: Any) -> None:
    assert (await refused(bucket.copy_object, "source", "none", "k")).code == "NoSuchKey"
    assert (await refused(bucket.copy_object, "no-such-bucket", "k", "k")).code == "NoSuchBucket"
    error = await refused(bucket.put_object, "k", b"", headers={"x-oss-copy-source": "/only"})
    assert error.code == "InvalidArgument"


async def test_append_wants_the_right_position(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue"))
    first = await call(bucket.append_object, "log", 0, b"one\n")
    assert first.next_position == 4
    error = await refused(bucket.append_object, "log", 0, b"two\n")
    assert (error.status, error.code) == (409, "PositionNotEqualToLength")
    assert error.headers["x-oss-next-append-position"] == "4"
    second = await call(bucket.append_object, "log", 4, b"two\n")
    assert second.next_position == 8
    stored = oss.read("source", "log")
    assert stored is not None
    assert stored.data == b"one\ntwo\n"
    assert (await call(bucket.head_object, "log")).object_type == "Appendable"
    assert [event["oss"]["object"]["position"] for event in published.events] == [0, 4]
    assert [event["oss"]["object"]["deltaSize"] for event in published.events] == [4, 4]


async def test_append_wants_an_appendable_object_and_a_number(bucket: Any) -> None:
    await call(bucket.put_object, "k", b"x")
    assert (await refused(bucket.append_object, "k", 1, b"y")).code == "ObjectNotAppendable"
    assert (await refused(bucket.append_object, "k", -1, b"y")).code == "InvalidArgument"


async def test_multipart_upload_makes_one_object_and_much_noise(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue"))
    oss.put("source", "other", b"copied part")
    key = "大文件.bin"
    upload_id = (await call(bucket.init_multipart_upload, key)).upload_id
    big = b"p" * 102_400
    parts = [PartInfo(1, (await call(bucket.upload_part, key, upload_id, 1, big)).etag)]
    copied = await call(bucket.upload_part_copy, "source", "other", (0, 5), key, upload_id, 2)
    parts.append(PartInfo(2, copied.etag))
    assert oss.read("source", key) is None
    done = await call(bucket.complete_multipart_upload, key, upload_id, parts)
    stored = oss.read("source", key)
    assert stored is not None
    assert (stored.data, stored.etag) == (big + b"copied", done.etag)
    digests = hashlib.md5(big).digest() + hashlib.md5(b"copied").digest()
    assert done.etag == hashlib.md5(digests).hexdigest().upper() + "-2"
    assert published.names[1:] == [
        "ObjectCreated:InitiateMultipartUpload",
        "ObjectCreated:UploadPart",
        "ObjectCreated:UploadPartCopy",
        "ObjectCreated:CompleteMultipartUpload",
    ]


async def test_a_bad_list_of_parts_is_refused(oss: OssService, bucket: Any) -> None:
    upload_id = (await call(bucket.init_multipart_upload, "k")).upload_id
    etags = [(await call(bucket.upload_part, "k", upload_id, n, b"small")).etag for n in (1, 2)]
    one, two = PartInfo(1, etags[0]), PartInfo(2, etags[1])
    cases = {
        "InvalidPart": [PartInfo(1, "0" * 32)],
        "EntityTooSmall": [one, two],
        "MalformedXML": [],
    }
    for code, parts in cases.items():
        error = await refused(bucket.complete_multipart_upload, "k", upload_id, parts)
        assert error.code == code
    assert oss.read("source", "k") is None
    assert (await refused(bucket.upload_part, "k", upload_id, 0, b"")).code == "InvalidArgument"


async def test_an_aborted_upload_is_gone(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue", ("ObjectRemoved:*",)))
    upload_id = (await call(bucket.init_multipart_upload, "k")).upload_id
    await call(bucket.abort_multipart_upload, "k", upload_id)
    error = await refused(bucket.upload_part, "k", upload_id, 1, b"late")
    assert (error.status, error.code) == (404, "NoSuchUpload")
    assert published.names == ["ObjectRemoved:AbortMultipartUpload"]


async def test_a_symlink_reads_its_target(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue"))
    await call(bucket.put_symlink, "目标/t +", "link")
    error = await refused(bucket.get_object, "link")
    assert (error.status, error.code) == (404, "SymlinkTargetNotExist")
    oss.put("source", "目标/t +", b"behind")
    got = await call(bucket.get_object, "link")
    assert await call(got.read) == b"behind"
    assert (await call(bucket.get_symlink, "link")).target_key == "目标/t +"
    assert (await refused(bucket.get_symlink, "目标/t +")).code == "NotSymlink"
    assert published.names[0] == "ObjectCreated:PutSymlink"


async def test_buckets_come_and_go(oss: OssService, bucket: Any) -> None:
    fresh = oss2.Bucket(bucket.auth, oss.url, "fresh-bucket", region=REGION)
    await call(fresh.create_bucket)
    info = await call(fresh.get_bucket_info)
    assert (info.name, info.location) == ("fresh-bucket", "oss-cn-hangzhou")
    await call(fresh.put_object, "k", b"")
    assert (await refused(fresh.delete_bucket)).code == "BucketNotEmpty"
    await call(fresh.delete_object, "k")
    await call(fresh.delete_bucket)
    assert (await refused(fresh.get_bucket_info)).code == "NoSuchBucket"
    fresh.session.session.close()


async def test_what_is_not_served_says_so_and_changes_nothing(oss: OssService, bucket: Any) -> None:
    oss.put("source", "k", b"kept")
    error = await refused(bucket.put_object_acl, "k", oss2.OBJECT_ACL_PRIVATE)
    assert (error.status, error.code) == (501, "NotImplemented")
    stored = oss.read("source", "k")
    assert stored is not None
    assert stored.data == b"kept"


async def test_head_and_meta_need_no_content(oss: OssService, bucket: Any) -> None:
    oss.put("source", "k", b"data")
    head = await call(bucket._do, "HEAD", "source", "")
    assert head.headers["x-oss-bucket-region"] == REGION
    meta = await call(bucket._do, "GET", "source", "k", params={"objectMeta": ""})
    assert meta.headers["ETag"] == f'"{hashlib.md5(b"data").hexdigest().upper()}"'
    assert await call(meta.read) == b""


async def test_a_quiet_batch_delete_says_nothing(oss: OssService, bucket: Any) -> None:
    oss.put("source", "k", b"data")
    xml = "<Delete><Quiet>true</Quiet><Object><Key>k</Key></Object></Delete>"
    answer = await call(bucket._do, "POST", "source", "", params={"delete": ""}, data=xml)
    assert (answer.status, await call(answer.read)) == (200, b"")
    assert oss.read("source", "k") is None


async def test_a_part_may_be_a_whole_object(oss: OssService, bucket: Any) -> None:
    oss.put("source", "other", b"whole")
    upload_id = (await call(bucket.init_multipart_upload, "k")).upload_id
    part = await call(bucket.upload_part_copy, "source", "other", None, "k", upload_id, 1)
    for xml in ("<not xml", "<!DOCTYPE a><CompleteMultipartUpload/>"):
        error = await refused(
            bucket._do, "POST", "source", "k", params={"uploadId": upload_id}, data=xml
        )
        assert error.code == "MalformedXML"
    done = [PartInfo(1, part.etag)]
    await call(bucket.complete_multipart_upload, "k", upload_id, done)
    stored = oss.read("source", "k")
    assert stored is not None
    assert stored.data == b"whole"


async def test_a_lost_reply_is_not_a_lost_object(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue"))
    oss.faults.add(Fault("oss", "PutObject", Action.CUT_AFTER, times=1))
    with pytest.raises(oss2.exceptions.RequestError):
        await call(bucket.put_object, "k", b"data")
    assert oss.read("source", "k") is not None
    assert published.names == ["ObjectCreated:PutObject"]


async def test_the_policy_of_a_key_decides(oss: OssService, bucket: Any) -> None:
    only_reads = Identity("LTAIreadonly", "s3cret", allowed=("oss:Get*", "oss:ListObjects"))
    oss.identities.add(only_reads)
    oss.put("source", "k", b"data")
    auth = type(bucket.auth)(only_reads.access_key, only_reads.secret)
    reader = oss2.Bucket(auth, oss.url, "source", region=REGION)
    assert await call(reader.object_exists, "k")
    assert [entry.key for entry in (await call(reader.list_objects_v2)).object_list] == ["k"]
    refusals = [
        await refused(reader.put_object, "k", b"x"),
        await refused(reader.delete_object, "k"),
        await refused(reader.copy_object, "source", "k", "copy"),
        await refused(reader.batch_delete_objects, ["k"]),
    ]
    assert {(e.status, e.code, e.ec) for e in refusals} == {(403, "AccessDenied", "0003-00000001")}
    reader.session.session.close()


async def test_copying_wants_the_right_to_read_as_well(oss: OssService, bucket: Any) -> None:
    only_writes = Identity("LTAIwriteonly", "s3cret", allowed=("oss:PutObject",))
    oss.identities.add(only_writes)
    oss.put("source", "k", b"data")
    auth = type(bucket.auth)(only_writes.access_key, only_writes.secret)
    writer = oss2.Bucket(auth, oss.url, "source", region=REGION)
    await call(writer.put_object, "mine", b"x")
    assert (await refused(writer.copy_object, "source", "k", "copy")).code == "AccessDenied"
    writer.session.session.close()


async def test_answers_say_whether_a_rule_announced(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue", prefix="in/", suffix=".jpg"))
    told = await call(bucket.put_object, "in/a.jpg", b"x")
    assert base64.b64decode(told.headers["x-oss-event-status"]) == b'{"Result":"Ok"}'
    untold = await call(bucket.put_object, "out/a.jpg", b"x")
    assert "x-oss-event-status" not in untold.headers
    (event,) = published.events
    assert event["responseElements"]["requestId"] == told.request_id


async def test_events_can_be_lost_and_doubled(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue"))
    for name in ("lose_event", "duplicate_event"):
        fault = Fault("oss", "PutObject", Action.CUSTOM, name=name, times=1)
        oss.faults.add(fault)
    # A call that no rule announces must not use up the faults.
    await call(bucket.delete_object, "k")
    lost = await call(bucket.put_object, "lost", b"x")
    assert base64.b64decode(lost.headers["x-oss-event-status"]) == b'{"Result":"Fail"}'
    await call(bucket.put_object, "doubled", b"x")
    await call(bucket.put_object, "usual", b"x")
    keys = [event["oss"]["object"]["key"] for event in published.events]
    assert keys == ["doubled", "doubled", "usual"]
    assert oss.read("source", "lost") is not None


async def test_downloads_are_announced_with_what_was_read(
    oss: OssService, bucket: Any, published: Published
) -> None:
    oss.rules.append(EventRule("source", "queue", ("ObjectDownloaded:GetObject",)))
    oss.put("source", "k", b"0123456789")
    got = await call(bucket.get_object, "k", byte_range=(2, 4))
    await call(got.read)
    (event,) = published.events
    told = event["oss"]["object"]
    assert (told["readFrom"], told["readTo"], told["size"]) == (2, 5, 10)


def crc64_of(answer: Any) -> str | None:
    found: str | None = answer.headers.get("x-oss-hash-crc64ecma")
    return found


async def test_every_answer_about_a_content_tells_its_checksum(bucket: Any) -> None:
    # The SDK checks the checksum of what it sends and of what it reads by itself.
    data = random.Random(2).randbytes(3_000)
    told = str(crc64(data))

    def calls() -> list[str | None]:
        answers = [
            bucket.put_object("a", data),
            bucket.head_object("a"),
            bucket.get_object_meta("a"),
            bucket.get_object("a", byte_range=(1, 9)),
            bucket.copy_object("source", "a", "b"),
            bucket.head_object("b"),
        ]
        return [crc64_of(answer.resp) for answer in answers]

    assert await asyncio.to_thread(calls) == [told] * 6
    assert await asyncio.to_thread(lambda: bucket.get_object("a").read()) == data


async def test_an_upload_in_parts_has_the_checksum_of_the_whole(bucket: Any) -> None:
    first, last = random.Random(3).randbytes(102_400), b"last"

    def upload(*, copied: bool) -> str | None:
        begun = bucket.init_multipart_upload("a").upload_id
        parts = [bucket.upload_part("a", begun, 1, first)]
        if copied:
            bucket.put_object("old", last)
            parts.append(bucket.upload_part_copy("source", "old", None, "a", begun, 2))
        else:
            parts.append(bucket.upload_part("a", begun, 2, last))
        named = [PartInfo(number, part.etag) for number, part in enumerate(parts, 1)]
        return crc64_of(bucket.complete_multipart_upload("a", begun, named).resp)

    assert await asyncio.to_thread(upload, copied=False) == str(crc64(first + last))
    assert await asyncio.to_thread(upload, copied=True) == str(crc64(first + last))


async def test_an_appended_object_has_the_checksum_of_all_of_it(bucket: Any) -> None:
    def append() -> list[str | None]:
        first = bucket.append_object("a", 0, b"12345", init_crc=0)
        second = bucket.append_object("a", 5, b"6789", init_crc=first.crc)
        return [crc64_of(each.resp) for each in (first, second, bucket.head_object("a"))]

    assert await asyncio.to_thread(append) == [
        "6748440630437108969",
        "11051210869376104954",
        "11051210869376104954",
    ]


async def test_objects_of_long_ago_tell_no_checksum(oss: OssService, bucket: Any) -> None:
    oss.buckets["source"].keeps_crc64 = False
    await asyncio.to_thread(bucket.put_object, "a", b"1")
    oss.buckets["source"].keeps_crc64 = True
    oss.put("source", "b", b"2", has_crc64=False)
    oss.put("source", "c", b"3")

    def told(key: str) -> list[str | None]:
        answers = [bucket.head_object(key), bucket.get_object(key), bucket.get_object_meta(key)]
        return [crc64_of(each.resp) for each in answers]

    assert await asyncio.to_thread(told, "a") == [None] * 3
    assert await asyncio.to_thread(told, "b") == [None] * 3
    assert None not in await asyncio.to_thread(told, "c")
    await asyncio.to_thread(bucket.copy_object, "source", "a", "d")
    assert await asyncio.to_thread(told, "d") == [None] * 3


async def test_an_upload_with_a_part_that_has_no_checksum_has_none(
    oss: OssService, bucket: Any
) -> None:
    oss.put("source", "old", b"1", has_crc64=False)

    def upload() -> str | None:
        begun = bucket.init_multipart_upload("a").upload_id
        part = bucket.upload_part_copy("source", "old", None, "a", begun, 1)
        named = [PartInfo(1, part.etag)]
        return crc64_of(bucket.complete_multipart_upload("a", begun, named).resp)

    assert await asyncio.to_thread(upload) is None


async def test_a_symlink_has_no_checksum_of_its_own(bucket: Any) -> None:
    await asyncio.to_thread(bucket.put_object, "a", b"123456789")
    linked = await asyncio.to_thread(bucket.put_symlink, "a", "link")
    assert crc64_of(linked.resp) is None
    followed = await asyncio.to_thread(bucket.head_object, "link")
    assert crc64_of(followed.resp) == "11051210869376104954"
