"""Names in the order in which OSS lists them: sorted on disk if need be, and laid side by side."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from worker.errors import RelayError

BYTES_A_NAME = 150


class NoRoom(RelayError):  # noqa: N818  the name says what it is
    """The names cannot be sorted on disk."""


class Seen(NamedTuple):
    """When a name was seen, and which state of it: the post that took it, and the ETag it had then.

    Times are seconds since the epoch. An empty ETag and a `posted_at` of 0 are not known.
    """

    at: float
    etag: str = ""
    posted_at: float = 0.0


class SortedNames:
    """Keeps of each name what was seen last, in a nameless file in the system's folder for temporary files.

    It takes about 150 bytes of disk a name, and a few MiB of memory for any number of them. Every method
    raises `NoRoom` if that folder cannot be written, or is full.
    """

    def __init__(self) -> None:
        self._taken = 0
        with self._said():
            self._file = sqlite3.connect("", isolation_level=None)
            self._file.execute(
                "CREATE TABLE seen (name BLOB PRIMARY KEY, at REAL NOT NULL, etag TEXT NOT NULL, "
                "posted_at REAL NOT NULL) WITHOUT ROWID"
            )

    def add(self, names: Iterable[tuple[str, Seen]]) -> None:
        """Take names; of one name the later one counts, and of equal times the one that comes later."""
        with self._said(), self._file:
            self._file.execute("BEGIN")
            done = self._file.executemany(
                "INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "at = excluded.at, etag = excluded.etag, posted_at = excluded.posted_at "
                "WHERE excluded.at >= at",
                ((name.encode(), *seen) for name, seen in names),
            )
            self._taken += done.rowcount

    async def read(self) -> AsyncIterator[tuple[str, Seen]]:
        """Yield all names in the order of their UTF-8 bytes, each as it was seen last."""
        with self._said():
            for name, *seen in self._file.execute("SELECT * FROM seen ORDER BY name"):
                yield name.decode(), Seen(*seen)

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
    *streams: AsyncIterator[tuple[str, Any]],
) -> AsyncGenerator[tuple[str, list[Any]]]:
    """Yield every name once, with what each stream has of it, or None; streams come in that order."""
    heads = [await anext(stream, None) for stream in streams]
    while waiting := [head[0] for head in heads if head is not None]:
        name = min(waiting)
        found: list[Any] = []
        for place, head in enumerate(heads):
            if head is None or head[0] != name:
                found.append(None)
                continue
            found.append(head[1])
            heads[place] = await anext(streams[place], None)
        yield name, found
