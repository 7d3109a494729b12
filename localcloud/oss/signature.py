"""Verification of OSS signatures in the Authorization header: V4 (OSS4-HMAC-SHA256) and V1.

Both are recomputed from the request as it came. Sources: oss/developer-reference,
"recommend-to-use-signature-version-4" and "include-signatures-in-the-authorization-header"; the ECs
are those of the pages oss/support/0002-0000xxxx.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from localcloud.identity import Identities, Identity
from localcloud.oss.canonical import UNSIGNED, canonical_request, signing_key, string_to_sign_v1
from localcloud.oss.errors import OssError, access_denied, invalid_argument
from localcloud.oss.request import Request
from localcloud.storage.xml import iso_time

SKEW_SECONDS_MAX = 900
V4 = "OSS4-HMAC-SHA256"
_TERMINATOR = "aliyun_v4_request"
_UNKNOWN_KEY = "The OSS Access Key Id you provided does not exist in our records."


@dataclass(frozen=True, slots=True)
class _Claim:
    """What an Authorization header claims. `scope` and `additional` belong to V4."""

    access_key: str
    signature: str
    scope: str = ""
    additional: tuple[str, ...] = ()


def verify(request: Request, identities: Identities, now: float, region: str | None) -> Identity:
    """Return who signed the request, or raise the refusal OSS would give.

    `region` is where the bucket lives; None accepts any region in the scope of a V4 signature.
    """
    header = request.headers.get("Authorization", "")
    if header.startswith(V4):
        return _verify_v4(request, identities, now, region)
    if header.startswith("OSS "):
        return _verify_v1(request, identities, now)
    if not header:
        raise access_denied("Anonymous access is forbidden for this operation.", "0003-00000303")
    raise _unreadable(header)


def _verify_v4(
    request: Request, identities: Identities, now: float, region: str | None
) -> Identity:
    header = request.headers["Authorization"]
    claim = _claim_v4(header)
    identity = _identity(request, identities, claim.access_key)
    stamp = request.headers.get("x-oss-date") or _stamp_of_date(request.headers.get("Date", ""))
    _check_skew(_seconds_of_stamp(stamp), now)
    _check_scope(claim.scope, stamp, region, header)
    payload = request.headers.get("x-oss-content-sha256", "")
    if payload != UNSIGNED:
        raise invalid_argument("Invalid x-oss-content-sha256 header.", "0002-00000215")
    canonical = canonical_request(request, claim.additional)
    to_sign = f"{V4}\n{stamp}\n{claim.scope}\n{hashlib.sha256(canonical).hexdigest()}".encode()
    expected = hmac.digest(signing_key(identity.secret, claim.scope), to_sign, "sha256").hex()
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        echo = {"CanonicalRequest": canonical.decode("utf-8", "replace")}
        raise _mismatch(claim, to_sign, "0002-00000201", echo)
    return identity


def _verify_v1(request: Request, identities: Identities, now: float) -> Identity:
    access_key, _, signature = request.headers["Authorization"][4:].strip().partition(":")
    identity = _identity(request, identities, access_key)
    date = request.headers.get("x-oss-date") or request.headers.get("Date", "")
    _check_skew(_seconds_of_date(date), now)
    to_sign = string_to_sign_v1(request, date)
    digest = hmac.digest(identity.secret.encode(), to_sign, "sha1")
    if not hmac.compare_digest(b64encode(digest), signature.encode()):
        raise _mismatch(_Claim(access_key, signature), to_sign, "0002-00000040", {})
    return identity


def _claim_v4(header: str) -> _Claim:
    """Read `OSS4-HMAC-SHA256 Credential=key/scope, Signature=hex[, AdditionalHeaders=a;b]`."""
    pairs = (part.strip().partition("=") for part in header[len(V4) :].split(","))
    fields = {name: value for name, _, value in pairs}
    access_key, _, scope = fields.get("Credential", "").partition("/")
    signature = fields.get("Signature", "")
    if not access_key or not signature or scope.count("/") != 3:
        raise _unreadable(header)
    additional = tuple(sorted(filter(None, fields.get("AdditionalHeaders", "").split(";"))))
    return _Claim(access_key, signature, scope, additional)


def _identity(request: Request, identities: Identities, access_key: str) -> Identity:
    """Return the identity behind a key whose security token, if it has one, came along.

    A temporary key without its token, and a token with a long-lived key, are both "unknown key"
    (oss/support/0002-00000002 and the page on that message).
    """
    identity = identities.get(access_key)
    token = request.headers.get("x-oss-security-token", "")
    if identity is None or bool(identity.security_token) != bool(token):
        raise OssError(
            403,
            "InvalidAccessKeyId",
            _UNKNOWN_KEY,
            "0002-00000002" if token else "0002-00000902",
            details={"OSSAccessKeyId": access_key},
        )
    if token != identity.security_token:
        message = "The security token you provided is invalid."
        raise OssError(403, "InvalidSecurityToken", message, "0002-00000006")
    return identity


def _check_skew(signed_at: float, now: float) -> None:
    if abs(now - signed_at) <= SKEW_SECONDS_MAX:
        return
    message = "The difference between the request time and the current time is too large."
    details = {
        "MaxAllowedSkewMilliseconds": str(SKEW_SECONDS_MAX * 1000),
        "RequestTime": iso_time(signed_at),
        "ServerTime": iso_time(now),
    }
    raise OssError(403, "RequestTimeTooSkewed", message, "0002-00000504", details=details)


def _check_scope(scope: str, stamp: str, region: str | None, header: str) -> None:
    """Refuse a scope of another day, region or product (for the region EC 0002-00000226)."""
    date, scope_region, product, terminator = scope.split("/")
    if date != stamp[:8]:
        what, ec = "date", "0002-00000225"
    elif region is not None and scope_region != region:
        what, ec = "region", "0002-00000226"
    elif product != "oss":
        what, ec = "product", "0002-00000227"
    elif terminator != _TERMINATOR:
        what, ec = "version", "0002-00000228"
    else:
        return
    message = f"Invalid signing {what} in Authorization header."
    raise invalid_argument(message, ec, Authorization=header)


def _mismatch(claim: _Claim, to_sign: bytes, ec: str, echo: Mapping[str, str]) -> OssError:
    message = (
        "The request signature we calculated does not match the signature you provided."
        " Check your key and signing method."
    )
    details = {
        "OSSAccessKeyId": claim.access_key,
        "SignatureProvided": claim.signature,
        "StringToSign": to_sign.decode("utf-8", "replace"),
        "StringToSignBytes": to_sign.hex(" ").upper(),
        **echo,
    }
    return OssError(403, "SignatureDoesNotMatch", message, ec, details=details)


def _unreadable(header: str) -> OssError:
    return invalid_argument(
        "Authorization header is invalid.", "0002-00000101", Authorization=header
    )


@lru_cache(maxsize=256)
def _seconds_of_stamp(stamp: str) -> float:
    try:
        parsed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _no_date() from None
    return parsed.timestamp()


@lru_cache(maxsize=256)
def _seconds_of_date(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise _no_date() from None


def _stamp_of_date(date: str) -> str:
    return datetime.fromtimestamp(_seconds_of_date(date), UTC).strftime("%Y%m%dT%H%M%SZ")


def _no_date() -> OssError:
    return access_denied("OSS authentication requires a valid Date.", "0002-00000505")
