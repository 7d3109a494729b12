"""PutObject, GetObject, HeadObject, and the two ways to delete."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from localcloud.obs.behaviour import CHECKSUM_HEADER, HASH_HEADER
from localcloud.obs.content import check_key, crc64_header, described, etag_of, headers_of
from localcloud.obs.errors import ObsError, access_denied, malformed_xml
from localcloud.obs.turn import Turn
from localcloud.obs.wire import delete_result, encoder_of, parsed_body
from localcloud.service import Reply
from localcloud.storage.crc64 import crc64
from localcloud.storage.stored import StoredObject
from localcloud.storage.xml import xml_reply

DELETE = "obs:object:DeleteObject"
DELETES_MAX = 1000
DELETE_FAILS = "delete_fails"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def put_object(turn: Turn) -> Reply:
    """Store an object, replacing any of that name."""
    check_key(turn.key)
    bucket, data = turn.bucket, turn.request.body
    check_crc64(turn)
    stored = StoredObject(
        turn.key, data, etag_of(data), turn.now, described(turn), has_crc64=bucket.keeps_crc64
    )
    bucket.put(stored)
    return Reply(200, b"", {"ETag": f'"{stored.etag}"'} | crc64_header(turn, stored))


def get_object(turn: Turn) -> Reply:
    """Return content and headers, or the range asked for."""
    stored = turn.stored()
    headers = headers_of(turn, stored)
    match = _RANGE.fullmatch(turn.header("Range"))
    if match is None or match.group(0) == "bytes=-":
        return Reply(200, stored.data, headers)
    first, end = _span(match[1], match[2], stored.size)
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{stored.size}"
    return Reply(206, stored.data[first:end], headers)


def head_object(turn: Turn) -> Reply:
    """Return what GetObject would, without the content."""
    stored = turn.stored()
    return Reply(200, b"", headers_of(turn, stored) | {"Content-Length": str(stored.size)})


def delete_object(turn: Turn) -> Reply:
    """Remove an object; a missing one is no error."""
    turn.bucket.delete(turn.key)
    return Reply(204)


def delete_objects(turn: Turn) -> Reply:
    """Remove up to 1,000 objects; the answer says of each whether it is gone.

    Source: the page of the batch deletion (obs_04_0087). A CUSTOM fault `delete_fails` strikes key by
    key. Assumption: a lack of rights is told key by key, as policies name objects.
    """
    bucket = turn.bucket
    if not turn.header("Content-MD5"):
        # Assumption: the code; the page says 400.
        message = "Missing required header for this request: Content-MD5"
        raise ObsError(400, "InvalidRequest", message)
    keys, is_quiet, encoding = _asked(turn.request.body)
    deleted: list[str] = []
    failed: list[tuple[str, ObsError]] = []
    for key in keys:
        if not turn.identity.may(DELETE):
            failed.append((key, access_denied()))
        elif turn.is_struck(DELETE_FAILS):
            failed.append((key, ObsError(500, "InternalError", "Please try again.")))
        else:
            bucket.delete(key)
            deleted.append(key)
    told = [] if is_quiet else deleted
    encode = encoder_of(encoding, turn.behaviour)
    return xml_reply(delete_result(told, failed, encoding, encode))


def check_crc64(turn: Turn) -> None:
    """Refuse a body whose checksum is not the one that the client tells, under either name."""
    told = turn.header(CHECKSUM_HEADER) or turn.header(HASH_HEADER)
    if told and told != str(crc64(turn.request.body)):
        # Assumption: the code.
        raise ObsError(400, "BadDigest", "The CRC64 you specified did not match what we received.")


def _asked(body: bytes) -> tuple[list[str], bool, str]:
    root = parsed_body(body)
    encoding = root.findtext("EncodingType", "")
    keys = [node.text or "" for node in root.iterfind("Object/Key")]
    if not 1 <= len(keys) <= DELETES_MAX:
        raise malformed_xml()
    if encoding == "url":
        keys = [unquote_plus(key) for key in keys]
    for key in keys:
        check_key(key)
    return keys, root.findtext("Quiet", "false").lower() == "true", encoding


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """Return first byte and end of a range, or the refusal of one that the object does not have."""
    if first:
        span = int(first), min(int(last) + 1, size) if last else size
    else:
        span = max(size - int(last), 0), size
    if span[0] >= span[1]:
        raise ObsError(416, "InvalidRange", "The requested range cannot be satisfied.")
    return span
