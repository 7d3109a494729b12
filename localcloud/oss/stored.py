"""One stored object and what its writer said about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_CONTENT_TYPE = "application/octet-stream"


class Kind(StrEnum):
    """How an object came to be, as `x-oss-object-type` tells it."""

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


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it stands. `etag` is upper-case hex without quotes."""

    key: str
    data: bytes
    etag: str
    modified_at: float
    described: Described = PLAIN
    kind: Kind = Kind.NORMAL
    symlink_target: str = ""

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.data)


def etag_of(data: bytes) -> str:
    """Return the ETag OSS gives to content written in one piece."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
