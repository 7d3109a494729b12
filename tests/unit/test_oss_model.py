"""The plain model behind the local OSS: names, order, pages and parts."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.oss.content import etag_of
from localcloud.oss.errors import OssError
from localcloud.oss.multipart import assemble, check_part_number
from localcloud.oss.naming import check_bucket_name, check_key
from localcloud.oss.request import UNKNOWN, Request
from localcloud.service import Call
from localcloud.storage.bucket import Bucket
from localcloud.storage.listing import Wanted, page_of
from localcloud.storage.multipart import Part, Upload
from localcloud.storage.stored import PLAIN, StoredObject

NAMES = st.text("ab/é😀", min_size=1, max_size=5)


def stored(key: str, data: bytes = b"") -> StoredObject:
    return StoredObject(key, data, etag_of(data), 0.0)


@given(st.lists(st.tuples(st.sampled_from("pdl"), NAMES)))
def test_keys_stay_in_the_order_of_their_bytes(steps: list[tuple[str, str]]) -> None:
    bucket, expected = Bucket("b", "r", 0.0), set[str]()
    for step, key in steps:
        match step:
            case "p":
                assert (bucket.put(stored(key)) is not None) == (key in expected)
                expected.add(key)
            case "d":
                assert (bucket.delete(key) is not None) == (key in expected)
                expected.discard(key)
            case _:
                assert list(bucket.keys()) == sorted(expected, key=str.encode)
    assert list(bucket.keys()) == sorted(expected, key=str.encode)
    assert len(bucket) == len(expected)


@given(
    st.sets(NAMES),
    st.text("ab/", max_size=3),
    st.sampled_from(["", "/", "ab", "//"]),
    st.integers(1, 4),
)
def test_pages_together_are_the_whole_listing(
    keys: set[str], prefix: str, delimiter: str, max_keys: int
) -> None:
    ordered = sorted(keys)
    found: list[str] = []
    prefixes: list[str] = []
    after, is_truncated = "", True
    while is_truncated:
        page = page_of(ordered, Wanted(prefix, delimiter, after, max_keys))
        assert len(page.keys) + len(page.prefixes) <= max_keys
        found += page.keys
        prefixes += page.prefixes
        after, is_truncated = page.last, page.is_truncated
    inside = [key for key in ordered if key.startswith(prefix)]
    folded = [key for key in inside if delimiter and delimiter in key[len(prefix) :]]
    assert found == [key for key in inside if key not in folded]
    heads = {key[: key.index(delimiter, len(prefix)) + len(delimiter)] for key in folded}
    assert prefixes == sorted(heads)


@pytest.mark.parametrize("key", ["a", "é" * 511, "in\\side", "a//b", "..", " ", "\x00"])
def test_valid_keys_pass(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize("key", ["", "/a", "\\a", "n" * 1024, "é" * 512, "\udcff"])
def test_invalid_keys_are_refused(key: str) -> None:
    with pytest.raises(OssError, match="400 InvalidObjectName"):
        check_key(key)


@pytest.mark.parametrize("name", ["ab", "Abc", "-abc", "abc-", "a" * 64, "a_b", "bücket"])
def test_invalid_bucket_names_are_refused(name: str) -> None:
    with pytest.raises(OssError, match="400 InvalidBucketName"):
        check_bucket_name(name)
    check_bucket_name("a-1")


def upload(*parts: bytes) -> Upload:
    numbered = {number: Part(data, etag_of(data)) for number, data in enumerate(parts, 1)}
    return Upload("id", "k", PLAIN, numbered)


def test_named_parts_become_one_object() -> None:
    big = b"b" * 102_400
    begun = upload(big, b"unnamed", b"tail")
    parts, etag = assemble(begun, [(1, f'"{etag_of(big)}"'), (3, etag_of(b"tail").lower())])
    assert [part.data for part in parts] == [big, b"tail"]
    digests = hashlib.md5(big).digest() + hashlib.md5(b"tail").digest()
    assert etag == f"{hashlib.md5(digests).hexdigest().upper()}-2"


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ([], "MalformedXML"),
        ([(2, etag_of(b"two")), (1, etag_of(b"one"))], "InvalidPartOrder"),
        ([(1, etag_of(b"one")), (1, etag_of(b"one"))], "InvalidPartOrder"),
        ([(1, etag_of(b"two"))], "InvalidPart"),
        ([(3, etag_of(b"one"))], "InvalidPart"),
        ([(1, etag_of(b"one")), (2, etag_of(b"two"))], "EntityTooSmall"),
    ],
)
def test_a_wrong_list_of_parts_is_refused(named: list[tuple[int, str]], code: str) -> None:
    with pytest.raises(OssError, match=f"400 {code}"):
        assemble(upload(b"one", b"two"), named)


@pytest.mark.parametrize("text", ["", "0", "10001", "-1", "x", "1.0"])
def test_part_numbers_run_from_1_to_10000(text: str) -> None:
    assert check_part_number("10000") == 10_000
    with pytest.raises(OssError, match="400 InvalidArgument"):
        check_part_number(text)


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("PUT", "/b/k", "PutObject"),
        ("PUT", "/b/a/../k?x-oss-unrelated=1", "PutObject"),
        ("PUT", "/b/k?acl", UNKNOWN),
        ("PUT", "/b/k?tagging=", UNKNOWN),
        ("PUT", "/b/k?symlink", "PutSymlink"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
        ("GET", "/b/k", "GetObject"),
        ("GET", "/b/k?response-content-type=a", "GetObject"),
        ("GET", "/b/k?versionId=1", UNKNOWN),
        ("GET", "/b/k?symlink", "GetSymlink"),
        ("HEAD", "/b/k", "HeadObject"),
        ("HEAD", "/b/k?objectMeta", "GetObjectMeta"),
        ("GET", "/b/k?objectMeta", "GetObjectMeta"),
        ("DELETE", "/b/k", "DeleteObject"),
        ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
        ("POST", "/b/k?append&position=0", "AppendObject"),
        ("POST", "/b/k?uploads", "InitiateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
        ("POST", "/b/k", UNKNOWN),
        ("GET", "/b", "ListObjects"),
        ("GET", "/b/?prefix=a", "ListObjects"),
        ("GET", "/b/?list-type=2&continuation-token=t", "ListObjectsV2"),
        ("GET", "/b/?bucketInfo", "GetBucketInfo"),
        ("GET", "/b/?lifecycle", UNKNOWN),
        ("HEAD", "/b/", "HeadBucket"),
        ("PUT", "/b/", "PutBucket"),
        ("DELETE", "/b/", "DeleteBucket"),
        ("POST", "/b/?delete", "DeleteMultipleObjects"),
        ("GET", "/", UNKNOWN),
        ("PATCH", "/b/k", UNKNOWN),
    ],
)
def test_every_call_has_the_name_of_its_operation(method: str, target: str, operation: str) -> None:
    assert Request.of(Call(method, target, {}, b"")).operation == operation


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/b/a/b", "a/b"),
        ("/b/a%2Fb", "a/b"),
        ("/b/a%2fb", "a/b"),
        ("/b//a", "/a"),
        ("/b/a/./../b/", "a/./../b/"),
        ("/b/%2541+%20", "%41+ "),
        ("/b/%E7%9B%AE?x=/y/z", "目"),
        ("/b/%FF", "\udcff"),
    ],
)
def test_the_key_is_decoded_once_and_never_tidied(target: str, key: str) -> None:
    request = Request.of(Call("GET", target, {}, b""))
    assert (request.bucket, request.key) == ("b", key)
