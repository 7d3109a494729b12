"""What lanes tell as they find it, told in the order of the names: what comes too early waits on disk."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any, TypeVar

from worker.errors import RelayError
from worker.operate.lanes import Told
from worker.operate.ranges import Range

S = TypeVar("S", bound=Told)


class NoRoom(RelayError):  # noqa: N818  the name says what it is
    """What comes too early cannot be kept on disk until its turn."""


async def told_in_order(found: AsyncGenerator[S], ranges: Iterable[Range]) -> AsyncGenerator[S]:
    """Yield all that is found in the order of its ranges, which together make up `ranges`.

    What waits for its turn is in a nameless file in the system's folder for temporary files: memory stays
    flat. Raises `NoRoom` if that folder is full.
    """
    turns = iter(sorted(ranges))
    turn = next(turns, None)
    with closing(_Waiting()) as waiting:
        async with aclosing(found):
            async for each in found:
                here: S | None = each
                if turn is None or each.range.after != turn.after:
                    waiting.put(each)
                    here = None
                while turn is not None and here is not None:
                    yield here
                    turn = _next_turn(turn, here.range, turns)
                    here = waiting.pop(turn.after) if turn is not None else None


def _next_turn(turn: Range, told: Range, turns: Iterator[Range]) -> Range | None:
    """Return what is to be told next: the rest of this range, or the next one."""
    return next(turns, None) if told.upto == turn.upto else Range(told.upto, turn.upto)


class _Waiting:
    """What waits, by the name that it begins after."""

    def __init__(self) -> None:
        self._count = 0
        with _said():
            self._file = sqlite3.connect("", isolation_level=None)
            self._file.execute("PRAGMA journal_mode = OFF")
            self._file.execute("CREATE TABLE waiting (after BLOB PRIMARY KEY, told BLOB NOT NULL)")

    def put(self, told: Told) -> None:
        with _said():
            row = (told.range.after.encode(), pickle.dumps(told))
            self._file.execute("INSERT INTO waiting VALUES (?, ?)", row)
        self._count += 1

    def pop(self, after: str) -> Any:
        if not self._count:
            return None
        with _said():
            asked = "DELETE FROM waiting WHERE after = ? RETURNING told"
            row = self._file.execute(asked, (after.encode(),)).fetchone()
        self._count -= row is not None
        # Of our own making, from a file that nobody else can open.
        return pickle.loads(row[0]) if row else None  # noqa: S301

    def close(self) -> None:
        self._file.close()


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise NoRoom(
            f"what is found before its turn cannot be kept on disk: {error}. The comparison ended there. Set "
            "TMPDIR to a folder with room, or give --unordered, which keeps nothing"
        ) from error
