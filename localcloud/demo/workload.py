"""What the demo does to the source bucket: writes, overwrites and deletions, the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from localcloud.cloud import LocalCloud

# Names that have broken one client or another: escapes, blanks, plus signs, empty path segments.
NAMES = (
    "plain/{n:06d}.bin",
    "照片/二〇二四/假期 {n}.jpg",
    "with blanks/a  b {n}.txt",
    "plus+signs/c++ {n}.h",
    "100%/share of {n}.txt",
    "escapes/%41%2F{n}.txt",
    "emoji/🚀 {n} 🧡.png",
    "double//slash//{n}",
    "dots/../{n}/./up",
    "quotes/\"{n}\" & 'more' <{n}>;.xml",
)
REFUSED = ("拒绝/OMS takes no such name.bin", "refused/nor this one")
OVERWRITTEN_SHARE = 0.2
OVERWRITES_MAX = 4
DELETED_SHARE = 0.04
SIZE_BYTES_MAX = 2048


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: write `data` under `key`, or delete the key if `data` is None."""

    key: str
    data: bytes | None


def steps(objects: int, seed: int, refused: tuple[str, ...] = ()) -> list[Step]:
    """Return the steps for so many objects, shuffled, but in order for each key.

    A fifth of the objects is overwritten up to four times, often with the size it had; some are
    deleted at the end. Refused keys are written once.
    """
    rng = random.Random(seed)  # noqa: S311  repeatable on purpose, keeps no secret
    placed: list[tuple[float, int, Step]] = []
    for number in range(objects):
        key = NAMES[number % len(NAMES)].format(n=number)
        placed += [(at, len(placed), step) for at, step in _life(key, rng)]
    placed += [(rng.random(), -1, Step(key, rng.randbytes(64))) for key in refused]
    return [step for _, _, step in sorted(placed, key=lambda each: each[:2])]


def _life(key: str, rng: random.Random) -> Iterator[tuple[float, Step]]:
    """Yield the steps of one key with their places between 0 and 1, in order."""
    at = rng.random()
    size = rng.randint(1, SIZE_BYTES_MAX)
    yield at, Step(key, rng.randbytes(size))
    if rng.random() < OVERWRITTEN_SHARE:
        for _ in range(rng.randint(1, OVERWRITES_MAX)):
            # Half come in a burst right after the write, half at leisure.
            at += (1 - at) * (0.001 if rng.random() < 0.5 else rng.random())
            size = size if rng.random() < 0.5 else rng.randint(1, SIZE_BYTES_MAX)
            yield at, Step(key, rng.randbytes(size))
    if rng.random() < DELETED_SHARE:
        yield at + (1 - at) * rng.random(), Step(key, None)


@dataclass(slots=True)
class Writer:
    """Does the steps and keeps its own books, to be held against those of the services."""

    cloud: LocalCloud
    bucket: str
    writes: int = 0
    deletions: int = 0
    messages: Counter[str] = field(default_factory=Counter)

    @property
    def keys(self) -> frozenset[str]:
        """Every key that was ever written."""
        return frozenset(self.messages)

    def do(self, step: Step) -> None:
        """Do one step; `messages` counts what it announced about the key."""
        before = self.cloud.events_announced
        if step.data is None:
            self.cloud.oss.remove(self.bucket, step.key)
            self.deletions += 1
        else:
            self.cloud.oss.put(self.bucket, step.key, step.data)
            self.writes += 1
        self.messages[step.key] += self.cloud.events_announced - before
