"""Deletions are not carried over, and people have to look or to mend something."""

from __future__ import annotations

from harness.incident import Incident, deny
from harness.ops import put_object
from harness.runbook_cases import case
from localcloud.cloud import LocalCloud
from localcloud.oss import EventRule
from worker.ledger.names import BRAKE

PROPAGATE = {"RELAY_DELETIONS": "propagate", "OBS_BUCKET": "destination"}


def without_the_task(cloud: LocalCloud) -> None:
    """Announce deletions, and let nobody ask the task what it copies."""
    patterns = ("ObjectCreated:*", "ObjectRemoved:*")
    cloud.oss.rules[:] = [EventRule("source", cloud.oss.rules[0].queue, patterns)]
    deny(cloud, "oms:synctask:get")


@case(
    "`deletions`: `the brake is on`",
    lambda cloud: put_object(cloud, BRAKE, b""),
    settings=PROPAGATE,
    follows=True,
)
def test_more_is_deleted_than_the_brake_allows(incident: Incident) -> None:
    incident.works()
    incident.send("a")
    incident.wait(incident.relay.settle())
    incident.shows(incident.status())


@case("`deletions put off: ...`", without_the_task, settings=PROPAGATE, follows=True)
def test_deletions_wait_for_what_nobody_may_read(incident: Incident) -> None:
    incident.works()
    incident.send("a")
    incident.until(lambda: incident.relay.arrivals("arrived") >= 1, "the copy")
    incident.cloud(lambda cloud: cloud.oss.remove("source", "a"))
    incident.until(lambda: "deletions are put off" in incident.logged(), "a deletion that waits")
    incident.shows(incident.status())
