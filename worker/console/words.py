"""Every text of the console in each language, and how numbers, times and lengths of time are written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

from worker.advice.remedy import REMEDIES, named
from worker.advice.rights import missing
from worker.errors import Blame, Failure, Outcome
from worker.observe.journal import hint

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
TAGS: Mapping[str, str] = {"en": "en", "zh": "zh-Hans"}
DEFAULT = "en"
ACCEPT_CHARS_MAX = 500

# As `worker.observe.journal.hint` begins where a right may be missing.
_GRANT = r"(?:grant (\S+) if this key lacks it; else )?"
_WANTED = re.compile(r"\s*([A-Za-z*]{1,8})(?:-[\w-]*)?\s*(?:;\s*q=([\d.]{1,5}))?\s*")


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one language; call it with a key. A missing key or value is an error, never a blank."""

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str, /, **values: object) -> str:
        """Return the text of that key with its placeholders filled."""
        return self.texts[key].format(**values)

    def has(self, key: str) -> bool:
        """Whether there is a text of that key."""
        return key in self.texts

    def count(self, key: str, number: int, /, **values: object) -> str:
        """Return a text about a number of things: `key.one` or `key.other`, with `{count}`."""
        form = "one" if number == 1 else "other"
        return self(f"{key}.{form}", count=self.number(number), **values)

    def number(self, value: float) -> str:
        """Write a whole number with its thousands apart."""
        return f"{value:,.0f}"

    def rate(self, per_second: float) -> str:
        """Write a rate, with a digit more where it is small."""
        digits = 0 if per_second >= 100 else 1
        return self("unit.per_second", number=f"{per_second:,.{digits}f}")

    def span(self, seconds: float) -> str:
        """Write a length of time in its two largest units."""
        if 0 < seconds < 10:
            return self("unit.s", number=f"{seconds:.1f}")
        whole = max(0, round(seconds))
        units = ((whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"))
        parts = [(number, unit) for number, unit in (*units, (whole % 60, "s")) if number]
        texts = [self(f"unit.{unit}", number=number) for number, unit in parts[:2]]
        return " ".join(texts) or self("unit.s", number=0)

    def time(self, when: str | float) -> str:
        """Write a time in UTC, `2026-09-22 10:00:00`; a text that is none stays as it is."""
        try:
            found = (
                datetime.fromisoformat(when)
                if isinstance(when, str)
                else datetime.fromtimestamp(when, UTC)
            )
        except ValueError:
            return str(when)
        return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    def next_step(self, failure: Failure) -> str:
        """Say what to look at after a failed call."""
        mends = named(failure)
        if mends:
            return self(f"hint.remedy.{mends}")
        key = f"hint.{failure.service}.{failure.blame}"
        return self._granting(missing(failure), self(key if self.has(key) else "hint.passing"))

    def reason(self, text: str) -> tuple[str, str]:
        """Split a worker's reason into what happened and, in this language, what to do next."""
        for known, key in _HINTS.items():
            match = re.fullmatch(rf"(.*); {_GRANT}{re.escape(known)}", text, re.DOTALL)
            if match:
                return match[1], self._granting(match[2], self(key))
        return text, ""

    def _granting(self, action: str | None, step: str) -> str:
        return self("hint.grant", action=action, step=step) if action else step


def load() -> Mapping[str, Words]:
    """Read the catalogue of every language."""
    folder = resources.files(__package__) / "words"
    return {
        language: Words(language, json.loads((folder / f"{language}.json").read_text("utf-8")))
        for language in LANGUAGES
    }


def choose(remembered: str, accepted: str) -> str:
    """Return the language: the one chosen before, else the first of the browser's that there is."""
    if remembered in LANGUAGES:
        return remembered
    wanted: list[tuple[float, str]] = []
    for part in accepted[:ACCEPT_CHARS_MAX].split(","):
        match = _WANTED.fullmatch(part)
        if match and match[1].lower() in LANGUAGES:
            wanted.append((_quality(match[2]), match[1].lower()))
    best = max(wanted, key=lambda each: each[0], default=(0.0, DEFAULT))
    return best[1] if best[0] > 0 else DEFAULT


def _quality(text: str | None) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def _hints() -> dict[str, str]:
    """Return the keys of the texts that workers and commands give as hints in English."""
    found = {}
    for service in ("mns", "oss", "oms"):
        for blame in (Blame.CREDENTIALS, Blame.SERVICE):
            failure = Failure(service, "", Outcome.RETRY_LATER, blame)
            found[hint(failure)] = f"hint.{service}.{blame}"
    found |= {text: f"hint.remedy.{name}" for name, text in REMEDIES.items()}
    found[hint(Failure("", "", Outcome.RETRY_LATER, Blame.PASSING))] = "hint.passing"
    return found


_HINTS = _hints()
