"""`dead show`: the whole story of one letter."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from worker.commands import frame, terminal
from worker.commands.dead import as_object, next_verb
from worker.commands.options import JsonOption
from worker.commands.terminal import console, shown, time_shown
from worker.ledger.letter import Letter, Place
from worker.operate.letters import Letters


def show(
    message_id: Annotated[str, typer.Argument(help="Its message id, or how that begins.")],
    as_json: JsonOption = False,
) -> None:
    """Print the whole story of a letter, archived or not, with the original message decoded.

    Examples:
        oms-relay dead show 1F6E2A

        oms-relay dead show 1F6E2A --json | jq .content

    """
    found = frame.run(lambda clients: Letters(clients).find(message_id))
    if not found:
        frame.stop_because(
            f"no dead letter, archived or not, has an id that begins with {message_id!r}. "
            "`oms-relay dead list` shows the ids.",
            frame.EXIT_NOTHING_FOUND,
        )
    for letter in found:
        if as_json:
            terminal.line(as_object(letter) | {"body": letter.body, "content": letter.content()})
        else:
            _print_story(letter)


def _print_story(letter: Letter) -> None:
    out = console()
    out.print(Text(f"{letter.ref.message_id}  {letter.ref.cause}", style="bold"))
    story = {
        "error": letter.error,
        "group": letter.group,
        "died": f"{time_shown(letter.died_at)} UTC, at delivery {letter.attempts}",
        "enqueued": f"{time_shown(letter.enqueued_at)} UTC",
        "worker": letter.worker,
        "stands at": letter.ref.name,
    }
    if letter.moved_at:
        story["archived"] = f"{time_shown(letter.moved_at)} UTC {letter.reason}".rstrip()
    if letter.redriven_as:
        story["redriven as"] = letter.redriven_as
    for name, value in story.items():
        out.print(Text(f"  {name:<12} {shown(value)}"))
    for key in letter.keys:
        out.print(Text(f"  key          {shown(key)}"))
        if why := letter.key_errors.get(key, ""):
            out.print(Text(f"  refused      {shown(why)}"))
    out.print(Text("\noriginal message, decoded:", style="bold"))
    content = letter.content()
    text = (
        content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)
    )
    for each in text.split("\n"):
        out.print(Text(f"  {shown(each)}"))
    if letter.ref.place is Place.DEAD:
        verb = next_verb(letter.ref.cause)
        out.print(f"\nNext: oms-relay dead {verb} {letter.ref.message_id[:12]}")
