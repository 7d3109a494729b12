"""Several routes on one queue: one is down, or none takes what comes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.incident import Incident
from harness.ops import oss_event
from harness.routes import HOME, add_routes, copies, send, written
from harness.runbook_cases import case
from localcloud.cloud import LocalCloud

FOLDER = Path(tempfile.mkdtemp(prefix="oms-relay-routes-"))
ROUTES = {"SYNC_URL": "", "RELAY_ROUTES": str(FOLDER / "routes.toml")}


@pytest.fixture(autouse=True)
def _file() -> Iterator[None]:
    yield
    (FOLDER / "routes.toml").unlink()


def stopped(cloud: LocalCloud) -> None:
    add_routes(cloud, FOLDER)
    cloud.oms.tasks["task-films"].stop()
    send(cloud, "films/a", "source/a")


def of_another_bucket(cloud: LocalCloud) -> None:
    add_routes(cloud, FOLDER)
    cloud.oms.tasks["task-films"].src_bucket = "source"
    send(cloud, "films/a", "source/a")


def unrouted(cloud: LocalCloud) -> None:
    add_routes(cloud, FOLDER)
    cloud.mns.publish("oss-events", oss_event("music", "a"))


def others_go_on(incident: Incident) -> None:
    incident.until(lambda: set(copies(incident.line.cloud)) == {"all/a"}, "the other routes")


def all_is_copied(incident: Incident) -> None:
    incident.until(lambda: "films/a" in copies(incident.line.cloud), "the route")


def said(incident: Incident, words: str) -> str:
    """What `status` says once it says so."""
    incident.until(lambda: words in str(incident.relay.logs), words)
    return incident.status()


@case("`route films is down`, `the sync task is STOPPED`", stopped, settings=ROUTES)
def test_a_route_is_down(incident: Incident) -> None:
    others_go_on(incident)
    incident.shows(said(incident, "STOPPED"))
    incident.cloud(lambda cloud: cloud.oms.tasks["task-films"].start(cloud.oms.clock.now()))
    all_is_copied(incident)


@case(
    "`the sync task copies another bucket than the route names`", of_another_bucket, settings=ROUTES
)
def test_a_route_has_the_task_of_another_bucket(incident: Incident) -> None:
    others_go_on(incident)
    incident.shows(said(incident, "copies another bucket"))
    incident.cloud(lambda cloud: setattr(cloud.oms.tasks["task-films"], "src_bucket", "films"))
    all_is_copied(incident)


@case("`no route takes these changes of`", unrouted, settings=ROUTES)
def test_events_come_that_no_route_takes(incident: Incident) -> None:
    name = f"{HOME}/dead_letter/unrouted/"
    incident.until(
        lambda: any(each.startswith(name) for each in written(incident.line.cloud)), name
    )
    incident.shows(incident.ask("dead", "groups", "--route", "unrouted"))
    done = incident.ask("dead", "archive", "--route", "unrouted", "--reason", "no copy", "--yes")
    assert "1 archived" in done


def all_stopped(cloud: LocalCloud) -> None:
    unrouted(cloud)
    for task in cloud.oms.tasks.values():
        task.stop()


@case("`mns.events`, `that no route takes`", all_stopped, settings=ROUTES)
def test_the_doctor_sees_that_no_route_takes_what_comes(incident: Incident) -> None:
    # With no route that works nothing is received, and the event waits where it can be seen.
    incident.shows(incident.ask("doctor"))
    assert "that no route takes" in incident.status()
