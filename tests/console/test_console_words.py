from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pytest

from worker.advice import TEXTS, Advice, Cause
from worker.console import words
from worker.errors import Blame, Failure, Outcome

CONSOLE = Path(words.__file__).parent
ENGLISH, CHINESE = words.load()["en"], words.load()["zh"]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_catalogues_have_the_same_keys_and_placeholders() -> None:
    assert ENGLISH.texts.keys() == CHINESE.texts.keys()
    for key, text in ENGLISH.texts.items():
        assert placeholders(text) == placeholders(CHINESE.texts[key]), key
        assert text.strip(), key
        assert CHINESE.texts[key].strip(), key


def test_catalogues_are_in_one_order_so_that_they_can_be_read_side_by_side() -> None:
    assert list(ENGLISH.texts) == list(CHINESE.texts)


def test_every_key_that_is_named_exists_and_every_text_is_used() -> None:
    sources = [*CONSOLE.glob("templates/*.html"), *CONSOLE.glob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    for key in re.findall(r'\bt\("([a-z_.0-9]+)"[,)]', text):
        assert ENGLISH.has(key), key
    for key in re.findall(r'\bt\.count\("([a-z_.0-9]+)",', text):
        assert ENGLISH.has(f"{key}.one"), key
        assert ENGLISH.has(f"{key}.other"), key
    for key in ENGLISH.texts:
        parts = key.removesuffix(".one").removesuffix(".other").split(".")
        begun = [".".join(parts[:number]) + "." for number in range(1, len(parts))]
        whole = ".".join(parts)
        assert f'"{whole}"' in text or any(f'"{each}' in text for each in begun), key


def test_no_text_stands_in_a_template() -> None:
    for path in CONSOLE.glob("templates/*.html"):
        bare = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", "", path.read_text(), flags=re.DOTALL)
        bare = re.sub(r"<[^>]*>", " ", bare)
        left = set(re.findall(r"[A-Za-z]{2,}", bare))
        assert left <= {"Enter", "oss"}, (path.name, left)


@pytest.mark.parametrize(
    ("remembered", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "en;q=0.5, zh;q=0.9", "zh"),
        ("", "de, fr;q=0.9", "en"),
        ("", "zh;q=0, en;q=0", "en"),
        ("", "zh-Hant-TW", "zh"),
        ("en", "zh", "en"),
        ("xx", "zh", "zh"),
        ("", ";;;q=,zh;q=x", "en"),
        ("", "a" * 10_000 + ",zh", "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_browsers(
    remembered: str, accepted: str, language: str
) -> None:
    assert words.choose(remembered, accepted) == language


def test_numbers_and_times_are_written_for_people() -> None:
    assert ENGLISH.number(1234567) == "1,234,567"
    assert ENGLISH.rate(0.25) == "0.2/s"
    assert ENGLISH.rate(1234) == "1,234/s"
    assert ENGLISH.span(0) == "0 s"
    assert ENGLISH.span(3.14) == "3.1 s"
    assert ENGLISH.span(3700) == "1 h 1 min"
    assert CHINESE.span(90_000) == "1 天 1 小时"
    assert ENGLISH.time("2026-09-22T12:00:00+02:00") == "2026-09-22 10:00:00"
    assert ENGLISH.time("yesterday") == "yesterday"
    assert ENGLISH.count("letters", 1) == "1 dead letter"
    assert ENGLISH.count("letters", 0) == "0 dead letters"


@pytest.mark.parametrize("name", TEXTS)
def test_every_advice_is_told_in_the_readers_language(name: str) -> None:
    advice = Advice(name, dict.fromkeys(placeholders(TEXTS[name]), "<value>"))
    step = CHINESE.step(Cause("what happened", advice, "what a relay says"))
    assert re.search(r"[\u4e00-\u9fff]", step)
    assert step.count("<value>") == len(placeholders(TEXTS[name]))
    assert ENGLISH.step(Cause("", advice)).lower() == f"{advice}.".lower()


@pytest.mark.parametrize(
    "advice", [None, Advice("of another version"), Advice("oss.no_bucket", {"other": "x"})]
)
def test_advice_of_another_version_is_told_in_its_own_words(advice: Advice | None) -> None:
    assert CHINESE.step(Cause("what", advice, "do that")) == "do that"


def test_catalogues_hold_text_only() -> None:
    for language in words.LANGUAGES:
        texts = json.loads((CONSOLE / f"words/{language}.json").read_text())
        assert all(isinstance(text, str) and "<" not in text for text in texts.values())


def test_a_failure_that_tells_its_remedy_is_told_so() -> None:
    why = "the sync task is STOPPED"
    stopped = Failure("oms", "Call", Outcome.RETRY_LATER, Blame.SERVICE, 200, message=why)
    assert CHINESE.next_step(stopped) == CHINESE("advice.oms.start_task")
