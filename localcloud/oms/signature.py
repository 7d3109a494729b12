"""The gateway's check of SDK-HMAC-SHA256 signatures, and its lock on keys that keep failing.

Vendor facts: the signing guide of API Gateway and its error codes. The canonical request is rebuilt
from the raw request target, the headers that `SignedHeaders` names, and the bytes received.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes

from localcloud.clock import Clock
from localcloud.identity import Identities, Identity
from localcloud.oms.errors import RefusedError, unauthenticated
from localcloud.service import Call

SKEW_SECONDS_MAX = 900
FAILURES_MAX = 5
LOCK_SECONDS = 300

_AUTHORIZATION = re.compile(
    r"SDK-HMAC-SHA256 Access=([^,\s]+), ?SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{64})"
)
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


class _Claim(NamedTuple):
    """What an Authorization header says."""

    access_key: str
    signed_headers: list[str]
    signature: str


@dataclass(slots=True)
class _Record:
    """Consecutive failures of one access key, and until when it is locked."""

    failures: int = 0
    locked_until: float = 0.0


class Gateway:
    """Says who signed a call, or raises `RefusedError` with the gateway's answer.

    More than five failures in a row lock a key for five minutes, also for well-signed calls;
    `locks_out` switches that off. `expired_code` is the code beside "signature expired":
    the vendor's pages name both APIGW.0301 and APIGW.0303.
    """

    def __init__(self, clock: Clock, identities: Identities) -> None:
        self.locks_out = True
        self.expired_code = "APIGW.0301"
        self._clock = clock
        self._identities = identities
        self._records: dict[str, _Record] = {}

    def verify(self, call: Call) -> Identity:
        """Return the identity behind a well-signed call."""
        headers = {name.lower(): value for name, value in call.headers.items()}
        claim = _parse(headers)
        identity = self._identities.get(claim.access_key)
        if identity is None:
            raise _unknown(claim.access_key)
        # Only known keys are recorded, so the number of records has a limit.
        record = self._records.setdefault(claim.access_key, _Record())
        if self.locks_out and self._clock.now() < record.locked_until:
            raise unauthenticated("AK access failed to reach the limit,forbidden")
        try:
            self._check(call, headers, claim, identity)
        except RefusedError:
            self._count_failure(record)
            raise
        record.failures = 0
        return identity

    def unlock(self) -> None:
        """Forget all failures and locks."""
        self._records.clear()

    def _count_failure(self, record: _Record) -> None:
        # Assumption: every refusal of a known key counts, and calls refused by the lock do not.
        record.failures += 1
        if record.failures > FAILURES_MAX:
            record.failures = 0
            record.locked_until = self._clock.now() + LOCK_SECONDS

    def _check(
        self, call: Call, headers: Mapping[str, str], claim: _Claim, identity: Identity
    ) -> None:
        self._check_date(headers.get("x-sdk-date", ""))
        _check_token(headers, claim, identity)
        canonical = _canonical_request(call, headers, claim.signed_headers)
        digest = hashlib.sha256(canonical).hexdigest()
        text = f"SDK-HMAC-SHA256\n{headers['x-sdk-date']}\n{digest}"
        expected = hmac.digest(identity.secret.encode(), text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected, claim.signature) or not _covers_enough(claim, headers):
            echo = canonical.decode("utf-8", "replace").replace("\n", "|")
            raise unauthenticated(f"verify aksk signature fail,canonicalRequest:{echo}")

    def _check_date(self, date: str) -> None:
        signed_at = _parse_date(date)
        if signed_at is None:
            # Assumption: the text; the guide only says that the format is checked.
            raise unauthenticated("X-Sdk-Date format error", self.expired_code)
        if abs(self._clock.now() - signed_at) > SKEW_SECONDS_MAX:
            server = datetime.fromtimestamp(self._clock.now(), UTC).strftime(_DATE_FORMAT)
            reason = f"signature expired, signature time:{date},server time:{server}"
            raise unauthenticated(reason, self.expired_code)


def _parse(headers: Mapping[str, str]) -> _Claim:
    authorization = headers.get("authorization")
    if authorization is None:
        raise unauthenticated("x-auth-token not found")
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        # Assumption: the text.
        raise unauthenticated("authorization header format error")
    return _Claim(match[1], match[2].split(";"), match[3])


def _parse_date(date: str) -> float | None:
    match = _DATE.fullmatch(date)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _unknown(access_key: str) -> RefusedError:
    return unauthenticated(f"Get secretKey failed,ak:{access_key},err:ak not exist")


def _check_token(headers: Mapping[str, str], claim: _Claim, identity: Identity) -> None:
    """Hold a temporary key to its token, and the token to the signature."""
    token = headers.get("x-security-token", "")
    if token == identity.security_token:
        if token and "x-security-token" not in claim.signed_headers:
            # Assumption: the guide says to sign the token; what happens otherwise is not published.
            raise unauthenticated("verify aksk signature fail")
        return
    if not token:
        # Assumption: without its token a temporary key is simply not found.
        raise _unknown(claim.access_key)
    raise unauthenticated("decrypt token fail")


def _covers_enough(claim: _Claim, headers: Mapping[str, str]) -> bool:
    """Whether the date and the host are signed, and no absent header is named."""
    # Assumption: the host; only the date is documented as mandatory.
    names = claim.signed_headers
    return "x-sdk-date" in names and "host" in names and all(name in headers for name in names)


def _canonical_request(call: Call, headers: Mapping[str, str], names: list[str]) -> bytes:
    lines = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in names)
    request = "\n".join(
        (
            call.method,
            _canonical_path(call.path),
            _canonical_query(call.target.partition("?")[2]),
            lines,
            ";".join(names),
            _payload_hash(headers, call.body),
        )
    )
    # The server hands raw header bytes that are not UTF-8 on as lone surrogates.
    return request.encode("utf-8", "surrogateescape")


def _canonical_path(raw: str) -> str:
    encoded = quote_from_bytes(unquote_to_bytes(raw), safe="/~")
    return encoded if encoded.endswith("/") else f"{encoded}/"


def _canonical_query(raw: str) -> str:
    if not raw:
        return ""
    pairs = []
    for part in filter(None, raw.split("&")):
        name, _, value = part.partition("=")
        pairs.append((unquote(name), unquote(value)))
    pairs.sort()
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in pairs)


def _encoded(text: str) -> str:
    return quote_from_bytes(text.encode("utf-8", "surrogateescape"), safe="")


def _payload_hash(headers: Mapping[str, str], body: bytes) -> str:
    declared = headers.get("x-sdk-content-sha256")
    return declared if declared and body else hashlib.sha256(body).hexdigest()
