"""deploy/observability/alerts.yaml: which alerts ring in which night, asked of Prometheus itself (promtool).

A night is a few relays and what becomes of their series, minute by minute. It says which alerts ring when,
and that no other does.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = Path(__file__).parents[2] / "deploy" / "observability" / "alerts.yaml"
RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is not installed (apt-get install prometheus)"
)
MINUTES = 180
# What a series is at a minute; None: Prometheus got no value of it.
At = Callable[[int], float | None]
Series = dict[str, At]


def steady(value: float) -> At:
    return lambda _: value


def counter(per_minute: float) -> At:
    return lambda minute: per_minute * minute


def between(first: int, last: int, value: float = 1, otherwise: float = 0) -> At:
    return lambda minute: value if first <= minute < last else otherwise


HEALTHY: Series = {
    "up": steady(1),
    "process_start_time_seconds": steady(-36_000),
    "oms_relay_build_info": steady(1),
    "oms_relay_messages_in_flight": steady(3),
    "oms_relay_paused": steady(0),
    "oms_relay_queue_messages{state=active}": steady(0),
    "oms_relay_queue_oldest_seconds": steady(0),
    "oms_relay_queue_retention_seconds": steady(604_800),
    "oms_relay_messages_deleted_total": counter(600),
    "oms_relay_messages_ended_total{end=dead_letter}": steady(7),
    "oms_relay_messages_ended_total{end=released}": steady(9),
    "oms_relay_leases_renewed_total{result=lost}": steady(2),
    "oms_relay_own_records_ignored_total": steady(1),
    "oms_relay_foreign_events_total": steady(0),
    "oms_relay_lag_seconds_bucket{origin=live,le=1.0}": counter(600),
    "oms_relay_lag_seconds_bucket{origin=live,le=3600.0}": counter(600),
    "oms_relay_lag_seconds_bucket{origin=live,le=+Inf}": counter(600),
    "oms_relay_arrival_seconds_bucket{le=900.0}": counter(5000),
    "oms_relay_arrivals_total{outcome=late}": steady(3),
    "oms_relay_arrivals_total{outcome=unknown}": steady(2),
    "oms_relay_arrivals_total{outcome=given_up}": steady(1),
    "oms_relay_copy_backlog_objects": steady(50),
    **{
        f"oms_relay_breaker_open{{service={service}}}": steady(0)
        for service in ("mns", "mns-acks", "oss", "oms", "obs")
    },
}


def relay(
    instance: str = "a",
    changed: Mapping[str, At] | None = None,
    *,
    queue: str = "orders",
    lives: tuple[int, int] = (0, MINUTES),
) -> Series:
    """All series of one relay, that are there in the minutes in which it lives."""
    found = {}
    for name, at in (HEALTHY | dict(changed or {})).items():
        metric, _, own = name.rstrip("}").partition("{")
        labels = dict(each.split("=") for each in own.split(",") if each)
        labels |= {"namespace": "clouds", "job": "relay", "instance": instance}
        if metric != "up":
            labels["queue"] = queue
        written = ", ".join(f'{key}="{value}"' for key, value in labels.items())
        found[f"{metric}{{{written}}}"] = _in(lives, at)
    return found


def _in(lives: tuple[int, int], at: At) -> At:
    first, last = lives
    return lambda minute: at(minute) if first <= minute < last else None


@dataclass(frozen=True, slots=True)
class Night:
    """Relays, and what rings at some minutes: alerts with the labels that matter (`Down instance=a`)."""

    name: str
    relays: Iterable[Series]
    rings: Mapping[int, set[str]]


def named(prefix: str, labels: str, at: At) -> Series:
    """A series of another program."""
    return {f"{prefix}{{{labels}}}": at}


def restarted(minute: int, every: int = MINUTES) -> Series:
    """A relay in place that ends at a minute and starts anew: breakers open for a moment, counters from 0."""

    def since(now: int) -> int:
        return (now - minute) % every

    def anew(before: At) -> At:
        per_minute = (before(1) or 0) - (before(0) or 0)
        return lambda now: before(now) if now < minute else per_minute * since(now)

    def opened(now: int) -> float:
        return float(now >= minute and since(now) < 1)

    fresh: Series = {
        name: opened if "breaker_open" in name else anew(before)
        for name, before in HEALTHY.items()
        if re.search("_total|_bucket|breaker_open", name)
    }
    starts: At = lambda now: 60.0 * (now - since(now)) if now >= minute else -36_000  # noqa: E731
    return {**fresh, "process_start_time_seconds": starts}


EVERY = range(5, 80, 15)
OMS, OBS = "oms_relay_breaker_open{service=oms}", "oms_relay_breaker_open{service=obs}"
LETTERS = "oms_relay_messages_ended_total{end=dead_letter}"
GIVEN_UP = "oms_relay_arrivals_total{outcome=given_up}"
LATE = "oms_relay_arrivals_total{outcome=late}"
UNSEEN = "oms_relay_arrivals_total{outcome=unknown}"
IN_TIME = "oms_relay_arrival_seconds_bucket{le=900.0}"
BACKLOG = "oms_relay_copy_backlog_objects"
WAITING = "oms_relay_queue_messages{state=active}"
RELEASED = "oms_relay_messages_ended_total{end=released}"
RETENTION = "oms_relay_queue_retention_seconds"
DONE = "oms_relay_messages_deleted_total"
FOREIGN = "oms_relay_foreign_events_total"
SERVICE = "oms_relay_breaker_open"


def routed(states: Series) -> Series:
    """What a relay with routes shows in place of one sync task: a breaker for each."""
    whole = {"films": steady(0), "music": steady(0)} | states
    return {
        OMS: lambda _: None,
        **{f"{SERVICE}{{service=oms,route={name}}}": at for name, at in whole.items()},
    }


NIGHTS = [
    Night(
        "all is well, with two queues",
        [relay("a"), relay("b"), relay("c", queue="photos")],
        {minute: set() for minute in EVERY},
    ),
    Night(
        "four relays are restarted one after the other in their places",
        [relay(f"{n}", restarted(62 + 2 * n)) for n in range(4)],
        {minute: set() for minute in range(60, 80)},
    ),
    Night(
        "four pods are replaced one after the other",
        [
            *(relay(f"old-{n}", lives=(0, 61 + 2 * n)) for n in range(4)),
            *(relay(f"new-{n}", restarted(60 + 2 * n), lives=(60 + 2 * n, MINUTES)) for n in range(4)),
        ],
        {minute: set() for minute in range(59, 80)},
    ),
    Night(
        "all relays of one queue are gone, those of the other are not",
        [relay("a", lives=(0, 30)), relay("b", lives=(0, 30)), relay("c", queue="photos")],
        {33: set(), 45: {"Absent queue=orders"}, 100: {"Absent queue=orders"}},
    ),
    Night(
        "no relay was ever seen",
        [named("up", 'job="prometheus", instance="p"', steady(1))],
        {4: set(), 10: {"Absent"}},
    ),
    Night(
        "one of three relays is down, and comes back; what is down of other programs is not ours",
        [
            relay("a"),
            relay("b"),
            relay("c", lives=(0, 60)),
            {'up{namespace="clouds", job="relay", instance="c"}': between(60, 100, 0, 1)},
            named("up", 'namespace="clouds", job="other", instance="x"', steady(0)),
        ],
        {59: set(), 64: set(), 70: {"Down instance=c"}, 95: {"Down instance=c"}, 105: set()},
    ),
    Night(
        "OMS cannot be used for twenty minutes, trials included, and can be used again",
        [
            relay("a", {OMS: lambda m: (0.5 if m % 4 == 0 else 1) if 30 <= m < 50 else 0}),
            relay("b"),
        ],
        {
            29: set(),
            33: set(),
            37: {"ServiceUnusable queue=orders service=oms"},
            49: {"ServiceUnusable queue=orders service=oms"},
            50: set(),
            55: set(),
        },
    ),
    Night(
        "OMS cannot be used for four minutes, again and again",
        [relay("a", {OMS: lambda m: float(m % 6 < 4)})],
        {minute: set() for minute in EVERY},
    ),
    Night(
        "the second queue is stuck while the first one works",
        [relay("a"), relay("b", {WAITING: steady(40), DONE: steady(600)}, queue="photos")],
        {10: set(), 30: {"NoProgress queue=photos"}},
    ),
    Night(
        "MNS counts no messages, and the oldest one grows old",
        [
            relay("a", {WAITING: lambda _: None, DONE: steady(600)} | {
                "oms_relay_queue_oldest_seconds": counter(60)
            })
        ],
        {10: set(), 30: {"NoProgress queue=orders"}},
    ),
    Night(
        "messages wait because somebody paused the relays",
        [relay("a", {WAITING: steady(40), DONE: steady(600), "oms_relay_paused": between(0, 120)})],
        {30: set(), 90: {"Paused queue=orders"}, 119: {"Paused queue=orders"}, 121: set()},
    ),
    Night(
        "messages have waited for four of the seven days",
        [relay("a", {"oms_relay_queue_oldest_seconds": between(30, 60, 345_600)})],
        {29: set(), 40: {"NearRetention queue=orders"}, 61: set()},
    ),
    Night(
        "one key in fifty takes an hour, in one of two queues",
        [
            relay("a"),
            relay("b", {"oms_relay_lag_seconds_bucket{origin=live,le=1.0}": counter(588)}, queue="photos"),
        ],
        {10: set(), 40: {"Behind queue=photos"}},
    ),
    Night(
        "five thousand letters at once, and none later",
        [relay("a", {LETTERS: between(30, MINUTES, 5000)}), relay("b", queue="photos")],
        {29: set(), 31: {"DeadLetters queue=orders"}, 80: {"DeadLetters queue=orders"}, 95: set()},
    ),
    Night(
        "a new relay has buried five thousand before it was scraped at all",
        [
            relay("a"),
            relay("b", restarted(70) | {LETTERS: steady(5000)}, queue="photos", lives=(70, MINUTES)),
        ],
        {69: set(), 71: {"DeadLetters queue=photos"}, 120: {"DeadLetters queue=photos"}, 135: set()},
    ),
    Night(
        "messages are given back for an hour while all works but the looks at the destination",
        [relay("a", {RELEASED: lambda m: 3.0 * min(max(m - 30, 0), 60), OBS: between(40, 70)})],
        {50: set(), 75: {"GivesBack queue=orders"}, 105: set()},
    ),
    Night(
        "messages are given back in an outage",
        [relay("a", {RELEASED: counter(3), OMS: lambda m: float(m % 6 < 4)})],
        {minute: set() for minute in EVERY},
    ),
    Night(
        "leases are lost for half an hour, and once only",
        [
            relay("a", {"oms_relay_leases_renewed_total{result=lost}": counter(1)}, queue="photos"),
            relay("b", {"oms_relay_leases_renewed_total{result=lost}": between(60, MINUTES, 3, 2)}),
        ],
        {10: set(), 40: {"LeasesLost queue=photos"}, 100: {"LeasesLost queue=photos"}},
    ),
    Night(
        "one relay restarts every ten minutes",
        [relay("a", restarted(60, 10)), relay("b")],
        {80: set(), 110: {"Restarts queue=orders"}},
    ),
    Night(
        "records announce themselves",
        [relay("a", {"oms_relay_own_records_ignored_total": between(30, MINUTES, 40, 1)})],
        {29: set(), 35: {"LogBucketAnnouncesItself queue=orders"}, 95: set()},
    ),
    Night(
        "the queue cannot be looked at",
        [relay("a", {RETENTION: between(30, 100, math.nan, 604_800)}), relay("b", queue="photos")],
        {50: set(), 70: {"QueueUnseen queue=orders"}, 101: set()},
    ),
    Night(
        "one of two relays cannot look at the queue",
        [relay("a", {RETENTION: steady(math.nan)}), relay("b")],
        {minute: set() for minute in EVERY},
    ),
    Night(
        "MNS cannot be used, so the queue is not seen either",
        [
            relay(
                "a",
                {RETENTION: steady(math.nan), "oms_relay_breaker_open{service=mns}": steady(1)},
            )
        ],
        {60: {"ServiceUnusable queue=orders service=mns"}},
    ),
    Night(
        "one key in a hundred is late",
        [relay("a", {IN_TIME: counter(99), LATE: counter(1)})],
        {80: {"ArrivalLate queue=orders"}},
    ),
    Night(
        "one of two routes is down for twenty minutes, trials included, in one of two queues",
        [
            relay("a", routed({"films": lambda m: (0.5 if m % 4 == 0 else 1) if 30 <= m < 50 else 0})),
            relay("b", queue="photos"),
        ],
        {
            29: set(),
            33: set(),
            37: {"RouteDown queue=orders route=films"},
            49: {"RouteDown queue=orders route=films"},
            50: set(),
        },
    ),
    Night(
        "both routes are down, and MNS cannot be used either",
        [
            relay(
                "a",
                routed({"films": steady(1), "music": steady(1)})
                | {f"{SERVICE}{{service=mns}}": steady(1)},
            ),
        ],
        {
            30: {
                "RouteDown queue=orders route=films",
                "RouteDown queue=orders route=music",
                "ServiceUnusable queue=orders service=mns",
            }
        },
    ),
    Night(
        "a route is down for four minutes, again and again",
        [relay("a", routed({"films": lambda m: float(m % 6 < 4)}))],
        {minute: set() for minute in EVERY},
    ),
    Night(
        "events come that no route takes, and then no more, in one of two queues",
        [relay("a", {FOREIGN: between(30, MINUTES)}), relay("b", queue="photos")],
        {29: set(), 35: {"Unrouted queue=orders"}, 95: set()},
    ),
    Night(
        "of one key in a hundred nobody knows whether it has arrived",
        [relay("a", {IN_TIME: counter(99), UNSEEN: counter(1)})],
        {80: {"ArrivalLate queue=orders"}},
    ),
    Night(
        "one key in ten thousand is late",
        [relay("a", {IN_TIME: counter(5000), LATE: counter(1)}), relay("b")],
        {minute: set() for minute in EVERY},
    ),
    Night(
        "nothing is followed",
        [relay("a", {IN_TIME: steady(7), BACKLOG: steady(math.nan)})],
        {minute: set() for minute in EVERY},
    ),
    Night(
        "a key was given up",
        [relay("a", {GIVEN_UP: between(30, MINUTES, 2, 1)})],
        {29: set(), 60: {"NotArrived queue=orders"}, 110: set()},
    ),
    Night(
        "the destination cannot be looked at for twenty minutes, trials included",
        [relay("a", {OBS: lambda m: (0.5 if m % 4 == 0 else 1) if 10 <= m < 35 else 0})],
        {20: set(), 30: {"DestinationUnseen queue=orders"}, 36: set()},
    ),
    Night(
        "the copy backlog grows",
        [relay("a", {BACKLOG: lambda m: 50.0 + 100 * max(m - 30, 0)})],
        {40: set(), 60: {"CopyBacklogGrows queue=orders"}},
    ),
    Night(
        "the copy backlog is large, goes up and down, and is drained",
        [
            relay("a", {BACKLOG: lambda m: (9000 if m % 2 else 5000) if m < 66 else 9000.0 - 50 * (m - 66)}),
            relay("b", {BACKLOG: steady(math.nan)}),
        ],
        {minute: set() for minute in EVERY},
    ),
]  # fmt: skip


def written(at: At, minutes: int) -> str:
    """The values of one series as promtool reads them."""
    found = (at(minute) for minute in range(minutes))
    return " ".join(
        "_" if each is None else "NaN" if math.isnan(each) else f"{each:g}" for each in found
    )


def as_test(night: Night) -> dict[str, Any]:
    series: Series = {}
    for each in night.relays:
        series |= each
    return {
        "name": night.name,
        "interval": "1m",
        "input_series": [
            {"series": name, "values": written(at, max(night.rings) + 1)}
            for name, at in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, queue, instance, service, route) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": sample(each), "value": 1} for each in rings],
            }
            for minute, rings in night.rings.items()
        ],
    }


def sample(ring: str) -> str:
    name, *labels = ring.split()
    pairs = [f'alertname="OmsRelay{name}"', *(re.sub(r"=(.*)", r'="\1"', each) for each in labels)]
    return "{" + ", ".join(pairs) + "}"


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        (str(PROMTOOL), *map(str, arguments)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def asked(folder: Path, test: dict[str, Any]) -> str:
    """What promtool complains of."""
    path = folder / "nights.yaml"
    told = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    path.write_text(yaml.safe_dump(told))
    return promtool("test", "rules", path)


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    assert not promtool("check", "rules", RULES)


@needs_promtool
@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: night.name)
def test_those_alerts_ring_that_should_and_no_others(night: Night, tmp_path: Path) -> None:
    assert not asked(tmp_path, as_test(night))


@needs_promtool
def test_a_night_in_which_something_else_rings_is_noticed(tmp_path: Path) -> None:
    (night,) = (each for each in NIGHTS if each.name == "a key was given up")
    silent = Night(night.name, night.relays, {60: set()})
    assert "OmsRelayNotArrived" in asked(tmp_path, as_test(silent))


def test_each_alert_has_a_night_in_which_it_rings_and_one_in_which_it_is_silent() -> None:
    rings = [
        {each.split()[0] for each in found} for night in NIGHTS for found in night.rings.values()
    ]
    every = {rule["alert"].removeprefix("OmsRelay") for rule in ALERTS}
    assert set().union(*rings) == every
    assert all(any(each not in found for found in rings) for each in every)


@needs_promtool
@pytest.mark.parametrize(
    ("night", "minute", "alert", "said"),
    [
        ("no relay was ever seen", 10, "OmsRelayAbsent", "No relay of any queue is seen"),
        (
            "all relays of one queue are gone, those of the other are not",
            45,
            "OmsRelayAbsent",
            "No relay of orders is seen",
        ),
        (
            "messages have waited for four of the seven days",
            40,
            "OmsRelayNearRetention",
            "57.14% of the retention is used up.",
        ),
        ("one key in a hundred is late", 80, "OmsRelayArrivalLate", "99% of the followed keys"),
        (
            "five thousand letters at once, and none later",
            80,
            "OmsRelayDeadLetters",
            "dead letters in an hour",
        ),
    ],
)
def test_an_alert_reads_well(
    night: str, minute: int, alert: str, said: str, tmp_path: Path
) -> None:
    (found,) = (each for each in NIGHTS if each.name == night)
    test = as_test(found) | {"promql_expr_test": []}
    test["alert_rule_test"] = [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": []}]
    told = asked(tmp_path, test)
    assert said in told
    assert "<no value>" not in told


def test_every_alert_leads_to_a_section_of_the_runbook() -> None:
    sections = re.findall(r"^## (.*)$", RUNBOOK.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in sections}
    for rule in ALERTS:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbook.md"
        assert anchor in anchors
        assert f"`{rule['alert']}`" in RUNBOOK.read_text()
