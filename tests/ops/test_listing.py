from __future__ import annotations

import pytest
from oss2.models import ListObjectsV2Result
from oss2.xml_utils import parse_list_objects_v2

from harness.ops import connected
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.clouds import listing
from worker.errors import Blame, CallFailed, Outcome
from worker.operate.connect import Clients

ODD_KEYS = [
    "a",
    "a/../b",
    "a//b",
    "a b+c%41",
    "\x01\x1f\r\n",
    "猫/😀",
    "<&>\"']]>",
    "z" * 1023,
    "..",
]
XML = '<?xml version="1.0"?>\n<ListBucketResult{}>{}</ListBucketResult>'
ENTRY = (
    "<Contents><Key>a%2Fb</Key><LastModified>2026-09-22T10:00:00.000Z</LastModified>"
    '<ETag>"X"</ETag><Type>Normal</Type><Size>3</Size><StorageClass>Standard</StorageClass></Contents>'
)


async def listed(
    clients: Clients, prefix: str = "", delimiter: str = ""
) -> tuple[list[str], list[str]]:
    keys: list[str] = []
    prefixes: list[str] = []
    async for page in clients.store.list("source", prefix, delimiter=delimiter):
        keys += [each.key for each in page.objects]
        prefixes += page.prefixes
    return keys, prefixes


async def test_every_odd_key_is_listed_read_and_deleted(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.put_many("source", {key: key.encode() for key in ODD_KEYS})
    async with connected(cloud) as clients:
        keys, _ = await listed(clients)
        assert keys == sorted(ODD_KEYS, key=str.encode)
        for key in ODD_KEYS:
            assert (await listed(clients, key))[0][0] == key
            stored = await clients.store.get("source", key)
            assert stored is not None
            assert stored.body == key.encode()
            await clients.store.delete("source", key)
            await clients.store.delete("source", key)
            assert await clients.store.get("source", key) is None
        assert await listed(clients) == ([], [])


async def test_folders_are_listed_over_many_pages(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.put_many("source", {f"{n % 1200:04}/{n}": b"" for n in range(2_400)})
    async with connected(cloud) as clients:
        assert await listed(clients, delimiter="/") == ([], [f"{n:04}/" for n in range(1_200)])
        assert await listed(clients, "0007/", "/") == (["0007/1207", "0007/7"], [])


async def test_a_page_that_is_damaged_is_no_empty_page(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.oss.put("source", "a", b"")
    cloud.faults.add(Fault("oss", "ListObjectsV2", Action.TRUNCATE, times=1))
    async with connected(cloud) as clients:
        with pytest.raises(CallFailed) as caught:
            await listed(clients)
        assert (await listed(clients))[0] == ["a"]
    assert (caught.value.failure.outcome, caught.value.failure.blame) == (
        Outcome.UNKNOWN,
        Blame.PASSING,
    )


async def test_a_bucket_that_is_not_there_is_no_missing_object(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with connected(cloud) as clients:
        with pytest.raises(CallFailed, match="NoSuchBucket"):
            await clients.store.get("nowhere", "a")


@pytest.mark.parametrize(
    "content",
    [
        ENTRY,
        ENTRY * 3 + "<IsTruncated>false</IsTruncated>",
        "<EncodingType>url</EncodingType>"
        + ENTRY
        + "<CommonPrefixes><Prefix>x%2F%E7%8C%AB%2F</Prefix></CommonPrefixes>"
        "<IsTruncated>true</IsTruncated><NextContinuationToken>a%2Bb</NextContinuationToken>",
    ],
)
def test_pages_read_as_oss2_reads_them(content: str) -> None:
    body = XML.format(
        "",
        "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>" * ("Enc" not in content)
        + content,
    )
    expected = parse_list_objects_v2(_Result(), body.encode())
    page = listing.oss_page(body.encode())
    assert [(each.key, each.size, each.last_modified) for each in page.objects] == [
        (each.key, each.size, each.last_modified) for each in expected.object_list
    ]
    assert list(page.prefixes) == expected.prefix_list
    assert page.next_token == (expected.next_continuation_token or "")


class _Result(ListObjectsV2Result):  # type: ignore[misc]
    """An empty result, for oss2 to fill."""

    def __init__(self) -> None:
        self.object_list: list[object] = []
        self.prefix_list: list[str] = []
        self.is_truncated = False
        self.next_continuation_token = ""


def test_a_namespace_changes_nothing() -> None:
    plain = listing.oss_page(XML.format("", ENTRY).encode())
    assert (
        listing.oss_page(XML.format(' xmlns="http://doc.oss-cn.aliyuncs.com"', ENTRY).encode())
        == plain
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in</html>",
        b"<Error><Code>X</Code></Error>",
        XML.format("", "<IsTruncated>true</IsTruncated>").encode(),
        XML.format("", "<Contents><Key>a</Key></Contents>").encode(),
        XML.format("", ENTRY.replace("<Size>3", "<Size>many")).encode(),
        XML.format("", ENTRY.replace("2026-09-22T", "yesterday ")).encode(),
    ],
)
def test_anything_else_is_damaged(body: bytes) -> None:
    with pytest.raises(listing.Damaged):
        listing.oss_page(body)
