"""Whether our programs would understand a command line: commands, options, values that can be read.

Nothing is carried out; the programs' own parsers decide.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from typer.main import get_command

from harness.dockerfile import ROOT
from localcloud.__main__ import app as localcloud
from worker.cli import commands as worker

PROGRAM = re.compile(
    r"(?:\w+=\S+ +|sudo +)*(?:\S*/)?(?:oms-relay|python3? -m (worker|localcloud))(?: +(.*))?",
    re.DOTALL,
)
GROUPED = ("dead", "records")
MAKEFILE = (ROOT / "Makefile").read_text()


def _idle(command: Any) -> Any:
    """The same command, which does nothing once it has understood."""
    command.callback = lambda **_: None
    for below in getattr(command, "commands", {}).values():
        _idle(below)
    return command


COMMANDS: dict[str, Any] = {
    "worker": _idle(get_command(worker)),
    "localcloud": _idle(get_command(localcloud)),
}


def refusal(text: str) -> str | None:
    """Why a command line of ours would be refused; None if not, or if it is none of ours."""
    found = PROGRAM.fullmatch(re.split(r" [|>] ", text)[0])
    if found is None:
        return None
    for each in _alternatives(found[2] or ""):
        if problem := _problem(COMMANDS[found[1] or "worker"], shlex.split(each, comments=True)):
            return problem
    return None


def refusal_of_part(text: str) -> str | None:
    """The same for a command without its program, as in `dead show ID`."""
    first = text.partition(" ")[0]
    if first not in COMMANDS["worker"].commands or not (" " in text or first in GROUPED):
        return None
    return None if text in GROUPED else refusal(f"oms-relay {text}")


def refusal_of_make(text: str) -> str | None:
    """Why make would not understand: no such target, or a variable that no target uses."""
    if not text.startswith("make "):
        return None
    for word in shlex.split(text, comments=True)[1:]:
        name, is_set, _ = word.partition("=")
        if is_set and name != "PYTHON" and f"$({name})" not in MAKEFILE:
            return f"no target uses {name}"
        if not is_set and not re.search(rf"^{re.escape(word)}:", MAKEFILE, re.MULTILINE):
            return f"no target {word}"
    return None


def options(command: Any = COMMANDS["worker"]) -> set[str]:
    """Every option of a command and of those below it."""
    found = {name for each in command.params for name in [*each.opts, *each.secondary_opts]}
    for below in getattr(command, "commands", {}).values():
        found |= options(below)
    return found


def examples(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """Every example that the help of a command and of those below it shows, with the command's name."""
    shown = (command.help or "").partition("Examples:")[2]
    for line in shown.splitlines():
        if line.strip():
            yield name, re.split(r" {3,}", line.strip())[0]
    for below_name, below in getattr(command, "commands", {}).items():
        yield from examples(below, f"{name} {below_name}")


def _alternatives(text: str) -> Iterator[str]:
    """`dead list|show` stands for two commands."""
    for word in text.split():
        if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word):
            yield from (text.replace(word, each) for each in word.split("|"))
            return
    yield text


def _problem(command: Any, words: Sequence[str]) -> str | None:
    """Let the program parse, down to the last command. Arguments may be missing: prose leaves them out."""
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            command.main(args=list(words), prog_name="-")
        except SystemExit as end:
            is_understood = not end.code or "Missing argument" in said.getvalue()
            return None if is_understood else said.getvalue()
    return None
