"""The texts that OSS signatures cover, rebuilt from a request as it came.

Sources: oss/developer-reference, "recommend-to-use-signature-version-4" and
"include-signatures-in-the-authorization-header".
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from localcloud.oss.request import SUBRESOURCES, Request

UNSIGNED = "UNSIGNED-PAYLOAD"


def canonical_request(request: Request, additional: tuple[str, ...]) -> bytes:
    """Return what V4 hashes: method, path, query, signed headers and payload mark."""
    path = f"/{request.bucket}/{request.key}" if request.bucket else "/"
    lines = [
        request.method,
        quote(path, safe="/", errors="surrogateescape"),
        _canonical_query(request.query),
        *_canonical_headers(request.headers, additional),
        "",
        ";".join(additional),
        request.headers.get("x-oss-content-sha256", UNSIGNED),
    ]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _canonical_query(query: Mapping[str, str]) -> str:
    if not query:
        return ""
    pairs = sorted((_quoted(name), _quoted(value)) for name, value in query.items())
    return "&".join(f"{name}={value}" if value else name for name, value in pairs)


def _canonical_headers(headers: Mapping[str, str], additional: tuple[str, ...]) -> list[str]:
    chosen = []
    for name, value in headers.items():
        lower = name.lower()
        signed = lower.startswith("x-oss-") or lower in {"content-type", "content-md5"}
        if signed or lower in additional:
            chosen.append((lower, value))
    return [f"{name}:{value}" for name, value in sorted(chosen)]


@lru_cache(maxsize=256)
def signing_key(secret: str, scope: str) -> bytes:
    """Derive the V4 key of one day, region and product; it serves every request of that day."""
    key = f"aliyun_v4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def string_to_sign_v1(request: Request, date: str) -> bytes:
    """Return what V1 signs; `date` is that of `x-oss-date` or else of `Date`."""
    headers = request.headers
    lines = [
        request.method,
        headers.get("Content-MD5", ""),
        headers.get("Content-Type", ""),
        date,
        *_oss_headers(headers),
        _resource_v1(request),
    ]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _oss_headers(headers: Mapping[str, str]) -> list[str]:
    lowered = ((name.lower(), value) for name, value in headers.items())
    own = sorted(pair for pair in lowered if pair[0].startswith("x-oss-"))
    return [f"{name}:{value}" for name, value in own]


def _resource_v1(request: Request) -> str:
    path = f"/{request.bucket}/{request.key}" if request.bucket else "/"
    chosen = sorted((n, v) for n, v in request.query.items() if n in SUBRESOURCES)
    query = "&".join(f"{name}={value}" if value else name for name, value in chosen)
    return f"{path}?{query}" if query else path


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
