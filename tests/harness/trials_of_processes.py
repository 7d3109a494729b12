"""Trials of the rows about relays that end or do not run: real processes, their exit codes and last lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from signal import SIGKILL, SIGTERM, Signals

from harness.night import RUN, Night, process
from harness.relay import free_port
from harness.trials import tries

BROKEN = """
from worker import cli
from worker.flow import receive

async def receive_nothing(_):
    raise AssertionError("a fault of the relay itself")

receive.Receiver.receive = receive_nothing
cli.main()
"""


@tries("`does not answer`")
def _no_relay(night: Night) -> Iterator[str]:
    yield night.ask("status", "--worker", f"http://127.0.0.1:{free_port()}")


def in_process(
    row: str,
    code: int,
    signals: Sequence[Signals] = (),
    program: Sequence[str] = RUN,
    **settings: str,
) -> None:
    """A relay as a process ends with this code, and its log says why."""

    @tries(row)
    def _(night: Night) -> Iterator[str]:
        printed = process(night.line.cloud, signals, program, **settings)
        assert printed.startswith(f"{code}: ")
        yield printed


in_process("2: `Nothing was started`", 2, RELAY_BATCH_KEYS="0")
in_process("70: `a part of the relay has died`", 70, program=("-c", BROKEN, "run"))
in_process("0: `the relay has stopped`", 0, (SIGTERM,))
in_process("143 (130): `the relay has stopped`", 143, (SIGTERM, SIGTERM))
in_process("137, and no last line", 137, (SIGKILL,))


@tries("2: `cannot listen on`")
def _port_taken(night: Night) -> Iterator[str]:
    taken = str(night.line.cloud.admin.port)
    printed = process(night.line.cloud, RELAY_ADMIN_PORT=taken)
    assert printed.startswith("2: ")
    yield printed
