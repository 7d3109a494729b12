"""Where a comparison stands, so that one that was killed goes on from there: what is left, and its account.

It is written as the comparison goes, to a file of its own or to the log bucket. Both are replaced as a whole,
so that a kill leaves the older one or the newer one. What was told after it was written is told again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from worker.clock import Clock
from worker.errors import CallFailed, RelayError
from worker.ledger.names import state_name
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket
from worker.operate.ranges import Range

VERSION = 1
# A file costs next to nothing, an object a request.
FILE_SECONDS = 1.0
OBJECT_SECONDS = 60.0


class NotResumable(RelayError):  # noqa: N818  the name says what it is
    """There is nothing to go on from, or it is of another comparison; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """What was asked for, what is left to be told, and the account so far.

    `asked` are the bucket and the options that decide what the account is about. `span` has the times that
    --since and --until stood for when it began (epoch seconds). `report_bytes` is how long the report was.
    """

    asked: Mapping[str, Any]
    began_at: float
    left: Sequence[Range]
    account: Mapping[str, Any]
    span: tuple[float | None, float | None] = (None, None)
    report_bytes: int = 0
    version: int = field(default=VERSION)

    def as_bytes(self) -> bytes:
        """Return it as it is written."""
        return json.dumps(
            {
                "version": self.version,
                "asked": self.asked,
                "began_at": self.began_at,
                "span": self.span,
                "left": self.left,
                "account": self.account,
                "report_bytes": self.report_bytes,
            }
        ).encode()

    @classmethod
    def read(cls, body: bytes, asked: Mapping[str, Any], place: str) -> Bookmark:
        """Read what `as_bytes` gave. Raises `NotResumable` if it is of another comparison, or damaged."""
        try:
            found = json.loads(body)
            since, until = found["span"]
            mark = cls(
                found["asked"],
                float(found["began_at"]),
                tuple(Range(str(after), str(upto)) for after, upto in found["left"]),
                dict(found["account"]),
                (since, until),
                int(found["report_bytes"]),
                found["version"],
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise NotResumable(
                f"{place} holds no state of a comparison. Name another file, or delete this one"
            ) from error
        if mark.version != VERSION:
            raise NotResumable(
                f"{place} was written by another version of oms-relay. Finish it with that one, or delete it"
            )
        other = [
            name for name in {**asked, **mark.asked} if asked.get(name) != mark.asked.get(name)
        ]
        if other:
            differs = ", ".join(
                f"{name} was {mark.asked.get(name)!a} and is {asked.get(name)!a}"
                for name in sorted(other)
            )
            raise NotResumable(
                f"{place} is the state of another comparison: {differs}. Nothing was compared. Run that one "
                "to its end, or name another file"
            )
        return mark


def require_mark(mark: Bookmark | None) -> None:
    """Raise `NotResumable` if there is none."""
    if mark is None:
        raise NotResumable(
            "no comparison with these options was interrupted, so there is nothing to go on from. "
            "Nothing was compared. Run it without --resume"
        )


class Shelf(Protocol):
    """Where a bookmark is kept. Every method raises `CallFailed` or `NotResumable`."""

    place: str
    seconds: float

    async def take(self) -> bytes | None:
        """Read it; None if there is none."""
        ...

    async def put(self, body: bytes) -> None:
        """Replace it; returning means that it is kept."""
        ...

    async def clear(self) -> None:
        """Remove it."""
        ...


@contextmanager
def alone_with(state: Path | None) -> Iterator[None]:
    """Keep every other run away from a file of state within the context: `NotResumable` if one is at work.

    The system lets go of the lock when a process ends, however it ends. The state itself is replaced as a
    whole, so the lock is on a file beside it.
    """
    if state is None:
        yield
        return
    path = state.with_name(f"{state.name}.lock")
    with _locked(path, state):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, state: Path) -> BinaryIO:
    """Open and lock a file that is still at its place: who held it before has removed it at the end."""
    try:
        while True:
            file = path.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, path):
                    return file
            except OSError:
                file.close()
                raise
            file.close()
    except BlockingIOError as error:
        raise NotResumable(
            f"another run is at work with the state {state}. Nothing was compared. Wait for its end, or name "
            "another file"
        ) from error
    except OSError as error:
        raise _unusable(state, error) from error


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _unusable(state: Path, error: OSError) -> NotResumable:
    return NotResumable(
        f"the state {state} cannot be used: {error.strerror or error}. Name a file in a folder that can be "
        "written"
    )


class FileShelf:
    """A file, replaced as a whole."""

    seconds = FILE_SECONDS

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)

    async def take(self) -> bytes | None:
        """Read it; None if there is none."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._path, error) from error

    async def put(self, body: bytes) -> None:
        """Replace it; returning means that it is on the disk."""
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            with fresh.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise _unusable(self._path, error) from error

    async def clear(self) -> None:
        """Remove it."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self._path, error) from error


class BucketShelf:
    """An object of the log bucket, one for each comparison by its options."""

    seconds = OBJECT_SECONDS

    def __init__(self, clients: Clients, asked: Mapping[str, Any]) -> None:
        self._bucket = LogBucket(clients)
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        self._name = state_name(digest[:16])
        self.place = f"{clients.settings.log_bucket}/{self._bucket.root}{self._name}"

    async def take(self) -> bytes | None:
        """Read it; None if there is none."""
        stored = await self._bucket.get(self._name)
        return stored.body if stored else None

    async def put(self, body: bytes) -> None:
        """Replace it; returning means confirmed."""
        await self._bucket.put(self._name, body)

    async def clear(self) -> None:
        """Remove it."""
        await self._bucket.delete(self._name)


class Keeper:
    """Keeps bookmarks on a shelf, not more often than that bears. A comparison is worth as much without.

    `is_kept`: there is one. `failed` is why the last one could not be kept, or removed.
    """

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock
        self._kept_at = clock.monotonic()
        self.is_kept = False
        self.failed: CallFailed | None = None

    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._clock.monotonic() - self._kept_at >= self._shelf.seconds

    async def take(self, asked: Mapping[str, Any]) -> Bookmark | None:
        """Read the one that is there; None if there is none. Raises `NotResumable` and `CallFailed`."""
        body = await self._shelf.take()
        if body is None:
            return None
        self.is_kept = True
        return Bookmark.read(body, asked, self._shelf.place)

    async def keep(self, mark: Bookmark) -> None:
        """Replace the one that is there."""
        await self._tried(self._shelf.put(mark.as_bytes()))
        self._kept_at, self.is_kept = self._clock.monotonic(), self.failed is None

    async def clear(self) -> None:
        """Remove the one that is there: the comparison came to its end."""
        if self.is_kept:
            await self._tried(self._shelf.clear())

    async def _tried(self, call: Awaitable[None]) -> None:
        try:
            await call
            self.failed = None
        except CallFailed as failed:
            self.failed = failed
