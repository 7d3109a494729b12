"""What a dry run shows of the letters that it counted, and the command that does the same."""

from __future__ import annotations

import shlex
from collections import Counter
from datetime import UTC, datetime

from worker.ledger.letter import Letter
from worker.operate.letters import Chosen, LetterFilter

KEYS_MAX = 5
IDS_MAX = 10


class Sample:
    """Causes, ages and a few keys of letters; and which letters they were, so that no others are moved.

    `oldest` and `newest` are times of death (ISO 8601), empty before the first letter.
    """

    def __init__(self) -> None:
        self.chosen = Chosen()
        self.causes: Counter[str] = Counter()
        self.oldest = self.newest = ""
        self.keys: list[str] = []

    def add(self, letter: Letter) -> None:
        """Count a letter."""
        self.chosen.add(letter.ref)
        self.causes[letter.ref.cause] += 1
        self.oldest = min(self.oldest or letter.died_at, letter.died_at)
        self.newest = max(self.newest, letter.died_at)
        if len(self.keys) < KEYS_MAX:
            self.keys.append(letter.keys[0] if letter.keys else letter.ref.message_id)


def command_of(
    verb: str,
    wanted: LetterFilter,
    *,
    count: int | None = None,
    per_second: float | None = None,
    reason: str = "",
    redriven: bool = False,
) -> str:
    """Return the command that does this to these letters; it asks before it acts."""
    parts = ["oms-relay", "dead", verb, *wanted.ids[:IDS_MAX]]
    if len(wanted.ids) > IDS_MAX:
        parts.append(f"# and {len(wanted.ids) - IDS_MAX} ids more")
    options = {
        "--cause": wanted.cause,
        "--group": wanted.group,
        "--key": wanted.key_prefix,
        "--since": _iso(wanted.since),
        "--until": _iso(wanted.until),
        "--reason": reason if verb == "archive" else "",
        "--canary": str(count or ""),
        "--rate": f"{per_second:g}/s" if per_second else "",
    }
    for name, value in options.items():
        if value:
            parts[3:3] = [name, value]
    if redriven:
        parts.insert(3, "--redriven")
    return " ".join(part if part.startswith("# ") else shlex.quote(part) for part in parts)


def _iso(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
