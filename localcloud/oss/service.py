"""The OSS service: verify, route, act, announce, answer."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import Identities
from localcloud.oss import buckets, reads, uploads, writes
from localcloud.oss.content import etag_of
from localcloud.oss.errors import OssError, not_implemented
from localcloud.oss.events import Announcement, EventRule, messages
from localcloud.oss.naming import check_bucket_name, check_key
from localcloud.oss.request import UNKNOWN, Request
from localcloud.oss.signature import verify
from localcloud.oss.turn import Change, Outcome, Turn
from localcloud.oss.wire import error_reply
from localcloud.service import Call, Reply, Service
from localcloud.storage.bucket import Bucket
from localcloud.storage.content_md5 import Fit, fit_of
from localcloud.storage.fresh_ids import FreshIds
from localcloud.storage.stored import PLAIN, Described, StoredObject

Handler = Callable[[Turn], Outcome]

# Operation: what it does, and the action a policy must allow (oss/user-guide, "OSS action").
_OPERATIONS: dict[str, tuple[Handler, str]] = {
    "AbortMultipartUpload": (uploads.abort, "oss:AbortMultipartUpload"),
    "AppendObject": (writes.append_object, "oss:PutObject"),
    "CompleteMultipartUpload": (uploads.complete, "oss:PutObject"),
    "CopyObject": (writes.copy_object, "oss:PutObject"),
    "DeleteBucket": (buckets.delete_bucket, "oss:DeleteBucket"),
    "DeleteMultipleObjects": (writes.delete_objects, "oss:DeleteObject"),
    "DeleteObject": (writes.delete_object, "oss:DeleteObject"),
    "GetBucketInfo": (buckets.get_bucket_info, "oss:GetBucketInfo"),
    "GetObject": (reads.get_object, "oss:GetObject"),
    "GetObjectMeta": (reads.get_object_meta, "oss:GetObject"),
    "GetSymlink": (reads.get_symlink, "oss:GetObject"),
    "HeadBucket": (buckets.head_bucket, "oss:GetBucketInfo"),
    "HeadObject": (reads.head_object, "oss:GetObject"),
    "InitiateMultipartUpload": (uploads.initiate, "oss:PutObject"),
    "ListObjects": (buckets.list_objects, "oss:ListObjects"),
    "ListObjectsV2": (buckets.list_objects_v2, "oss:ListObjects"),
    "PutBucket": (buckets.put_bucket, "oss:PutBucket"),
    "PutObject": (writes.put_object, "oss:PutObject"),
    "PutSymlink": (writes.put_symlink, "oss:PutObject"),
    "UploadPart": (uploads.upload_part, "oss:PutObject"),
    "UploadPartCopy": (uploads.upload_part_copy, "oss:PutObject"),
}
# Assumption: documented is only the text of a success; that of a failure is made up alike.
_ANNOUNCED = base64.b64encode(b'{"Result":"Ok"}').decode()
_NOT_ANNOUNCED = base64.b64encode(b'{"Result":"Fail"}').decode()


class OssService(Service):
    """Alibaba OSS on loopback, path style, one account.

    `publish(queue, body)` hands an event message to MNS. `buckets` and `rules` may be read and
    changed at any time. Two faults of its own, under CUSTOM: `lose_event` (the change is made and
    never announced) and `duplicate_event` (announced twice).
    """

    name = "oss"

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        identities: Identities,
        publish: Callable[[str, str], None],
    ) -> None:
        super().__init__(clock, faults)
        self.identities = identities
        self.buckets: dict[str, Bucket] = {}
        self.rules: list[EventRule] = []
        self._publish = publish
        self._parsed: tuple[Call, Request] | None = None
        self._ids = FreshIds()

    def create_bucket(self, name: str, region: str = buckets.DEFAULT_REGION) -> Bucket:
        """Make a bucket in-process, or return the one of that name."""
        check_bucket_name(name)
        return self.buckets.setdefault(name, Bucket(name, region, self.clock.now()))

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        described: Described = PLAIN,
        *,
        has_crc64: bool = True,
    ) -> StoredObject:
        """Store and announce an object in-process, as if a client had put it.

        Without `has_crc64` it is like one of long ago: no answer tells a checksum of it.
        """
        return self.put_many(bucket, {key: data}, described, has_crc64=has_crc64)[0]

    def put_many(
        self,
        bucket: str,
        items: Mapping[str, bytes],
        described: Described = PLAIN,
        *,
        has_crc64: bool = True,
    ) -> list[StoredObject]:
        """Store objects in-process as one call, so that their events may share messages."""
        at = self.clock.now()
        found = self.buckets[bucket]
        keeps = has_crc64 and found.keeps_crc64
        written: list[StoredObject] = []
        changes: list[Change] = []
        for key, data in items.items():
            check_key(key)
            stored = StoredObject(key, data, etag_of(data), at, described, has_crc64=keeps)
            changes.append(Change.of("ObjectCreated:PutObject", stored, found.put(stored)))
            written.append(stored)
        self._announce("PutObject", bucket, tuple(changes), self._request_id(at), at)
        return written

    def remove(self, bucket: str, key: str) -> StoredObject | None:
        """Remove and announce an object in-process, as if a client had deleted it; None if absent."""
        gone = self.buckets[bucket].delete(key)
        if gone is not None:
            at = self.clock.now()
            change = writes.removal("ObjectRemoved:DeleteObject", gone)
            self._announce("DeleteObject", bucket, (change,), self._request_id(at), at)
        return gone

    def read(self, bucket: str, key: str) -> StoredObject | None:
        """Return an object in-process, or None if bucket or object do not exist."""
        found = self.buckets.get(bucket)
        return found.get(key) if found is not None else None

    def operation(self, call: Call) -> str:
        """Name the operation as the API reference does: `PutObject`, `ListObjectsV2`, ..."""
        return self._request(call).operation

    def common_headers(self) -> dict[str, str]:
        """Headers of every answer; the request id comes with answers that OSS itself gave."""
        return super().common_headers() | {"Server": "AliyunOSS"}

    async def serve(self, call: Call) -> Reply:
        """Verify the signature, do the operation, announce what changed."""
        now = self.clock.now()
        request_id = self._request_id(now)
        request = self._request(call)
        try:
            reply = self._act(request, request_id, now)
        except OssError as error:
            reply = error_reply(
                error,
                request_id=request_id,
                host=call.headers.get("Host", ""),
                is_head=call.method == "HEAD",
            )
        reply.headers["x-oss-request-id"] = request_id
        return reply

    def _request(self, call: Call) -> Request:
        """Take a call apart. The frame asks for its operation first: most calls are parsed once."""
        if self._parsed is None or self._parsed[0] is not call:
            self._parsed = call, Request.of(call)
        return self._parsed[1]

    def _act(self, request: Request, request_id: str, now: float) -> Reply:
        bucket = self.buckets.get(request.bucket)
        region = bucket.region if bucket is not None else None
        identity = verify(request, self.identities, now, region)
        operation = request.operation
        if operation == UNKNOWN:
            raise not_implemented()
        _check_md5(request)
        handler, action = _OPERATIONS[operation]
        turn = Turn(request, identity, self.buckets, now, request_id)
        turn.require(action)
        outcome = handler(turn)
        if outcome.changes and self.rules:
            changes = outcome.changes
            status = self._announce(operation, request.bucket, changes, request_id, now)
            outcome.reply.headers.update(status)
        return outcome.reply

    def _announce(
        self, operation: str, bucket: str, changes: tuple[Change, ...], request_id: str, at: float
    ) -> dict[str, str]:
        """Publish the events of a call; return the header that says so, if a rule matched."""
        about = Announcement(bucket, self.buckets[bucket].region, request_id, at)
        sent = list(messages(self.rules, changes, about))
        if not sent:
            return {}
        if self.faults.pick(self.name, operation, custom="lose_event") is not None:
            return {"x-oss-event-status": _NOT_ANNOUNCED}
        if self.faults.pick(self.name, operation, custom="duplicate_event") is not None:
            sent += sent
        for queue, body in sent:
            self._publish(queue, body)
        return {"x-oss-event-status": _ANNOUNCED}

    def _request_id(self, now: float) -> str:
        """Return 24 hex digits: time, a salt of this process, and a number."""
        return self._ids.fresh(int(now), 8)


def _check_md5(request: Request) -> None:
    """Refuse a body whose Content-MD5 does not fit."""
    if fit_of(request.headers, request.body) is not Fit.FITS:
        message = "The Content-MD5 you specified was invalid."
        raise OssError(400, "InvalidDigest", message, "0017-00000002")
