"""The documents, read as their readers see them: blocks of code, words in code, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.dockerfile import ROOT
from harness.wheel import belonging

DOCUMENTS = sorted(ROOT / name for name in belonging() if name.endswith(".md"))
# What a reader needs for a block that cannot be run here, as its first line says it.
MARK = re.compile(r"# needs ([a-z ]+)\n")
HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `needs` is what its mark names."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def needs(self) -> str:
        found = MARK.match(self.text)
        return found[1] if found else ""

    @property
    def place(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def statements(self) -> list[str]:
        """What the shell carries out one after the other: lines, with what belongs to them."""
        lines = iter(self.text.splitlines())
        return [
            "\n".join([line, *_rest(line, lines)])
            for line in lines
            if line.strip() and not line.startswith("#")
        ]


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link leads: a path, perhaps empty, and an anchor, perhaps empty."""

    path: str
    anchor: str


def _rest(line: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines that continue a line: after a backslash, or up to the end of a here-document."""
    document = HEREDOC.search(line)
    while document is not None or line.endswith("\\"):
        line = next(lines)
        yield line
        if document is not None and line == document[2]:
            return


def blocks(document: Path) -> list[Block]:
    """Every block of code, fenced or indented, in order."""
    return [
        Block(document, (token.map or [0])[0] + 1, token.info.strip(), token.content)
        for token in _MARKDOWN.parse(document.read_text())
        if token.type in {"fence", "code_block"}
    ]


def spans(document: Path) -> list[str]:
    """Every piece of text between backticks."""
    return [token.content for token in _inline(document) if token.type == "code_inline"]


def links(document: Path) -> list[Link]:
    """Every link and picture that does not lead to another site."""
    named = {"link_open": "href", "image": "src"}
    found = [str(each.attrs[named[each.type]]) for each in _inline(document) if each.type in named]
    parts = (each.partition("#") for each in found if "://" not in each)
    return [Link(path, anchor) for path, _, anchor in parts]


def anchors(document: Path) -> set[str]:
    """The names under which the headings of a document can be linked to."""
    tokens = _MARKDOWN.parse(document.read_text())
    titles = [
        "".join(each.content for each in after.children or ())
        for token, after in pairwise(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _inline(document: Path) -> Iterator[Token]:
    for token in _MARKDOWN.parse(document.read_text()):
        yield from token.children or ()
