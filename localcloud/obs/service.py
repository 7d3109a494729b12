"""The OBS service: verify, route, act, answer; and the same objects in-process."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import Identities, Identity
from localcloud.obs import buckets, objects, uploads
from localcloud.obs.behaviour import ObsBehaviour
from localcloud.obs.content import PLAIN, check_bucket_name, check_key, etag_of
from localcloud.obs.errors import ObsError, not_allowed, virtual_host_required
from localcloud.obs.request import UNKNOWN, Request
from localcloud.obs.signature import Verifier
from localcloud.obs.turn import LIST, Turn
from localcloud.obs.wire import error_reply
from localcloud.service import Call, Reply, Service
from localcloud.storage.bucket import Bucket
from localcloud.storage.content_md5 import Fit, fit_of
from localcloud.storage.fresh_ids import FreshIds
from localcloud.storage.multipart import etag_of_parts
from localcloud.storage.stored import Described, Kind, StoredObject

Handler = Callable[[Turn], Reply]

_PUT = "obs:object:PutObject"
_GET = "obs:object:GetObject"
# Operation: what it does, and the action a policy must allow (the API reference's tables of actions).
# DeleteObjects asks for its right itself, key by key.
_OPERATIONS: dict[str, tuple[Handler, str]] = {
    "AbortMultipartUpload": (uploads.abort, "obs:object:AbortMultipartUpload"),
    "CompleteMultipartUpload": (uploads.complete, _PUT),
    "CreateBucket": (buckets.create_bucket, "obs:bucket:CreateBucket"),
    "DeleteBucket": (buckets.delete_bucket, "obs:bucket:DeleteBucket"),
    "DeleteObject": (objects.delete_object, objects.DELETE),
    "DeleteObjects": (objects.delete_objects, ""),
    "GetObject": (objects.get_object, _GET),
    "HeadBucket": (buckets.head_bucket, "obs:bucket:HeadBucket"),
    "HeadObject": (objects.head_object, _GET),
    "InitiateMultipartUpload": (uploads.initiate, _PUT),
    "ListObjects": (buckets.list_objects, LIST),
    "PutObject": (objects.put_object, _PUT),
    "UploadPart": (uploads.upload_part, _PUT),
}


class ObsService(Service):
    """Huawei OBS on loopback, one account: virtual hosts, and path style for addresses.

    `buckets` may be read and changed at any time, `behaviour` holds the switches, `verifier` counts
    wrong signatures. One fault of its own, under CUSTOM: `delete_fails` (operation DeleteObjects).
    """

    name = "obs"

    def __init__(self, clock: Clock, faults: Faults, identities: Identities) -> None:
        super().__init__(clock, faults)
        self.buckets: dict[str, Bucket] = {}
        self.behaviour = ObsBehaviour()
        self.verifier = Verifier(clock, identities, self.behaviour)
        self._parsed: tuple[Call, Request] | None = None
        self._ids = FreshIds()

    def create_bucket(self, name: str, region: str = buckets.DEFAULT_REGION) -> Bucket:
        """Make a bucket in-process, or return the one of that name."""
        check_bucket_name(name)
        return self.buckets.setdefault(name, Bucket(name, region, self.clock.now()))

    def read(self, bucket: str, key: str) -> StoredObject | None:
        """Return an object in-process, or None if bucket or object do not exist.

        Where answers tell no CRC64, neither does it.
        """
        found = self.buckets.get(bucket)
        stored = found.get(key) if found is not None else None
        if stored is None or self.behaviour.crc64_header:
            return stored
        return replace(stored, has_crc64=False)

    def write(
        self,
        bucket: str,
        key: str,
        data: bytes,
        described: Described = PLAIN,
        /,
        *,
        part_bytes: int = 0,
        has_crc64: bool = True,
    ) -> StoredObject:
        """Store an object in-process, at the time of this service's clock; makes the bucket.

        Content of more than `part_bytes` (if not 0) is stored as if it had been uploaded in parts of
        that size. Without `has_crc64` no answer tells a checksum of it.
        """
        check_key(key)
        now = self.clock.now()
        found = self.buckets.setdefault(bucket, Bucket(bucket, buckets.DEFAULT_REGION, now))
        is_split = 0 < part_bytes < len(data)
        parts = range(0, len(data), part_bytes) if is_split else ()
        etags = [etag_of(data[at : at + part_bytes]) for at in parts]
        stored = StoredObject(
            key,
            data,
            etag_of_parts(etags) if is_split else etag_of(data),
            now,
            described,
            Kind.MULTIPART if is_split else Kind.NORMAL,
            upload_id=self._fresh_id() if is_split else "",
            has_crc64=has_crc64 and found.keeps_crc64,
        )
        found.put(stored)
        return stored

    def remove(self, bucket: str, key: str) -> StoredObject | None:
        """Remove an object in-process and return it; None if it is not there."""
        found = self.buckets.get(bucket)
        return found.delete(key) if found is not None else None

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys of a bucket that begin with a prefix, in order."""
        found = self.buckets.get(bucket)
        return [key for key in found.keys() if key.startswith(prefix)] if found is not None else []  # noqa: SIM118  a bucket is no dict

    def operation(self, call: Call) -> str:
        """Name the operation: `PutObject`, `HeadObject`, `ListObjects`, `DeleteObjects`, ..."""
        return self._request(call).operation

    def common_headers(self) -> dict[str, str]:
        """Headers of every answer; the request id comes with answers that OBS itself gave."""
        return super().common_headers() | {"Server": "OBS"}

    async def serve(self, call: Call) -> Reply:
        """Verify the signature, do the operation, answer."""
        request_id, host_id = (
            self._fresh_id(),
            base64.b64encode(self._ids.salt.encode() * 4).decode(),
        )
        try:
            reply = self._act(self._request(call), request_id)
        except ObsError as error:
            reply = error_reply(error, request_id=request_id, host_id=host_id)
        reply.headers |= {"x-obs-request-id": request_id, "x-obs-id-2": host_id}
        return reply

    def _request(self, call: Call) -> Request:
        """Take a call apart. The frame asks for its operation first: most calls are parsed once."""
        if self._parsed is None or self._parsed[0] is not call:
            self._parsed = call, Request.of(call)
        return self._parsed[1]

    def _act(self, request: Request, request_id: str) -> Reply:
        if request.is_path_style and request.bucket and not self._takes_path_style(request):
            raise virtual_host_required()
        operation = request.operation
        if operation == "GetApiVersion":
            return buckets.api_version(self._turn(request, Identity("", ""), request_id))
        identity = self.verifier.verify(request)
        if operation == UNKNOWN:
            raise not_allowed()
        _check_md5(request)
        handler, action = _OPERATIONS[operation]
        turn = self._turn(request, identity, request_id)
        if action:
            turn.require(action)
        return handler(turn)

    def _turn(self, request: Request, identity: Identity, request_id: str) -> Turn:
        def is_struck(name: str) -> bool:
            return self.faults.pick(self.name, request.operation, custom=name) is not None

        now = self.clock.now()
        return Turn(request, identity, self.buckets, self.behaviour, now, request_id, is_struck)

    def _takes_path_style(self, request: Request) -> bool:
        is_named = request.headers.get("Host", "").lower().startswith("obs.")
        return self.behaviour.takes_path_style and not is_named

    def _fresh_id(self) -> str:
        """Return 32 hex digits: time, a salt of this process, and a number."""
        return self._ids.fresh(int(self.clock.now() * 1000), 16)


def _check_md5(request: Request) -> None:
    """Refuse a body whose Content-MD5 does not fit."""
    fit = fit_of(request.headers, request.body)
    if fit is Fit.MALFORMED:
        raise ObsError(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    if fit is Fit.DIFFERS:
        message = "The Content-MD5 you specified did not match what we received."
        raise ObsError(400, "BadDigest", message)
