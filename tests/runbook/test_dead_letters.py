"""Dead letters appear: each cause is told by its group, and ends by a redrive or in the archive."""

from __future__ import annotations

from typing import Any

from harness import account
from harness.incident import Incident
from harness.runbook_cases import case
from localcloud.cloud import LocalCloud
from runbook.faults import bring_events_of_another_bucket, fail_records


def groups(incident: Incident) -> list[dict[str, Any]]:
    return incident.lines("dead", "groups")


def buried(incident: Incident, cause: str) -> None:
    incident.until(lambda: account.dead_letters(incident.line.cloud, cause), f"a letter: {cause}")


def let_mns_move_a_message(cloud: LocalCloud) -> None:
    """Let MNS move a message that somebody has received twice and never deleted."""
    cloud.oss.put("source", "a", b"a")
    queue = cloud.mns.queue("oss-events")
    (message,) = queue.peek(1, cloud.mns.store.now_ms())
    cloud.mns.publish("dead", message.body)


@case("`rejected`")
def test_oms_refuses_a_key_for_good(incident: Incident) -> None:
    incident.cloud(lambda cloud: setattr(cloud.oms, "reject", ("bad",)))
    incident.send("bad", "good")
    buried(incident, "rejected")
    (group,) = groups(incident)
    assert "bad" in incident.ask("records", "failed")
    incident.shows(
        incident.ask("dead", "groups") + incident.ask("dead", "show", group["sample_id"])
    )
    incident.cloud(lambda cloud: setattr(cloud.oms, "reject", ()))
    wanted = ("dead", "redrive", "--group", group["group"])
    assert "1 would be redriven" in incident.ask(*wanted, "--dry-run")
    assert "1 redriven" in incident.ask(*wanted, "--canary", "5", "--yes")
    incident.recovered()
    assert "accepted bad" in incident.ask("records", "find", "bad")
    assert "No failed records match" in incident.ask("records", "failed")


@case("`rejected` again, in the same group, after a redrive")
def test_a_redrive_changes_nothing_while_the_cause_is_there(incident: Incident) -> None:
    incident.cloud(lambda cloud: setattr(cloud.oms, "reject", ("bad",)))
    incident.send("bad")
    buried(incident, "rejected")
    (before,) = groups(incident)
    incident.ask("dead", "redrive", "--group", before["group"], "--yes")
    buried(incident, "rejected")
    (after,) = groups(incident)
    assert after["group"] == before["group"]
    assert after["sample_id"] != before["sample_id"]
    incident.shows(incident.ask("dead", "groups"))
    archive = ("dead", "archive", "--group", after["group"], "--reason", "no copy wanted", "--yes")
    assert "1 archived" in incident.ask(*archive)
    assert groups(incident) == []


@case("`undecodable`")
def test_something_else_than_events_is_sent_to_the_queue(incident: Incident) -> None:
    incident.cloud(lambda cloud: cloud.mns.publish("oss-events", "a test message"))
    buried(incident, "undecodable")
    (group,) = groups(incident)
    printed = incident.ask("dead", "groups")
    assert f"dead archive --group {group['group']}" in printed
    assert "a test message" in incident.ask("dead", "show", group["sample_id"])
    incident.shows(printed)
    assert "1 archived" in incident.ask("dead", "archive", "--group", group["group"], "--yes")


@case("`max-deliveries`", settings={"RELAY_MAX_DELIVERIES": "2"})
def test_a_message_never_completes(incident: Incident) -> None:
    incident.works()
    incident.cloud(lambda cloud: fail_records(cloud, times=2))
    incident.send("a")
    buried(incident, "max-deliveries")
    printed = incident.ask("dead", "groups")
    assert "InvalidObjectName" in printed
    incident.shows(printed)
    assert "1 redriven" in incident.ask("dead", "redrive", "--cause", "max-deliveries", "--yes")
    incident.recovered()
    assert "accepted a" in incident.ask("records", "find", "a")


@case("`unrouted`", bring_events_of_another_bucket)
def test_events_come_of_a_bucket_that_the_task_does_not_copy(incident: Incident) -> None:
    buried(incident, "unrouted")
    incident.shows(incident.ask("dead", "groups"))
    assert "1 archived" in incident.ask(
        "dead", "archive", "--cause", "unrouted", "--reason", "no copy is wanted", "--yes"
    )


@case(
    "`receive-limit`",
    let_mns_move_a_message,
    prepare={"dead_letter_queue": "dead", "max_receive_count": 2},
)
def test_mns_moves_a_message_to_its_own_dead_letter_queue(incident: Incident) -> None:
    buried(incident, "receive-limit")
    incident.shows(incident.ask("dead", "groups"))
    assert "1 redriven" in incident.ask("dead", "redrive", "--cause", "receive-limit", "--yes")
    incident.recovered()
    assert "accepted a" in incident.ask("records", "find", "a")
