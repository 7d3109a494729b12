"""The header Content-MD5, held against the body. What a vendor calls a misfit is its own affair."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from enum import Enum, auto


class Fit(Enum):
    """How the header stands to the body. A call without the header `FITS`."""

    FITS = auto()
    MALFORMED = auto()
    DIFFERS = auto()


def fit_of(headers: Mapping[str, str], body: bytes) -> Fit:
    """Tell whether a body is the one that Content-MD5 announces."""
    told = headers.get("Content-MD5")
    if told is None:
        return Fit.FITS
    try:
        digest = base64.b64decode(told, validate=True)
    except binascii.Error:
        return Fit.MALFORMED
    fits = digest == hashlib.md5(body, usedforsecurity=False).digest()
    return Fit.FITS if fits else Fit.DIFFERS
