"""The fleet as its pulses in the log bucket tell it: every worker of the task, without its address.

How old a pulse is goes by OSS's own clock: its last change against the time of the listing's answer. The
clocks of the machines do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.clouds.http import one_line
from worker.errors import Blame, CallFailed
from worker.ledger.names import FLEET
from worker.ledger.pause import PAUSE_NAME, Pause, pause_from
from worker.ledger.pulse import PULSE_BYTES_MAX, Pulse, pulse_from
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket, side_by_side
from worker.operate.workers import WorkerStatus, sample_from
from worker.ports import Listed

GONE_SECONDS = 180.0
# A worker that vanished longer ago is still listed, but no longer news.
GONE_NEWS_SECONDS = 3600.0
SHOWN_SECONDS = 86_400.0
# The newest ones are read; a fleet has a thousand workers, and each restart leaves a pulse for a day.
READ_MAX = 5000
READS_AT_ONCE = 64
PAUSE = f"{FLEET}/{PAUSE_NAME}"


class Presence(StrEnum):
    """How a worker is. `GONE`: its last pulse is older than three minutes, and does not say `stopped`."""

    GONE = "gone"
    NOT_READY = "not_ready"
    PAUSED = "paused"
    STOPPING = "stopping"
    READY = "ready"
    STOPPED = "stopped"

    @property
    def is_live(self) -> bool:
        """Whether it works, or will."""
        return self not in (Presence.GONE, Presence.STOPPED)


@dataclass(frozen=True, slots=True)
class Member:
    """One worker by its last pulse, which is `age_seconds` old. `uptime_seconds` is that at the pulse.

    `day` is its last day until the pulse, as `worker.ledger.day` reads it.
    """

    worker: str
    host: str
    version: str
    presence: Presence
    age_seconds: float
    uptime_seconds: float
    status: WorkerStatus
    day: str = ""

    @property
    def is_trouble(self) -> bool:
        """Whether somebody has to look after it: it takes no messages, or vanished within the last hour."""
        has_vanished = self.presence is Presence.GONE and self.age_seconds < GONE_NEWS_SECONDS
        return has_vanished or self.presence is Presence.NOT_READY


@dataclass(frozen=True, slots=True)
class Fleet:
    """All workers with a pulse of the last day, those that need a look first.

    `unread` counts pulses that could not be read. `pause` is what holds now.
    """

    members: tuple[Member, ...]
    unread: int = 0
    pause: Pause | None = None

    @property
    def live(self) -> tuple[Member, ...]:
        """Those that work, or will."""
        return tuple(each for each in self.members if each.presence.is_live)

    @property
    def counts(self) -> Counter[Presence]:
        """How many there are of each presence."""
        return Counter(each.presence for each in self.members)

    @property
    def versions(self) -> Counter[str]:
        """How many live workers run each version; more than one version stands out."""
        return Counter(each.version for each in self.live)


class FleetBoard:
    """Looks again and again. A pulse that has not changed since the last look is not read again."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._bucket = LogBucket(clients, clients.settings.home)
        self._read: dict[str, tuple[Listed, Member]] = {}

    async def look(self) -> Fleet:
        """List the pulses and read the fresh ones. Raises `CallFailed` if they may not be listed or read."""
        listed, now = await self._listed()
        fresh = sorted(
            (each for each in listed if _is_fresh_pulse(each, now)),
            key=lambda each: -each.last_modified,
        )[:READ_MAX]
        known = {each.key: self._read[each.key] for each in fresh if self._knows(each)}
        changed = [each for each in fresh if each.key not in known]
        # A look that is cut short keeps what it has read, so that the next one comes to the end.
        self._read = known
        async for one, found in side_by_side(changed, self._member, READS_AT_ONCE):
            if found is not None:
                known[one.key] = (one, found)
        members = [_aged(each, now - one.last_modified) for one, each in known.values()]
        order = list(Presence)
        members.sort(key=lambda each: (order.index(each.presence), each.worker))
        return Fleet(tuple(members), len(fresh) - len(known), await self._pause(listed, now))

    def _knows(self, listed: Listed) -> bool:
        return listed.key in self._read and self._read[listed.key][0] == listed

    async def _listed(self) -> tuple[list[Listed], float]:
        """Return what stands in the folder itself, and OSS's time, or this machine's where OSS told none."""
        found: list[Listed] = []
        now = 0.0
        async for page in self._bucket.pages(f"{FLEET}/", delimiter="/"):
            found += page.objects
            now = page.at
        return found, now or self._clients.clock.wall()

    async def _pause(self, listed: list[Listed], now: float) -> Pause | None:
        """Return the pause that holds; an object that is none, is none."""
        if not any(each.key == PAUSE for each in listed):
            return None
        try:
            stored = await self._bucket.get(PAUSE)
            pause = None if stored is None else pause_from(stored.body, stored.last_modified)
        except ValueError:
            return None
        return None if pause is None or pause.is_over(now) else pause

    async def _member(self, listed: Listed) -> tuple[Listed, Member | None]:
        """Read one pulse; None where it cannot be read now, or is none."""
        try:
            stored = await self._bucket.get(listed.key)
            return listed, None if stored is None else member(pulse_from(stored.body))
        except CallFailed as failed:
            if failed.failure.blame is not Blame.PASSING:
                raise
            return listed, None
        except ValueError:
            return listed, None


def _is_fresh_pulse(listed: Listed, now: float) -> bool:
    is_pulse = (
        listed.key.endswith(".json") and listed.key != PAUSE and listed.size <= PULSE_BYTES_MAX
    )
    return is_pulse and now - listed.last_modified <= SHOWN_SECONDS


def member(pulse: Pulse) -> Member:
    """Read a pulse that has just been written. Raises ValueError if what it tells has another form."""
    try:
        sample = sample_from(pulse.worker, 0.0, pulse.ready, pulse.totals)
    except (LookupError, TypeError) as error:
        raise ValueError(f"not a pulse: {error!r}") from error
    return Member(
        one_line(pulse.worker),
        one_line(pulse.host),
        one_line(pulse.version),
        Presence(pulse.state),
        0.0,
        pulse.uptime_seconds,
        WorkerStatus(sample, pulse.rates),
        pulse.day,
    )


def _aged(each: Member, age_seconds: float) -> Member:
    is_gone = each.presence.is_live and age_seconds > GONE_SECONDS
    presence = Presence.GONE if is_gone else each.presence
    age_seconds, status = max(0.0, age_seconds), each.status
    if told := status.sample.arrival:
        status = replace(status, sample=replace(status.sample, arrival=told.aged(age_seconds)))
    return replace(each, presence=presence, age_seconds=age_seconds, status=status)


def statuses(fleet: Fleet | None) -> Iterable[WorkerStatus]:
    """Return what the live workers of a fleet tell; nothing where it is not known."""
    return () if fleet is None else tuple(each.status for each in fleet.live)
