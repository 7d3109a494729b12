"""OBS signatures in the Authorization header: HMAC-SHA1 over method, dates, own headers and the resource.

Facts: OBS API reference, "Authentication of signature in a header" (obs_04_0010). The official SDK signs the
same (tests/contract). Of the query only subresources are signed: prefix, marker and their like are not.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

from worker.clouds.oms_signature import HuaweiCredentials

# Of those that OBS names, the ones that a call of the relay may ever carry.
SUBRESOURCES = frozenset(
    {"acl", "delete", "notification", "partNumber", "uploadId", "uploads", "versionId", "versions"}
)


def sign(
    method: str,
    resource: tuple[str, str],
    query: Mapping[str, str],
    headers: Mapping[str, str],
    credentials: HuaweiCredentials,
    at: float,
) -> dict[str, str]:
    """Return the complete headers of a request; `headers` have lower-case names, and nothing is mutated.

    `resource` is bucket and key, not encoded; `at` is epoch seconds. `content-md5`, `content-type` and every
    `x-obs-*` header are signed: add none afterwards.
    """
    complete = {**headers, "date": _date(int(at))}
    if credentials.security_token:
        complete["x-obs-security-token"] = credentials.security_token
    text = string_to_sign(method, resource, query, complete)
    digest = hmac.digest(credentials.secret.encode(), text.encode(), "sha1")
    complete["authorization"] = f"OBS {credentials.access_key}:{b64encode(digest).decode()}"
    return complete


def string_to_sign(
    method: str, resource: tuple[str, str], query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    """Return the text that the secret signs. Where `x-obs-date` is sent, the line of the date is empty."""
    own = sorted(name for name in headers if name.startswith("x-obs-"))
    bucket, key = resource
    lines = [
        method,
        headers.get("content-md5", ""),
        headers.get("content-type", ""),
        "" if "x-obs-date" in headers else headers["date"],
        *(f"{name}:{headers[name]}" for name in own),
        f"/{bucket}/{quote(key, safe='/~')}{_subresources(query)}",
    ]
    return "\n".join(lines)


def _subresources(query: Mapping[str, str]) -> str:
    signed = sorted(name for name in query if name in SUBRESOURCES)
    parts = [f"{name}={query[name]}" if query[name] else name for name in signed]
    return f"?{'&'.join(parts)}" if parts else ""


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
