"""PutObject, CopyObject, AppendObject, PutSymlink and the two ways to delete."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

from localcloud.oss.content import crc64_header, etag_of
from localcloud.oss.errors import OssError, invalid_argument, malformed_xml, no_such_key
from localcloud.oss.naming import check_key
from localcloud.oss.turn import Change, Outcome, Turn
from localcloud.oss.wire import delete_result, parsed_body
from localcloud.service import Reply
from localcloud.storage.stored import DEFAULT_CONTENT_TYPE, Described, Kind, StoredObject
from localcloud.storage.xml import document, element, iso_time, xml_reply

DELETES_MAX = 1000
_META = "x-oss-meta-"


def put_object(turn: Turn) -> Outcome:
    """Store an object, replacing any of that name."""
    check_writable(turn)
    data = turn.request.body
    keeps = turn.bucket.keeps_crc64
    stored = StoredObject(turn.key, data, etag_of(data), turn.now, described(turn), has_crc64=keeps)
    replaced = turn.bucket.put(stored)
    change = Change.of("ObjectCreated:PutObject", stored, replaced)
    headers = {"ETag": f'"{stored.etag}"'} | crc64_header(stored)
    return Outcome(Reply(200, b"", headers), (change,))


def copy_object(turn: Turn) -> Outcome:
    """Copy an object, or give it new metadata by copying it onto itself.

    A copy onto itself replaces the metadata whatever the directive says
    (oss/developer-reference/copyobject).
    """
    check_writable(turn)
    source = copy_source(turn)
    onto_itself = source_name(turn) == (turn.bucket.name, turn.key)
    keep = not onto_itself and turn.header("x-oss-metadata-directive").upper() != "REPLACE"
    about = source.described if keep else described(turn)
    # Assumption: a copy has a checksum if its source has one.
    has_crc64 = source.has_crc64 and turn.bucket.keeps_crc64
    stored = StoredObject(
        turn.key, source.data, source.etag, turn.now, about, source.kind, has_crc64=has_crc64
    )
    replaced = turn.bucket.put(stored)
    change = Change.of(_copy_event(turn, onto_itself=onto_itself), stored, replaced)
    body = document(
        "CopyObjectResult",
        element("ETag", f'"{stored.etag}"'),
        element("LastModified", iso_time(turn.now)),
    )
    reply = xml_reply(body)
    reply.headers |= {"ETag": f'"{stored.etag}"'} | crc64_header(stored)
    return Outcome(reply, (change,))


def append_object(turn: Turn) -> Outcome:
    """Add content at the end of an appendable object; the position must be its length."""
    check_writable(turn)
    position = turn.request.query.get("position", "")
    if not position.isdecimal():
        raise invalid_argument("Position must be a non-negative integer.", "0016-00000501")
    old = turn.bucket.get(turn.key)
    if old is not None and old.kind is not Kind.APPENDABLE:
        raise OssError(409, "ObjectNotAppendable", "The object is not appendable", "0026-00000011")
    length = old.size if old is not None else 0
    if int(position) != length:
        message = "Position is not equal to file length"
        where = {"x-oss-next-append-position": str(length)}
        raise OssError(409, "PositionNotEqualToLength", message, "0026-00000016", headers=where)
    data = (old.data if old is not None else b"") + turn.request.body
    about = old.described if old is not None else described(turn)
    has_crc64 = turn.bucket.keeps_crc64 and (old is None or old.has_crc64)
    stored = StoredObject(
        turn.key, data, etag_of(data), turn.now, about, Kind.APPENDABLE, has_crc64=has_crc64
    )
    turn.bucket.put(stored)
    headers = {"ETag": f'"{stored.etag}"', "x-oss-next-append-position": str(stored.size)}
    headers |= crc64_header(stored)
    change = Change.of("ObjectCreated:AppendObject", stored, old)
    return Outcome(Reply(200, b"", headers), (replace(change, position=length),))


def put_symlink(turn: Turn) -> Outcome:
    """Make a symbolic link; its target need not exist yet."""
    check_writable(turn)
    target = unquote(turn.header("x-oss-symlink-target"))
    check_key(target)
    # Assumption: the ETag of a link is the MD5 of its target's name.
    etag = etag_of(target.encode())
    about = described(turn)
    stored = StoredObject(
        turn.key, b"", etag, turn.now, about, Kind.SYMLINK, target, has_crc64=False
    )
    replaced = turn.bucket.put(stored)
    change = Change.of("ObjectCreated:PutSymlink", stored, replaced)
    return Outcome(Reply(200, b"", {"ETag": f'"{etag}"'}), (change,))


def delete_object(turn: Turn) -> Outcome:
    """Remove an object; a missing one is no error."""
    changes = _removed(turn, turn.key, "ObjectRemoved:DeleteObject")
    return Outcome(Reply(204), changes)


def delete_objects(turn: Turn) -> Outcome:
    """Remove up to 1,000 objects, with one event each."""
    keys, is_quiet = _keys_to_delete(turn.request.body)
    changes = tuple(
        change for key in keys for change in _removed(turn, key, "ObjectRemoved:DeleteObjects")
    )
    encoding = turn.request.query.get("encoding-type", "")
    if is_quiet:
        return Outcome(Reply(200), changes)
    return Outcome(xml_reply(delete_result(keys, encoding)), changes)


def check_writable(turn: Turn) -> None:
    """Refuse a bad name, and an existing one under `x-oss-forbid-overwrite: true`."""
    check_key(turn.key)
    forbidden = turn.header("x-oss-forbid-overwrite").lower() == "true"
    if forbidden and turn.key in turn.bucket:
        message = "The object you specified already exists and can not be overwritten."
        details = {"Key": turn.key}
        raise OssError(409, "FileAlreadyExists", message, "0026-00000002", details=details)


def described(turn: Turn) -> Described:
    """Return what the headers say about the object written."""
    headers = turn.request.headers
    meta = {
        name[len(_META) :].lower(): value
        for name, value in headers.items()
        if name[: len(_META)].lower() == _META
    }
    return Described(
        headers.get("Content-Type", DEFAULT_CONTENT_TYPE),
        meta,
        headers.get("x-oss-storage-class", "Standard"),
    )


def copy_source(turn: Turn) -> StoredObject:
    """Return the object that `x-oss-copy-source` names."""
    turn.require("oss:GetObject")
    bucket, key = source_name(turn)
    stored = turn.bucket_named(bucket).get(key)
    if stored is None:
        raise no_such_key(key)
    return stored


def source_name(turn: Turn) -> tuple[str, str]:
    """Return bucket and key out of `x-oss-copy-source: /bucket/url-encoded-key`."""
    bucket, _, key = turn.header("x-oss-copy-source").lstrip("/").partition("/")
    if not bucket or not key:
        raise invalid_argument("Copy Source must mention the source bucket and key.")
    return bucket, unquote(key)


def _copy_event(turn: Turn, *, onto_itself: bool) -> str:
    # Assumption: a copy onto itself announces a modification, not a creation; with a storage class
    # in its headers, the change of class. When each name is sent is not documented.
    if not onto_itself:
        return "ObjectCreated:CopyObject"
    if turn.header("x-oss-storage-class"):
        return "ObjectModified:ChangeStorageClass"
    return "ObjectModified:UpdateObjectMeta"


def _removed(turn: Turn, key: str, name: str) -> tuple[Change, ...]:
    """Remove a key. Assumption: only an object that was there is announced."""
    gone = turn.bucket.delete(key)
    return () if gone is None else (removal(name, gone),)


def removal(name: str, gone: StoredObject) -> Change:
    """Describe the removal of an object."""
    mime = gone.described.content_type
    return Change(name, gone.key, gone.size, gone.etag, -gone.size, mime)


def _keys_to_delete(body: bytes) -> tuple[list[str], bool]:
    root = parsed_body(body)
    keys = [node.text or "" for node in root.iterfind("Object/Key")]
    if not 1 <= len(keys) <= DELETES_MAX:
        raise malformed_xml()
    return keys, root.findtext("Quiet", "false") == "true"
