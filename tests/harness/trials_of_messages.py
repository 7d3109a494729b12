"""Trials of the rows about lag, messages, copies, records and the queue."""

from __future__ import annotations

from collections.abc import Iterator

from harness import account
from harness.night import Night
from harness.trials import tries
from harness.trials_of_services import deny
from localcloud.cloud import TASK_ID, LocalCloud
from localcloud.faults import Action, Fault
from localcloud.mns import Attributes
from localcloud.oms import Consistency, Overwrite
from localcloud.oss import EventRule

INVALID = "<Error><Code>InvalidObjectName</Code><Message>no</Message></Error>"


def record_fails(cloud: LocalCloud, times: int) -> None:
    fault = Fault("oss", "PutObject", status=400, body=INVALID, times=times)
    fault.content_type = "application/xml"
    cloud.faults.add(fault)


def groups(night: Night) -> list[dict[str, str]]:
    return night.line.lines("dead", "groups", **night.settings)


def buried(night: Night, cause: str) -> None:
    night.until(lambda: account.dead_letters(night.line.cloud, cause), f"a letter: {cause}")


@tries("`NOT READY`")
def _not_ready(night: Night) -> Iterator[str]:
    night.works()
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].stop())
    night.send("a")
    night.refused("oms")
    yield night.status()
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].start(cloud.oms.clock.now()))
    night.recovered()


@tries("`ready`, `oms closed`, and many `in flight`", settings={"RELAY_BATCH_KEYS": "1"})
def _slow(night: Night) -> Iterator[str]:
    night.works()
    night.send("first")
    night.recovered()
    slow = Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=0.5)
    night.cloud(lambda cloud: cloud.faults.add(slow))
    night.send(*(f"k{number}" for number in range(20)))
    night.until(lambda: night.relay.in_hand >= 16, "messages in hand")
    yield night.status() + night.metrics()
    night.cloud(lambda cloud: cloud.faults.clear())
    night.recovered()
    found = night.relay.metrics.registry.get_sample_value
    mean = {
        service: (found(f"{name}_sum", labels) or 0) / (found(f"{name}_count", labels) or 1)
        for name, service, operation in (
            ("oms_relay_call_seconds", "oms", "CreateSyncEvents"),
            ("oms_relay_call_seconds", "oss", "PutObject"),
        )
        if (labels := {"service": service, "operation": operation, "result": "ok"})
    }
    assert mean["oms"] > mean["oss"]


@tries(
    "`oldest ... of the ... after which MNS forgets a message` above 50%",
    lambda cloud: setattr(cloud.mns.clock, "offset_seconds", -850),
    prepare={"attributes": Attributes(message_retention_period=1500)},
)
def _old(night: Night) -> Iterator[str]:
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].stop())
    night.send("a")
    night.refused("oms")
    night.cloud(lambda cloud: setattr(cloud.mns.clock, "offset_seconds", 0))
    printed = night.status()
    assert "57% of the 25 min" in printed or "56% of the 25 min" in printed
    yield printed
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].start(cloud.oms.clock.now()))
    night.recovered()


@tries("`rejected`")
def _rejected(night: Night) -> Iterator[str]:
    night.cloud(lambda cloud: setattr(cloud.oms, "reject", ("bad",)))
    night.send("bad", "good")
    buried(night, "rejected")
    (group,) = groups(night)
    assert "bad" in night.ask("records", "failed")
    yield night.ask("dead", "groups") + night.ask("dead", "show", group["sample_id"])
    night.cloud(lambda cloud: setattr(cloud.oms, "reject", ()))
    wanted = ("dead", "redrive", "--group", group["group"])
    assert "1 would be redriven" in night.ask(*wanted, "--dry-run")
    assert "1 redriven" in night.ask(*wanted, "--canary", "5", "--yes")
    night.recovered()
    assert "accepted bad" in night.ask("records", "find", "bad")
    assert "No failed records match" in night.ask("records", "failed")


@tries("`rejected` again, in the same group, after a redrive")
def _rejected_again(night: Night) -> Iterator[str]:
    night.cloud(lambda cloud: setattr(cloud.oms, "reject", ("bad",)))
    night.send("bad")
    buried(night, "rejected")
    (before,) = groups(night)
    night.ask("dead", "redrive", "--group", before["group"], "--yes")
    buried(night, "rejected")
    (after,) = groups(night)
    assert after["group"] == before["group"]
    assert after["sample_id"] != before["sample_id"]
    yield night.ask("dead", "groups")
    archive = ("dead", "archive", "--group", after["group"], "--reason", "no copy wanted", "--yes")
    assert "1 archived" in night.ask(*archive)
    assert groups(night) == []


@tries("`undecodable`")
def _undecodable(night: Night) -> Iterator[str]:
    night.cloud(lambda cloud: cloud.mns.publish("oss-events", "a test message"))
    buried(night, "undecodable")
    (group,) = groups(night)
    printed = night.ask("dead", "groups")
    assert f"dead archive --group {group['group']}" in printed
    assert "a test message" in night.ask("dead", "show", group["sample_id"])
    yield printed
    assert "1 archived" in night.ask("dead", "archive", "--group", group["group"], "--yes")


@tries("`max-deliveries`", settings={"RELAY_MAX_DELIVERIES": "2"})
def _max_deliveries(night: Night) -> Iterator[str]:
    night.works()
    night.cloud(lambda cloud: record_fails(cloud, times=2))
    night.send("a")
    buried(night, "max-deliveries")
    printed = night.ask("dead", "groups")
    assert "InvalidObjectName" in printed
    yield printed
    assert "1 redriven" in night.ask("dead", "redrive", "--cause", "max-deliveries", "--yes")
    night.recovered()
    assert "accepted a" in night.ask("records", "find", "a")


def moved(cloud: LocalCloud) -> None:
    """Let MNS move a message that somebody has received twice and never deleted."""
    cloud.oss.put("source", "a", b"a")
    queue = cloud.mns.queue("oss-events")
    (message,) = queue.peek(1, cloud.mns.store.now_ms())
    cloud.mns.publish("dead", message.body)


def strange(cloud: LocalCloud) -> None:
    """Let the queue bring an event of a bucket that the task does not copy."""
    cloud.oss.create_bucket("other")
    cloud.oss.rules.append(EventRule("other", "oss-events"))
    cloud.oss.put("other", "a", b"a")


@tries("`unrouted`", strange)
def _unrouted(night: Night) -> Iterator[str]:
    buried(night, "unrouted")
    yield night.ask("dead", "groups")
    assert "1 archived" in night.ask(
        "dead", "archive", "--cause", "unrouted", "--reason", "no copy is wanted", "--yes"
    )


@tries(
    "`receive-limit`",
    moved,
    prepare={"dead_letter_queue": "dead", "max_receive_count": 2},
)
def _receive_limit(night: Night) -> Iterator[str]:
    buried(night, "receive-limit")
    yield night.ask("dead", "groups")
    assert "1 redriven" in night.ask("dead", "redrive", "--cause", "receive-limit", "--yes")
    night.recovered()
    assert "accepted a" in night.ask("records", "find", "a")


@tries("`1 accepted, 0 copied, 1 failed`")
def _copy_fails(night: Night) -> Iterator[str]:
    fails = Fault("oms", action=Action.CUSTOM, name="copy_fails")
    night.cloud(lambda cloud: cloud.faults.add(fails))
    night.send("a")
    night.recovered()
    assert "accepted a" in night.ask("records", "find", "a")
    yield night.status() + night.ask("doctor")


def overwrites(cloud: LocalCloud, mode: Overwrite) -> None:
    cloud.oms.tasks[TASK_ID].object_overwrite_mode = mode


@tries(
    "`oms.overwrites`, `skips an overwrite of equal size`",
    prepare={"consistency_check": Consistency.SIZE_LAST_MODIFIED},
)
def _skips_overwrites(night: Night) -> Iterator[str]:
    yield night.ask("doctor")
    night.cloud(lambda cloud: overwrites(cloud, Overwrite.CRC64))
    assert "ok oms.overwrites" in night.ask("doctor")


@tries(
    "`oms.overwrites`, `never overwrites`",
    lambda cloud: overwrites(cloud, Overwrite.NO_OVERWRITE),
)
def _never_overwrites(night: Night) -> Iterator[str]:
    yield night.ask("doctor")
    night.cloud(lambda cloud: overwrites(cloud, Overwrite.CRC64))
    assert "ok oms.overwrites" in night.ask("doctor")


def uncounted(cloud: LocalCloud) -> None:
    """Let MNS read 0 for a queue in which messages stay: the task is stopped."""
    cloud.mns.behaviour.counters_read_zero = True
    cloud.oms.tasks[TASK_ID].stop()
    cloud.oss.put("source", "a", b"a")


@tries("`mns.queue`, `how many wait is unknown: MNS's counters all read 0`", uncounted)
def _uncounted(night: Night) -> Iterator[str]:
    night.refused("oms")
    assert "how many wait is unknown" in night.status()
    night.until(lambda: "MNS's counters all read 0" in night.logged(), "a sample")
    metrics = night.metrics()
    assert "oms_relay_queue_messages{" not in metrics
    yield night.ask("doctor") + metrics
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].start(cloud.oms.clock.now()))
    night.recovered()


@tries("`mns.events`, `peeked bring events of`", uncounted)
def _foreign(night: Night) -> Iterator[str]:
    night.refused("oms")
    night.cloud(strange)
    yield night.ask("doctor") + night.status()
    night.cloud(lambda cloud: cloud.oms.tasks[TASK_ID].start(cloud.oms.clock.now()))
    buried(night, "unrouted")


@tries("`message given back to the queue`")
def _given_back(night: Night) -> Iterator[str]:
    night.works()
    night.cloud(lambda cloud: record_fails(cloud, times=1))
    night.send("a")
    night.recovered()
    logged = night.logged()
    assert "InvalidObjectName" in logged
    yield logged
    assert "accepted a" in night.ask("records", "find", "a")


@tries(
    '`oms_relay_leases_renewed_total{result="lost"}`',
    prepare={"attributes": Attributes(visibility_timeout=1)},
)
def _lost(night: Night) -> Iterator[str]:
    night.works()
    for fault in (
        Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=1.2),
        night.line.cloud.mns.refusal("MessageNotExist", "ChangeMessageVisibility"),
    ):
        night.cloud(lambda cloud, fault=fault: cloud.faults.add(fault))  # type: ignore[misc]
    night.send("a")
    night.recovered()
    yield night.metrics() + night.ask("doctor")


@tries("`oms.log_bucket`, `each record would announce itself`", settings={"LOG_BUCKET": "source"})
def _own_records(night: Night) -> Iterator[str]:
    night.refused("oms")
    assert "set LOG_BUCKET to another bucket" in night.status()
    yield night.ask("doctor") + night.logged()


@tries(
    "`mns.queue`, `GetQueueAttributes ... AccessDenied`",
    lambda cloud: deny(cloud, "mns:GetQueueAttributes"),
)
def _unseen(night: Night) -> Iterator[str]:
    night.works()
    night.send("a")
    night.recovered()
    assert "the queue cannot be looked at" in night.logged()
    assert "oms_relay_queue_messages{" not in night.metrics()
    yield night.ask("doctor")
    night.cloud(deny)
    assert "mns.queue oss-events: visibility" in night.ask("doctor")
