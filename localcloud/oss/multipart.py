"""The rules of OSS for multipart uploads, in its own words."""

from __future__ import annotations

from collections.abc import Sequence

from localcloud.oss.errors import OssError, invalid_argument
from localcloud.storage.multipart import (
    Part,
    PartsError,
    Upload,
    etag_of_parts,
    is_part_number,
    named_parts,
)

PART_BYTES_MIN = 100 * 1024
_ECS = {
    "MalformedXML": "0042-00000201",
    "InvalidPart": "0042-00000202",
    "InvalidPartOrder": "0042-00000203",
    "EntityTooSmall": "0042-00000204",
}


def check_part_number(text: str) -> int:
    """Return a part number, or refuse it: 1 to 10,000 (oss/developer-reference/uploadpart)."""
    if not is_part_number(text):
        raise invalid_argument("Part number must be an integer between 1 and 10000.")
    return int(text)


def assemble(upload: Upload, named: Sequence[tuple[int, str]]) -> tuple[list[Part], str]:
    """Return the named parts (number, ETag), in order, and the ETag of the object made of them.

    The rules are those of oss/developer-reference/completemultipartupload.
    """
    try:
        parts = named_parts(upload, named, PART_BYTES_MIN)
    except PartsError as error:
        raise OssError(400, error.code, error.message, _ECS[error.code]) from error
    return parts, etag_of_parts(part.etag for part in parts).upper()
