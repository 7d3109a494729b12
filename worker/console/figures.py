"""Pieces of the overview as plain values: tiles, and charts with their words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from worker.console.charts import Chart
from worker.console.words import Words

OK, WARN, BAD, UNKNOWN = "ok", "warn", "bad", "unknown"

Write: TypeAlias = Callable[[float], str]


def tile(t: Words, name: str, value: str, note: str = "", state: str = "") -> dict[str, str]:
    """Return a value with its label."""
    return {"label": t(f"tile.{name}"), "value": value, "note": note, "state": state}


def figure(
    t: Words,
    name: str,
    lines: Sequence[str],
    drawn: Chart,
    write: Write,
    when: Write | None = None,
) -> dict[str, Any]:
    """Return a chart with its words; `lines` are what its lines are called.

    `points` is JSON for the script: of each point where it is, its time in UTC, and its values in words.
    """
    tell = when or t.clock
    readings = [
        [round(each.x, 4), tell(each.at), [shown(value, write) for value in each.values]]
        for each in drawn.readings
    ]
    return {
        "name": name,
        "label": t(f"chart.{name}"),
        "top": write(drawn.top),
        "since": t("chart.from", span=t.span(drawn.seconds)),
        "empty": t("chart.empty") if drawn.is_empty else "",
        "stacked": "yes" if drawn.is_stacked else "",
        "points": json.dumps(readings, ensure_ascii=False, separators=(",", ":")),
        "lines": [
            {
                "name": str(number),
                "label": line,
                "latest": shown(each.latest, write),
                "path": each.path,
            }
            for number, (line, each) in enumerate(zip(lines, drawn.lines, strict=True))
        ],
    }


def shown(value: float | None, write: Write) -> str:
    """Write a value; a dash where it is not known."""
    return "–" if value is None else str(write(value))  # noqa: RUF001  a dash means not known
