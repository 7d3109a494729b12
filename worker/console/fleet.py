"""The workers by their pulses, as values and words for the overview."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worker.advice import Cause
from worker.console.arrived import Verdict
from worker.console.figures import BAD, OK, WARN, shown
from worker.console.words import Words
from worker.ledger.pause import Pause
from worker.observe.journal import bounded
from worker.operate.fleet import Fleet, Member, Presence

MEMBERS_SHOWN_MAX = 100
_STATES = {Presence.READY: OK, Presence.GONE: BAD, Presence.NOT_READY: BAD}


def live(fleet: Fleet | None) -> tuple[Member, ...]:
    """Return the workers that work, or will; none where that is not known."""
    return () if fleet is None else fleet.live


def fleet_troubles(fleet: Fleet | None, t: Words) -> Iterator[Verdict]:
    """Say which worker takes no messages."""
    for each in live(fleet):
        if each.presence is Presence.NOT_READY:
            what, step = t.told(next(iter(each.status.sample.causes), Cause("")))
            yield (
                BAD,
                "not_ready",
                {"url": each.worker, "what": bounded(what), "next": bounded(step)},
            )


def fleet_warnings(fleet: Fleet | None, t: Words) -> Iterator[Verdict]:
    """Say that all are paused, which workers have vanished lately, and that versions are mixed."""
    if fleet is None:
        return
    if fleet.pause is not None:
        yield WARN, "paused", {"paused": paused(fleet.pause, t)}
    gone = [each for each in fleet.members if each.presence is Presence.GONE and each.is_trouble]
    if gone:
        yield WARN, "gone", {"count": t.count("workers", len(gone)), "worker": gone[0].worker}
    if len(fleet.versions) > 1:
        yield WARN, "mixed", {"versions": ", ".join(sorted(fleet.versions))}


def fleet_view(fleet: Fleet | None, t: Words) -> dict[str, Any]:
    """Return the section of the overview."""
    if fleet is None or not fleet.members:
        return {"note": t("fleet.none"), "members": []}
    counts = ", ".join(
        t("fleet.count", count=t.number(number), state=t(f"fleet.{presence}"))
        for presence, number in sorted(
            fleet.counts.items(), key=lambda each: list(Presence).index(each[0])
        )
    )
    shown_members = [each for each in fleet.members if each.presence is not Presence.STOPPED]
    return {
        "note": t(
            "fleet.note", counts=counts, versions=", ".join(sorted(fleet.versions)) or t("none")
        ),
        "members": [_member(each, t) for each in shown_members[:MEMBERS_SHOWN_MAX]],
    }


def paused(pause: Pause, t: Words) -> str:
    """Say who paused the fleet, until when and why."""
    end = t("fleet.until_resumed") if pause.until is None else t.time(pause.until)
    told = t("fleet.paused_by", by=pause.by, since=t.time(pause.since), until=end)
    return f"{told}: {pause.reason}" if pause.reason else told


def _member(each: Member, t: Words) -> dict[str, Any]:
    sample, rates = each.status.sample, each.status.rates
    is_gone = each.presence is Presence.GONE
    return {
        "worker": each.worker,
        "state": _STATES.get(each.presence, WARN),
        "state_text": t(f"fleet.{each.presence}"),
        "facts": t("fleet.gone_facts", age=t.span(each.age_seconds), version=each.version)
        if is_gone
        else t(
            "fleet.facts",
            version=each.version,
            uptime=t.span(each.uptime_seconds),
            rate_in=shown(rates.received if rates else None, t.rate),
            rate_out=shown(rates.done if rates else None, t.rate),
            lag=shown(rates.lag_seconds if rates else None, t.span),
            in_flight=t.number(sample.in_flight),
        ),
        "reasons": []
        if is_gone
        else [
            {"what": bounded(what), "next": bounded(step)}
            for what, step in map(t.told, sample.causes[:3])
        ],
    }
