"""How the key in an event is read, and how it is written for OMS.

Whether OSS URL-encodes the keys of its events is not said in its guide. Most keys read the same
either way; for the others a look at the source bucket tells the object from its namesake.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from worker.events.decode import KEY_BYTES_MAX

KeyEncoding: TypeAlias = Literal["raw", "url", "auto"]
# Whether a bucket holds an object under this very name; None where it may not be looked at.
Exists: TypeAlias = Callable[[str, str], Awaitable[bool | None]]

_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Everything but the unreserved and reserved characters of RFC 3986 and whole %XX escapes.
_NEVER_ENCODED = re.compile(r"[^!#-;=?-\[\]_a-z~]|%(?![0-9A-Fa-f]{2})")


def readings(key: str, encoding: KeyEncoding) -> tuple[str, ...]:
    """Answer the names that the key of an event may mean: one, or with `auto` up to two, raw first.

    A key that is no URL encoding of UTF-8 text is taken as it stands under every encoding.
    """
    if encoding == "raw" or ("%" not in key and "+" not in key):
        return (key,)
    decoded = _decoded(key)
    if encoding == "url" or len(key.encode()) > KEY_BYTES_MAX:
        return (decoded,)
    if decoded == key or _NEVER_ENCODED.search(key):
        return (key,)
    return (key, decoded)


def quote_for_oms(key: str) -> str:
    """Encode a key once for the events API: all but `A-Za-z0-9-_.~`, with `%20` and never `+`.

    This form means the same name to every decoder that OMS may use.
    """
    if _PLAIN.fullmatch(key):
        return key.replace("/", "%2F")
    return quote(key, safe="")


class KeyReader:
    """Reads the keys of events; where `auto` leaves two readings, the source bucket decides.

    `remembered_max` bounds the verdicts that are kept, the least recently used go first.
    """

    def __init__(self, encoding: KeyEncoding, exists: Exists, remembered_max: int) -> None:
        self._encoding = encoding
        self._exists = exists
        self._remembered_max = remembered_max
        self._verdicts: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def read(self, bucket: str, key: str) -> tuple[str, ...]:
        """Answer the names to post for one event: the only one that exists, else all readings.

        A remembered verdict spares the look at the object it names, but not at the namesake: had
        the object been gone when the verdict fell, the namesake alone was there to be found.
        """
        found = readings(key, self._encoding)
        if len(found) == 1:
            return found
        verdict = self._verdicts.pop((bucket, key), None)
        present = []
        for reading in found:
            exists = reading == verdict or await self._exists(bucket, reading)
            if exists is None:
                return found
            if exists:
                present.append(reading)
        if len(present) != 1:
            return found
        self._remember((bucket, key), present[0])
        return tuple(present)

    def _remember(self, place: tuple[str, str], verdict: str) -> None:
        self._verdicts[place] = verdict
        self._verdicts.move_to_end(place)
        if len(self._verdicts) > self._remembered_max:
            self._verdicts.popitem(last=False)


def _decoded(key: str) -> str:
    if _BROKEN_PERCENT.search(key):
        return key
    try:
        return unquote_to_bytes(key.replace("+", " ")).decode()
    except UnicodeDecodeError:
        return key
