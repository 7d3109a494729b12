"""The local OBS's signature and addresses, against vectors that the official Python SDK signs alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localcloud.obs.request import UNKNOWN, Request
from localcloud.obs.signature import resource_of, sign, string_to_sign
from localcloud.service import Call

KNOWN = json.loads(Path(__file__).with_name("obs_vectors.json").read_text())


@pytest.mark.parametrize("vector", KNOWN["vectors"], ids=lambda vector: vector["name"])
def test_a_known_request_has_its_known_signature(vector: dict[str, Any]) -> None:
    resource = resource_of(vector["bucket"], vector["key"], vector["query"])
    text = string_to_sign(vector["method"], vector["headers"], resource)
    assert text.decode() == vector["string_to_sign"]
    assert f"OBS {KNOWN['ak']}:{sign(KNOWN['sk'], text)}" == vector["authorization"]


def test_there_are_nine_of_them() -> None:
    assert len(KNOWN["vectors"]) == 9


def test_only_subresources_are_signed_and_they_are_in_order() -> None:
    query = {"uploadId": "u 1", "prefix": "p", "partNumber": "2", "response-expires": "x"}
    assert resource_of("b", "k", query) == "/b/k?partNumber=2&response-expires=x&uploadId=u 1"
    assert resource_of("", "", {"prefix": "p"}) == "/"


def test_headers_of_obs_are_signed_in_order_and_trimmed() -> None:
    headers = {
        "X-Obs-Meta-B": " two ",
        "Date": "today",
        "x-obs-acl": "private",
        "Content-Type": "text/plain",
        "User-Agent": "any",
    }
    text = string_to_sign("PUT", headers, "/b/k")
    assert text == b"PUT\n\ntext/plain\ntoday\nx-obs-acl:private\nx-obs-meta-b:two\n/b/k"


@pytest.mark.parametrize(
    ("host", "target", "bucket", "key"),
    [
        ("127.0.0.1:8080", "/bucket/a/b", "bucket", "a/b"),
        ("localhost:1", "/bucket", "bucket", ""),
        ("[::1]:80", "/bucket/", "bucket", ""),
        ("", "/bucket//a", "bucket", "/a"),
        ("bucket.obs.cn-north-4.myhuaweicloud.com", "/a/b", "bucket", "a/b"),
        ("Bucket.obs.cn-north-4.myhuaweicloud.com:443", "/", "bucket", ""),
        ("my.bucket.obs.cn-north-4.myhuaweicloud.com", "//a/../b", "my.bucket", "/a/../b"),
        ("bucket.localhost:9", "/%E7%9B%AE%2Fa+b", "bucket", "目/a+b"),
        ("obs.cn-north-4.myhuaweicloud.com", "/bucket/k", "bucket", "k"),
        ("obs.cn-north-4.myhuaweicloud.com", "/", "", ""),
    ],
)
def test_the_bucket_stands_in_the_host_or_for_an_address_in_the_path(
    host: str, target: str, bucket: str, key: str
) -> None:
    request = Request.of(Call("GET", target, {"Host": host}, b""))
    assert (request.bucket, request.key) == (bucket, key)


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("PUT", "/b/k", "PutObject"),
        ("PUT", "/b/k?acl", UNKNOWN),
        ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
        ("GET", "/b/k?prefix=x", "GetObject"),
        ("GET", "/b/k?versionId=1", UNKNOWN),
        ("HEAD", "/b/k", "HeadObject"),
        ("DELETE", "/b/k", "DeleteObject"),
        ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
        ("POST", "/b/k?uploads", "InitiateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
        ("POST", "/b/k", UNKNOWN),
        ("GET", "/b/?prefix=a&marker=b", "ListObjects"),
        ("GET", "/b?versions", UNKNOWN),
        ("GET", "/b/?notification", UNKNOWN),
        ("HEAD", "/b", "HeadBucket"),
        ("HEAD", "/b?apiversion", "GetApiVersion"),
        ("PUT", "/b", "CreateBucket"),
        ("DELETE", "/b/", "DeleteBucket"),
        ("POST", "/b/?delete", "DeleteObjects"),
        ("GET", "/", UNKNOWN),
    ],
)
def test_every_call_has_the_name_of_its_operation(method: str, target: str, operation: str) -> None:
    assert Request.of(Call(method, target, {}, b"")).operation == operation
