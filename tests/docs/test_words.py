"""Commands and options that stand between the words of a document are ones that the programs know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import grammar
from harness.dockerfile import ROOT
from harness.documents import DOCUMENTS, blocks, spans
from harness.wheel import belonging

# Lines of `status`, not commands.
LABELS = {"dead queue", "dead letters"}
# Texts of programs and manifests that tell people what to type.
TEXTS = sorted(
    ROOT / name
    for name in belonging()
    if name.startswith(("worker/", "localcloud/", "deploy/")) and not name.endswith(".md")
)
TOLD = re.compile(r"oms-relay ((?:(?:dead|records) [a-z]+)|doctor|status|console|run)\b")
# Metrics and alerts have names of their own: `oms_relay_lag_seconds`, `OmsRelayAbsent`.
OTHER_NAMES = re.compile(r"OMS[ _-]relay|oms relay|oms_relay(?!_)|Oms-?[Rr]elay(?![A-Z])")
COMMANDS_MD = [ROOT / "docs" / name for name in ("cli.md", "console.md", "runbook.md")]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def written(document: Path) -> list[str]:
    """Every piece of code that may be a command: spans, and statements of marked blocks as well."""
    statements = [each for block in blocks(document) for each in block.statements]
    comments = [each.partition("# ")[2].partition(": ")[2] for each in statements]
    return [*spans(document), *statements, *comments]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_is_named_is_understood(document: Path) -> None:
    for text in set(written(document)) - LABELS:
        assert grammar.refusal(text) is None, text
        assert grammar.refusal_of_part(text) is None, text
        assert grammar.refusal_of_make(text) is None, text


@pytest.mark.parametrize("document", COMMANDS_MD, ids=named)
def test_every_option_that_is_named_exists(document: Path) -> None:
    named = {each.split()[0] for each in spans(document) if each.startswith("--")}
    assert named <= grammar.options() | {"--help"}


def test_every_command_and_every_option_is_in_the_document_of_commands() -> None:
    text = "\n".join(each.read_text() for each in COMMANDS_MD)
    missing = {each for each in grammar.options() if each not in text}
    assert missing == set()


@pytest.mark.parametrize("file", TEXTS, ids=named)
def test_what_programs_tell_people_to_type_is_understood(file: Path) -> None:
    for text in TOLD.findall(file.read_text(errors="ignore")):
        assert grammar.refusal(f"oms-relay {text}") is None, text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "oms-relay dead lst",
            "oms-relay status --wrong",
            "python -m worker records find K --since x",
        ),
        *(
            "oms-relay dead list|shw",
            "sudo /opt/oms-relay/bin/oms-relay docter",
            "python -m localcloud dmo",
        ),
        *("RELAY_LOG_FORMAT=json python -m worker rn", "oms-relay dead redrive --rate fast"),
    ],
)
def test_mistakes_are_seen(text: str) -> None:
    assert grammar.refusal(text)


def test_mistakes_in_parts_and_in_targets_are_seen() -> None:
    assert grammar.refusal_of_part("dead lst")
    assert grammar.refusal_of_part("doctor --pst KEY")
    assert grammar.refusal_of_make("make dmo")
    assert grammar.refusal_of_make("make proof WORLD=1")


def test_the_program_has_one_name() -> None:
    files = [*DOCUMENTS, *TEXTS]
    found = {named(each): OTHER_NAMES.findall(each.read_text(errors="ignore")) for each in files}
    assert {name: each for name, each in found.items() if each} == {}
