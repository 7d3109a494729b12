"""How OSS lets buckets and objects be named."""

from __future__ import annotations

import re

from localcloud.oss.errors import OssError

KEY_BYTES_MAX = 1023
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)


def check_key(key: str) -> None:
    r"""Refuse a name that breaks the rules: UTF-8, 1 to 1023 bytes, no leading `/` or `\`.

    Source: oss/user-guide/object-naming-conventions.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= KEY_BYTES_MAX or key[0] in "/\\":
        message = "The specified object is not valid."
        raise OssError(400, "InvalidObjectName", message, "0048-00000001")


def check_bucket_name(name: str) -> None:
    """Refuse a bucket name that breaks the rules: 3 to 63 of a-z, 0-9 and inner `-`."""
    if not _NAME.fullmatch(name):
        message = "The specified bucket is not valid."
        raise OssError(
            400, "InvalidBucketName", message, "0015-00000001", details={"BucketName": name}
        )
