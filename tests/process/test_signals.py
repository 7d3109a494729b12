"""The two stops of a real process (G7): finish and leave, or release and leave at once."""

from __future__ import annotations

import signal

import pytest

from harness import account
from harness.ops import objects
from harness.processes import Supervisor, Worker, supervising
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.mns import Attributes
from worker.ledger.pulse import PulseState, pulse_from

KEYS = {f"照片/{number}" for number in range(40)}
BUSY = Fault("oms", "CreateSyncEvents", Action.LATENCY, seconds=0.5)
STUCK = Fault("oms", "CreateSyncEvents", Action.HANG, seconds=60)


def send(cloud: LocalCloud) -> None:
    for key in KEYS:
        cloud.oss.put("source", key, key.encode())


async def with_work_in_hand(supervisor: Supervisor, fault: Fault) -> Worker:
    """Start a relay and return once it holds messages that a fault keeps it from finishing."""
    supervisor.cloud.faults.add(fault)
    send(supervisor.cloud)
    worker = await supervisor.start()
    await supervisor.until(lambda: supervisor.counts().inactive > 0, "messages in hand")
    return worker


async def all_released(supervisor: Supervisor) -> None:
    """Check that what is left comes back within a moment, not after the queue's 30 s."""
    queue, now_ms = supervisor.cloud.mns.queue("oss-events"), supervisor.cloud.mns.store.now_ms()
    assert all(message.next_visible_ms < now_ms + 2000 for message in queue._messages.values())
    left = account.waiting(supervisor.cloud)
    await supervisor.until(lambda: supervisor.counts().active == left, "messages visible again")


async def test_a_worker_that_stops_says_so_in_its_last_pulse(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with supervising(cloud, is_measured=True) as supervisor:
        worker = await supervisor.start()
        await worker.ready()
        assert await worker.stop() == 0
    (told,) = [
        pulse_from(body)
        for name, body in objects(cloud).items()
        if name.rpartition("/")[0] == "fleet"
    ]
    assert told.state is PulseState.STOPPED
    assert told.worker == worker.lines[0]["worker"]
    assert not told.ready["in_flight"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_with_work_in_hand_finishes_it(
    cloud: LocalCloud, number: signal.Signals
) -> None:
    cloud.prepare()
    async with supervising(cloud, is_measured=True) as supervisor:
        worker = await with_work_in_hand(supervisor, BUSY)
        worker.send(number)
        assert await worker.ended() == 0
        assert account.recorded(cloud), "what was in hand has been finished"
        await all_released(supervisor)
        stops = [line for line in worker.lines if line.get("action") == "stop"]
        assert stops[0]["in_hand"] > 0
        assert stops[-1]["in_hand"] == 0
        await supervisor.finish()
    account.check(cloud, KEYS)
    assert set(account.posted(cloud).values()) == {1}


async def test_what_cannot_be_finished_in_time_is_released(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with supervising(cloud) as supervisor:
        worker = await with_work_in_hand(supervisor, STUCK)
        assert await worker.stop() == 0
        assert account.waiting(cloud) == len(KEYS)
        await all_released(supervisor)
        ends = [line for line in worker.lines if line.get("outcome") == "released"]
        assert ends
        assert all(line["why"] == "the relay stopped" for line in ends)
        await supervisor.finish()
    account.check(cloud, KEYS)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_releases_and_leaves(
    cloud: LocalCloud, number: signal.Signals, code: int, is_long: bool
) -> None:
    if number is signal.SIGINT and not is_long:
        pytest.skip("the same with another number: only in the long form")
    cloud.prepare()
    # Grace without end: only the second signal can end the process within the time of this test.
    async with supervising(
        cloud, is_measured=True, RELAY_SHUTDOWN_GRACE_SECONDS="3600"
    ) as supervisor:
        worker = await with_work_in_hand(supervisor, STUCK)
        worker.send(number)
        await supervisor.until(
            lambda: any(line.get("action") == "stop" for line in worker.lines), "the first stop"
        )
        assert worker.is_alive
        worker.send(number)
        assert await worker.ended() == code
        await all_released(supervisor)
        await supervisor.finish()
    account.check(cloud, KEYS)


async def test_a_signal_while_idle_ends_within_the_poll(cloud: LocalCloud) -> None:
    cloud.prepare()
    async with supervising(cloud) as supervisor:
        worker = await supervisor.start()
        await worker.ready()
        await supervisor.until(lambda: cloud.mns.store.polls_open("oss-events") > 0, "a long poll")
        assert await worker.stop() == 0
        actions = [line.get("action") for line in worker.lines]
        assert actions[0] == "start"
        assert actions[-1] == "stop"


async def test_a_signal_before_anything_works_ends_the_process(cloud: LocalCloud) -> None:
    cloud.prepare()
    cloud.faults.add(Fault(action=Action.HANG, seconds=60))
    async with supervising(cloud) as supervisor:
        worker = await supervisor.start()
        await supervisor.until(lambda: worker.printed, "the first line")
        assert await worker.stop() == 0


async def test_a_process_that_was_stopped_beyond_its_leases_does_no_harm(
    cloud: LocalCloud,
) -> None:
    cloud.prepare(attributes=Attributes(visibility_timeout=2))
    async with supervising(cloud) as supervisor:
        sleeper = await with_work_in_hand(supervisor, BUSY)
        sleeper.send(signal.SIGSTOP)
        cloud.faults.clear()
        await supervisor.until(lambda: supervisor.counts().inactive == 0, "the leases to end")
        other = await supervisor.start()
        await supervisor.drained()
        sleeper.send(signal.SIGCONT)
        cloud.oss.put("source", "after", b"x")
        await supervisor.drained()
        for worker in (sleeper, other):
            worker.send(signal.SIGTERM)
        assert [await sleeper.ended(), await other.ended()] == [0, 0]
    account.check(cloud, KEYS | {"after"})
    assert not account.log_objects(cloud, "dead_letter")


async def test_a_quiet_run_is_told_in_a_summary(cloud: LocalCloud) -> None:
    cloud.prepare()
    send(cloud)
    async with supervising(cloud) as supervisor:
        worker = await supervisor.start()
        await supervisor.drained()
        assert await worker.stop() == 0
        (summary,) = [line for line in worker.lines if line.get("action") == "summary"]
    assert (summary["received"], summary["deleted"]) == (len(KEYS), len(KEYS))
    assert summary["lag_p99_seconds"] >= summary["lag_p50_seconds"] > 0
    assert all(line["worker"] == summary["worker"] for line in worker.lines)
    assert not [line for line in worker.lines if "outcome" in line]


async def test_with_level_debug_a_quiet_run_logs_one_line_for_each_message(
    cloud: LocalCloud,
) -> None:
    cloud.prepare()
    send(cloud)
    async with supervising(cloud, RELAY_LOG_LEVEL="debug") as supervisor:
        worker = await supervisor.start()
        await supervisor.drained()
        assert await worker.stop() == 0
        ends = [line for line in worker.lines if "outcome" in line]
    assert {line["key"] for line in ends} == KEYS
    assert len(ends) == len({line["message_id"] for line in ends}) == len(KEYS)
    assert {line["outcome"] for line in ends} == {"deleted"}
    assert {line["attempt"] for line in ends} == {1}
