"""OSS signatures, version 4 (OSS4-HMAC-SHA256), with the derived key kept for its day.

They equal oss2's (a property test compares them) in an eighth of the time: oss2 derives the key and
percent-encodes byte by byte for each request. Facts: OSS developer reference, "V4 signatures in headers".
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from worker.clouds.credentials import AlibabaCredentials

PAYLOAD = "UNSIGNED-PAYLOAD"


def sign(
    method: str,
    resource: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    scope: tuple[AlibabaCredentials, str],
    at: float,
) -> dict[str, str]:
    """Return the complete headers of a request; `headers` have lower-case names, and nothing is mutated.

    `resource` is `/bucket/key`, not encoded. `scope` is the credentials and the region id; `at` is epoch
    seconds. `content-type`, `content-md5` and every `x-oss-*` header are signed: add none afterwards.
    """
    credentials, region = scope
    date = _date(int(at))
    complete = {**headers, "x-oss-content-sha256": PAYLOAD, "x-oss-date": date}
    if credentials.security_token:
        complete["x-oss-security-token"] = credentials.security_token
    lines = "".join(f"{name}:{complete[name]}\n" for name in sorted(complete) if _is_signed(name))
    request = (
        f"{method}\n{quote(resource, safe='/~')}\n{canonical_query(query)}\n{lines}\n\n{PAYLOAD}"
    )
    place = f"{date[:8]}/{region}/oss/aliyun_v4_request"
    text = f"OSS4-HMAC-SHA256\n{date}\n{place}\n{sha256(request.encode()).hexdigest()}"
    key = _signing_key(credentials.access_key_secret, date[:8], region)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    complete["authorization"] = (
        f"OSS4-HMAC-SHA256 Credential={credentials.access_key_id}/{place}, Signature={signature}"
    )
    return complete


def _is_signed(name: str) -> bool:
    return name.startswith("x-oss-") or name in ("content-type", "content-md5")


def canonical_query(query: Mapping[str, str]) -> str:
    """Return the query as it is signed, which is also a form that can be sent."""
    if not query:
        return ""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items())
    return "&".join(f"{name}={value}" if value else name for name, value in pairs)


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


@lru_cache(maxsize=4)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"aliyun_v4{secret}".encode()
    for part in (day, region, "oss", "aliyun_v4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
