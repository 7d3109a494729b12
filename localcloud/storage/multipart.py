"""Unfinished multipart uploads: numbered parts that become one object, by rules that both vendors share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from localcloud.storage.stored import Described

PARTS_MAX = 10_000


class PartsError(Exception):
    """The named parts make no object; `code` is what both vendors call the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Part:
    """One part; its ETag is the MD5 of its content."""

    data: bytes
    etag: str
    has_crc64: bool = True


@dataclass(slots=True)
class Upload:
    """One upload begun by InitiateMultipartUpload; a part sent again replaces the earlier one."""

    upload_id: str
    key: str
    described: Described
    parts: dict[int, Part] = field(default_factory=dict)


def is_part_number(text: str) -> bool:
    """Whether a text is a part number: 1 to 10,000."""
    return text.isdecimal() and 1 <= int(text) <= PARTS_MAX


def named_parts(
    upload: Upload, named: Sequence[tuple[int, str]], part_bytes_min: int
) -> list[Part]:
    """Return the parts that a client names by number and ETag, or raise `PartsError`."""
    numbers = [number for number, _ in named]
    if not numbers:
        raise PartsError("MalformedXML", "No parts were named.")
    if numbers != sorted(set(numbers)):
        raise PartsError("InvalidPartOrder", "The list of parts was not in ascending order.")
    parts = [_named(upload, number, etag) for number, etag in named]
    if any(len(part.data) < part_bytes_min for part in parts[:-1]):
        message = "Your proposed upload smaller than the minimum allowed size."
        raise PartsError("EntityTooSmall", message)
    return parts


def etag_of_parts(etags: Iterable[str]) -> str:
    """Return the MD5 of the parts' MD5s, a dash, and their count: in lower case."""
    digests = [bytes.fromhex(etag) for etag in etags]
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _named(upload: Upload, number: int, etag: str) -> Part:
    part = upload.parts.get(number)
    if part is None or part.etag.lower() != etag.strip('"').lower():
        message = "One or more of the specified parts could not be found or had another ETag."
        raise PartsError("InvalidPart", message)
    return part
