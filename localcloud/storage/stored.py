"""One stored object and what its writer said about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from localcloud.storage.crc64 import crc64

DEFAULT_CONTENT_TYPE = "application/octet-stream"


class Kind(StrEnum):
    """How an object came to be, as OSS tells it in `x-oss-object-type`."""

    NORMAL = "Normal"
    MULTIPART = "Multipart"
    APPENDABLE = "Appendable"
    SYMLINK = "Symlink"


@dataclass(frozen=True, slots=True)
class Described:
    """What a writer says about an object: content type, user meta (names without prefix), class."""

    content_type: str = DEFAULT_CONTENT_TYPE
    meta: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = "Standard"


PLAIN = Described()


@dataclass(frozen=True)
class StoredObject:
    """One object as it stands. `etag` is hex without quotes, in the case of its service.

    Objects of long ago have no checksum, nor have some copies: `has_crc64` says so.
    """

    key: str
    data: bytes
    etag: str
    modified_at: float
    described: Described = PLAIN
    kind: Kind = Kind.NORMAL
    symlink_target: str = ""
    upload_id: str = ""
    has_crc64: bool = True

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.data)

    @cached_property
    def crc64(self) -> int | None:
        """The CRC-64/XZ of the content, worked out when it is first asked for; None if none is kept."""
        return crc64(self.data) if self.has_crc64 else None


def md5_of(data: bytes) -> str:
    """Return the MD5 in lower-case hex."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
