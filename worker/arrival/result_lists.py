"""Read OMS's lists of failed and skipped copies, as they grow, and suspect every key in them.

Facts: OMS user guide, object lists (oms_01_0044). They stand in the destination bucket under
`oms/sync_task/<task id>/<kind>/<sync subtask>/<time>...txt`; a failed row has time, URL-encoded name, name
and error code, a skipped row time, name and size. What parts the columns, how often a list appears and
whether it grows is not told, nor in which encoding: all of that is tolerated here. UTF-16 is read as well. A
row that fits no form is told, counted and left alone.

Several relays read the same lists. So that a row is followed by one of them, a list is claimed at each size
by an object in the log bucket that only one can write. Who has looked at all of its rows claims it a second
time; where that is missing half an hour later, its reader has died, and another takes its place.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, unquote_plus

from worker.arrival.destination import DestinationView
from worker.arrival.follow import Follower
from worker.clock import Clock
from worker.errors import CallFailed
from worker.flow.record import Records
from worker.ledger.names import claim_name
from worker.observe.journal import Journal
from worker.ports import NAME_TAKEN, Listed

LOOK_SECONDS = 60.0
# A reader that has not finished by then is taken to be gone.
READER_SECONDS = 1800.0
# Lists that are older have been looked at, by this relay or the one before it.
LIST_AGE_SECONDS_MAX = 172_800.0
ROOM_SECONDS = 1.0
LINE_BYTES_MAX = 16_384
SEPARATOR_CHARS_MAX = 4
# So many lists of two days are looked at; more are a mistake of somebody's, and would fill the memory.
LISTS_MAX = 20_000
UTF8 = "utf-8"

_MARK = "\ufeff"
_BLANK = f" \t\r\n{_MARK}"
_SEPARATORS = ' \t,;|"'
_SEPARATOR = r"[\s,;|\"]+"
_TIME = re.compile(
    rf"^[\s\"]*(?:\d{{4}}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?|\d{{10,13}})"
    rf"({_SEPARATOR})"
)
_ENCODED = re.compile(rf"([^\s,;|\"]+){_SEPARATOR}")


class ListKind(StrEnum):
    """The folders of lists that name keys which may not have arrived."""

    FAILED = "failed_object_lists"
    SKIPPED = "skip_object_lists"


def failed_key(row: str) -> str | None:
    """Return the key of a row of failed copies; None if the row has another form.

    The encoded name is read, because nothing in it can be taken for a separator; the raw name behind it has
    to be the same, as far as the row goes.
    """
    time = _TIME.match(row)
    encoded = _ENCODED.match(row, time.end()) if time else None
    if encoded is None:
        return None
    rest = row[encoded.end(1) :]
    for key in (unquote(encoded[1]), unquote_plus(encoded[1])):
        # A name with a line break is cut by it.
        whole = key.partition("\n")[0]
        at = rest.find(whole)
        if at > 0 and not rest[:at].strip(_SEPARATORS):
            return key
    return None


def skipped_key(row: str) -> str | None:
    """Return the key of a row of skipped copies; None if the row has another form.

    What parts the columns is the same on both sides of the name: so blanks of the name itself are told apart.
    Where they cannot be, the row has no form that can be read.
    """
    time = _TIME.match(row)
    if time is None:
        return None
    rest = row[time.end() :].rstrip(' \t"')
    head = rest.rstrip("0123456789")
    name = head.rstrip(_SEPARATORS)
    before, after = time[1], head[len(name) :]
    if not (name and after and len(head) < len(rest)):
        return None
    # A time in quotes ends with one of its own.
    forms = (before, before.removeprefix('"'))
    separator, begins = max(
        ((_common(each, after), each) for each in forms), key=lambda it: len(it[0])
    )
    if not separator:
        # Two characters that differ part three columns as well: nothing is left that could be of the name.
        return name if len(before) == len(after) == 1 else None
    if len(separator) > 1 and not separator.strip():
        # Of several blanks some may be of the name.
        return None
    return begins.removeprefix(separator) + name + after.removesuffix(separator)


def _common(before: str, after: str) -> str:
    """Return the longest beginning of `before` that ends `after`."""
    for length in range(min(len(before), len(after), SEPARATOR_CHARS_MAX), 0, -1):
        if after.endswith(before[:length]):
            return before[:length]
    return ""


_KEY_OF = {ListKind.FAILED: failed_key, ListKind.SKIPPED: skipped_key}


@dataclass(slots=True)
class _Seen:
    """How far one list is done with: its whole rows up to `row_end` bytes, at this `size`.

    `encoding` is what its first bytes tell. `has_odd_end` says that what stands behind the last whole row is
    none: it may still grow into one. `turn` is the claim to try next, 1 or 2, `try_at` when, by the monotonic
    clock; 0 when all is done.
    `is_ours` says that it is claimed: what could not be read is read again, and not claimed again.
    """

    row_end: int = 0
    encoding: str = UTF8
    has_odd_end: bool = False
    size: int = 0
    turn: int = 0
    try_at: float = 0.0
    is_ours: bool = False


class ResultLists:
    """Looks for new rows once a minute; every key in them becomes a suspect of the follower."""

    def __init__(
        self,
        view: DestinationView,
        follower: Follower,
        records: Records,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._view = view
        self._follower = follower
        self._records = records
        self._clock = clock
        self._journal = journal
        self._seen: dict[str, _Seen] = {}

    async def run(self) -> None:
        """Look once a minute, for ever. While OBS or the log bucket cannot be used it waits."""
        while True:
            if self._view.is_usable:
                try:
                    await self.look()
                except CallFailed as failed:
                    self._journal.look_failed(failed.failure)
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Read what has been added to any list. Raises `CallFailed`."""
        names: set[str] = set()
        for kind in ListKind:
            prefix = f"oms/sync_task/{self._records.task_id}/{kind}/"
            async for listed in self._listed(prefix):
                if len(names) >= LISTS_MAX:
                    self._journal.lists_unread(LISTS_MAX)
                    break
                names.add(listed.key)
                await self._look_at(kind, listed)
        for gone in self._seen.keys() - names:
            del self._seen[gone]

    async def _listed(self, prefix: str) -> AsyncIterator[Listed]:
        oldest = self._clock.wall() - LIST_AGE_SECONDS_MAX
        pages = self._view.store.list(self._view.bucket, prefix)
        while True:
            page = await self._view.call("ListObjects", lambda: anext(pages, None))
            if page is None:
                return
            for each in page.objects:
                if each.last_modified >= oldest:
                    yield each

    async def _look_at(self, kind: ListKind, listed: Listed) -> None:
        seen = self._seen.setdefault(listed.key, _Seen())
        if listed.size != seen.size:
            is_shorter = listed.size < seen.size
            seen.size, seen.turn, seen.try_at, seen.is_ours = listed.size, 1, 0.0, False
            if is_shorter:
                seen.row_end = 0
        elif seen.has_odd_end:
            seen.has_odd_end = False
            self._journal.row_unread(kind)
        if not seen.turn or self._clock.monotonic() < seen.try_at:
            return
        if seen.is_ours or await self._claimed(listed, seen.turn):
            seen.is_ours = True
            await self._read(kind, listed, seen)
            if seen.turn == 1:
                await self._claimed(listed, 2)
            seen.turn = 0
        elif seen.turn == 1:
            seen.turn, seen.try_at = 2, self._clock.monotonic() + READER_SECONDS
        else:
            seen.turn = 0

    async def _claimed(self, listed: Listed, turn: int) -> bool:
        """Whether this relay may look at the list at this size. Raises `CallFailed` if that is not known."""
        name = claim_name(self._records.task_id, f"{listed.key}\n{listed.size}\n{turn}")
        failure = await self._records.put(name, b"{}", "application/json", may_replace=False)
        if failure is not None and failure.code != NAME_TAKEN:
            raise CallFailed(failure)
        return failure is None

    async def _read(self, kind: ListKind, listed: Listed, seen: _Seen) -> None:
        """Suspect the key of each row from where this relay has read on. The last row may still grow."""
        at, rest = seen.row_end, b""
        while at < listed.size and (part := await self._part(listed.key, at)):
            if not at:
                seen.encoding = encoding_of(part)
            at += len(part)
            lines, rest = split_rows(rest + part, seen.encoding)
            seen.row_end = at - len(rest)
            for key in self._keys(kind, lines):
                await self._suspect(key)
            if len(rest) > LINE_BYTES_MAX:
                rest = b""
        end = _text(rest, seen.encoding)
        last = _key_of(kind, end)
        seen.has_odd_end = bool(end.strip(_BLANK)) and last is None
        if last is not None:
            await self._suspect(last)

    async def _part(self, name: str, start: int) -> bytes:
        store, bucket = self._view.store, self._view.bucket
        return await self._view.call("GetObject", lambda: store.read(bucket, name, start))

    async def _suspect(self, key: str) -> None:
        while not self._follower.has_room_for_suspects:
            await self._clock.sleep(ROOM_SECONDS)
        self._follower.suspect(key)

    def _keys(self, kind: ListKind, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            key = _key_of(kind, line)
            if key is not None:
                yield key
            elif line.strip(_BLANK):
                self._journal.row_unread(kind)


def encoding_of(beginning: bytes) -> str:
    """Tell UTF-16 by its mark, or by the zeros between the digits of the first time; all else is UTF-8."""
    for encoding in ("utf-16-le", "utf-16-be"):
        if beginning.startswith(_MARK.encode(encoding)):
            return encoding
    zeros = beginning[:2].find(0)
    return {0: "utf-16-be", 1: "utf-16-le"}.get(zeros, UTF8)


def split_rows(data: bytes, encoding: str) -> tuple[list[str], bytes]:
    """Return the whole rows, without their ends, and the bytes behind the last of them."""
    if encoding == UTF8:
        *lines, rest = data.split(b"\n")
        return [_text(line, encoding) for line in lines], rest
    # Not by bytes: those of a line's end stand in other characters as well.
    *rows, last = _text(data, encoding).split("\n")
    width = len(last.encode(encoding, "surrogatepass")) + len(data) % 2
    return rows, data[len(data) - width :]


def _text(data: bytes, encoding: str) -> str:
    if encoding == UTF8:
        return data.decode(encoding, "surrogateescape")
    return data[: len(data) // 2 * 2].decode(encoding, "surrogatepass")


def _key_of(kind: ListKind, line: str) -> str | None:
    text = line.removeprefix(_MARK).rstrip("\r")
    key = _KEY_OF[kind](text) if len(text) <= LINE_BYTES_MAX else None
    return key if key is not None and _is_text(key) else None


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
