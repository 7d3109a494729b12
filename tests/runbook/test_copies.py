"""What the sync task copies: less than OMS accepted, no overwrites, or the relay's own records."""

from __future__ import annotations

from harness.incident import Incident
from harness.runbook_cases import case
from localcloud.cloud import TASK_ID, LocalCloud
from localcloud.faults import Action, Fault
from localcloud.oms import Consistency, Overwrite


def set_overwrites(cloud: LocalCloud, mode: Overwrite) -> None:
    cloud.oms.tasks[TASK_ID].object_overwrite_mode = mode


def told_by_the_doctor_until_mended(incident: Incident) -> None:
    incident.shows(incident.ask("doctor"))
    incident.cloud(lambda cloud: set_overwrites(cloud, Overwrite.CRC64))
    assert "ok oms.overwrites" in incident.ask("doctor")


@case("`1 accepted, 0 copied, 1 failed`, `nothing announces them again`")
def test_oms_accepts_a_key_and_cannot_copy_it(incident: Incident) -> None:
    fails = Fault("oms", action=Action.CUSTOM, name="copy_fails")
    incident.cloud(lambda cloud: cloud.faults.add(fails))
    incident.send("a")
    incident.recovered()
    assert "accepted a" in incident.ask("records", "find", "a")
    incident.shows(incident.status() + incident.ask("doctor"))


@case(
    "`oms.overwrites`, `skips an overwrite of equal size`",
    prepare={"consistency_check": Consistency.SIZE_LAST_MODIFIED},
)
def test_the_task_compares_by_size_and_time(incident: Incident) -> None:
    told_by_the_doctor_until_mended(incident)


@case(
    "`oms.overwrites`, `never overwrites`",
    lambda cloud: set_overwrites(cloud, Overwrite.NO_OVERWRITE),
)
def test_the_task_never_overwrites(incident: Incident) -> None:
    told_by_the_doctor_until_mended(incident)


@case("`oms.log_bucket`, `each record would announce itself`", settings={"LOG_BUCKET": "source"})
def test_the_task_copies_the_log_bucket(incident: Incident) -> None:
    incident.refused("oms")
    assert "set LOG_BUCKET to another bucket" in incident.status()
    incident.shows(incident.ask("doctor") + incident.logged())
