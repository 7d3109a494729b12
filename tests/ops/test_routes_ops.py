"""The operators' commands where several routes share a queue."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.ops import CommandLine, bodies, oss_event
from harness.routes import HOME, ROUTES, add_routes
from localcloud.cloud import LocalCloud
from localcloud.identity import HUAWEI, Identity

ROOT = "oms_source_record"


def letter(cloud: LocalCloud, folder: str, cause: str, number: int) -> None:
    body = {
        "cause": cause,
        "error": "why",
        "keys": [],
        "message_id": f"{number:032X}",
        "attempts": 1,
        "worker": "w",
        "died_at": "2026-09-22T10:00:00.000+00:00",
        "enqueued_at": "2026-09-22T09:59:00.000+00:00",
        "body": oss_event("films", "a"),
    }
    name = f"{ROOT}/{folder}/dead_letter/{cause}/2026-09-22/{number:032X}.json"
    cloud.oss.put("relay-log", name, json.dumps(body).encode())


@pytest.fixture
def settings(relayctl: CommandLine, tmp_path: Path) -> dict[str, str]:
    found: dict[str, str] = relayctl.within(lambda cloud: add_routes(cloud, tmp_path))
    relayctl.within(lambda cloud: letter(cloud, "task-films", "rejected", 1))
    relayctl.within(lambda cloud: letter(cloud, HOME, "unrouted", 2))
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("dead", "groups"),
        ("dead", "list"),
        ("dead", "show", "0"),
        ("dead", "redrive", "--yes"),
        ("dead", "archive", "--yes"),
        ("dead", "unarchive", "--yes"),
        ("records", "find", "a"),
        ("records", "failed"),
        ("reconcile", "films"),
        ("doctor", "--post", "a"),
    ],
    ids=" ".join,
)
def test_a_route_that_is_missing_or_unknown_is_a_clear_error(
    relayctl: CommandLine, settings: dict[str, str], arguments: tuple[str, ...]
) -> None:
    missing = relayctl(*arguments, **settings)
    assert missing.exit_code == 2
    assert "a route has to be chosen" in missing.output
    assert "--route: all, new, films" in missing.output
    unknown = relayctl(*arguments, "--route", "music", **settings)
    assert unknown.exit_code == 2
    assert "no route 'music'" in unknown.output
    assert relayctl.within(lambda cloud: len(bodies(cloud))) == 0
    assert relayctl.within(lambda cloud: len(cloud.oms.posts)) == 0


def test_a_route_is_an_error_where_there_are_none(relayctl: CommandLine) -> None:
    found = relayctl("dead", "groups", "--route", "films")
    assert found.exit_code == 2
    assert "RELAY_ROUTES names no file" in found.output


def test_letters_are_looked_at_and_sent_route_by_route(
    relayctl: CommandLine, settings: dict[str, str]
) -> None:
    def causes(route: str) -> list[str]:
        lines = relayctl.lines("dead", "list", "--route", route, **settings)
        return [str(each["cause"]) for each in lines]

    assert [causes(name) for name in (*ROUTES, "unrouted")] == [[], [], ["rejected"], ["unrouted"]]
    sent = relayctl("dead", "redrive", "--route", "unrouted", "--yes", **settings)
    assert "1 redriven" in sent.output
    assert [causes(name) for name in ("films", "unrouted")] == [["rejected"], []]
    assert relayctl.within(lambda cloud: len(bodies(cloud))) == 1


def test_records_are_those_of_the_route(relayctl: CommandLine, settings: dict[str, str]) -> None:
    name = f"{ROOT}/task-films/success_object/a"
    relayctl.within(lambda cloud: cloud.oss.put("relay-log", name, b""))
    assert relayctl("records", "find", "a", "--route", "films", **settings).exit_code == 0
    assert relayctl("records", "find", "a", "--route", "all", **settings).exit_code == 3


def test_the_doctor_looks_at_what_is_shared_once_and_at_each_route(
    relayctl: CommandLine, settings: dict[str, str]
) -> None:
    relayctl.within(lambda cloud: cloud.mns.publish("oss-events", oss_event("music", "a")))
    relayctl.within(lambda cloud: cloud.oms.tasks["task-films"].stop())
    result = relayctl("doctor", "--json", **settings)
    assert result.exit_code == 1
    checks = json.loads(result.stdout)["checks"]
    count = Counter(each["name"] for each in checks)
    assert count["mns.queue"] == count["oss.write"] == count["mns.events"] == 1
    assert count["oms.task"] == count["oms.route"] == 3
    by_name = {(each.get("route", ""), each["name"]): each for each in checks}
    assert by_name["films", "oms.task"]["verdict"] == "failure"
    assert by_name["all", "oms.task"]["verdict"] == "ok"
    events = by_name["", "mns.events"]
    assert events["verdict"] == "warning"
    assert "bring events of music that no route takes" in events["detail"]
    assert "add a route for them" in events["fix"]
    told = relayctl("doctor", **settings).output
    assert "films oms.task" in told
    only = json.loads(relayctl("doctor", "--route", "new", "--json", **settings).stdout)["checks"]
    assert {each["route"] for each in only} == {"new"}


def test_a_key_that_routes_share_is_refused_once(
    relayctl: CommandLine, settings: dict[str, str]
) -> None:
    wrong = Identity(HUAWEI.access_key, "another-secret")
    result = relayctl("doctor", "--json", **settings, HW_SK=wrong.secret)
    checks = json.loads(result.stdout)["checks"]
    tasks = [each for each in checks if each["name"] == "oms.task"]
    assert [each["verdict"] for each in tasks] == ["failure", "skipped", "skipped"]
    assert "route all has the same key" in tasks[1]["detail"]
    relayctl("status", **settings, HW_SK=wrong.secret)
    refused = relayctl.within(
        lambda cloud: sum(n for (name, ok), n in cloud.oms.counts.items() if name == "ShowSyncTask")
    )
    assert refused <= 2


def test_the_doctor_finds_a_task_that_copies_another_bucket(
    relayctl: CommandLine, settings: dict[str, str]
) -> None:
    def change(cloud: LocalCloud) -> None:
        cloud.oms.tasks["task-films"].src_bucket = "source"

    relayctl.within(change)
    checks = json.loads(relayctl("doctor", "--json", **settings).stdout)["checks"]
    (found,) = [each for each in checks if each["name"] == "oms.route" and each["verdict"] != "ok"]
    assert (found["route"], found["verdict"]) == ("films", "failure")
    assert "the route has films, and its task copies source" in found["detail"]


def test_status_tells_of_each_route(relayctl: CommandLine, settings: dict[str, str]) -> None:
    relayctl.within(lambda cloud: cloud.oms.tasks["task-films"].stop())
    result = relayctl("status", "--json", **settings)
    found = json.loads(result.stdout)
    # A route that is stopped needs somebody, as the only one does.
    assert result.exit_code == 1
    assert "route films" in found["needs_you"]
    assert {each["route"]: each["task"]["status"] for each in found["routes"]} == {
        "all": "SYNCHRONIZING",
        "new": "SYNCHRONIZING",
        "films": "STOPPED",
    }
    told = " ".join(relayctl("status", **settings).output.split())
    assert "route all SYNCHRONIZING" in told
    assert "route films STOPPED" in told
    assert "1 rejected (oms-relay dead groups --route films)" in told
    assert "1 unrouted (oms-relay dead groups --route unrouted)" in told


def test_a_pause_is_of_the_whole_fleet(relayctl: CommandLine, settings: dict[str, str]) -> None:
    assert relayctl("pause", **settings).exit_code == 0

    def names(cloud: LocalCloud) -> list[str]:
        return [name for name in cloud.oss.buckets["relay-log"].keys() if "pause" in name]  # noqa: SIM118

    assert f"{ROOT}/{HOME}/fleet/pause.json" in relayctl.within(names)
    assert "paused by" in relayctl("status", **settings).output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("source", "--route", "films"), "its bucket is films"),
        (("source", "--route", "new"), "Add --key 2026/"),
        (("source", "--route", "new", "--key", "2025/"), "Add --key 2026/"),
        (("source", "--route", "all"), "keys that begin with 2026/ go by route new"),
        (("source", "--route", "all", "--key", "20"), "go by route new"),
    ],
)
def test_a_comparison_is_of_what_its_route_takes_and_of_nothing_else(
    relayctl: CommandLine, settings: dict[str, str], arguments: tuple[str, ...], why: str
) -> None:
    result = relayctl("reconcile", *arguments, "--with", "records", **settings)
    assert result.exit_code == 2
    assert why in result.output


def test_a_part_that_is_of_one_route_is_compared(
    relayctl: CommandLine, settings: dict[str, str]
) -> None:
    relayctl.within(lambda cloud: cloud.oss.put("source", "2026/a", b"x"))
    found = relayctl(
        *("reconcile", "source", "--route", "new", "--key", "2026/", "--with", "records"),
        *("--until", "0s"),
        **settings,
    )
    assert "2026/a" in found.output
    other = relayctl(
        *("reconcile", "source", "--route", "all", "--key", "2025/", "--with", "records"),
        **settings,
    )
    assert other.exit_code == 0
