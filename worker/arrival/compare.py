"""Source and destination side by side: whether the copy is there and the same, and how sure that is.

Equal size and a newer copy prove nothing: by its default rule OMS skips an overwrite of equal size that was
made while the copy of the older state was on its way. Only equal checksums prove: CRC64, or an MD5 in both
ETags. What no checksum settles is `UNPROVED` and never counted as proved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from worker.ports import ObjectFacts

_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_MD5S = re.compile(r"(?:[0-9a-f]{32}\n)*+[0-9a-f]{32}", re.IGNORECASE)
ARCHIVED = frozenset({"ARCHIVE", "COLDARCHIVE", "DEEPCOLDARCHIVE", "COLD", "DEEP_ARCHIVE"})


class Verdict(StrEnum):
    """What the two sides say of one object.

    `PROVED`: equal checksums. `UNPROVED`: equal size, not older, and no common checksum. `PENDING`: changed
    so lately that the copy may be on its way. `MISSING`: there is none. `DIFFERENT`: it is another content.
    `STALE`: it is older than the source, and nothing else is known. `GONE`: the source has it no more.
    """

    PROVED = "proved"
    UNPROVED = "unproved"
    PENDING = "pending"
    MISSING = "missing"
    DIFFERENT = "different"
    STALE = "stale"
    GONE = "gone"

    @property
    def is_gap(self) -> bool:
        """Whether the destination lacks what the source has."""
        return self in (Verdict.MISSING, Verdict.DIFFERENT, Verdict.STALE)

    @property
    def has_arrived(self) -> bool:
        """Whether the destination has it, as far as can be told."""
        return self in (Verdict.PROVED, Verdict.UNPROVED)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A verdict, and why in a few words; `why` is empty where the verdict says all.

    `is_skipped_by_default` marks a gap that OMS's default rule never closes: it skips an object of equal size
    whose copy is not older, however often it is announced.
    """

    verdict: Verdict
    why: str = ""
    is_skipped_by_default: bool = False


def compare(
    source: ObjectFacts | None,
    destination: ObjectFacts | None,
    *,
    now: float,
    grace_seconds: float,
) -> Comparison:
    """Compare one object of both sides; `now` is epoch seconds by the source's clock.

    What was changed less than `grace_seconds` ago is `PENDING` instead of a gap.
    """
    if source is None:
        return Comparison(Verdict.GONE)
    found = _compared(source, destination)
    if found.verdict.is_gap and now - source.last_modified < grace_seconds:
        return Comparison(Verdict.PENDING, found.why or str(found.verdict))
    return found


def _compared(source: ObjectFacts, destination: ObjectFacts | None) -> Comparison:
    if destination is None:
        return Comparison(Verdict.MISSING)
    is_older = destination.last_modified < source.last_modified
    if source.kind == "Symlink":
        return Comparison(Verdict.UNPROVED, "a symbolic link: what it points to is not compared")
    if source.size != destination.size:
        return Comparison(Verdict.DIFFERENT, f"{source.size} and {destination.size} bytes")
    match _is_same(source, destination):
        case True:
            found = Comparison(Verdict.PROVED)
        case False:
            why = "equal size, other content"
            found = Comparison(Verdict.DIFFERENT, why, is_skipped_by_default=not is_older)
        case None if is_older:
            found = Comparison(Verdict.STALE, "the copy is older than the source")
        case None:
            found = Comparison(Verdict.UNPROVED, incomparable(source, destination))
    return found


def _is_same(source: ObjectFacts, destination: ObjectFacts) -> bool | None:
    """Whether checksums say that both are the same; None where they say nothing."""
    if source.crc64 is not None and destination.crc64 is not None:
        return source.crc64 == destination.crc64
    # Two MD5s of different contents are not equal by chance, whatever else is not known.
    if are_equal_md5s(source.etag, destination.etag):
        return True
    if not (_MD5.fullmatch(source.etag) and _MD5.fullmatch(destination.etag)):
        return None
    return False if _has_md5(source) and _has_md5(destination) else None


def are_equal_md5s(one: str, other: str) -> bool:
    """Whether two ETags are one MD5, each written as its cloud does."""
    return one.lower() == other.lower() and _MD5.fullmatch(one) is not None


def are_md5s(lines: str) -> bool:
    """Whether each line looks like an MD5."""
    return _MD5S.fullmatch(lines) is not None


def are_unlike_md5s(one: str, other: str) -> bool:
    """Whether two ETags look like MD5s of different contents."""
    are_md5s = _MD5.fullmatch(one) is not None and _MD5.fullmatch(other) is not None
    return are_md5s and one.lower() != other.lower()


def _has_md5(facts: ObjectFacts) -> bool:
    """Whether the ETag is known to be the MD5 of the content: not of parts, and not encrypted by a key."""
    return facts.kind == "Normal" and facts.is_encrypted is False


def incomparable(source: ObjectFacts, destination: ObjectFacts) -> str:
    """Say why no checksum settles it."""
    for facts, side in ((source, "source"), (destination, "destination")):
        if facts.is_encrypted:
            return f"encrypted in the {side}: its ETag is no MD5"
        if facts.kind == "Appendable":
            return f"appendable in the {side}: its ETag is no MD5"
        if facts.kind == "Multipart" or "-" in facts.etag:
            return f"made of parts in the {side}: its ETag is no MD5"
        if facts.storage_class.replace("-", "").upper() in ARCHIVED:
            return f"archived in the {side}"
    return "no common checksum"
