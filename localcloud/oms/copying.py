"""How copies go, as far as it may be set: for how long, in which parts, and which of them go wrong."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

MIB = 1024 * 1024


@dataclass(slots=True)
class Copying:
    """The switches of the copier; all may be changed while it runs.

    `copy_seconds` is how long the copies of one call take, by the service's clock. Content of more than
    `part_bytes` is copied in parts of that size, so that both ETags differ (0: never; the real size is
    not known). Without `leaves_crc64` the copies have no checksum: whether OMS leaves one is not known.
    Of the copies a `fail_share` fails, with `fail_error` as the source's code; a `lose_share` is dropped
    in silence, with neither object nor row nor count; a `late_share` comes `late_seconds` later, read as
    the source then is. Lists are written `lists_after_seconds` after the copies (None: never), their
    columns parted by `list_separator`, which is not known either.
    """

    # Read by pydantic, where the admin API takes switches as JSON.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    copy_seconds: float = 0.0
    part_bytes: int = 16 * MIB
    leaves_crc64: bool = True
    fail_share: float = 0.0
    fail_error: str = "RequestTimeout"
    lose_share: float = 0.0
    late_share: float = 0.0
    late_seconds: float = 60.0
    lists_after_seconds: float | None = 0.0
    list_separator: str = "\t"

    def __post_init__(self) -> None:
        shares = (self.fail_share, self.lose_share, self.late_share)
        if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1:
            raise ValueError("shares must be between 0 and 1, and no more than 1 together")
        times = (self.copy_seconds, self.late_seconds, self.lists_after_seconds or 0.0)
        if not all(0 <= seconds < math.inf for seconds in times) or self.part_bytes < 0:
            raise ValueError("seconds and bytes must be 0 or more")
        if not self.list_separator:
            raise ValueError("list_separator must not be empty")


class Fate(Enum):
    """What becomes of the copy of one key."""

    COPIED = auto()
    FAILED = auto()
    LOST = auto()
    LATE = auto()


class Luck:
    """Draws the fate of each copy from the seed, the key, and how often the key was drawn before.

    So the same keys meet the same fate in each run, in whatever order and company they are announced.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn: Counter[str] = Counter()

    def draw(self, key: str, copying: Copying) -> Fate:
        """Return the fate of the next copy of a key."""
        shares = (
            (Fate.FAILED, copying.fail_share),
            (Fate.LOST, copying.lose_share),
            (Fate.LATE, copying.late_share),
        )
        if not any(share for _, share in shares):
            return Fate.COPIED
        self._drawn[key] += 1
        chance = f"{self._seed}/{self._drawn[key]}/{key}"
        left = random.Random(chance).random()  # noqa: S311  repeatable on purpose, keeps no secret
        for fate, share in shares:
            left -= share
            if left < 0:
                return fate
        return Fate.COPIED
