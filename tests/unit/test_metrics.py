from __future__ import annotations

from pathlib import Path

from worker.observe.metrics import metrics_table

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
