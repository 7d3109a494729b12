"""What OSS says of a content: its ETag and its checksum."""

from __future__ import annotations

from localcloud.storage.stored import StoredObject, md5_of

CRC64 = "x-oss-hash-crc64ecma"


def etag_of(data: bytes) -> str:
    """Return the ETag OSS gives to content written in one piece."""
    return md5_of(data).upper()


def crc64_header(stored: StoredObject) -> dict[str, str]:
    """Return the header with the CRC64 in decimal, or nothing for an object that has none.

    Source: oss/developer-reference, "Check data transmission integrity by using CRC-64".
    """
    return {} if stored.crc64 is None else {CRC64: str(stored.crc64)}
