from __future__ import annotations

import ast
import re
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from doubles.clock import HandClock
from harness.ops import put_letter
from harness.site import site
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.console import grouping_job as grouping_job_module
from worker.console import words
from worker.console.charts import (
    DASH,
    HEIGHT,
    POINTS_SHOWN_MAX,
    WIDTH,
    chart,
    nice,
    nice_span,
    stack,
    window,
)
from worker.console.filters import BadFilter, Filter
from worker.console.grouping_job import GROUPINGS_MAX, RUNNING_MAX
from worker.console.guard import host_of
from worker.console.sessions import ATTEMPTS_MAX, BROWSERS_MAX, SESSIONS_MAX, Sessions
from worker.console.watch import Depth, oms_rates
from worker.ledger.letter import Place

CONSOLE = Path(words.__file__).parent
TOKEN = "correct-horse-battery-staple"


def test_a_chart_scales_from_nothing_to_a_round_number() -> None:
    drawn = chart([[(0.0, 0.0), (30.0, 60.0), (60.0, 70.0)]], now=60.0, seconds=60.0)
    assert drawn.top == 100
    assert drawn.lines[0].path == f"M0.0 {HEIGHT:.1f}L{WIDTH / 2:.1f} 48.0L{WIDTH:.1f} 36.0"
    assert drawn.lines[0].latest == 70
    assert [nice_span(value) for value in (0.2, 3, 61, 5000, 1e5)] == [1, 5, 120, 7200, 172_800]
    assert [nice(value) for value in (0, 1, 1.5, 3, 70, 1000)] == [1, 1, 2, 5, 100, 1000]


def test_a_chart_shows_gaps_as_gaps_and_forgets_what_is_old() -> None:
    points = [(0.0, 9.0), (700.0, 1.0), (702.0, None), (704.0, 1.0), (800.0, 1.0)]
    path = chart([points], now=1000.0, seconds=900.0).lines[0].path
    assert path.count("M") == 3
    assert "L" not in path
    empty = chart([[(1.0, None)]], now=1.0, seconds=60.0)
    assert empty.is_empty
    assert empty.lines[0].path == ""


def test_a_point_that_stands_alone_is_wide_enough_to_be_seen() -> None:
    drawn = chart([[(30.0, 1.0)]], now=60.0, seconds=60.0)
    assert drawn.lines[0].path == f"M{WIDTH / 2 - DASH:.1f} 0.0h{DASH:.1f}"


def test_a_stack_is_as_high_as_the_sum_and_unknown_where_a_part_is() -> None:
    one = [(20.0, 2.0), (40.0, None), (60.0, 0.0)]
    other = [(20.0, 3.0), (40.0, 9.0), (60.0, 5.0)]
    drawn = stack([one, other], now=60.0, seconds=60.0, width=20.0)
    assert drawn.top == 5
    first, second = (each.path for each in drawn.lines)
    assert first == "M0.0 120.0V72.0H200.0V120.0z"
    assert second == "M0.0 72.0V0.0H200.0V72.0zM400.0 120.0V0.0H600.0V120.0z"
    assert [each.values for each in drawn.readings] == [(2.0, 3.0), (None, 9.0), (0.0, 5.0)]
    assert stack([], now=60.0, seconds=60.0, width=20.0).is_empty


def test_no_more_points_are_told_than_a_chart_is_wide_and_the_newest_is_one_of_them() -> None:
    points = [(float(number), 1.0) for number in range(1000)]
    readings = chart([points], now=999.0, seconds=999.0).readings
    assert POINTS_SHOWN_MAX / 2 < len(readings) <= POINTS_SHOWN_MAX
    assert (readings[-1].at, readings[-1].x) == (999.0, 1.0)


def test_a_chart_is_as_long_as_what_was_seen() -> None:
    assert [window(1000 - age, 1000) for age in (0, 60, 61, 600, 9999)] == [60, 60, 300, 900, 900]


def test_rates_of_oms_begin_anew_with_each_month() -> None:
    depths = [
        Depth(0.0, accepted=10),
        Depth(10.0, accepted=30),
        Depth(20.0, accepted=0),
        Depth(30.0),
    ]
    assert oms_rates(depths, "accepted") == [(10.0, 2.0), (20.0, None), (30.0, None)]


def test_a_filter_goes_into_an_address_and_comes_back() -> None:
    about = Filter(Place.ARCHIVED, "rejected", "a1b2c3", " a b+c&d=照片", "24h", "")
    assert Filter.read(dict(parse_qsl(about.query()))) == about
    assert Filter().query() == ""
    assert Filter(cause="x").query(cause="", after="y") == "after=y"
    assert Filter.read({"key": "x" * 5000}).key == "x" * 1023
    assert Filter(Place.ARCHIVED).is_empty


@pytest.mark.parametrize("text", ["yesterday", "5", "24 h", "2026-99-99", "٣d", "9" * 40 + "d"])
def test_times_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(BadFilter) as caught:
        Filter(since=text).wanted(1_790_000_000.0)
    assert caught.value.field == "since"


def test_hosts_are_read_without_their_port() -> None:
    given = ["localhost:80", "LOCALHOST", "[::1]:80", "[::1]", "a.example.:80", "127.0.0.1:"]
    assert [host_of(each) for each in given] == [
        "localhost", "localhost", "[::1]", "[::1]", "a.example", "127.0.0.1",
    ]  # fmt: skip


def test_sessions_end_and_never_outgrow_their_limit() -> None:
    clock = HandClock()
    sessions = Sessions(TOKEN, clock)
    assert sessions.sign_in("", "") is None
    assert sessions.sign_in(TOKEN + "x", "") is None
    first = sessions.sign_in(TOKEN, "Ada")
    assert first is not None
    assert sessions.is_signed_in(first)
    assert sessions.name(first) == "Ada"
    others = [sessions.sign_in(TOKEN, "") for _ in range(SESSIONS_MAX)]
    assert not sessions.is_signed_in(first)
    assert others[-1] is not None
    assert sessions.is_signed_in(others[-1])
    clock.advance(13 * 3600)
    assert not sessions.is_signed_in(others[-1])


def test_wrong_tokens_are_forgiven_after_a_minute_and_remembered_for_few() -> None:
    clock = HandClock()
    attempts = Sessions(TOKEN, clock).attempts
    for _ in range(ATTEMPTS_MAX):
        assert attempts.wait_seconds("a") == 0
        attempts.failed("a")
    assert 0 < attempts.wait_seconds("a") <= 60
    assert attempts.wait_seconds("b") == 0
    clock.advance(61)
    assert attempts.wait_seconds("a") == 0
    for number in range(BROWSERS_MAX + 10):
        attempts.failed(str(number))
    assert len(attempts._failed) == BROWSERS_MAX


async def test_grouping_jobs_are_few_and_fresh_ones_are_not_repeated(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_letter(cloud, 1)
    async with site(cloud) as console:
        groupings = console.here.groupings
        first = await groupings.of(Filter())
        assert await groupings.of(Filter()) is first
        assert await groupings.of(Filter(), is_new=True) is not first
        groupings.forget()
        for number in range(GROUPINGS_MAX + 5):
            await groupings.of(Filter(key=str(number)))
        assert len(groupings._known) == GROUPINGS_MAX
        assert len(groupings._tasks) <= GROUPINGS_MAX


async def test_a_long_grouping_shows_how_far_it_has_come_and_yields_to_newer_ones(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.prepare()
    put_letter(cloud, 1)
    monkeypatch.setattr(grouping_job_module, "PATIENCE_SECONDS", 0.05)
    cloud.faults.add(Fault("oss", "GetObject", Action.LATENCY, seconds=30))
    async with site(cloud) as console:
        page = await console.get("/letters")
        assert "Reading… 0 letters so far" in page.text
        assert 'data-progress="/api/letters?"' in page.html
        for number in range(4):
            await console.get(f"/letters?key={number}")
        running = [task for task in console.here.groupings._tasks.values() if not task.done()]
        assert len(running) == RUNNING_MAX


def test_scripts_and_styles_load_nothing_and_hold_no_inline_code() -> None:
    for path in CONSOLE.glob("static/*"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|eval\(", path.read_text())
    assert "innerHTML" not in (CONSOLE / "static/console.js").read_text()


def test_every_template_escapes_whatever_it_shows() -> None:
    for path in CONSOLE.glob("templates/*.html"):
        assert "| safe" not in path.read_text()
        assert "autoescape" not in path.read_text()
    for path in CONSOLE.glob("*.py"):
        names = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        assert "Markup" not in names
