"""Every text of the console in each language, and how numbers, times and lengths of time are written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

from worker.advice import TEXTS, Cause, cause_of
from worker.errors import Failure

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
TAGS: Mapping[str, str] = {"en": "en", "zh": "zh-Hans"}
DEFAULT = "en"
ACCEPT_CHARS_MAX = 500

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

    def clock(self, when: float) -> str:
        """Write a time of the last day in UTC, `10:00:00`."""
        return self.time(when)[11:]

    def next_step(self, failure: Failure) -> str:
        """Say what to do after a failed call."""
        return self.step(cause_of(failure))

    def told(self, cause: Cause) -> tuple[str, str]:
        """Return what people read first, the cause where it is known, and what they do next."""
        return cause.told(self.step(cause))

    def step(self, cause: Cause) -> str:
        """Say what to do about a cause; in English where a relay of another version gives other advice."""
        advice = cause.advice
        if advice is None:
            return cause.next_step
        try:
            return self(f"advice.{advice.name}", **advice.values)
        except (LookupError, ValueError):
            return cause.next_step


def load() -> Mapping[str, Words]:
    """Read the catalogue of every language; the English advice stands beside the code that gives it."""
    folder = resources.files(__package__) / "words"
    read = {
        language: json.loads((folder / f"{language}.json").read_text("utf-8"))
        for language in LANGUAGES
    }
    read["en"] |= {f"advice.{name}": _sentence(text) for name, text in TEXTS.items()}
    return {language: Words(language, texts) for language, texts in read.items()}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


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
