"""Write the manual page of oms-relay from the help of its commands: `make man` makes build/oms-relay.1.

Usage: python deploy/man/page.py > oms-relay.1
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

from typer.main import get_command

from worker import __version__
from worker.cli import commands

NAME = "oms-relay"
EXITS = (
    ("0", "Done; a daemon that was stopped has finished what it had in hand."),
    ("1", "Something failed, or a check of doctor did."),
    ("2", "The settings or the arguments cannot be used; every problem is listed."),
    ("3", "Nothing was found."),
    (
        "4",
        "Nothing is wrong in what was looked at, and not all was looked at, or not all is proved.",
    ),
    ("70", "A fault of oms-relay itself. Nothing is lost: what was in hand comes back."),
    ("130, 143", "Left at once, by a second signal; or a command was stopped by Ctrl-C."),
)


def page() -> str:
    """Return the whole page in the macros of man(7)."""
    program = get_command(commands)
    return "\n".join([*_head(program), *_commands(program), *_foot()]) + "\n"


def _head(program: Any) -> Iterator[str]:
    summary = program.help.rstrip(".")
    yield f'.TH OMS\\-RELAY 1 "" "{NAME} {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"{_text(NAME)} \\- {_text(summary[0].lower() + summary[1:])}"
    yield ".SH SYNOPSIS"
    for name, command, context in _below(program, NAME):
        yield f".B {_text(name)}"
        yield _text(" ".join(command.collect_usage_pieces(context)))
        yield ".br"
    yield ".SH DESCRIPTION"
    yield _text(program.help)
    yield ".SH OPTIONS"
    yield from _options(program, program.make_context(NAME, [], resilient_parsing=True))


def _commands(program: Any) -> Iterator[str]:
    yield ".SH COMMANDS"
    for name, command, context in _below(program, NAME):
        yield f'.SS "{_text(name.removeprefix(f"{NAME} "))}"'
        yield from _help(command.help or "")
        # -h and --help are told once, for all.
        yield from _options(command, context, without="--help")


def _foot() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, meaning in EXITS:
        yield from _item(code, meaning)
    yield ".SH ENVIRONMENT"
    yield _text(
        "Settings come from the environment, from *_FILE files and from .env in the working"
    )
    yield _text("directory. docs/settings.md describes each; doctor says which one is wrong.")


def _below(command: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Every command that can be called, with its full name and a context to describe it in."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command, command.make_context(name, [], resilient_parsing=True)
        return
    for each_name, each in below.items():
        if not each.hidden:
            yield from _below(each, f"{name} {each_name}")


def _help(text: str) -> Iterator[str]:
    """Paragraphs as they are; what comes after "Examples:" line by line."""
    told, _, examples = text.partition("Examples:")
    for paragraph in filter(None, re.split(r"\n\s*\n", told.strip())):
        yield ".PP"
        yield _text(" ".join(paragraph.split()))
    lines = [each.strip() for each in dedent(examples).splitlines() if each.strip()]
    if lines:
        yield from (".PP", "Examples:", ".PP", ".RS 4", ".nf")
        yield from map(_text, lines)
        yield from (".fi", ".RE")


def _options(command: Any, context: Any, without: str = "") -> Iterator[str]:
    for each in command.get_params(context):
        record = each.get_help_record(context)
        if record is not None and without not in each.opts:
            yield from _item(*record)


def _item(term: str, meaning: str) -> Iterator[str]:
    yield from (".TP", f".B {_text(term)}", _text(" ".join(meaning.split())))


def _text(words: str) -> str:
    """Return words as roff takes them: no macro, no escape, and hyphens that can be copied."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(page())
