"""Names of buckets and objects, and what OBS says of a content."""

from __future__ import annotations

import re
from email.utils import formatdate

from localcloud.obs.errors import ObsError
from localcloud.obs.turn import Turn
from localcloud.storage.stored import Described, Kind, StoredObject, md5_of

KEY_BYTES_MAX = 1024
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
STANDARD = "STANDARD"
STORAGE_CLASSES = (STANDARD, "WARM", "COLD", "DEEP_ARCHIVE")
META = "x-obs-meta-"
PLAIN = Described(DEFAULT_CONTENT_TYPE, storage_class=STANDARD)
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def check_key(key: str) -> None:
    """Refuse a name that is not UTF-8, or of other than 1 to 1024 bytes."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        # Assumption: the code.
        raise ObsError(400, "InvalidArgument", "The object key is not UTF-8.") from None
    if not 1 <= size <= KEY_BYTES_MAX:
        raise ObsError(400, "KeyTooLongError", "Your key is too long")


def check_bucket_name(name: str) -> None:
    """Refuse a bucket name that breaks the rules: 3 to 63 of a-z, 0-9, and inner `-` and `.`."""
    if not _NAME.fullmatch(name):
        message = "The specified bucket is not valid."
        raise ObsError(400, "InvalidBucketName", message, {"BucketName": name})


def etag_of(data: bytes) -> str:
    """Return the ETag OBS gives to content written in one piece."""
    return md5_of(data)


def described(turn: Turn) -> Described:
    """Return what the headers say about the object written."""
    headers = turn.request.headers
    meta = {
        name[len(META) :].lower(): value
        for name, value in headers.items()
        if name[: len(META)].lower() == META
    }
    storage_class = headers.get("x-obs-storage-class", STANDARD)
    if storage_class not in STORAGE_CLASSES:
        # Assumption: the code.
        raise ObsError(400, "InvalidStorageClass", "The storage class you specified is not valid")
    return Described(headers.get("Content-Type", DEFAULT_CONTENT_TYPE), meta, storage_class)


def crc64_header(turn: Turn, stored: StoredObject) -> dict[str, str]:
    """Return the CRC64 in decimal, under the name that the service is set to, or nothing."""
    name = turn.behaviour.crc64_header
    if not name or stored.crc64 is None:
        return {}
    return {name: str(stored.crc64)}


def headers_of(turn: Turn, stored: StoredObject) -> dict[str, str]:
    """Return the headers of GetObject and HeadObject.

    Source: the page of HeadObject (obs_04_0084): the class only where it is not STANDARD, the type
    only where it is not Normal, the upload only of what was made of parts.
    """
    headers = {
        "Content-Type": stored.described.content_type,
        "ETag": f'"{stored.etag}"',
        "Last-Modified": formatdate(stored.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        **crc64_header(turn, stored),
    }
    if stored.described.storage_class != STANDARD:
        headers["x-obs-storage-class"] = stored.described.storage_class
    if stored.kind is Kind.MULTIPART:
        headers["x-obs-uploadId"] = stored.upload_id
    headers.update({f"{META}{name}": value for name, value in stored.described.meta.items()})
    return headers
