"""Signature V2 of MNS, verified over the raw request target and the headers as received."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache

from localcloud.identity import Identities, Identity
from localcloud.mns.errors import MnsError

SKEW_SECONDS = 15 * 60
VERSION = "2015-06-06"


def string_to_sign(method: str, target: str, headers: Mapping[str, str]) -> str:
    """Build the text that is signed.

    Header names count in lower case; `target` is the path and query exactly as sent, not decoded.
    `x-mns-date` takes the place of the date (vendor's page on common parameters).
    """
    plain = {name.lower(): value for name, value in headers.items()}
    date = plain.get("x-mns-date", plain.get("date", ""))
    lines = [method, plain.get("content-md5", ""), plain.get("content-type", ""), date]
    lines += [f"{name}:{plain[name]}" for name in sorted(plain) if name.startswith("x-mns-")]
    return "\n".join([*lines, target])


def sign(secret: str, method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the signature, Base64 of HMAC-SHA1."""
    text = string_to_sign(method, target, headers)
    return b64encode(hmac.digest(secret.encode(), _raw(text), "sha1")).decode()


def verify(
    method: str, target: str, headers: Mapping[str, str], now: float, identities: Identities
) -> Identity:
    """Return who signed, or raise the MnsError that the service answers."""
    if headers.get("x-mns-version") != VERSION:
        is_missing = "x-mns-version" not in headers
        raise MnsError("MissingVersionHeader" if is_missing else "InvalidVersionHeader")
    access_key, signature = _credential(headers)
    _check_date(headers, now)
    identity = identities.get(access_key)
    if identity is None:
        raise MnsError("InvalidAccessKeyId")
    expected = sign(identity.secret, method, target, headers)
    if not hmac.compare_digest(_raw(expected), _raw(signature)):
        raise MnsError("SignatureDoesNotMatch")
    # Assumption: a wrong or missing STS token is refused with this code; no source names it.
    if headers.get("security-token", "") != identity.security_token:
        raise MnsError("InvalidSecurityToken")
    return identity


def _credential(headers: Mapping[str, str]) -> tuple[str, str]:
    authorization = headers.get("Authorization")
    if authorization is None:
        raise MnsError("MissingAuthorizationHeader")
    scheme, _, credential = authorization.partition(" ")
    access_key, _, signature = credential.partition(":")
    if scheme != "MNS" or not access_key or not signature:
        raise MnsError("InvalidAuthorizationHeader")
    return access_key, signature


def _check_date(headers: Mapping[str, str], now: float) -> None:
    text = headers.get("x-mns-date", headers.get("Date"))
    if text is None:
        raise MnsError("MissingDateHeader")
    seconds = _seconds(text)
    if seconds is None:
        raise MnsError("InvalidDateHeader")
    if abs(now - seconds) > SKEW_SECONDS:
        raise MnsError("TimeExpired")


def _raw(text: str) -> bytes:
    """Undo aiohttp's decoding of the request line and the headers."""
    return text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def _seconds(text: str) -> float | None:
    """Parse an RFC 1123 date; calls within a second share it."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
