from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from worker.observe.journal import Journal
from worker.observe.metrics import Metrics, metrics_table

ROOT = Path(__file__).parents[2]


def test_every_metric_is_described() -> None:
    for line in metrics_table().splitlines():
        assert all(cell.strip() for cell in line.strip("|").split("|"))
        assert line.count("|") == 5


def test_labels_are_listed_although_nothing_was_counted_yet() -> None:
    table = metrics_table()
    assert "| `oms_relay_keys_posted_total` | counter | `outcome`, (`route`) |" in table
    assert (
        "| `oms_relay_call_seconds` | histogram | `service`, `operation`, `result`, (`route`) |"
        in table
    )
    assert "| `oms_relay_keys_waiting` | gauge | (`route`) |" in table
    assert "| `oms_relay_messages_in_flight` | gauge | - |" in table


def test_the_documented_table_is_current() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    _, _, rest = text.partition("<!-- metrics -->\n")
    table, end, _ = rest.partition("<!-- /metrics -->")
    assert end
    assert table == metrics_table(), "paste the output of worker.metrics.metrics_table()"


def text_of(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_without_routes_no_series_tells_one() -> None:
    journal = Journal(Metrics(CollectorRegistry()))
    assert journal.of_route("") is journal
    journal.breaker("oms", "closed", None)
    journal.called("oms", "CreateSyncEvents", "ok", 0.1)
    journal.recorded("success_object", 1, [(1.0, "live")])
    text = text_of(journal.metrics)
    assert "route" not in re.sub(r"# HELP.*", "", text)
    assert "put_off" not in text
    assert 'oms_relay_breaker_open{service="oms"} 0.0' in text


def test_each_route_has_its_own_series_and_what_is_shared_has_none_of_them() -> None:
    metrics = Metrics(CollectorRegistry(), tells_routes=True)
    journal = Journal(metrics)
    journal.breaker("mns", "closed", None)
    assert 'oms_relay_breaker_open{route="",service="mns"} 0.0' in text_of(metrics)
    assert "keys_merged_total{" not in text_of(metrics)
    for name in ("films", "music", "films"):
        journal.of_route(name).merged()
    text = text_of(metrics)
    assert 'oms_relay_keys_merged_total{route="films"} 2.0' in text
    assert 'oms_relay_keys_merged_total{route="music"} 1.0' in text
    assert 'oms_relay_messages_put_off{route="films"} 0.0' in text
    assert metrics.totals()["keys_merged_total"] == 3
