from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from worker import __version__
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


def shown() -> dict[str, list[dict[str, str]]]:
    """The labels of every series of a relay to which nothing has happened yet."""
    metrics = Metrics(CollectorRegistry(), "oss-events")
    body, _ = metrics.shown("")
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_every_series_names_the_queue() -> None:
    found = shown()
    assert all(each["queue"] == "oss-events" for labels in found.values() for each in labels)


def test_labelled_counters_have_their_series_before_anything_was_counted() -> None:
    found = shown()
    table = metrics_table().splitlines()[2:]
    counters = [re.findall(r"`(\w+)`", line) for line in table if "| counter |" in line]
    assert len(counters) > 10
    for name, *labels in counters:
        assert found[name], name
        assert all(set(each) == {"queue", *labels} - {"route"} for each in found[name])
    ends = {each["end"] for each in found["oms_relay_messages_ended_total"]}
    assert ends == {"deleted", "postponed", "released", "lapsed", "dead_letter"}
    assert {each["origin"] for each in found["oms_relay_lag_seconds_count"]} == {"live", "resent"}


def test_the_build_says_its_version() -> None:
    (labels,) = shown()["oms_relay_build_info"]
    assert labels["version"] == __version__
    assert re.fullmatch(r"3\.\d+\.\d+\S*", labels["python"])


def test_counters_bring_no_second_series_for_the_time_of_their_making() -> None:
    assert not [name for name in shown() if name.endswith("_created")]


def text_of(metrics: Metrics) -> str:
    return metrics.shown("")[0].decode()


def test_without_routes_no_series_tells_one() -> None:
    journal = Journal(Metrics(CollectorRegistry()))
    assert journal.of_route("") is journal
    journal.breaker("oms", "closed", None)
    journal.called("oms", "CreateSyncEvents", "ok", 0.1)
    journal.recorded("success_object", 1, [(1.0, "live")])
    text = text_of(journal.metrics)
    assert "route" not in re.sub(r"# HELP.*", "", text)
    assert "put_off" not in text
    assert 'oms_relay_breaker_open{queue="",service="oms"} 0.0' in text


def test_each_route_has_its_own_series_and_what_is_shared_has_none_of_them() -> None:
    metrics = Metrics(CollectorRegistry(), tells_routes=True)
    journal = Journal(metrics)
    journal.breaker("mns", "closed", None)
    assert 'oms_relay_breaker_open{queue="",route="",service="mns"} 0.0' in text_of(metrics)
    assert "keys_merged_total{" not in text_of(metrics)
    assert "keys_posted_total{" not in text_of(metrics)
    for name in ("films", "music", "films"):
        journal.of_route(name).merged()
    text = text_of(metrics)
    assert 'oms_relay_keys_merged_total{queue="",route="films"} 2.0' in text
    assert 'oms_relay_keys_merged_total{queue="",route="music"} 1.0' in text
    assert 'oms_relay_messages_put_off{queue="",route="films"} 0.0' in text
    assert metrics.totals()["keys_merged_total"] == 3


def test_each_route_has_its_series_before_anything_was_counted() -> None:
    metrics = Metrics(CollectorRegistry(), "oss-events", tells_routes=True)
    metrics.of_route("films")
    text = text_of(metrics)
    for name, labels in (
        ("keys_posted_total", 'outcome="accepted",queue="oss-events",route="films"'),
        ("records_written_total", 'folder="failed_object",queue="oss-events",route="films"'),
        ("arrivals_total", 'outcome="late",queue="oss-events",route="films"'),
        ("suspects_unfollowed_total", 'queue="oss-events",route="films"'),
    ):
        assert f"oms_relay_{name}{{{labels}}} 0.0" in text
