"""The second half of decode: which events are changes, and under which object keys they are posted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from worker.events.event import Kind, ObjectEvent
from worker.events.keys import KeyEncoding, KeyReader, readings
from worker.flow.source import Source
from worker.ledger.names import ROOT
from worker.observe.journal import Journal


class Selected(NamedTuple):
    """A change and the ways its key can be read; with more than one, the source bucket has to be asked."""

    event: ObjectEvent
    readings: tuple[str, ...]


class Choice(NamedTuple):
    """What is to be posted, whose changes the sync task does not copy, and what was deleted.

    `deletions` are events with each key that they may mean; empty unless deletions are propagated.
    """

    changes: list[Selected]
    foreign_buckets: tuple[str, ...] = ()
    deletions: tuple[tuple[ObjectEvent, str], ...] = ()


class Selection:
    """Chooses what to sync. Our own records never are: they would announce themselves for ever.

    In the log bucket a key that may be read as that of a record is taken for one.
    """

    def __init__(
        self,
        reader: KeyReader,
        encoding: KeyEncoding,
        log_bucket: str,
        source: Source,
        journal: Journal,
        *,
        takes_deletions: bool = False,
    ) -> None:
        self._source = source
        self._reader = reader
        self._encoding = encoding
        self._log_bucket = log_bucket
        self._journal = journal
        self._takes_deletions = takes_deletions

    def select(self, events: Iterable[ObjectEvent]) -> Choice:
        """Choose the changes of the task's own bucket among the events; the others are counted."""
        selected, foreign = [], []
        deletions: list[tuple[ObjectEvent, str]] = []
        for event in events:
            self._journal.decoded(event.kind)
            is_deletion = self._takes_deletions and event.kind is Kind.REMOVED
            if not event.kind.is_change and not is_deletion:
                continue
            found = readings(event.key, self._encoding)
            if event.bucket == self._log_bucket and any(map(_is_of_record, found)):
                self._journal.own_record(event.key)
                continue
            if self._source.is_foreign(event.bucket):
                self._journal.foreign(event.bucket, self._source.bucket)
                foreign.append(event.bucket)
                continue
            if is_deletion:
                deletions += [(event, key) for key in found]
            else:
                selected.append(Selected(event, found))
        return Choice(selected, tuple(dict.fromkeys(foreign)), tuple(deletions))

    async def resolve(self, selected: Sequence[Selected]) -> list[tuple[ObjectEvent, str]]:
        """Return each change under the keys it has to be posted as, asking the source bucket where needed."""
        resolved = []
        for each in selected:
            keys = each.readings
            if len(keys) > 1:
                keys = await self._reader.read(each.event.bucket, each.event.key)
            resolved += [(each.event, key) for key in keys]
        return resolved


def _is_of_record(key: str) -> bool:
    return key.startswith(f"{ROOT}/")


def is_resolved(selected: Iterable[Selected]) -> bool:
    """Whether every key reads one way only."""
    return all(len(each.readings) == 1 for each in selected)
