"""What the queue brings, as far as a peek tells: events of the task's own bucket, or of others too.

The relay posts no event of another bucket (`worker.flow.selection`): those are received and paid for in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from worker.events.decode import decode
from worker.events.event import Message, ObjectEvent, Undecodable
from worker.events.keys import readings
from worker.flow.routing import route_of
from worker.flow.source import Source
from worker.settings import Settings

BUCKETS_SHOWN_MAX = 5

NARROW_RULE = (
    "narrow the event rule to the task's bucket, or give the other buckets a queue, a task and a relay of "
    "their own: events of a bucket that the task does not copy are never posted"
)


ADD_A_ROUTE = (
    "add a route for them to the file that RELAY_ROUTES names, or narrow the event rule; `oms-relay dead "
    "groups --route unrouted` shows what was kept of them"
)


@dataclass(frozen=True, slots=True)
class Brought:
    """What the peeked messages announce; `foreign` counts those with an event of one of the `buckets`.

    Empty `source` stands for a task that does not tell its bucket. `unread` counts messages that hold no
    event that can be read. With `are_routes` it is several routes whose changes are told from others.
    """

    source: str
    peeked: int
    unread: int = 0
    foreign: int = 0
    buckets: tuple[str, ...] = ()
    are_routes: bool = False

    @property
    def is_known(self) -> bool:
        """Whether anything can be said about the buckets."""
        return bool(self.source) and self.peeked > self.unread

    @property
    def text(self) -> str:
        """Say it in one line; it begins with `unknown` where nothing can be said."""
        if not self.source:
            return "unknown: the task does not tell which bucket it copies"
        if not self.is_known:
            what = "no message is visible" if not self.peeked else "no visible message can be read"
            return f"unknown: {what}"
        if not self.foreign and self.are_routes:
            return f"{self.peeked} peeked, none with events that no route takes"
        if not self.foreign:
            return f"{self.peeked} peeked, none with events of another bucket than {self.source}"
        more = len(self.buckets) - BUCKETS_SHOWN_MAX
        names = ", ".join(self.buckets[:BUCKETS_SHOWN_MAX]) + (
            f" and {more} more" if more > 0 else ""
        )
        if self.are_routes:
            return f"{self.foreign} of {self.peeked} peeked bring events of {names} that no route takes"
        return (
            f"{self.foreign} of {self.peeked} peeked bring events of {names}; "
            f"the task copies {self.source}"
        )


def brought(messages: Iterable[Message], source_bucket: str) -> Brought:
    """Tell what peeked messages bring for the task that copies this bucket."""
    source = Source(source_bucket)
    return _brought(messages, source_bucket, lambda event: source.is_foreign(event.bucket))


def brought_to_routes(messages: Iterable[Message], settings: Sequence[Settings]) -> Brought:
    """Tell what peeked messages bring for the routes with these settings."""
    routes = [_Taker(each.bucket, each.prefix) for each in settings]
    encoding, log_bucket = settings[0].key_encoding, settings[0].log_bucket

    def is_unrouted(event: ObjectEvent) -> bool:
        keys = readings(event.key, encoding)
        is_own = event.bucket == log_bucket
        return not is_own and not any(route_of(routes, event.bucket, key) for key in keys)

    found = _brought(messages, "the routes", is_unrouted)
    return replace(found, are_routes=True)


@dataclass(frozen=True, slots=True)
class _Taker:
    bucket: str
    prefix: str

    def copies(self, bucket: str) -> bool:
        return bucket == self.bucket


def _brought(
    messages: Iterable[Message], source: str, is_foreign: Callable[[ObjectEvent], bool]
) -> Brought:
    peeked = unread = foreign = 0
    buckets: dict[str, None] = {}
    for message in messages:
        peeked += 1
        events = _events(message)
        others = [each.bucket for each in events if is_foreign(each)]
        unread += not events
        foreign += bool(others)
        buckets |= dict.fromkeys(others)
    return Brought(source, peeked, unread, foreign, tuple(buckets))


def _events(message: Message) -> tuple[ObjectEvent, ...]:
    try:
        return decode(message.body)
    except Undecodable:
        return ()
