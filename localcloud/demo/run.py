"""One demo from start to end: `run` is the story, the other functions are its sentences."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.cloud import LocalCloud, Prepared
from localcloud.demo import trouble
from localcloud.demo.account import account, wrong
from localcloud.demo.facts import Facts, counted, kept_in, sink_of, source_of
from localcloud.demo.relay import RelayProcess
from localcloud.demo.screen import Progress, Screen
from localcloud.demo.workload import REFUSED, Step, Writer, steps
from localcloud.mns import Attributes
from localcloud.oms import Statistic
from localcloud.oss import EventRule

TICK_SECONDS = 0.1
# What is handed out and lost on the way comes back after this long.
VISIBILITY_SECONDS = 8
BACKLOG_SHARE = 0.25
STEPS_PER_SECOND_MIN = 500
WRITING_SECONDS_MAX = 30
# A kill strikes when so much is written.
KILLS_AT = (0.3, 0.5, 0.8)
# Each key is followed to the destination, and is late soon: nobody wants to wait 15 minutes here.
FOLLOW_ALL = {"RELAY_ARRIVAL_RATIO": "1", "RELAY_ARRIVAL_SECONDS": "3"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    objects: int = 3000
    seed: int = 1
    with_faults: bool = True
    with_kills: bool = False

    @property
    def seconds_max(self) -> float:
        """How long the demo may take."""
        return 90 + self.objects / 100


@dataclass(slots=True)
class Stage:
    """Everything that takes part."""

    options: Options
    cloud: LocalCloud
    prepared: Prepared
    writer: Writer
    plan: Sequence[Step]
    faults: Sequence[trouble.Planned]
    undecodable: int
    started_at: float = field(default_factory=time.time)

    @property
    def messages_left(self) -> int:
        """Messages in the queue, in hand or not."""
        return len(self.cloud.mns.queue(self.prepared.queue))

    @property
    def deleted(self) -> int:
        """Messages that are gone."""
        return self.cloud.events_announced + self.undecodable - self.messages_left

    @property
    def steps_done(self) -> int:
        """Writes and deletions so far."""
        return self.writer.writes + self.writer.deletions

    @property
    def is_written(self) -> bool:
        """Whether every step is done."""
        return self.steps_done >= len(self.plan)


async def run(options: Options, screen: Screen, folder: Path) -> bool:
    """Run the demo; return whether everything adds up. The relay's log is in `folder`.

    Raises `RelayFailedError` if the relay does not start, ends by itself, or does not stop.
    """
    async with LocalCloud(options.seed) as cloud:
        stage = set_up(cloud, options)
        write = iter(stage.plan)
        _write(stage, write, round(len(stage.plan) * BACKLOG_SHARE))
        screen.say(f"{stage.deleted + stage.messages_left:,} events wait. Starting the relay.")
        settings = cloud.settings(with_destination=True) | FOLLOW_ALL
        async with RelayProcess(settings, folder) as relay:
            with screen:
                is_in_time = await _until_done(stage, relay, screen, write)
            counters = await relay.metrics()
            screen.say("Stopping the relay with SIGTERM: open polls return first, within 2 s.")
            exit_code = await relay.stop()
        facts = await gather(stage, counters, relay.kills, exit_code)
    return _conclude(facts, stage, screen, is_in_time=is_in_time)


def set_up(cloud: LocalCloud, options: Options) -> Stage:
    """Make queue, buckets, event rule and sync task; put the faults in force."""
    prepared = cloud.prepare(attributes=Attributes(visibility_timeout=VISIBILITY_SECONDS))
    patterns = ("ObjectCreated:*", "ObjectRemoved:*")
    cloud.oss.rules[:] = [EventRule(prepared.source_bucket, prepared.queue, patterns)]
    refused = REFUSED if options.with_faults else ()
    cloud.oms.reject = refused
    # What a killed relay has followed is forgotten: then only `reconcile` finds lost copies.
    faults = (
        trouble.make_trouble(cloud, options.objects, with_lost_copies=not options.with_kills)
        if options.with_faults
        else []
    )
    if options.with_faults:
        cloud.mns.publish(prepared.queue, trouble.UNDECODABLE)
    return Stage(
        options,
        cloud,
        prepared,
        Writer(cloud, prepared.source_bucket),
        steps(options.objects, options.seed, refused),
        faults,
        undecodable=int(options.with_faults),
    )


def _write(stage: Stage, write: Iterator[Step], count: int) -> None:
    for _, step in zip(range(count), write, strict=False):
        stage.writer.do(step)


async def _until_done(
    stage: Stage, relay: RelayProcess, screen: Screen, write: Iterator[Step]
) -> bool:
    """Write the rest while the relay works; return whether it was done in time."""
    kills = [len(stage.plan) * share for share in KILLS_AT if stage.options.with_kills]
    per_tick = max(STEPS_PER_SECOND_MIN, len(stage.plan) / WRITING_SECONDS_MAX) * TICK_SECONDS
    with suppress(TimeoutError):
        async with asyncio.timeout(stage.options.seconds_max):
            while not (stage.is_written and not stage.messages_left and await _is_idle(relay)):
                _write(stage, write, round(per_tick))
                screen.show(progress(stage, relay.kills))
                if kills and stage.steps_done >= kills[0]:
                    kills.pop(0)
                    await relay.kill_and_restart()
                relay.check()
                await asyncio.sleep(TICK_SECONDS)
            await stage.cloud.oms.drained()
            screen.show(progress(stage, relay.kills))
            return True
    return False


async def _is_idle(relay: RelayProcess) -> bool:
    """Whether the relay has nothing in hand, also no message delivered twice, and follows no key."""
    found = await relay.metrics()
    names = ("oms_relay_messages_in_flight", "oms_relay_arrivals_pending")
    return all(found.get(name) == 0 for name in names)


async def gather(
    stage: Stage, counters: dict[str, float], kills: int, exit_code: int | None
) -> Facts:
    """Return what is true at the end."""
    twice = trouble.struck(stage.faults, trouble.ANNOUNCED_TWICE)
    lost = {
        "copies_lost": trouble.struck(stage.faults, trouble.COPY_LOST),
        "copies_failed": trouble.struck(stage.faults, trouble.COPY_FAILS),
        "answers_lost": trouble.struck(stage.faults, trouble.ANSWER_LOST),
    }
    refused = {key: stage.writer.messages[key] for key in stage.cloud.oms.reject}
    return Facts(
        source=source_of(stage.cloud, stage.prepared, stage.writer, twice),
        sink=sink_of(stage.cloud, stage.prepared, stage.started_at, refused, **lost),
        kept=kept_in(stage.cloud, stage.prepared),
        refused=refused,
        undecodable=stage.undecodable,
        messages_left=stage.messages_left,
        relay=None if kills else counters,
        kills=kills,
        exit_code=exit_code,
    )


def _conclude(facts: Facts, stage: Stage, screen: Screen, *, is_in_time: bool) -> bool:
    lines = account(facts)
    screen.account(lines)
    screen.say(
        "Faults that struck, and how often they might have:" if stage.faults else "No faults."
    )
    for each in stage.faults:
        screen.say(f"  {each.struck:5,} of {each.times_max:3,}  {each.name}")
    screen.say(
        "Deletions are not synchronised: an OMS sync task copies and never deletes, so copies of the"
        f" {facts.source.deletions:,} deleted objects may remain."
    )
    bad = wrong(lines)
    if not is_in_time:
        screen.say(f"Not done within {stage.options.seconds_max:.0f} s.", "bold red")
    for line in bad:
        screen.say(f"Does not add up: {line.what}: {line.differs}.", "bold red")
    if is_in_time and not bad:
        screen.say(f"Everything adds up, after {screen.seconds:.1f} s.", "bold green")
    return is_in_time and not bad


def progress(stage: Stage, kills: int) -> Progress:
    """Return the numbers of this moment."""
    cloud, prepared = stage.cloud, stage.prepared
    counts = cloud.mns.queue(prepared.queue).counts(cloud.mns.store.now_ms())
    names = cloud.oss.buckets[prepared.log_bucket].keys()
    root = f"oms_source_record/{prepared.task_id}"
    is_writing = not stage.is_written
    return Progress(
        what="Writing and relaying" if is_writing else "Written; relaying the rest",
        steps=len(stage.plan),
        written=len(stage.writer.messages),
        steps_done=stage.steps_done,
        events=cloud.events_announced,
        visible=counts.active + counts.delayed,
        in_hand=counts.inactive,
        deleted=stage.deleted,
        posts=cloud.oms.posts_accepted,
        records=_under(names, f"{root}/success_object/") + _under(names, f"{root}/failed_object/"),
        dead_letters=_under(names, f"{root}/dead_letter/"),
        copied=counted(cloud, prepared, Statistic.SUCCESS, stage.started_at),
        struck=sum(each.struck for each in stage.faults),
        faults=sum(each.times_max for each in stage.faults),
        kills=kills,
    )


def _under(names: Sequence[str], prefix: str) -> int:
    """Count the names with a prefix; they are sorted, and no name goes on with U+10FFFF."""
    return bisect_left(names, prefix + chr(0x10FFFF)) - bisect_left(names, prefix)
