"""The official SDK against the listings of the local OSS."""

from __future__ import annotations

import asyncio
import random
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import oss2
import pytest

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import ALIBABA, Identities
from localcloud.oss import OssService

KEYS = [
    "a b/1",
    "a+b/1",
    "a/1",
    "a/2/x",
    "a/2/y",
    "a/\x01control",
    "a/\r\n",
    "b%2F",
    "b//",
    "b//c",
    "c",
    "目录/😀",
    "目录/文件",
]


@pytest.fixture
async def oss() -> AsyncIterator[OssService]:
    clock, faults = Clock(), Faults(random.Random(1))
    service = OssService(clock, faults, Identities(ALIBABA), lambda _queue, _body: None)
    service.create_bucket("source")
    for key in reversed(KEYS):
        service.put("source", key, key.encode())
    await service.start()
    yield service
    await service.stop()


@pytest.fixture(params=["v4", "v1"])
def bucket(oss: OssService, request: pytest.FixtureRequest) -> Iterator[Any]:
    kind = {"v4": oss2.AuthV4, "v1": oss2.Auth}[request.param]
    auth = kind(ALIBABA.access_key, ALIBABA.secret)
    client = oss2.Bucket(auth, oss.url, "source", region="cn-hangzhou")
    yield client
    client.session.session.close()


@pytest.fixture(params=[oss2.ObjectIterator, oss2.ObjectIteratorV2])
def listed(bucket: Any, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """List with one of the SDK's iterators: all entries, beside the loop."""

    async def run(**wanted: Any) -> list[Any]:
        return await asyncio.to_thread(lambda: list(request.param(bucket, **wanted)))

    return run


@pytest.mark.parametrize("max_keys", [1, 2, 3, 100, 1000])
async def test_every_key_is_listed_once_in_order(listed: Callable[..., Any], max_keys: int) -> None:
    entries = await listed(max_keys=max_keys)
    assert [entry.key for entry in entries] == sorted(KEYS, key=str.encode)
    assert [entry.size for entry in entries] == [
        len(key.encode()) for key in sorted(KEYS, key=str.encode)
    ]


@pytest.mark.parametrize("max_keys", [1, 2, 1000])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "a b", "a+", "b%", "b//", "目录/", "z"])
async def test_prefix_and_delimiter_fold_alike_whatever_the_page(
    listed: Callable[..., Any], prefix: str, max_keys: int
) -> None:
    entries = await listed(prefix=prefix, delimiter="/", max_keys=max_keys)
    expected = set()
    for key in KEYS:
        if key.startswith(prefix):
            head, slash, _ = key[len(prefix) :].partition("/")
            expected.add((prefix + head + slash, bool(slash)))
    found = [(entry.key, entry.is_prefix()) for entry in entries]
    assert len(found) == len(expected)
    assert set(found) == expected


async def test_a_listing_tells_what_head_tells(
    oss: OssService, bucket: Any, listed: Callable[..., Any]
) -> None:
    (entry,) = await listed(prefix="c")
    head = await asyncio.to_thread(bucket.head_object, "c")
    assert (entry.etag, entry.last_modified) == (head.etag, head.last_modified)
    assert (entry.type, entry.storage_class) == ("Normal", "Standard")
    assert oss.read("source", "c") is not None


async def test_listing_goes_on_after_a_key(bucket: Any) -> None:
    page = await asyncio.to_thread(bucket.list_objects, marker="b//", max_keys=2)
    assert [entry.key for entry in page.object_list] == ["b//c", "c"]
    assert (page.is_truncated, page.next_marker) == (True, "c")
    page = await asyncio.to_thread(bucket.list_objects_v2, start_after="c", max_keys=1)
    assert [entry.key for entry in page.object_list] == ["目录/文件"]
    token = page.next_continuation_token
    page = await asyncio.to_thread(bucket.list_objects_v2, continuation_token=token)
    assert [entry.key for entry in page.object_list] == ["目录/😀"]
    assert not page.is_truncated


async def test_an_owner_is_told_on_request(bucket: Any) -> None:
    page = await asyncio.to_thread(bucket.list_objects_v2, prefix="c", fetch_owner=True)
    assert page.object_list[0].owner.id
    page = await asyncio.to_thread(bucket.list_objects_v2, prefix="c")
    assert page.object_list[0].owner is None


@pytest.mark.parametrize(
    "wanted",
    [
        {"max_keys": 0},
        {"max_keys": 1001},
        {"max_keys": -1},
        {"continuation_token": "!"},
        {"encoding_type": "utf-9"},
    ],
)
async def test_a_senseless_question_is_refused(bucket: Any, wanted: dict[str, Any]) -> None:
    with pytest.raises(oss2.exceptions.InvalidArgument):
        await asyncio.to_thread(lambda: bucket.list_objects_v2(**wanted))


async def test_a_listing_follows_puts_and_deletes(
    oss: OssService, listed: Callable[..., Any]
) -> None:
    held = oss.buckets["source"]
    for key in KEYS[2:]:
        held.delete(key)
    oss.put("source", "0", b"")
    oss.put("source", "gone at once", b"")
    held.delete("gone at once")
    oss.put("source", KEYS[0], b"again")
    assert [entry.key for entry in await listed()] == ["0", *KEYS[:2]]


async def test_raw_answers_carry_no_namespace(bucket: Any) -> None:
    page = await asyncio.to_thread(
        lambda: bucket._do("GET", "source", "", params={"prefix": "目录/", "list-type": "2"})
    )
    root = ET.fromstring(await asyncio.to_thread(page.read))
    assert root.tag == "ListBucketResult"
    assert [node.text for node in root.iterfind("Contents/Key")] == ["目录/文件", "目录/😀"]
    assert root.findtext("KeyCount") == "2"
