"""Unfinished multipart uploads: numbered parts that become one object."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from localcloud.oss.errors import OssError, invalid_argument
from localcloud.oss.stored import Described

PARTS_MAX = 10_000
PART_BYTES_MIN = 100 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One part; its ETag is the MD5 of its content."""

    data: bytes
    etag: str


@dataclass(slots=True)
class Upload:
    """One upload begun by InitiateMultipartUpload; a part sent again replaces the earlier one."""

    upload_id: str
    key: str
    described: Described
    parts: dict[int, Part] = field(default_factory=dict)


def check_part_number(text: str) -> int:
    """Return a part number, or refuse it: 1 to 10,000 (oss/developer-reference/uploadpart)."""
    if not text.isdecimal() or not 1 <= int(text) <= PARTS_MAX:
        raise invalid_argument("Part number must be an integer between 1 and 10000.")
    return int(text)


def assemble(upload: Upload, named: Sequence[tuple[int, str]]) -> tuple[bytes, str]:
    """Return content and ETag of the object made of the named parts (number, ETag), in order.

    The ETag is the MD5 of the parts' MD5s, a dash, and their count, as OSS objects show it; the
    rules are those of oss/developer-reference/completemultipartupload.
    """
    numbers = [number for number, _ in named]
    if not numbers:
        raise OssError(400, "MalformedXML", "No parts were named.", "0042-00000201")
    if numbers != sorted(set(numbers)):
        message = "The list of parts was not in ascending order."
        raise OssError(400, "InvalidPartOrder", message, "0042-00000203")
    parts = [_named_part(upload, number, etag) for number, etag in named]
    if any(len(part.data) < PART_BYTES_MIN for part in parts[:-1]):
        message = "Your proposed upload smaller than the minimum allowed size."
        raise OssError(400, "EntityTooSmall", message, "0042-00000204")
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    whole = hashlib.md5(digests, usedforsecurity=False).hexdigest().upper()
    return b"".join(part.data for part in parts), f"{whole}-{len(parts)}"


def _named_part(upload: Upload, number: int, etag: str) -> Part:
    part = upload.parts.get(number)
    if part is None or part.etag != etag.strip('"').upper():
        message = "One or more of the specified parts could not be found or had another ETag."
        raise OssError(400, "InvalidPart", message, "0042-00000202")
    return part
