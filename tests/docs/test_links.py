"""Every link leads somewhere, and every document is found by somebody who begins with the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harness.dockerfile import ROOT
from harness.documents import DOCUMENTS, anchors, blocks, links
from harness.wheel import belonging

LANGUAGES = {"sh", "yaml", "text", "toml"}
PAGES = sorted((ROOT / "docs").glob("*.md"))
PROGRAMS = sorted(
    ROOT / name
    for name in belonging()
    if name.endswith(".py") and not name.startswith("tests/docs/")
)
# A document that a text names, as a path from its own folder or from the root.
NAMED = re.compile(r"(?<![\w/.*-])([\w/.-]*\w\.md)\b")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def target(document: Path, path: str) -> Path:
    """What a link shows: of a folder that is its README, if it has one."""
    found = (document.parent / path).resolve() if path else document
    readme = found / "README.md"
    return readme if readme.exists() else found


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        found = target(document, link.path)
        assert found.exists(), link
        assert found.is_relative_to(ROOT), link
        assert not link.anchor or link.anchor in anchors(found), link


def test_every_document_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = {ROOT / "README.md"}
    while waiting:
        document = waiting.pop()
        reached.add(document)
        led = {target(document, link.path) for link in links(document)}
        waiting |= {each for each in led if each.suffix == ".md"} - reached
    assert len(reached) > 10
    assert [named(each) for each in DOCUMENTS if each not in reached] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_block_says_its_language(document: Path) -> None:
    for block in blocks(document):
        assert block.language in LANGUAGES, block.place
        if block.language == "yaml":
            assert yaml.safe_load(block.text), block.place


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_page_says_first_for_whom_it_is_and_what_for(page: Path) -> None:
    _, opening, _ = page.read_text().split("\n\n", 2)
    assert re.match(r"For (people who|the person|operators)\b", opening)
    assert len(re.findall(r"[.?!](?=\s|$)", opening)) in {1, 2}, opening


def test_no_text_leans_on_a_document_that_is_not_here() -> None:
    missing = [
        (named(file), name)
        for file in [*DOCUMENTS, *PROGRAMS]
        for name in NAMED.findall(file.read_text(errors="ignore"))
        if not any((place / name).exists() for place in (file.parent, ROOT, ROOT / "docs"))
    ]
    assert missing == []


def test_the_page_about_tests_knows_every_clock_and_every_model_of_a_vendor() -> None:
    kinds = re.compile(
        r"^class (\w*Clock|VirtualLoop|(?:Model)?(?:Queue|Store|Sink)(?:Model)?)\b", re.MULTILINE
    )
    shared = [
        each
        for each in PROGRAMS
        if each.is_relative_to(ROOT / "tests") and not each.name.startswith("test_")
    ]
    files = [*shared, ROOT / "worker" / "clock.py", ROOT / "localcloud" / "clock.py"]
    found = {name for file in files for name in kinds.findall(file.read_text())}
    assert len(found) > 10
    told = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "testing.md").read_text()))
    assert found - told == set()
