"""What running workers say of themselves: `/readyz` and `/metrics` of their admin servers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from worker.advice import Cause, cause_from
from worker.clock import Clock
from worker.clouds.http import one_line, proxy_of, routed
from worker.events.event import Kind
from worker.ledger.names import SUCCESS
from worker.ledger.pause import Pause, pause_told
from worker.ledger.pulse import Rates
from worker.observe.metrics import sums
from worker.operate.arrival import Told, told_from

# Of both answers together: what `status` shows waits for two looks, a second apart.
SECONDS_MAX = 2.0
_FAULTS = (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a worker. `error` is set and the rest empty where it did not answer.

    `arrival` is None where it follows nothing to the destination. A worker that is only paused is ready.
    `notices` say what does not stop it, and should be mended all the same.
    """

    url: str
    at: float
    error: str = ""
    is_ready: bool = False
    reasons: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    services: Mapping[str, str] = field(default_factory=dict)
    in_flight: int = 0
    keys_waiting: float = 0.0
    oldest_in_hand_seconds: float = 0.0
    received: float = 0.0
    done: float = 0.0
    recorded: float = 0.0
    dead: float = 0.0
    lag_sum_seconds: float = 0.0
    lag_count: float = 0.0
    announced: float = 0.0
    accepted: float = 0.0
    arrived: float = 0.0
    proved: float = 0.0
    arrival: Told | None = None
    pause: Pause | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker as it is now, and what moved since the last look."""

    sample: Sample
    rates: Rates | None


async def look(session: aiohttp.ClientSession, url: str, clock: Clock) -> Sample:
    """Ask a worker how it is; never raises, for a worker that does not answer is an answer too."""
    base = url.rstrip("/")
    try:
        async with asyncio.timeout(SECONDS_MAX):
            ready: dict[str, Any] = json.loads(await _text(session, f"{base}/readyz"))
            metrics = _metrics(await _text(session, f"{base}/metrics"))
        return sample_from(url, clock.monotonic(), ready, metrics)
    except _FAULTS as error:
        return Sample(url, clock.monotonic(), _why(error))


async def _text(session: aiohttp.ClientSession, url: str) -> str:
    asked = URL(url)
    way = routed(proxy_of(session, asked), asked, {})
    async with session.get(url, **way) as answer:
        return await answer.text()


def rates(before: Sample, now: Sample) -> Rates | None:
    """Return what moved from one look to the next; None if one failed or the worker restarted between."""
    seconds = now.at - before.at
    if before.error or now.error or seconds <= 0 or now.received < before.received:
        return None
    lags = now.lag_count - before.lag_count
    return Rates(
        over_seconds=seconds,
        received=(now.received - before.received) / seconds,
        done=(now.done - before.done) / seconds,
        recorded=(now.recorded - before.recorded) / seconds,
        dead=(now.dead - before.dead) / seconds,
        lag_seconds=(now.lag_sum_seconds - before.lag_sum_seconds) / lags if lags > 0 else None,
    )


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS_MAX:.0f} s"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return one_line(str(error)) or type(error).__name__


def sample_from(
    url: str, at: float, ready: Mapping[str, Any], metrics: Mapping[str, float]
) -> Sample:
    """Read an answer of `/readyz` and totals of the metrics.

    Raises LookupError, TypeError or ValueError where they have another form.
    """
    return Sample(
        url,
        at,
        is_ready=ready["status"] in ("ready", "paused"),
        reasons=tuple(map(str, ready["reasons"])),
        causes=_causes(ready),
        services={str(name): str(state) for name, state in ready["services"].items()},
        in_flight=int(ready["in_flight"]),
        keys_waiting=metrics.get("keys_waiting", 0.0),
        oldest_in_hand_seconds=metrics.get("oldest_in_hand_seconds", 0.0),
        received=metrics.get("messages_received_total", 0.0),
        done=metrics.get("messages_deleted_total", 0.0),
        recorded=metrics.get("records_written_total", 0.0),
        dead=metrics.get("messages_ended_total:dead_letter", 0.0),
        lag_sum_seconds=metrics.get("lag_seconds_sum:live", 0.0),
        lag_count=metrics.get("lag_seconds_count:live", 0.0),
        announced=sum(
            metrics.get(f"events_decoded_total:{kind}", 0.0) for kind in Kind if kind.is_change
        ),
        accepted=metrics.get(f"records_written_total:{SUCCESS}", 0.0),
        arrived=metrics.get("arrivals_total:arrived", 0.0),
        proved=metrics.get("arrivals_proved_total", 0.0),
        arrival=told_from(ready),
        pause=pause_told(ready.get("paused")),
        notices=tuple(map(str, ready.get("notices", ()))),
    )


def _causes(ready: Mapping[str, Any]) -> tuple[Cause, ...]:
    """Read the causes; an older relay tells its reasons only."""
    if "causes" not in ready:
        return tuple(Cause(str(each)) for each in ready["reasons"])
    return tuple(cause_from(each) for each in ready["causes"])


def _metrics(text: str) -> dict[str, float]:
    return sums(text_string_to_metric_families(text))
