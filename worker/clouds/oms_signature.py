"""Huawei Cloud API gateway signatures, SDK-HMAC-SHA256, as pure functions.

Vendor facts: the "AK/SK signing and authentication guide" of API Gateway, checked against the
signers of Huawei's OMS tutorial and of huaweicloudsdkcore. A signature holds for 15 minutes:
sign each attempt anew, right before it is sent, over exactly the bytes that are sent.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote, unquote

from yarl import URL

ALGORITHM = "SDK-HMAC-SHA256"

_OURS = frozenset({"authorization", "host", "x-sdk-date", "x-security-token"})
# A proxy or the HTTP library may rewrite these; none of them is needed in a signature.
_NEVER_SIGNED = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class HuaweiCredentials:
    """One access key, swapped as a whole on rotation; `security_token` marks a temporary one.

    Neither the secret nor the token shows in the repr.
    """

    access_key: str
    secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)


def mark_of(credentials: HuaweiCredentials) -> str:
    """Return a short mark that tells a key from others; neither key nor secret can be found from it."""
    told = f"oms-relay fleet\n{credentials.access_key}\n{credentials.security_token}"
    return hmac.new(credentials.secret.encode(), told.encode(), sha256).hexdigest()[:12]


def sign(
    method: str,
    url: URL | str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: HuaweiCredentials,
    at: datetime | float,
) -> dict[str, str]:
    """Return the complete headers of a request that the gateway accepts; nothing is mutated.

    `url` is the URL as it goes on the wire, already percent-encoded: send it with
    `URL(..., encoded=True)`. `headers` are kept and signed, apart from those that the HTTP library
    or a proxy controls; `Host`, `X-Sdk-Date`, `X-Security-Token` and `Authorization` are always
    set here and replace what was given under those names. `at` is seconds since the epoch or an
    aware datetime.
    """
    wire_url = url if isinstance(url, URL) else URL(url, encoded=True)
    date = format_date(at)
    complete = {name: value for name, value in headers.items() if name.lower() not in _OURS}
    complete["Host"] = _host(wire_url)
    complete["X-Sdk-Date"] = date
    if credentials.security_token:
        complete["X-Security-Token"] = credentials.security_token
    signed = _signed_headers(complete)
    request = canonical_request(method, wire_url, signed, body)
    signature = hmac.digest(
        credentials.secret.encode(), string_to_sign(request, date).encode(), "sha256"
    ).hex()
    complete["Authorization"] = (
        f"{ALGORITHM} Access={credentials.access_key}, "
        f"SignedHeaders={';'.join(signed)}, Signature={signature}"
    )
    return complete


def format_date(at: datetime | float) -> str:
    """Return an instant as `X-Sdk-Date` has it: UTC, whole seconds, `20260102T030405Z`.

    A naive datetime is refused: guessing its zone would be a skew of hours.
    """
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("a naive datetime cannot be signed: give it a time zone")
        at = at.timestamp()
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))


def canonical_request(method: str, url: URL, signed: Mapping[str, str], body: bytes) -> str:
    """Return the text that both sides hash; `signed` has lower-case names, sorted."""
    lines = "".join([f"{name}:{value}\n" for name, value in signed.items()])
    return (
        f"{method.upper()}\n{_canonical_path(url.raw_path)}\n"
        f"{_canonical_query(url.raw_query_string)}\n{lines}\n{';'.join(signed)}\n"
        f"{_payload_hash(signed, body)}"
    )


def string_to_sign(request: str, date: str) -> str:
    """Return the text that the secret signs: algorithm, date, hash of the canonical request."""
    return f"{ALGORITHM}\n{date}\n{sha256(request.encode()).hexdigest()}"


def _host(url: URL) -> str:
    host = url.host_port_subcomponent
    if not host:
        raise ValueError("only an absolute URL can be signed")
    return host


def _signed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Choose what is signed: not names with `_`, which proxies drop and the SDK leaves out too."""
    signed = {
        lower: value.strip()
        for lower, value in sorted([(name.lower(), value) for name, value in headers.items()])
        if lower not in _NEVER_SIGNED and "_" not in lower
    }
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("a header is given twice, in different case")
    return signed


def _canonical_path(raw_path: str) -> str:
    """Decode once, encode again, end with a slash that is never sent; `//` and `..` stay."""
    path = quote(unquote(raw_path), safe="/~")
    return path if path.endswith("/") else path + "/"


def _canonical_query(raw_query: str) -> str:
    """Sort by decoded name and value; `+` is a plus sign, and an empty value keeps its `=`."""
    if not raw_query:
        return ""
    parts = [part.partition("=") for part in raw_query.split("&") if part]
    pairs = sorted([(unquote(name), unquote(value)) for name, _, value in parts])
    return "&".join([f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs])


def _payload_hash(signed: Mapping[str, str], body: bytes) -> str:
    """Hash the bytes sent; a declared `X-Sdk-Content-Sha256` counts only where there is a body."""
    declared = signed.get("x-sdk-content-sha256") if body else None
    return declared or sha256(body).hexdigest()
