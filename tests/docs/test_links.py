"""Every link leads somewhere, and every document is found by somebody who begins with the README."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.dockerfile import ROOT
from harness.documents import DOCUMENTS, anchors, blocks, links

LANGUAGES = {"sh", "yaml", "text"}


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
