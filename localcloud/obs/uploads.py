"""Multipart uploads: begin, send parts, complete, abort."""

from __future__ import annotations

from localcloud.obs.content import check_key, crc64_header, described, etag_of
from localcloud.obs.errors import ObsError, invalid_argument, malformed_xml, no_such_upload
from localcloud.obs.objects import check_crc64
from localcloud.obs.turn import Turn
from localcloud.obs.wire import answer, encoder_of, parsed_body
from localcloud.service import Reply
from localcloud.storage.crc64 import crc64
from localcloud.storage.multipart import (
    PARTS_MAX,
    Part,
    PartsError,
    Upload,
    etag_of_parts,
    is_part_number,
    named_parts,
)
from localcloud.storage.stored import Kind, StoredObject
from localcloud.storage.xml import element, xml_reply


def initiate(turn: Turn) -> Reply:
    """Begin an upload."""
    check_key(turn.key)
    bucket = turn.bucket
    bucket.uploads[turn.fresh_id] = Upload(turn.fresh_id, turn.key, described(turn))
    body = answer(
        "InitiateMultipartUploadResult",
        element("Bucket", bucket.name),
        *_key(turn),
        element("UploadId", turn.fresh_id),
    )
    return xml_reply(body)


def upload_part(turn: Turn) -> Reply:
    """Take one part, replacing any of the same number."""
    number = turn.request.query.get("partNumber", "")
    if not is_part_number(number):
        raise invalid_argument(f"Part number must be an integer between 1 and {PARTS_MAX}.")
    upload = _upload(turn)
    check_crc64(turn)
    part = Part(turn.request.body, etag_of(turn.request.body))
    upload.parts[int(number)] = part
    headers = {"ETag": f'"{part.etag}"'}
    if turn.behaviour.crc64_header:
        headers[turn.behaviour.crc64_header] = str(crc64(part.data))
    return Reply(200, b"", headers)


def complete(turn: Turn) -> Reply:
    """Turn the named parts into the object; the upload ends."""
    upload, bucket = _upload(turn), turn.bucket
    try:
        parts = named_parts(upload, _named(turn.request.body), turn.behaviour.part_bytes_min)
    except PartsError as error:
        raise ObsError(400, error.code, error.message) from error
    stored = StoredObject(
        turn.key,
        b"".join(part.data for part in parts),
        etag_of_parts(part.etag for part in parts),
        turn.now,
        upload.described,
        Kind.MULTIPART,
        upload_id=upload.upload_id,
        has_crc64=bucket.keeps_crc64,
    )
    bucket.put(stored)
    del bucket.uploads[upload.upload_id]
    body = answer(
        "CompleteMultipartUploadResult",
        element("Location", f"/{bucket.name}/{turn.key}"),
        element("Bucket", bucket.name),
        *_key(turn),
        element("ETag", f'"{stored.etag}"'),
    )
    reply = xml_reply(body)
    reply.headers |= crc64_header(turn, stored)
    return reply


def abort(turn: Turn) -> Reply:
    """Drop an upload and its parts."""
    upload = _upload(turn)
    del turn.bucket.uploads[upload.upload_id]
    return Reply(204)


def _key(turn: Turn) -> list[str]:
    encoding = turn.request.query.get("encoding-type", "")
    kind = [element("EncodingType", encoding)] if encoding else []
    return [*kind, element("Key", encoder_of(encoding, turn.behaviour)(turn.key))]


def _upload(turn: Turn) -> Upload:
    upload_id = turn.request.query.get("uploadId", "")
    upload = turn.bucket.uploads.get(upload_id)
    if upload is None or upload.key != turn.key:
        raise no_such_upload(upload_id)
    return upload


def _named(body: bytes) -> list[tuple[int, str]]:
    named = [
        (node.findtext("PartNumber", ""), node.findtext("ETag", ""))
        for node in parsed_body(body).iterfind("Part")
    ]
    if not all(is_part_number(number) for number, _ in named):
        raise malformed_xml()
    return [(int(number), etag) for number, etag in named]
