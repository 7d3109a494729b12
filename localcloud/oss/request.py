"""What a call asks for: bucket, key and query out of the raw target, and the operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localcloud.service import Call
from localcloud.storage.target import decoded, decoded_query

UNKNOWN = "UnknownOperation"

# Query names that are part of the resource in a V1 signature: those documented in
# oss/developer-reference/include-signatures-in-the-authorization-header, and all that oss2 signs.
_SUBRESOURCES = """
accessPoint accessPointPolicy acl append asyncFetch bucketArchiveDirectRead bucketInfo callback
callback-var cname comp continuation-token cors delete encryption endTime group httpsConfig
inventory inventoryId lifecycle link live location logging metaQuery objectInfo objectMeta
partNumber policy position publicAccessBlock qos qosInfo qosRequester redundancyTransition referer
regionList replication replicationLocation replicationProgress requestPayment requesterQosInfo
resourceGroup resourcePool resourcePoolBuckets resourcePoolInfo response-cache-control
response-content-disposition response-content-encoding response-content-language
response-content-type response-expires restore security-token sequential startTime stat status
style styleName symlink tagging transferAcceleration uploadId uploads versionId versioning
versions vod website worm wormExtend wormId x-oss-ac-forward-allow x-oss-ac-source-ip
x-oss-ac-subnet-mask x-oss-ac-vpc-id x-oss-access-point-name x-oss-async-process x-oss-process
x-oss-redundancy-transition-taskid x-oss-request-payer x-oss-target-redundancy-type
x-oss-traffic-limit x-oss-write-get-object-response
"""
SUBRESOURCES = frozenset(_SUBRESOURCES.split())
_HARMLESS = frozenset(
    {"continuation-token", "security-token", "sequential", "position"}
    | {name for name in SUBRESOURCES if name.startswith("response-")}
)

_OBJECT_OPERATIONS = {
    ("DELETE", ""): "DeleteObject",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", ""): "GetObject",
    ("GET", "objectMeta"): "GetObjectMeta",
    ("GET", "symlink"): "GetSymlink",
    ("HEAD", ""): "HeadObject",
    ("HEAD", "objectMeta"): "GetObjectMeta",
    ("POST", "append"): "AppendObject",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("POST", "uploads"): "InitiateMultipartUpload",
    ("PUT", ""): "PutObject",
    ("PUT", "symlink"): "PutSymlink",
    ("PUT", "uploadId"): "UploadPart",
}
_BUCKET_OPERATIONS = {
    ("DELETE", ""): "DeleteBucket",
    ("GET", ""): "ListObjects",
    ("GET", "bucketInfo"): "GetBucketInfo",
    ("HEAD", ""): "HeadBucket",
    ("POST", "delete"): "DeleteMultipleObjects",
    ("PUT", ""): "PutBucket",
}
_WITH_COPY_SOURCE = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}


@dataclass(frozen=True, slots=True)
class Request:
    """One call, decoded once. Bytes of the key that are not UTF-8 stay as lone surrogates."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, call: Call) -> Request:
        """Take a call apart. Dot segments and double slashes belong to the key and are left alone.

        Only path style is served: on loopback oss2 uses nothing else.
        """
        path, _, query = call.target.partition("?")
        bucket, _, key = path[1:].partition("/")
        return cls(
            call.method,
            decoded(bucket),
            decoded(key),
            decoded_query(query),
            call.headers,
            call.body,
        )

    @property
    def operation(self) -> str:
        """The name of the operation, as in the API reference; UNKNOWN if it is not served."""
        if not self.bucket:
            return UNKNOWN
        table = _OBJECT_OPERATIONS if self.key else _BUCKET_OPERATIONS
        name = table.get((self.method, self._subresource()), UNKNOWN)
        if name in _WITH_COPY_SOURCE and "x-oss-copy-source" in self.headers:
            return _WITH_COPY_SOURCE[name]
        if name == "ListObjects" and self.query.get("list-type") == "2":
            return "ListObjectsV2"
        return name

    def _subresource(self) -> str:
        """Return the query name that picks the operation.

        A subresource that is not served has to stand out, or `PUT key?acl` would overwrite the key.
        """
        for name in self.query:
            if name in SUBRESOURCES and name not in _HARMLESS and name != "partNumber":
                return name
        return ""
