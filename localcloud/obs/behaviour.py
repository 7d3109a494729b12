"""What may be switched while OBS runs, most of it because the vendor's pages leave it open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

HASH_HEADER = "x-obs-hash-crc64ecma"
CHECKSUM_HEADER = "x-obs-checksum-crc64ecma"
NO_CRC64 = ""


@dataclass(slots=True)
class ObsBehaviour:
    """The switches of OBS.

    `crc64_header` is where answers tell the CRC64 of an object: the vendor's SDKs read two names, the
    API pages list neither; "" for none, and then OMS finds none either.
    `takes_path_style`: loopback clients cannot use virtual hosts; the real service refuses path style.
    `gives_next_marker`: without it a client goes on after the last key.
    `plus_is_space_in_keys`: encoded keys of listings hold `+` for a space, as Java's URLEncoder does.
    `lists_milliseconds`: the samples of the pages show them; the header has whole seconds anyway.
    `hides_missing`: a missing key is 403 for who may not list, as S3 does it.
    `wrong_signatures_max` in a row lock a key for `locked_seconds`; 0 never locks.
    """

    # Read by pydantic, where the admin API takes switches as JSON.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    crc64_header: str = HASH_HEADER
    takes_path_style: bool = True
    gives_next_marker: bool = True
    plus_is_space_in_keys: bool = False
    lists_milliseconds: bool = False
    hides_missing: bool = False
    part_bytes_min: int = 100 * 1024
    wrong_signatures_max: int = 20
    locked_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.crc64_header not in {HASH_HEADER, CHECKSUM_HEADER, NO_CRC64}:
            raise ValueError(f"crc64_header must be {HASH_HEADER}, {CHECKSUM_HEADER} or empty")
        if min(self.part_bytes_min, self.wrong_signatures_max, self.locked_seconds) < 0:
            raise ValueError("numbers must be 0 or more")
