"""One check of the doctor: what was looked at, how it stands, and what would mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """`FAILURE`: the relay cannot work so. `WARNING`: it works, something else does not, or not for long.

    `SKIPPED`: not looked at; the detail says why.
    """

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is `<service>.<what>`, such as `oss.write`; `fix` is empty where nothing has to be mended."""

    name: str
    verdict: CheckStatus
    detail: str
    fix: str = ""
