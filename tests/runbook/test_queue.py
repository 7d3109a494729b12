"""What waits in the queue: too much, too old, of other buckets, given back, or not to be seen."""

from __future__ import annotations

from harness import account
from harness.incident import Incident, deny
from harness.ops import put_object
from harness.runbook_cases import case
from localcloud.cloud import TASK_ID, LocalCloud
from localcloud.faults import Action, Fault
from localcloud.mns import Attributes
from runbook.faults import bring_events_of_another_bucket, fail_records
from worker.ledger.pulse import Pulse, PulseState

READY = {"status": "ready", "reasons": [], "services": {}, "in_flight": 0}


def stop_and_count_nothing(cloud: LocalCloud) -> None:
    """Let MNS read 0 for a queue in which messages stay: the task is stopped."""
    cloud.mns.behaviour.counters_read_zero = True
    cloud.oms.tasks[TASK_ID].stop()
    cloud.oss.put("source", "a", b"a")


@case("`NOT READY`")
def test_the_queue_grows_because_a_service_cannot_be_used(incident: Incident) -> None:
    incident.works()
    incident.stop_task()
    incident.send("a")
    incident.refused("oms")
    incident.shows(incident.status())
    incident.start_task()
    incident.recovered()


@case("`PAUSED`, `paused by`")
def test_the_queue_grows_because_somebody_has_paused_the_fleet(incident: Incident) -> None:
    incident.works()
    incident.ask("pause", "--reason", "a move")
    receiver = incident.relay.assembled.flow.receiver
    incident.until(lambda: receiver.is_paused, "the pause is heard")
    assert "paused by" in incident.status()
    incident.shows(incident.ask("status"))
    incident.ask("resume")
    incident.until(lambda: not receiver.is_paused, "the end of the pause is heard")
    incident.send("a")
    incident.recovered()


@case("`a pause of the fleet would not be heard`")
def test_a_relay_that_may_not_read_works_on_and_says_so(incident: Incident) -> None:
    incident.works()
    incident.cloud(lambda cloud: deny(cloud, "oss:GetObject"))
    incident.until(lambda: "would not be heard" in incident.logged(), "a look that is denied")
    incident.shows(incident.status() + incident.ask("doctor"))
    incident.cloud(deny)
    incident.send("a")
    incident.recovered()


@case("`GONE`, `did not say that it stops`")
def test_a_worker_has_vanished(incident: Incident) -> None:
    incident.works()
    gone = Pulse("host-1-1-abc", "host-1", "1.0.0", PulseState.READY, 60.0, READY, {})

    def vanish(cloud: LocalCloud) -> None:
        cloud.oss.clock.offset_seconds = -600
        put_object(cloud, "fleet/host-1-1-abc.json", gone.as_bytes())
        cloud.oss.clock.offset_seconds = 0

    incident.cloud(vanish)
    incident.shows(incident.ask("status"))
    incident.send("a")
    incident.recovered()


@case("`ready`, `oms works`, and many `in flight`", settings={"RELAY_BATCH_KEYS": "1"})
def test_the_queue_grows_because_a_service_is_slow(incident: Incident) -> None:
    incident.works()
    incident.send("first")
    incident.recovered()
    slow = Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=0.5)
    incident.cloud(lambda cloud: cloud.faults.add(slow))
    incident.send(*(f"k{number}" for number in range(20)))
    incident.until(lambda: incident.relay.in_hand >= 16, "messages in hand")
    incident.shows(incident.status() + incident.metrics())
    incident.cloud(lambda cloud: cloud.faults.clear())
    incident.recovered()
    found = incident.relay.metrics.registry.get_sample_value
    mean = {
        service: (found(f"{name}_sum", labels) or 0) / (found(f"{name}_count", labels) or 1)
        for name, service, operation in (
            ("oms_relay_call_seconds", "oms", "CreateSyncEvents"),
            ("oms_relay_call_seconds", "oss", "PutObject"),
        )
        if (labels := {"service": service, "operation": operation, "result": "ok"})
    }
    assert mean["oms"] > mean["oss"]


@case(
    "`oldest ... of the ... after which MNS forgets a message` above 50%",
    lambda cloud: setattr(cloud.mns.clock, "offset_seconds", -850),
    prepare={"attributes": Attributes(message_retention_period=1500)},
)
def test_the_oldest_message_is_close_to_being_dropped(incident: Incident) -> None:
    incident.stop_task()
    incident.send("a")
    incident.refused("oms")
    incident.cloud(lambda cloud: setattr(cloud.mns.clock, "offset_seconds", 0))
    printed = incident.status()
    assert "57% of the 25 min" in printed or "56% of the 25 min" in printed
    incident.shows(printed)
    incident.start_task()
    incident.recovered()


@case("`mns.events`, `peeked bring events of`", stop_and_count_nothing)
def test_the_event_rule_covers_another_bucket(incident: Incident) -> None:
    incident.refused("oms")
    incident.cloud(bring_events_of_another_bucket)
    incident.shows(incident.ask("doctor") + incident.status())
    incident.start_task()
    incident.until(
        lambda: account.dead_letters(incident.line.cloud, "unrouted"), "a letter: unrouted"
    )


@case("`message given back to the queue`")
def test_a_message_is_given_back(incident: Incident) -> None:
    incident.works()
    incident.cloud(lambda cloud: fail_records(cloud, times=1))
    incident.send("a")
    incident.recovered()
    logged = incident.logged()
    assert "InvalidObjectName" in logged
    incident.shows(logged)
    assert "accepted a" in incident.ask("records", "find", "a")


@case(
    '`oms_relay_leases_renewed_total{...result="lost"}`',
    prepare={"attributes": Attributes(visibility_timeout=1)},
)
def test_a_message_becomes_visible_in_the_hands_of_the_relay(incident: Incident) -> None:
    incident.works()
    slow = Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=1.2)
    gone = incident.line.cloud.mns.refusal("MessageNotExist", "ChangeMessageVisibility")
    incident.cloud(lambda cloud: cloud.faults.add(slow))
    incident.cloud(lambda cloud: cloud.faults.add(gone))
    incident.send("a")
    incident.recovered()
    incident.shows(incident.metrics() + incident.ask("doctor"))


@case(
    "`mns.queue`, `GetQueueAttributes ... AccessDenied`",
    lambda cloud: deny(cloud, "mns:GetQueueAttributes"),
)
def test_the_attributes_of_the_queue_may_not_be_read(incident: Incident) -> None:
    incident.works()
    incident.send("a")
    incident.recovered()
    assert "the queue cannot be looked at" in incident.logged()
    assert "oms_relay_queue_messages{" not in incident.metrics()
    incident.shows(incident.ask("doctor"))
    incident.cloud(deny)
    assert "mns.queue oss-events: visibility" in incident.ask("doctor")


@case("`mns.queue`, `how many wait is unknown: MNS's counters all read 0`", stop_and_count_nothing)
def test_mns_counts_no_messages_any_longer(incident: Incident) -> None:
    incident.refused("oms")
    assert "how many wait is unknown" in incident.status()
    incident.until(lambda: "MNS's counters all read 0" in incident.logged(), "a sample")
    metrics = incident.metrics()
    assert "oms_relay_queue_messages{" not in metrics
    incident.shows(incident.ask("doctor") + metrics)
    incident.start_task()
    incident.recovered()
