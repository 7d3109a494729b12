"""The last day on the overview: what pulses and the names of letters tell, and gaps where nobody does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from harness.ops import put_letter
from harness.site import site
from localcloud.cloud import LocalCloud
from worker.console.day import DAYS_SHOWN, last_day
from worker.console.words import load
from worker.ledger.day import STEP_SECONDS
from worker.ledger.names import FLEET, pulse_name
from worker.ledger.pulse import Pulse, PulseState
from worker.operate.day import Slot
from worker.operate.fleet import Fleet
from worker.operate.status import DEAD_COUNT_MAX, QueueStatus, Status

NOW = 1_790_000_220.0
CHARTS = [
    "day_lag",
    "day_resent",
    "day_oldest",
    "day_waiting",
    "day_outcomes",
    "day_flow",
    "dead_days",
]
EN = load()["en"]


@pytest.fixture
def cloud(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    return cloud


def slots() -> list[Slot]:
    """The last hour: nobody told of its middle, and the last slot has just begun."""
    end = (NOW // STEP_SECONDS + 1) * STEP_SECONDS
    found = [Slot(end - number * STEP_SECONDS, STEP_SECONDS) for number in range(12, 0, -1)]
    for each in found:
        each.counts = [600.0, 300.0, 300.0, 30.0, 60.0, 0.0, 3.0]
        each.live, each.waiting, each.oldest_seconds = [0.0, 100.0], 40.0, 900.0
    found[6] = Slot(found[6].until)
    return [*found, Slot(end)]


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_day_is_drawn_with_a_gap_where_nobody_tells(
    cloud: LocalCloud, language: str
) -> None:
    async with site(cloud) as console:
        view = last_day(console.here.watch, slots(), load()[language], NOW)
        charts = {each["name"]: each for each in view["charts"]}
        assert list(charts) == CHARTS
        for name in ("day_lag", "day_oldest", "day_waiting", "day_flow"):
            assert charts[name]["lines"][0]["path"].count("M") == 2, name
        assert charts["day_outcomes"]["lines"][0]["path"].count("M") == 11
        rows = json.loads(charts["day_outcomes"]["points"])
        assert len(rows) == 12
        assert [row[2] for row in rows][6] == ["–"] * 4  # noqa: RUF001  a dash means not known
        assert charts["day_resent"]["empty"]


async def test_values_are_told_as_people_read_them(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        view = last_day(console.here.watch, slots(), EN, NOW)
        lag, _, oldest, _, outcomes, flow, _ = (each["lines"] for each in view["charts"])
        assert [(each["label"], each["latest"]) for each in lag] == [
            ("p50", "0.8 s"),
            ("p99", "1.0 s"),
        ]
        assert [each["latest"] for each in outcomes] == ["1.0/s", "0.2/s", "0.0/s", "0.1/s"]
        assert [each["latest"] for each in flow] == ["2.0/s", "1.0/s"]
        assert [each["latest"] for each in oldest] == ["15 min"]


async def test_the_retention_is_drawn_when_the_oldest_message_comes_near_to_it(
    cloud: LocalCloud,
) -> None:
    async with site(cloud) as console:
        watch = console.here.watch
        queue = QueueStatus("q", 5, 0, 0, 3600, 900.0, 5)
        watch.status = Status(0.0, queue, None, {}, None, ())
        oldest = last_day(watch, slots(), EN, NOW)["charts"][2]["lines"]
        assert [(each["label"], each["latest"]) for each in oldest] == [
            ("oldest", "15 min"),
            ("MNS keeps", "1 h"),
        ]


async def test_what_cannot_be_read_is_not_known_and_never_none(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        watch = console.here.watch
        view = last_day(watch, None, EN, NOW)
        assert view["note"] == "Not known: no worker has told of it in its pulse."
        assert view["charts"][-1]["empty"].startswith("Not known")
        assert all(each["empty"] for each in view["charts"])
        watch.dead_days = {}
        assert last_day(watch, None, EN, NOW)["charts"][-1]["empty"] == "No dead letters"
        watch.status = Status(0.0, None, None, {}, None, (), fleet=Fleet((), unread=2))
        assert "2 pulses could not be read" in last_day(watch, slots(), EN, NOW)["note"]


async def test_days_that_counting_did_not_come_to_are_unknown(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        today = datetime.fromtimestamp(NOW, UTC).date()
        days = [(today - timedelta(days=back)).isoformat() for back in (3, 2)]
        console.here.watch.dead_days = {
            "rejected": {days[0]: 5, days[1]: DEAD_COUNT_MAX - 5},
        }
        shown = last_day(console.here.watch, [], EN, NOW)["charts"][-1]
        values = [row[2][0] for row in json.loads(shown["points"])]
        assert values[-5:] == ["0", "5", "–", "–", "–"]  # noqa: RUF001  a dash means not known


async def test_dead_letters_are_counted_by_the_day_in_their_names(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        now = console.here.now
        today = datetime.fromtimestamp(now, UTC).date()
        for number, back in enumerate((0, 0, 3, DAYS_SHOWN)):
            put_letter(cloud, number, day=(today - timedelta(days=back)).isoformat())
        await console.here.watch.count_letters()
        shown = (await console.json("/api/day"))["charts"][-1]
        rows = json.loads(shown["points"])
        assert rows[-1][1:] == [today.isoformat(), ["2"]]
        assert [row[2] for row in rows].count(["1"]) == 1


async def test_what_a_worker_tells_in_its_pulse_comes_to_the_page(cloud: LocalCloud) -> None:
    ready = {"status": "ready", "reasons": [], "services": {}, "in_flight": 0}
    day = "300|600 600 600||||;" * 3 + "120|240 240 240||||"
    pulse = Pulse("w", "h", "1", PulseState.READY, 1020.0, ready, {}, None, day)
    async with site(cloud) as console:
        bucket = console.here.letters.bucket
        cloud.oss.put(
            console.here.clients.settings.log_bucket,
            f"{bucket.root}{FLEET}/{pulse_name('w')}",
            pulse.as_bytes(),
        )
        await console.here.watch.look_at_services()
        await console.here.watch.add_up_day()
        view = await console.json("/api/day")
        assert "They tell of 17 min of it" in view["note"]
        flow = view["charts"][CHARTS.index("day_flow")]
        assert [each["latest"] for each in flow["lines"]] == ["2.0/s", "2.0/s"]
        page = await console.get("/")
        assert "Keys posted, by outcome" in page.text


async def test_a_group_shows_on_which_days_its_letters_died(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        today = datetime.fromtimestamp(console.here.now, UTC).date()
        for number, back in enumerate((0, 0, 1, DAYS_SHOWN)):
            put_letter(cloud, number, day=(today - timedelta(days=back)).isoformat())
        page = await console.get("/letters")
        assert (
            f"in the last {DAYS_SHOWN} days, today last: {'0, ' * (DAYS_SHOWN - 2)}1, 2"
            in page.text
        )
        assert 'd="M72 20v-10.0h5V20zM78 20v-20.0h5V20z"' in page.html
