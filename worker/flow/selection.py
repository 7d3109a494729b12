"""The second half of decode: which events are changes, which route takes each, and under which keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.events.event import Kind, ObjectEvent
from worker.events.keys import KeyEncoding, KeyReader, readings
from worker.flow.lease import Removal
from worker.flow.route import Route
from worker.flow.routing import route_of
from worker.ledger.names import ROOT
from worker.observe.journal import Journal


class Routed(NamedTuple):
    """A change: the route that takes it, its event, and the key under which it is posted."""

    route: Route
    event: ObjectEvent
    key: str


class Selected(NamedTuple):
    """A change whose key can be read in several ways: the source bucket has to be asked."""

    event: ObjectEvent
    readings: tuple[str, ...]


@dataclass(slots=True)
class Choice:
    """What is to be posted, what is not clear yet, whose changes no route takes, and what was deleted.

    `deletions` have each key that their event may mean; there are none unless deletions are propagated.
    """

    changes: list[Routed] = field(default_factory=list)
    unclear: list[Selected] = field(default_factory=list)
    unrouted: tuple[str, ...] = ()
    deletions: tuple[Removal, ...] = ()


class Selection:
    """Chooses what to sync. Our own records never are: they would announce themselves for ever.

    In the log bucket a key that may be read as that of a record is taken for one.
    """

    def __init__(
        self,
        reader: KeyReader,
        encoding: KeyEncoding,
        log_bucket: str,
        routes: Sequence[Route],
        journal: Journal,
        *,
        takes_deletions: bool = False,
    ) -> None:
        self._routes = routes
        self._reader = reader
        self._encoding = encoding
        self._log_bucket = log_bucket
        self._journal = journal
        self._takes_deletions = takes_deletions

    def select(self, events: Iterable[ObjectEvent]) -> Choice:
        """Choose the changes that a route takes among the events; the others are counted."""
        choice = Choice()
        for event in events:
            self._journal.decoded(event.kind)
            is_deletion = self._takes_deletions and event.kind is Kind.REMOVED
            if not event.kind.is_change and not is_deletion:
                continue
            found = readings(event.key, self._encoding)
            if event.bucket == self._log_bucket and any(map(_is_of_record, found)):
                self._journal.own_record(event.key)
            elif is_deletion:
                choice.deletions += tuple(
                    Removal(each.route.name, event, each.key)
                    for each in self._routed(choice, event, found)
                )
            elif len(found) == 1:
                choice.changes += self._routed(choice, event, found)
            elif any(route_of(self._routes, event.bucket, key) for key in found):
                choice.unclear.append(Selected(event, found))
            else:
                self._unrouted(choice, event)
        return choice

    async def resolve(self, choice: Choice) -> None:
        """Settle what is not clear yet, asking the source bucket; each goes under the keys it may mean.

        Where no route takes one of them, the message is not routed as a whole: that may be the true one.
        """
        for each in choice.unclear:
            keys = await self._reader.read(each.event.bucket, each.event.key)
            choice.changes += self._routed(choice, each.event, keys)
        choice.unclear.clear()

    def _routed(self, choice: Choice, event: ObjectEvent, keys: Sequence[str]) -> list[Routed]:
        found = []
        for key in keys:
            route = route_of(self._routes, event.bucket, key)
            if route is not None:
                found.append(Routed(route, event, key))
        if len(found) < len(keys):
            self._unrouted(choice, event)
        return found

    def _unrouted(self, choice: Choice, event: ObjectEvent) -> None:
        """Note a change that no route takes, and tell of its bucket."""
        only = self._routes[0]
        if only.name:
            self._journal.unrouted(event.bucket)
        else:
            self._journal.foreign(event.bucket, only.source.bucket)
        choice.unrouted = tuple(dict.fromkeys((*choice.unrouted, event.bucket)))


def _is_of_record(key: str) -> bool:
    return key.startswith(f"{ROOT}/")
