"""Multipart uploads: begin, send parts, complete, abort."""

from __future__ import annotations

import re

from localcloud.oss.content import CRC64, crc64_header, etag_of
from localcloud.oss.errors import no_such_upload
from localcloud.oss.multipart import assemble, check_part_number
from localcloud.oss.turn import Change, Outcome, Turn
from localcloud.oss.wire import parsed_body
from localcloud.oss.writes import check_writable, copy_source, described
from localcloud.service import Reply
from localcloud.storage.crc64 import crc64
from localcloud.storage.multipart import Part, Upload
from localcloud.storage.stored import Kind, StoredObject
from localcloud.storage.xml import document, element, encoder, iso_time, xml_reply

_COPY_RANGE = re.compile(r"bytes=(\d+)-(\d+)", re.ASCII)


def initiate(turn: Turn) -> Outcome:
    """Begin an upload."""
    check_writable(turn)
    bucket = turn.bucket
    bucket.uploads[turn.fresh_id] = Upload(turn.fresh_id, turn.key, described(turn))
    encode = encoder(turn.request.query.get("encoding-type", ""))
    body = document(
        "InitiateMultipartUploadResult",
        element("Bucket", bucket.name),
        element("Key", encode(turn.key)),
        element("UploadId", turn.fresh_id),
    )
    # Assumption: the event has neither size nor ETag, for there is no object yet.
    return Outcome(xml_reply(body), (Change("ObjectCreated:InitiateMultipartUpload", turn.key),))


def upload_part(turn: Turn) -> Outcome:
    """Take one part, replacing any of the same number."""
    part, change = _take(turn, turn.request.body, "ObjectCreated:UploadPart")
    headers = {"ETag": f'"{part.etag}"', CRC64: str(crc64(part.data))}
    return Outcome(Reply(200, b"", headers), (change,))


def upload_part_copy(turn: Turn) -> Outcome:
    """Take one part out of an object that exists."""
    source = copy_source(turn)
    data = source.data
    span = _COPY_RANGE.fullmatch(turn.header("x-oss-copy-source-range"))
    if span is not None:
        data = data[int(span.group(1)) : int(span.group(2)) + 1]
    part, change = _take(turn, data, "ObjectCreated:UploadPartCopy", has_crc64=source.has_crc64)
    body = document(
        "CopyPartResult",
        element("LastModified", iso_time(turn.now)),
        element("ETag", f'"{part.etag}"'),
    )
    reply = xml_reply(body)
    reply.headers["ETag"] = f'"{part.etag}"'
    return Outcome(reply, (change,))


def complete(turn: Turn) -> Outcome:
    """Turn the named parts into the object; the upload ends."""
    upload = _upload(turn)
    check_writable(turn)
    parts, etag = assemble(upload, _named_parts(turn.request.body))
    data = b"".join(part.data for part in parts)
    # Source: the object has a checksum only if each of its parts has one.
    has_crc64 = turn.bucket.keeps_crc64 and all(part.has_crc64 for part in parts)
    about = upload.described
    stored = StoredObject(
        turn.key, data, etag, turn.now, about, Kind.MULTIPART, has_crc64=has_crc64
    )
    replaced = turn.bucket.put(stored)
    del turn.bucket.uploads[upload.upload_id]
    encode = encoder(turn.request.query.get("encoding-type", ""))
    body = document(
        "CompleteMultipartUploadResult",
        element("Location", f"http://{turn.header('Host')}/{turn.bucket.name}/{encode(turn.key)}"),
        element("Bucket", turn.bucket.name),
        element("Key", encode(turn.key)),
        element("ETag", f'"{etag}"'),
    )
    reply = xml_reply(body)
    reply.headers |= {"ETag": f'"{etag}"'} | crc64_header(stored)
    return Outcome(reply, (Change.of("ObjectCreated:CompleteMultipartUpload", stored, replaced),))


def abort(turn: Turn) -> Outcome:
    """Drop an upload and its parts."""
    upload = _upload(turn)
    del turn.bucket.uploads[upload.upload_id]
    return Outcome(Reply(204), (Change("ObjectRemoved:AbortMultipartUpload", turn.key),))


def _upload(turn: Turn) -> Upload:
    upload_id = turn.request.query.get("uploadId", "")
    upload = turn.bucket.uploads.get(upload_id)
    if upload is None or upload.key != turn.key:
        raise no_such_upload(upload_id)
    return upload


def _take(turn: Turn, data: bytes, event: str, *, has_crc64: bool = True) -> tuple[Part, Change]:
    number = check_part_number(turn.request.query.get("partNumber", ""))
    upload = _upload(turn)
    part = Part(data, etag_of(data), has_crc64)
    upload.parts[number] = part
    # Assumption: the event tells size and ETag of the part.
    return part, Change(event, turn.key, len(data), part.etag, len(data))


def _named_parts(body: bytes) -> list[tuple[int, str]]:
    return [
        (check_part_number(node.findtext("PartNumber", "")), node.findtext("ETag", ""))
        for node in parsed_body(body).iterfind("Part")
    ]
