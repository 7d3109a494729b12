"""Names in the order in which OSS lists them: sorted on disk if need be, and laid side by side."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

from worker.errors import RelayError

BYTES_A_NAME = 100


class NoRoom(RelayError):  # noqa: N818  the name says what it is
    """The names cannot be sorted on disk."""


class SortedNames:
    """Keeps of each name the newest time, in a nameless file in the system's folder for temporary files.

    It takes about 100 bytes of disk a name, and a few MiB of memory for any number of them. Every method
    raises `NoRoom` if that folder cannot be written, or is full.
    """

    def __init__(self) -> None:
        self._taken = 0
        with self._said():
            self._file = sqlite3.connect("", isolation_level=None)
            self._file.execute(
                "CREATE TABLE seen (name BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID"
            )

    def add(self, names: Iterable[str], at: float) -> None:
        """Take names that were seen at this time."""
        with self._said(), self._file:
            self._file.execute("BEGIN")
            done = self._file.executemany(
                "INSERT INTO seen VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)",
                ((name.encode(), at) for name in names),
            )
            self._taken += done.rowcount

    async def read(self) -> AsyncIterator[tuple[str, float]]:
        """Yield all names in the order of their UTF-8 bytes, each with its newest time."""
        with self._said():
            for name, at in self._file.execute("SELECT name, at FROM seen ORDER BY name"):
                yield name.decode(), at

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise NoRoom(
                f"the keys of the log objects cannot be sorted on disk: {error}, after {self._taken} keys. "
                f"The comparison ended there. Set TMPDIR to a folder that can be written, with about "
                f"{BYTES_A_NAME} MB for each million of keys that were recorded since --since, or choose a "
                f"later --since."
            ) from error


async def laid_side_by_side(
    *streams: AsyncIterator[tuple[str, float]],
) -> AsyncGenerator[tuple[str, list[float]]]:
    """Yield every name once, with the time that each stream has for it, or 0; streams come in that order."""
    heads = [await anext(stream, None) for stream in streams]
    while waiting := [head[0] for head in heads if head is not None]:
        name = min(waiting, key=str.encode)
        times = []
        for place, head in enumerate(heads):
            is_here = head is not None and head[0] == name
            times.append(head[1] if head is not None and is_here else 0.0)
            if is_here:
                heads[place] = await anext(streams[place], None)
        yield name, times
