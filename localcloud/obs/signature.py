"""The signature of OBS in the Authorization header: `OBS access-key:signature`.

Source: the API reference, "Authentication of signature in a header" (obs_04_0010): Base64 of the
HMAC-SHA1 of a text over method, Content-MD5, Content-Type, date, x-obs- headers and the resource.
The text for the refusal of a skew is that of obs_errorcode_0012.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote

from localcloud.clock import Clock
from localcloud.identity import Identities, Identity
from localcloud.obs.behaviour import ObsBehaviour
from localcloud.obs.errors import (
    ObsError,
    access_denied,
    invalid_argument,
    too_many_wrong_signatures,
)
from localcloud.obs.request import Request, is_signed

SKEW_SECONDS_MAX = 900
_SCHEME = "OBS "


def resource_of(bucket: str, key: str, query: Mapping[str, str | None]) -> str:
    """Return the resource as it is signed: names of subresources sorted, their values not encoded."""
    path = f"/{bucket}/{quote(key, safe='/~', errors='surrogateescape')}" if bucket else "/"
    return path + _subresources(query)


def string_to_sign(method: str, headers: Mapping[str, str], resource: str) -> bytes:
    """Return the text that is signed. With `x-obs-date` the line of the date stays empty."""
    lowered: dict[str, list[str]] = {}
    for name, value in headers.items():
        lowered.setdefault(name.lower(), []).append(value.strip())
    own = sorted(name for name in lowered if name.startswith("x-obs-"))
    date = [""] if "x-obs-date" in lowered else lowered.get("date", [""])
    lines = [
        method,
        ",".join(lowered.get("content-md5", [""])),
        ",".join(lowered.get("content-type", [""])),
        ",".join(date),
        *(f"{name}:{','.join(lowered[name])}" for name in own),
        resource,
    ]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def sign(secret: str, text: bytes) -> str:
    """Return the signature of a text."""
    return b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()


class Verifier:
    """Says who signed a call, or raises `ObsError`; locks keys whose signatures are wrong too often."""

    def __init__(self, clock: Clock, identities: Identities, behaviour: ObsBehaviour) -> None:
        self._clock = clock
        self._identities = identities
        self._behaviour = behaviour
        self._wrong: dict[str, int] = {}
        self._locked_until: dict[str, float] = {}

    def unlock(self) -> None:
        """Forget all wrong signatures and locks."""
        self._wrong.clear()
        self._locked_until.clear()

    def verify(self, request: Request) -> Identity:
        """Return the identity behind a well-signed call."""
        access_key, signature = _claim(request.headers.get("Authorization", ""))
        identity = self._identity(request, access_key)
        # Assumption: the lock comes before the signature, so that a good one is refused as well.
        if self._clock.now() < self._locked_until.get(access_key, 0.0):
            raise too_many_wrong_signatures()
        self._check_date(request.headers)
        texts = [
            string_to_sign(request.method, request.headers, resource)
            for resource in _resources(request)
        ]
        if not any(hmac.compare_digest(sign(identity.secret, t), signature) for t in texts):
            self._count_wrong(access_key)
            raise _mismatch(access_key, signature, texts[0])
        self._wrong.pop(access_key, None)
        return identity

    def _identity(self, request: Request, access_key: str) -> Identity:
        """Return the identity behind a key whose security token, if it has one, came along."""
        identity = self._identities.get(access_key)
        token = request.headers.get("x-obs-security-token", "")
        # Assumption: a token that does not belong to the key makes the key unknown.
        if identity is None or identity.security_token != token:
            message = "The OBS Access Key Id you provided does not exist in our records."
            raise ObsError(403, "InvalidAccessKeyId", message, {"OBSAccessKeyId": access_key})
        return identity

    def _check_date(self, headers: Mapping[str, str]) -> None:
        signed_at = _seconds(headers.get("x-obs-date") or headers.get("Date", ""))
        if signed_at is None:
            raise access_denied("OBS authentication requires a valid Date or x-obs-date header")
        ahead = signed_at - self._clock.now()
        if abs(ahead) > SKEW_SECONDS_MAX:
            state = "is not yet valid" if ahead > 0 else "is no longer valid"
            raise ObsError(403, "RequestTimeTooSkewed", f"Request {state}.")

    def _count_wrong(self, access_key: str) -> None:
        most = self._behaviour.wrong_signatures_max
        wrong = self._wrong.get(access_key, 0) + 1
        self._wrong[access_key] = wrong
        # Assumption: how many and for how long; the page says "frequent".
        if most and wrong >= most:
            del self._wrong[access_key]
            self._locked_until[access_key] = self._clock.now() + self._behaviour.locked_seconds


def _claim(header: str) -> tuple[str, str]:
    if not header:
        raise access_denied("Anonymous access is forbidden for this operation")
    access_key, separator, signature = header.removeprefix(_SCHEME).partition(":")
    if not header.startswith(_SCHEME) or not separator or not signature.isascii():
        # Assumption: the code; the other schemes that OBS takes (AWS, AWS4) are not served here.
        raise invalid_argument("Unsupported Authorization Type")
    return access_key, signature


def _resources(request: Request) -> list[str]:
    """Return the forms of the resource that are taken.

    Assumption: with the bucket in the path, a call about the bucket may be signed without the last
    slash: the Python SDK leaves it out there.
    """
    whole = resource_of(request.bucket, request.key, request.query)
    if request.is_path_style and request.bucket and not request.key:
        return [whole, f"/{request.bucket}{_subresources(request.query)}"]
    return [whole]


def _subresources(query: Mapping[str, str | None]) -> str:
    chosen = sorted((name, value) for name, value in query.items() if is_signed(name))
    if not chosen:
        return ""
    return "?" + "&".join(f"{name}={value}" if value else name for name, value in chosen)


def _mismatch(access_key: str, signature: str, text: bytes) -> ObsError:
    message = (
        "The request signature we calculated does not match the signature you provided."
        " Check your key and signing method."
    )
    details = {
        "AccessKeyId": access_key,
        "SignatureProvided": signature,
        "StringToSign": text.decode("utf-8", "replace"),
        "StringToSignBytes": text.hex(" "),
    }
    return ObsError(403, "SignatureDoesNotMatch", message, details)


@lru_cache(maxsize=256)
def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
