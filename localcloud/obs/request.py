"""What a call asks for: bucket, key and query out of host and raw target, and the operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from localcloud.service import Call
from localcloud.storage.target import decoded, decoded_query

UNKNOWN = "UnknownOperation"

# Query names that are part of a signed resource, beside x-image-*, x-obs-* and response-*: those of
# the API reference, "Authentication of signature in a header" (obs_04_0010), and of the Python SDK.
_SUBRESOURCES = """
CDNNotifyConfiguration acl append attname backtosource cors customdomain delete deletebucket
directcoldaccess encryption inventory length lifecycle location logging metadata
mirrorBackToSource modify name notification object-lock obscompresspolicy orchestration partNumber
policy position publicAccessBlock quota rename replication requestPayment restore retention
storageClass storageinfo storagePolicy tagging torrent truncate uploadId uploads versionId
versioning versions website
"""
_NAMES = frozenset(_SUBRESOURCES.split())
_FAMILIES = ("response-", "x-image-", "x-obs-")

_OBJECT_OPERATIONS = {
    ("DELETE", ""): "DeleteObject",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("POST", "uploads"): "InitiateMultipartUpload",
    ("PUT", ""): "PutObject",
    ("PUT", "uploadId"): "UploadPart",
}
_BUCKET_OPERATIONS = {
    ("DELETE", ""): "DeleteBucket",
    ("GET", ""): "ListObjects",
    ("HEAD", ""): "HeadBucket",
    ("POST", "delete"): "DeleteObjects",
    ("PUT", ""): "CreateBucket",
}
_ADDRESS = re.compile(r"[0-9.]+|localhost|\[[0-9a-f:.]+\]")


def is_signed(name: str) -> bool:
    """Whether a query name is part of what a signature covers."""
    return name in _NAMES or name.startswith(_FAMILIES)


@dataclass(frozen=True, slots=True)
class Request:
    """One call, decoded once. Bytes of the key that are not UTF-8 stay as lone surrogates.

    `is_path_style` tells that the bucket stood in the path, and so also where there is none.
    """

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    is_path_style: bool = False

    @classmethod
    def of(cls, call: Call) -> Request:
        """Take a call apart. Dot segments and double slashes belong to the key and are left alone."""
        path, _, query = call.target.partition("?")
        bucket = _bucket_of(call.headers.get("Host", ""))
        is_path_style = not bucket
        key = path[1:]
        if is_path_style:
            bucket, _, key = key.partition("/")
        return cls(
            call.method,
            decoded(bucket),
            decoded(key),
            decoded_query(query),
            call.headers,
            call.body,
            is_path_style,
        )

    @property
    def operation(self) -> str:
        """The name of the operation; UNKNOWN if it is not served."""
        if not self.bucket:
            return UNKNOWN
        if self.key:
            return _OBJECT_OPERATIONS.get((self.method, self._subresource()), UNKNOWN)
        if self.method == "HEAD" and "apiversion" in self.query:
            return "GetApiVersion"
        return _BUCKET_OPERATIONS.get((self.method, self._subresource()), UNKNOWN)

    def _subresource(self) -> str:
        """Return the query name that picks the operation.

        A subresource that is not served has to stand out, or `PUT key?acl` would overwrite the key.
        """
        for name in self.query:
            if name in _NAMES and name != "partNumber":
                return name
        return ""


def _bucket_of(host: str) -> str:
    """Return the bucket of a virtual host, or nothing for an address and for the service itself."""
    name = host.lower().rpartition(":")[0] if re.search(r":\d+$", host) else host.lower()
    if not name or _ADDRESS.fullmatch(name) or name.startswith("obs."):
        return ""
    bucket, separator, _ = name.partition(".obs.")
    return bucket if separator else name.partition(".")[0]
