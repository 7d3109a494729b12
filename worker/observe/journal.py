"""What the relay tells the world: metrics for machines, log lines for people, traces."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import copy
from typing import NamedTuple

import structlog

from worker.advice import UNREAD_BUCKET, advise
from worker.clock import Clock
from worker.errors import Failure
from worker.events.event import Kind
from worker.ledger.names import FAILED
from worker.ledger.pause import Pause
from worker.observe.metrics import Metrics, OfRoute
from worker.observe.summary import SUMMARY_SECONDS, Tally
from worker.observe.trace import Trace, Traces

FIELD_CHARS_MAX = 512
FOREIGN_BUCKETS_SHOWN_MAX = 20
# So many messages a minute are told as warnings for each way that a message ends otherwise than deleted.
ENDS_TOLD_MAX = 10


class Story(NamedTuple):
    """What is told of a message when it ends. Few are traced."""

    message_id: str
    key: str
    keys: int
    attempt: int
    trace: Trace | None = None


class Journal:
    """Counts and logs; decides nothing. `action` names the verb a line belongs to.

    `traces` is None unless they are asked for (`app.begin_tracing`).
    """

    def __init__(self, metrics: Metrics, log: structlog.stdlib.BoundLogger | None = None) -> None:
        self.metrics = metrics
        self.route = ""
        # The metrics of the route that writes here, under its name where routes are told apart.
        self.counts: OfRoute = metrics
        self.log = log or structlog.get_logger("relay").bind()
        self.traces: Traces | None = None
        self.tally = Tally()
        # Whether each message that ends well has a line of its own: the level is that of the whole process.
        self.tells_each = self.log.is_enabled_for(logging.DEBUG)
        self._told: Counter[str] = Counter()
        self._foreign: set[str] = set()

    def of_route(self, route: str) -> Journal:
        """Return this journal as one route writes it; an empty name is that of the only route there is."""
        if not route:
            return self
        found = copy(self)
        found.route, found.log = route, self.log.bind(route=route)
        found.counts = self.metrics.of_route(route)
        return found

    def received(self, count: int) -> None:
        """Note the messages of one poll."""
        self.metrics.received.inc(count)
        self.tally.counts["received"] += count

    def traced(self, enqueue_time_ms: int, polled_at: float) -> Trace | None:
        """Begin the trace of a message that is new in hand; None if it is not to be traced."""
        return self.traces.begin(enqueue_time_ms, polled_at) if self.traces else None

    def decoded(self, kind: Kind) -> None:
        """Note one event of a message."""
        self.metrics.decoded[kind].inc()

    def own_record(self, key: str) -> None:
        """Warn that our own records announce themselves: the log bucket is a source bucket."""
        self.metrics.own_records.inc()
        self.log.warning(
            "an event of our own record was ignored: the log bucket is also a source bucket. "
            "Point LOG_BUCKET to another bucket, or keep oms_source_record/ out of the event rule",
            action="decode",
            key=bounded(key),
        )

    def foreign(self, bucket: str, source: str) -> None:
        """Warn, once for each of a few buckets, that the queue brings events of another bucket."""
        self.metrics.foreign.inc()
        if bucket in self._foreign or len(self._foreign) >= FOREIGN_BUCKETS_SHOWN_MAX:
            return
        self._foreign.add(bucket)
        self.log.error(
            "the queue brings events of a bucket that the sync task does not copy: they are kept as dead "
            "letters and not posted. Narrow the event rule, or run a relay with a queue and a task for it",
            action="decode",
            bucket=bounded(bucket),
            source_bucket=source,
        )

    def unrouted(self, bucket: str) -> None:
        """Warn, once for each of a few buckets, that the queue brings events that no route takes."""
        self.metrics.foreign.inc()
        if bucket in self._foreign or len(self._foreign) >= FOREIGN_BUCKETS_SHOWN_MAX:
            return
        self._foreign.add(bucket)
        self.log.error(
            "the queue brings events that no route takes: they are kept as dead letters and not posted. Add "
            "a route for them to the file that RELAY_ROUTES names, or narrow the event rule",
            action="decode",
            bucket=bounded(bucket),
        )

    def merged(self) -> None:
        """Note a key that joined one already waiting."""
        self.counts.merged.inc()
        self.tally.counts["merged"] += 1

    def repeated(self) -> None:
        """Note an event whose record was already confirmed."""
        self.counts.repeated.inc()

    def posted(self, keys: Mapping[str, int]) -> None:
        """Note how many keys of a batch came to each outcome."""
        for outcome, count in keys.items():
            self.counts.posted(outcome, count)

    def recorded(self, folder: str, count: int, lags: Iterable[tuple[float, str]]) -> None:
        """Note confirmed records, and the seconds since their events, with the origin, where known."""
        self.counts.recorded(folder, count)
        if folder == FAILED:
            self.tally.counts["refused"] += count
        for seconds, origin in lags:
            self.counts.lag(origin).observe(seconds)
            if origin == "live":
                self.tally.lags.add(seconds)

    def called(self, service: str, operation: str, result: str, seconds: float) -> None:
        """Note one finished call."""
        self.counts.called(service, operation, result, seconds)

    def renewed(self, result: str) -> None:
        """Note a lease renewal: renewed, lost or failed."""
        self.metrics.renewed(result)

    def ended(self, story: Story, end: str, took_seconds: float, why: str = "") -> None:
        """Note how a message ended: deleted, postponed, released, lapsed or dead_letter; end its trace.

        Its line is at level debug if all went well. Of the other ends a few lines a minute are warnings; the
        summary counts them all.
        """
        self.metrics.ended(end)
        self.tally.counts[end] += 1
        facts: dict[str, str | int] = {
            "message_id": story.message_id,
            "key": bounded(story.key),
            "keys": story.keys,
            "attempt": story.attempt,
            "outcome": end,
        }
        seen = {"took_ms": round(took_seconds * 1000), **facts}
        if story.trace is not None:
            seen["trace_id"] = f"{story.trace.trace_id:032x}"
            story.trace.end(facts, bounded(why))
        if end == "deleted":
            self.log.debug("message done", action="delete", **seen)
            return
        if end == "postponed":
            self.log.debug("message put off", action="postpone", **seen, why=bounded(why))
            return
        text, advice = _BAD_ENDS[end]
        self._told[end] += 1
        tell = self.log.warning if self._told[end] <= ENDS_TOLD_MAX else self.log.debug
        tell(text, action=end, **seen, why=bounded(why), **advice)

    def went_well(self, count: int) -> None:
        """Note messages that were deleted, all at once, where no line and no trace tells of each."""
        self.metrics.ended("deleted", count)
        self.tally.counts["deleted"] += count

    def arrived(self, seconds: float | None, *, is_proved: bool) -> None:
        """Note a followed key that has arrived, and after how long where that tells how long copies take."""
        self.counts.arrivals["arrived"].inc()
        if is_proved:
            self.counts.arrivals_proved.inc()
        if seconds is not None:
            self.counts.arrival_seconds.observe(seconds)

    def arrival(self, outcome: str, key: str = "", why: str = "") -> None:
        """Note what became of a followed key that has not arrived: late, resent, given_up or unknown."""
        self.counts.arrivals[outcome].inc()
        if outcome not in _NOT_ARRIVED:
            return
        text, advice = _NOT_ARRIVED[outcome]
        self._told[outcome] += 1
        tell = self.log.warning if self._told[outcome] <= ENDS_TOLD_MAX else self.log.debug
        tell(text, action="arrival", key=bounded(key), outcome=outcome, why=bounded(why), **advice)

    def deletion(self, outcome: str, key: str = "", why: str = "") -> None:
        """Note what became of a deletion: deleted, absent, kept, there_again or held."""
        self.counts.deletions[outcome].inc()
        if outcome == "deleted":
            self.log.info(
                "a copy was deleted, as its source was", action="delete", key=bounded(key)
            )
        if outcome == "held":
            self._told[f"held: {why}"] += 1
            if self._told[f"held: {why}"] == 1:
                self.log.error(
                    "a deletion is held back, and kept as a dead letter: `oms-relay dead groups` counts "
                    "those of each reason",
                    action="delete",
                    why=why,
                )

    def deletions_put_off(self, count: int, why: str) -> None:
        """Tell that deletions wait for something to be mended, and how many by now."""
        self.log.warning(
            "deletions are put off: their copies stay. Before the queue would forget one it becomes a dead "
            "letter deletion_held",
            action="delete",
            count=count,
            why=why,
        )

    def paused(self, pause: Pause | None) -> None:
        """Tell that the fleet is paused, by whom and until when, or that it takes again."""
        self.metrics.paused.set(pause is not None)
        if pause is None:
            self.log.info("the fleet is paused no longer: messages are taken again", action="pause")
        else:
            self.log.warning(
                "the fleet is paused: nothing more is taken, what is in hand is finished. "
                "`oms-relay resume` ends it",
                action="pause",
                **{name: bounded(str(each)) for name, each in pause.as_object().items()},
            )

    def skipped_in_silence(self) -> None:
        """Note a change that OMS skips by its default rule, however often it is announced."""
        self.counts.silent_skips.inc()

    def suspect_unfollowed(self) -> None:
        """Note a copy of which OMS says itself that it failed or was skipped, and that is not followed."""
        self.counts.suspects_unfollowed.inc()

    def row_unread(self, kind: str) -> None:
        """Tell, a few times a minute, that a row of one of OMS's lists has a form that is not known."""
        self.suspect_unfollowed()
        self._told["row"] += 1
        if self._told["row"] <= ENDS_TOLD_MAX:
            self.log.warning(
                "a row of OMS's lists cannot be read: its key is not followed. `oms-relay reconcile` "
                "compares the whole bucket",
                action="arrival",
                list=kind,
            )

    def lists_unread(self, most: int) -> None:
        """Tell, once a minute, that there are more of OMS's lists than are looked at."""
        self._told["lists"] += 1
        if self._told["lists"] == 1:
            self.log.warning(
                "OMS has written more lists in two days than are looked at: the rest is not followed. "
                "`oms-relay reconcile` compares the whole bucket",
                action="arrival",
                most=most,
            )

    def look_failed(self, failure: Failure) -> None:
        """Tell, once a minute, that source or destination cannot be looked at: only the following waits."""
        self._told["look"] += 1
        if self._told["look"] == 1:
            self.log.warning(
                "whether copies have arrived cannot be seen now: the relay works on, and looks again",
                action="arrival",
                why=bounded(str(failure)),
                hint=str(advise(failure)),
            )

    async def keep_summing(self, clock: Clock) -> None:
        """Tell once a minute what went through, if anything did, and once more at the end; run for ever."""
        while True:
            began = clock.monotonic()
            try:
                await clock.sleep(SUMMARY_SECONDS)
            finally:
                self._told.clear()
                if found := self.tally.taken():
                    seconds = round(clock.monotonic() - began, 1)
                    self.log.info("summary", action="summary", over_seconds=seconds, **found)

    def breaker(self, service: str, state: str, failure: Failure | None) -> None:
        """Log a change of a breaker, with the reason and the next step."""
        self.counts.breaker(service, state)
        reason = bounded(str(failure)) if failure else ""
        if state == "open":
            cannot_work = _ROUTE_CANNOT_WORK if self.route else _CANNOT_WORK
            is_to_come = failure is not None and failure.message.startswith(UNREAD_BUCKET)
            tell = self.log.info if is_to_come else self.log.error
            tell(
                _CANNOT_LOOK if service == "obs" else cannot_work,
                action="breaker",
                service=service,
                why=reason,
                hint=failure and str(advise(failure)),
            )
        else:
            text = (
                "a service works"
                if state == "closed"
                else "a service answers: one batch is on trial"
            )
            self.log.info(text, action="breaker", service=service, state=state)


_BAD_ENDS: dict[str, tuple[str, dict[str, str]]] = {
    "released": ("message given back to the queue", {}),
    "lapsed": (
        "message could not be given back to the queue: it comes back when its visibility ends",
        {},
    ),
    "dead_letter": (
        "message kept as a dead letter and deleted",
        {"hint": "`oms-relay dead list` shows it, `oms-relay dead redrive` sends it again"},
    ),
}


_CANNOT_WORK = "a service cannot be used: receiving has stopped, nothing is lost, probing goes on"
_ROUTE_CANNOT_WORK = (
    "a route cannot be used: its messages go back to the queue, later each time, and nothing is lost; the "
    "other routes go on, probing goes on"
)
_CANNOT_LOOK = "the destination cannot be looked at: the relay works on, probing goes on"
_NOT_ARRIVED: dict[str, tuple[str, dict[str, str]]] = {
    "late": ("a change did not arrive in time: both sides are looked at", {}),
    "resent": ("a change has not arrived: it was announced again", {}),
    "given_up": (
        "a change has not arrived and is given up: it is kept as a dead letter",
        {
            "hint": "`oms-relay dead list` shows it with the reason, `oms-relay dead redrive` sends it"
        },
    ),
}


def bounded(text: str) -> str:
    """Cut a log field to its limit."""
    return text if len(text) <= FIELD_CHARS_MAX else text[: FIELD_CHARS_MAX - 1] + "…"
