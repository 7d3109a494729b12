"""Pages of a listing: prefix, delimiter and where to go on, over keys in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants listed: keys after `after` that begin with `prefix`."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    max_keys: int = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Keys and common prefixes, in order; `last` is the last of both, to go on after."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...]
    last: str
    is_truncated: bool


def page_of(keys: Sequence[str], wanted: Wanted) -> Page:
    """Return one page. A common prefix counts as one entry, however many keys it stands for."""
    end = _end_of_prefix(keys, wanted.prefix)
    at = max(_start(keys, wanted), bisect_left(keys, wanted.prefix))
    found: list[str] = []
    prefixes: list[str] = []
    last = ""
    while at < end and len(found) + len(prefixes) < wanted.max_keys:
        common = _common_prefix(keys[at], wanted)
        if common:
            prefixes.append(common)
            at = _end_of_prefix(keys, common)
        else:
            found.append(keys[at])
            at += 1
        last = common or found[-1]
    return Page(tuple(found), tuple(prefixes), last, at < end)


def _start(keys: Sequence[str], wanted: Wanted) -> int:
    """Return the index of the first key after the marker.

    Assumption: a marker that is itself a common prefix, as NextMarker can be, skips all its keys.
    """
    if wanted.after and _common_prefix(wanted.after, wanted) == wanted.after:
        return _end_of_prefix(keys, wanted.after)
    return bisect_right(keys, wanted.after)


def _common_prefix(key: str, wanted: Wanted) -> str:
    """Return the key up to and with the first delimiter behind the prefix, or nothing."""
    if not wanted.delimiter or not key.startswith(wanted.prefix):
        return ""
    at = key.find(wanted.delimiter, len(wanted.prefix))
    return key[: at + len(wanted.delimiter)] if at >= 0 else ""


def _end_of_prefix(keys: Sequence[str], prefix: str) -> int:
    return bisect_right(keys, prefix, key=lambda key: key[: len(prefix)])
