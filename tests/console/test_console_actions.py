from __future__ import annotations

import json
from typing import Any

import pytest

from harness.ops import DAY, bodies, message_id, objects, put_letter
from harness.site import Site, site
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.clock import SystemClock


@pytest.fixture
def cloud(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    for number in range(6):
        put_letter(cloud, number)
    put_letter(cloud, 9, cause="undecodable", error="no event")
    return cloud


def letters(cloud: LocalCloud, folder: str) -> list[str]:
    return [name for name in objects(cloud) if name.startswith(f"{folder}/")]


def audit(cloud: LocalCloud) -> list[dict[str, Any]]:
    names = sorted(letters(cloud, "audit"), key=lambda name: (name.split("-")[-2:],))
    return [json.loads(objects(cloud)[name]) for name in names]


async def test_a_dry_run_counts_and_changes_nothing(cloud: LocalCloud) -> None:
    before = objects(cloud)
    async with site(cloud) as console:
        page = await console.post("/operations", {"action": "redrive", "cause": "rejected"})
        assert "6 letters would be moved. Nothing was changed." in page.text
        assert "All 6 letters" in page.text
    assert objects(cloud) == before
    assert bodies(cloud) == []


async def test_a_canary_goes_first_and_the_rest_is_told(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        tried = await console.post("/operations", {"action": "redrive", "cause": "rejected"})
        page = await console.post(f"{tried.path}/act", {"scope": "canary", "count": "2"})
        view = await console.ended(page.path)
        assert view["account"] == "4 letters are left where they stood."
        assert view["limits"] == "the first 2 letters only"
        page = await console.get(page.path)
        assert "Dry run" not in page.html
        assert "The rest" in page.text
    assert bodies(cloud) == ["body 0", "body 1"]
    assert len(letters(cloud, "dead_letter/rejected")) == 4


async def test_all_that_a_filter_finds_is_redriven_and_nothing_else(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        page = await console.run("redrive", key="photos/", rate="1000")
        view = await console.ended(page.path)
        assert view["state"] == "done"
        assert view["counts"] == [{"name": "done", "text": "moved", "count": "6"}]
        assert view["account"] == "No letter is left."
    assert sorted(bodies(cloud)) == [f"body {number}" for number in range(6)]
    assert len(letters(cloud, "dead_letter")) == 1
    assert len(letters(cloud, "archived")) == 6


async def test_chosen_letters_are_moved_and_no_other(cloud: LocalCloud) -> None:
    form = [("action", "redrive")]
    form += [("id", f"rejected/{DAY}/{message_id(number)}") for number in (1, 4)]
    async with site(cloud) as console:
        tried = await console.post("/operations", form)
        assert "2 letters would be moved" in tried.text
        page = await console.post(f"{tried.path}/act", {"scope": "all"})
        await console.ended(page.path)
    assert bodies(cloud) == ["body 1", "body 4"]


async def test_letters_are_archived_with_a_reason_and_brought_back(cloud: LocalCloud) -> None:
    before = objects(cloud)
    async with site(cloud) as console:
        page = await console.run("archive", reason="test events", cause="undecodable")
        await console.ended(page.path)
        name = letters(cloud, "archived")[0]
        assert json.loads(objects(cloud)[name])["moved"]["reason"] == "test events"
        assert "test events" in (await console.get(f"/letters/{name.removesuffix('.json')}")).text
        assert "1 letter" in (await console.get("/letters?place=archived")).text
        page = await console.run("unarchive")
        await console.ended(page.path)
    after = {
        name: body
        for name, body in objects(cloud).items()
        if not name.startswith(("audit", "moving"))
    }
    assert {name: json.loads(body) for name, body in after.items()} == {
        name: json.loads(body) for name, body in before.items()
    }


async def test_every_act_is_written_down_when_it_begins_and_when_it_ends(
    cloud: LocalCloud,
) -> None:
    async with site(cloud) as console:
        page = await console.run("redrive", cause="rejected", rate="500")
        await console.ended(page.path)
    begun, ended = audit(cloud)
    assert begun["event_kind"] == "begun"
    assert begun["filter"] == {"cause": "rejected"}
    assert begun["by"] == "127.0.0.1"
    assert begun["per_second"] == 500
    assert ended["counts"] == {"done": 6}
    assert ended["state"] == "done"
    names = letters(cloud, "audit")
    assert all(name.split("/")[1:4][0].isdecimal() for name in names)


async def test_a_dry_run_leaves_no_object(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        await console.post("/operations", {"action": "archive", "letters": "filter"})
    assert letters(cloud, "audit") == []


async def test_what_cannot_be_written_down_is_not_done(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        tried = await console.post("/operations", {"action": "redrive", "letters": "filter"})
        cloud.faults.add(Fault("oss", "PutObject", Action.STATUS, 403))
        page = await console.post(f"{tried.path}/act", {"scope": "all"})
        assert page.status == 502
        cloud.faults.clear()
        assert console.here.running is None
    assert bodies(cloud) == []


async def test_an_operation_is_stopped_at_once_however_slow_it_is(cloud: LocalCloud) -> None:
    async with site(cloud, clock=SystemClock()) as console:
        page = await slow(console)
        assert "Stop" in page.text
        assert "0 of 6 letters" in page.text or "1 of 6 letters" in page.text
        elsewhere = await console.get("/letters")
        assert "An operation is running." in elsewhere.text
        page = await console.post(f"{page.path}/stop")
        view = await console.ended(page.path)
        assert view["state"] == "stopped"
        assert view["account"] == "5 letters are left where they stood."
    assert len(bodies(cloud)) == 1
    assert len(letters(cloud, "dead_letter/rejected")) == 5


async def test_one_operation_runs_at_a_time(cloud: LocalCloud) -> None:
    async with site(cloud, clock=SystemClock()) as console:
        page = await slow(console)
        second = await console.post("/operations", {"action": "archive", "letters": "filter"})
        assert second.status == 409
        assert "Another operation is running" in second.text
        await console.post(f"{page.path}/stop")


async def test_closing_the_console_stops_what_runs_and_writes_its_account(
    cloud: LocalCloud,
) -> None:
    async with site(cloud, clock=SystemClock()) as console:
        await slow(console)
    assert audit(cloud)[-1]["state"] == "stopped"
    assert len(bodies(cloud)) + len(letters(cloud, "dead_letter/rejected")) == 6


async def test_a_service_that_fails_ends_the_operation_with_its_reason(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        tried = await console.post("/operations", {"action": "redrive", "cause": "rejected"})
        cloud.faults.add(Fault("mns", "SendMessage", Action.STATUS, 403))
        page = await console.post(f"{tried.path}/act", {"scope": "all"})
        view = await console.ended(page.path)
        assert view["state"] == "failed"
        assert view["step"].startswith("Check the Alibaba access key")
        assert view["account"] == "6 letters are left where they stood."
        page = await console.get(page.path)
        assert "Letters that need a look" in page.text
    assert len(letters(cloud, "dead_letter/rejected")) == 6


async def test_nothing_is_moved_that_no_dry_run_has_counted(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        tried = await console.post("/operations", {"action": "redrive", "cause": "rejected"})
        page = await console.post(f"{tried.path}/act", {"scope": "canary", "count": "1"})
        again = await console.post(f"{page.path}/act", {"scope": "all"})
        assert again.status == 409
        assert (await console.post("/operations/99/act", {"scope": "all"})).status == 404
    assert len(bodies(cloud)) == 1


async def test_the_filter_of_the_act_is_that_of_the_dry_run(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        tried = await console.post("/operations", {"action": "redrive", "key": "photos/1"})
        page = await console.post(f"{tried.path}/act", {"scope": "all", "key": "", "cause": ""})
        await console.ended(page.path)
    assert bodies(cloud) == ["body 1"]


@pytest.mark.parametrize(
    "form",
    [
        {"scope": "canary", "count": ""},
        {"scope": "canary", "count": "0"},
        {"scope": "canary", "count": "1.5"},
        {"scope": "canary", "count": "-1"},
        {"scope": "canary", "count": "1", "rate": "0"},
        {"scope": "all", "rate": "many"},
        {"scope": "all", "rate": "99999999"},
    ],
)
async def test_numbers_that_cannot_be_meant_are_refused(
    cloud: LocalCloud, form: dict[str, str]
) -> None:
    async with site(cloud) as console:
        tried = await console.post("/operations", {"action": "redrive", "letters": "filter"})
        assert (await console.post(f"{tried.path}/act", form)).status == 400
    assert bodies(cloud) == []


@pytest.mark.parametrize(
    "form",
    [
        {"action": "delete"},
        {},
        {"action": "redrive", "id": "../../x"},
        {"action": "redrive", "since": "yesterday"},
    ],
)
async def test_orders_that_make_no_sense_are_refused(
    cloud: LocalCloud, form: dict[str, str]
) -> None:
    async with site(cloud) as console:
        assert (await console.post("/operations", form)).status == 400


async def test_the_last_ten_operations_are_remembered(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        for _ in range(12):
            await console.post("/operations", {"action": "archive", "cause": "undecodable"})
        page = await console.get("/operations")
        assert page.html.count('class="row"') == 10
        assert (await console.get("/operations/1")).status == 404
        assert (await console.get("/operations/12")).status == 200


@pytest.mark.parametrize(
    "form", [{}, {"letters": "chosen"}, {"letters": "chosen", "cause": "rejected"}]
)
@pytest.mark.parametrize("action", ["redrive", "archive", "unarchive"])
async def test_an_empty_choice_is_no_choice(
    cloud: LocalCloud, action: str, form: dict[str, str]
) -> None:
    async with site(cloud) as console:
        page = await console.post("/operations", {"action": action} | form)
        assert page.status == 400
        assert "No letter was chosen" in page.text
        assert not console.here.operations.recent


async def test_an_empty_id_chooses_nothing(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        page = await console.post("/operations", {"action": "redrive", "id": ""})
        assert page.status == 400


async def test_chosen_letters_have_to_meet_the_filter_too(cloud: LocalCloud) -> None:
    form = [("action", "redrive"), ("letters", "chosen"), ("key", "photos/1")]
    form += [("id", f"rejected/{DAY}/{message_id(number)}") for number in (1, 4)]
    async with site(cloud) as console:
        tried = await console.post("/operations", form)
        assert "1 letter would be moved" in tried.text


async def test_the_act_moves_what_the_dry_run_counted(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        tried = await console.post("/operations", {"action": "redrive", "cause": "rejected"})
        for number in range(100, 125):
            put_letter(cloud, number)
        page = await console.post(f"{tried.path}/act", {"scope": "all"})
        view = await console.ended(page.path)
        assert view["account"] == "No letter is left."
    assert sorted(bodies(cloud)) == [f"body {number}" for number in range(6)]
    assert len(letters(cloud, "dead_letter/rejected")) == 25


async def test_a_dry_run_shows_a_sample_and_the_command(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        page = await console.post(
            "/operations",
            {"action": "archive", "cause": "rejected", "key": "photos/", "reason": "a b"},
        )
    assert "6 rejected" in page.text
    assert f"{DAY} 10:00:00" in page.text
    assert "photos/0.jpg" in page.text
    told = "oms-relay dead archive --reason 'a b' --key photos/ --cause rejected"
    assert told in page.text


async def test_what_was_redriven_is_brought_back_only_if_asked_for(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        page = await console.run("redrive", cause="rejected")
        await console.ended(page.path)
        page = await console.run("archive", cause="undecodable")
        await console.ended(page.path)
        tried = await console.post("/operations", {"action": "unarchive", "letters": "filter"})
        assert "1 letter would be moved" in tried.text
        form = {"action": "unarchive", "letters": "filter", "redriven": "1"}
        tried = await console.post("/operations", form)
        assert "7 letters would be moved" in tried.text
        assert "oms-relay dead unarchive --redriven" in tried.text


async def slow(console: Site) -> Any:
    """Begin a redrive that would take two minutes."""
    tried = await console.post("/operations", {"action": "redrive", "cause": "rejected"})
    return await console.post(f"{tried.path}/act", {"scope": "all", "rate": "0.05"})
