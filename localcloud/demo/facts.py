"""What is true at the end of a demo, as each side knows it: the account holds one against another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from localcloud.cloud import LocalCloud, Prepared
from localcloud.demo.workload import Writer
from localcloud.oms import Statistic

SLOT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Source:
    """What was done to the source bucket, by the writer's own books. `live` objects are left."""

    keys: frozenset[str]
    writes: int
    deletions: int
    live: int
    events_announced: int
    events_lost: int
    announced_twice: int


@dataclass(frozen=True, slots=True)
class Sink:
    """What OMS accepted, and the live objects whose copy is missing or `differing`.

    `answers_lost` counts the posts that took effect and whose answer was cut by a fault, `copies_lost` and
    `copies_failed` the copies that OMS did not make.
    """

    posts: int
    keys: int
    answers_lost: int
    differing: tuple[str, ...]
    copies_lost: int = 0
    copies_failed: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """What the log bucket holds: the keys of the records, and dead letters by cause."""

    success: frozenset[str]
    failed: frozenset[str]
    dead_letters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the account looks at.

    `refused` gives the messages announced about each key that OMS refuses, `undecodable` counts the
    messages that hold no event. `relay` are the relay's own counters; None once it was killed, as a
    killed process takes its counters with it.
    """

    source: Source
    sink: Sink
    kept: Kept
    refused: Mapping[str, int]
    undecodable: int
    messages_left: int
    relay: Mapping[str, float] | None
    kills: int
    exit_code: int | None

    @property
    def messages(self) -> int:
        """Every message that was put into the queue."""
        return self.source.events_announced + self.undecodable


def readings(key: str) -> frozenset[str]:
    """Return what else the key of an event may mean if OSS were to encode it."""
    return frozenset({unquote(key), unquote_plus(key)} - {key})


def source_of(cloud: LocalCloud, prepared: Prepared, writer: Writer, twice: int) -> Source:
    """Return the source's side."""
    return Source(
        keys=writer.keys,
        writes=writer.writes,
        deletions=writer.deletions,
        live=len(cloud.oss.buckets[prepared.source_bucket]),
        events_announced=cloud.events_announced,
        events_lost=cloud.events_lost,
        announced_twice=twice,
    )


def sink_of(
    cloud: LocalCloud,
    prepared: Prepared,
    since: float,
    refused: Mapping[str, int],
    **lost: int,
) -> Sink:
    """Return the destination's side, with every live object compared byte for byte.

    `lost` are the fields of `Sink` that only the faults know.
    """
    keys = cloud.oss.buckets[prepared.source_bucket].keys()
    differing = []
    for key in keys:
        stored = cloud.oss.read(prepared.source_bucket, key)
        copied = cloud.obs.read(prepared.destination_bucket, key)
        if key not in refused and stored and (copied is None or copied.data != stored.data):
            differing.append(key)
    return Sink(
        posts=cloud.oms.posts_accepted,
        keys=counted(cloud, prepared, Statistic.REQUEST, since),
        differing=tuple(differing),
        **lost,
    )


def counted(cloud: LocalCloud, prepared: Prepared, statistic: Statistic, since: float) -> int:
    """Return a counter of the sync task since the demo began."""
    task, now = cloud.oms.tasks[prepared.task_id], cloud.oms.clock.now()
    slots = task.series(statistic, since - SLOT_SECONDS, now, SLOT_SECONDS)
    return sum(number for _, number in slots)


def kept_in(cloud: LocalCloud, prepared: Prepared) -> Kept:
    """Return what the log bucket holds, read from its names alone, as an operator would."""
    names = cloud.oss.buckets[prepared.log_bucket].keys()
    folders: dict[str, list[str]] = {}
    for name in names:
        _, _, folder, rest = name.split("/", 3)
        folders.setdefault(folder, []).append(rest)
    causes = Counter(rest.partition("/")[0] for rest in folders.get("dead_letter", ()))
    return Kept(
        frozenset(folders.get("success_object", ())),
        frozenset(folders.get("failed_object", ())),
        causes,
    )
