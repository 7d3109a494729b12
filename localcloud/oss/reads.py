"""GetObject, HeadObject, GetObjectMeta and GetSymlink."""

from __future__ import annotations

import re
from email.utils import formatdate
from urllib.parse import quote

from localcloud.oss.content import crc64_header
from localcloud.oss.errors import OssError
from localcloud.oss.turn import Change, Outcome, Turn
from localcloud.service import Reply
from localcloud.storage.stored import Kind, StoredObject

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def get_object(turn: Turn) -> Outcome:
    """Return content and headers, or the range asked for; a symbolic link is followed."""
    stored = _followed(turn)
    span = _span(turn.header("Range"), stored.size)
    first, end = span or (0, stored.size)
    headers = _described(stored)
    status = 200
    if span is not None:
        status = 206
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{stored.size}"
    read = Change(
        "ObjectDownloaded:GetObject",
        turn.key,
        stored.size,
        stored.etag,
        mime_type=stored.described.content_type,
        read=(first, end),
    )
    return Outcome(Reply(status, stored.data[first:end], headers), (read,))


def head_object(turn: Turn) -> Outcome:
    """Return what GetObject would, without the content."""
    stored = _followed(turn)
    headers = _described(stored) | {"Content-Length": str(stored.size)}
    return Outcome(Reply(200, b"", headers))


def get_object_meta(turn: Turn) -> Outcome:
    """Return ETag, size and time of an object; a symbolic link is not followed."""
    stored = turn.stored()
    headers = {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": formatdate(stored.modified_at, usegmt=True),
        **crc64_header(stored),
    }
    # A GET may not promise a body that never comes.
    if turn.request.method == "HEAD":
        headers["Content-Length"] = str(stored.size)
    return Outcome(Reply(200, b"", headers))


def get_symlink(turn: Turn) -> Outcome:
    """Return where a symbolic link points."""
    stored = turn.stored()
    if stored.kind is not Kind.SYMLINK:
        message = "The object is not a symlink."
        raise OssError(400, "NotSymlink", message, "0050-00000002")
    return Outcome(Reply(200, b"", _described(stored)))


def _followed(turn: Turn) -> StoredObject:
    stored = turn.stored()
    if stored.kind is not Kind.SYMLINK:
        return stored
    target = turn.bucket.get(stored.symlink_target)
    if target is None:
        message = "The target of the symlink does not exist."
        raise OssError(404, "SymlinkTargetNotExist", message, "0026-00000003")
    return target


def _described(stored: StoredObject) -> dict[str, str]:
    headers = {
        "Content-Type": stored.described.content_type,
        "ETag": f'"{stored.etag}"',
        "Last-Modified": formatdate(stored.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "x-oss-object-type": stored.kind,
        "x-oss-storage-class": stored.described.storage_class,
        **crc64_header(stored),
    }
    if stored.kind is Kind.APPENDABLE:
        headers["x-oss-next-append-position"] = str(stored.size)
    if stored.kind is Kind.SYMLINK:
        headers["x-oss-symlink-target"] = quote(stored.symlink_target, safe="")
    headers.update({f"x-oss-meta-{name}": value for name, value in stored.described.meta.items()})
    return headers


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Return first byte and end of a range, or None for all of it.

    OSS answers an unusable range with the whole object and 200 (oss/developer-reference/getobject).
    """
    match = _RANGE.fullmatch(header)
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        span = max(size - int(last), 0), size
    else:
        span = int(first), min(int(last) + 1, size) if last else size
    return span if span[0] < span[1] else None
