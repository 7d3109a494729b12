"""deploy/observability: every query is PromQL and asks for what relays show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import promql
from harness.manifests import of_kind, overlay

ROOT = Path(__file__).parents[2] / "deploy" / "observability"
RULES = yaml.safe_load((ROOT / "alerts.yaml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [
    *(rule["expr"] for rule in ALERTS),
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
]
# Beside its own metrics a relay serves those of the client library, and Prometheus adds labels.
LIBRARY = {
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
}
ADDED = {"instance", "job", "namespace", "pod", "le"}


PROMTOOL = shutil.which("promtool")
CASES = Path(__file__).with_name("alerts_promtool.yaml")
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is not installed (apt-get install prometheus)"
)
ABOUT_ARRIVAL = {
    "OmsRelayArrivalLate",
    "OmsRelayNotArrived",
    "OmsRelayDestinationUnseen",
    "OmsRelayCopyBacklogGrows",
}
ABOUT_ROUTES = {"OmsRelayRouteDown", "OmsRelayUnrouted"}


def prepared(query: str) -> str:
    return query.replace("$__rate_interval", "5m")


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_asks_for_what_relays_show(query: str) -> None:
    found = promql.selected(prepared(query))
    assert found
    assert found <= promql.known() | LIBRARY


@pytest.mark.parametrize("query", QUERIES)
def test_every_label_is_one_of_the_metrics(query: str) -> None:
    labels = {label for names in promql.labels().values() for label in names}
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    used = {name.strip() for names in grouped for name in names.split(",") if name.strip()}
    assert used <= labels | ADDED
    for metric, name, value in promql.matched(prepared(query)):
        assert name in promql.labels()[metric], query
        assert value in promql.values(name), query


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for query in QUERIES for name in promql.selected(prepared(query))}
    base = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    every = {re.sub(r"_(bucket|count|sum)$", "", name) for name in promql.known()}
    assert every <= base


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert re.fullmatch(r"\d+m", rule.get("for", "0m"))
    assert len(rule["annotations"]["summary"]) < 80
    assert len(re.findall(r"[.] |[.]$", rule["annotations"]["description"])) >= 2


def test_alerts_are_those_that_matter() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    assert {
        "OmsRelayBehind",
        "OmsRelayServiceUnusable",
        "OmsRelayDeadLetters",
        "OmsRelayNoProgress",
        "OmsRelayNearRetention",
        "OmsRelayRestarts",
    } <= set(names)


def test_counters_that_mns_withdraws_neither_ring_nor_silence_an_alert() -> None:
    """Then `oms_relay_queue_messages` is absent, while retention and age are shown (docs/metrics.md)."""
    exprs = {rule["alert"]: promql.selected(rule["expr"]) for rule in ALERTS}
    unseen = {"oms_relay_queue_retention_seconds", "oms_relay_messages_in_flight"}
    assert exprs["OmsRelayQueueUnseen"] == unseen
    assert "oms_relay_queue_oldest_seconds" in exprs["OmsRelayNoProgress"]
    (rule,) = [rule for rule in ALERTS if rule["alert"] == "OmsRelayQueueUnseen"]
    assert "mostly" in rule["annotations"]["description"]


def test_the_manifest_for_the_operator_holds_the_same_rules() -> None:
    assert of_kind(overlay("keda"), "PrometheusRule")["spec"] == RULES


def test_panels_are_whole_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"]
        assert panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_the_dashboard_asks_for_its_data_source() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    assert DASHBOARD["schemaVersion"] >= 36


def promtool(*arguments: str) -> None:
    found = subprocess.run(
        (str(PROMTOOL), *arguments), capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


@needs_promtool
def test_prometheus_itself_takes_the_rules() -> None:
    promtool("check", "rules", str(ROOT / "alerts.yaml"))


@needs_promtool
def test_alerts_fire_and_are_silent_when_they_should() -> None:
    promtool("test", "rules", str(CASES))


def test_each_alert_about_arrival_or_routes_has_a_case_that_fires_and_a_silent_one() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    asked = [each for test in tests for each in test["alert_rule_test"]]
    for expects in (True, False):
        found = {each["alertname"] for each in asked if bool(each["exp_alerts"]) is expects}
        assert found >= ABOUT_ARRIVAL | ABOUT_ROUTES
    assert {rule["alert"] for rule in ALERTS} >= ABOUT_ARRIVAL | ABOUT_ROUTES
