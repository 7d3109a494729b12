"""Message ids and receipt handles in the form that live MNS gives them today."""

from __future__ import annotations

import random
import re
from base64 import b64encode

# Assumption: the recorded handles end in six characters whose alphabet is not known. With these,
# handles contain `+`, `/` and `=` now and then, as the vendor's older examples do: a client that
# does not encode them well is found out.
_TAIL = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ~?"
_WELL_FORMED = re.compile(
    r"[0-9A-F]{32}-(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
)


def new_message_id(rng: random.Random) -> str:
    """Return 32 upper-case hexadecimal digits."""
    return f"{rng.getrandbits(128):032X}"


def new_handle(
    message_id: str, start_ms: int, invisible_ms: int, lease: int, rng: random.Random
) -> str:
    """Return `<message id>-<base64>`; the lease number makes each handle unlike all before it."""
    bits = rng.getrandbits(36)
    tail = "".join(_TAIL[bits >> shift & 63] for shift in (0, 6, 12, 18, 24, 30))
    text = f"1 {start_ms} {invisible_ms} 1 0 local-broker 0 {lease}|{tail}"
    return f"{message_id}-{b64encode(text.encode()).decode()}"


def is_well_formed(handle: str) -> bool:
    """Whether MNS would look the handle up at all; if not it answers ReceiptHandleError."""
    return _WELL_FORMED.fullmatch(handle) is not None


def message_id_of(handle: str) -> str:
    """Return the id of the message that the handle was given for."""
    return handle.partition("-")[0]
