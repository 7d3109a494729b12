"""Workers that end, or do not run: real processes, their exit codes, and the last lines of their logs."""

from __future__ import annotations

from collections.abc import Sequence
from signal import SIGKILL, SIGTERM, Signals

from harness.incident import Incident, process
from harness.processes import RUN
from harness.relay import free_port
from harness.runbook_cases import case

BROKEN = """
from worker import cli
from worker.flow import receive

async def receive_nothing(_):
    raise AssertionError("a fault of the relay itself")

receive.Receiver.receive = receive_nothing
cli.main()
"""


def ends(
    incident: Incident,
    code: int,
    signals: Sequence[Signals] = (),
    program: Sequence[str] = RUN,
    **settings: str,
) -> None:
    """A relay as a process ends with this code, and its log says why."""
    printed = process(incident.line.cloud, signals, program, **settings)
    assert printed.startswith(f"{code}: ")
    incident.shows(printed)


@case("`does not answer`")
def test_no_relay_runs_there(incident: Incident) -> None:
    incident.shows(incident.ask("status", "--worker", f"http://127.0.0.1:{free_port()}"))


@case("2: `Nothing was started`")
def test_a_setting_is_wrong(incident: Incident) -> None:
    ends(incident, 2, RELAY_BATCH_KEYS="0")


@case("2: `cannot listen on`")
def test_another_program_has_the_admin_port(incident: Incident) -> None:
    ends(incident, 2, RELAY_ADMIN_PORT=str(incident.line.cloud.admin.port))


@case("70: `a part of the relay has died`")
def test_a_fault_of_the_relay_itself(incident: Incident) -> None:
    ends(incident, 70, program=("-c", BROKEN, "run"))


@case("0: `the relay has stopped`")
def test_one_signal_stops_a_worker(incident: Incident) -> None:
    ends(incident, 0, (SIGTERM,))


@case("143 (130): `the relay has stopped`")
def test_a_second_signal_comes_before_the_end(incident: Incident) -> None:
    ends(incident, 143, (SIGTERM, SIGTERM))


@case("137, and no last line")
def test_a_worker_is_killed_from_outside(incident: Incident) -> None:
    ends(incident, 137, (SIGKILL,))
