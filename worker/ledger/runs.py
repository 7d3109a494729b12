"""Runs: the lines of many log objects of one day, laid by their keys, so that a key is one read away.

A run has 2 ** `bits` buckets, and the SHA-256 of a key says in which one its lines stand: no index is needed.
A bucket is one object, or several parts. The run's mark is written last: a run without one does not count.
Runs and log objects are read together, and a line may stand in several of them.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from worker.ledger.line import fields_of
from worker.ledger.names import LOG

# Behind all years in a listing, and under the lifecycle rule of the log objects.
MARKS = f"{LOG}/runs/"
BUCKETS = f"{LOG}/sorted/"
BITS_MAX = 20
BUCKET_BYTES = 512 * 1024
# A part below this is the last one of its bucket. With a line more it is still read in one piece.
PART_BYTES = 2 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024

_MARK = re.compile(rf"{MARKS}(\d{{4}}/\d\d/\d\d)/(\d\d)-([0-9a-f]+)\.json")


class Entry(NamedTuple):
    """A line byte for byte, and when OSS had it from the relay: seconds since the epoch by OSS's clock."""

    written_at: float
    line: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """A run of one day (`yyyy/mm/dd`, that of the log objects' names). All names are relative ones."""

    day: str
    bits: int
    ident: str

    @classmethod
    def of_mark(cls, name: str) -> Run | None:
        """Return the run of a mark's name; None if it is no such name."""
        match = _MARK.fullmatch(name)
        return cls(match[1], int(match[2]), match[3]) if match else None

    @property
    def mark(self) -> str:
        """The object that makes the run count."""
        return f"{MARKS}{self.day}/{self.bits:02}-{self.ident}.json"

    @property
    def folder(self) -> str:
        """Where its buckets stand."""
        return f"{BUCKETS}{self.day}/{self.bits:02}-{self.ident}/"

    def part(self, bucket: int, part: int) -> str:
        """Return the name of one part of a bucket."""
        return f"{self.folder}{bucket:05x}-{part}.jsonl"


def bits_for(size_bytes: int) -> int:
    """Return how many bits make buckets of at most some 512 KiB."""
    return min(BITS_MAX, max(0, (size_bytes - 1) // BUCKET_BYTES).bit_length())


def bucket_of(key: str, bits: int) -> int:
    """Return the bucket of a key in a run of so many bits."""
    return _place(key.encode(), bits)


def by_bucket(entries: Iterable[Entry], bits: int) -> dict[int, list[Entry]]:
    """Sort entries into buckets; a damaged line has a place as well, by its own bytes."""
    found: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        key = fields_of(entry.line).get("key")
        name = key.encode() if isinstance(key, str) else entry.line
        found[_place(name, bits)].append(entry)
    return found


def parts_of(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the parts of a bucket, at least one: all but the last have `PART_BYTES` or more. Doubles go."""
    lines: list[bytes] = []
    size = 0
    for entry in dict.fromkeys(entries):
        lines.append(b"%.3f %s\n" % entry)
        size += len(lines[-1])
        if size >= PART_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    yield b"".join(lines)


def is_last(part: bytes) -> bool:
    """Whether no part follows this one."""
    return len(part) < PART_BYTES


def entries_of(part: bytes) -> Iterator[Entry]:
    """Yield what `parts_of` has packed. Raises ValueError for anything else."""
    for packed in part.split(b"\n"):
        if packed:
            at, _, line = packed.partition(b" ")
            yield Entry(float(at), line)


def _place(name: bytes, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(name).digest()[:4]) >> (32 - bits)
