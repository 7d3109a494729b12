"""The playground as a user runs it: addresses that answer, keys that turn faults on, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.processes import children_of, unmeasured
from harness.programs import fetched

COMMAND = (sys.executable, "-W", "error", "-m", "localcloud", "play")
URL = re.compile(r"^  (\w[\w ]*?)  +(http://127\.0\.0\.1:\d+)/", re.MULTILINE)
END = "Stopped: nothing is left running."

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@dataclass(slots=True)
class Session:
    """One at a terminal, and what it has printed so far."""

    process: subprocess.Popen[str]
    person: int
    terminal: int
    printed: str = ""

    def press(self, key: str) -> None:
        os.write(self.person, key.encode())

    def until(self, text: str) -> None:
        """Read on until something is printed."""
        assert self.process.stdout is not None
        while text not in self.printed:
            line = self.process.stdout.readline()
            assert line, self.printed
            self.printed += line

    def interrupted(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code, and the last line."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate()
        return self.process.returncode, rest.splitlines()[-1]


@contextmanager
def playing(folder: Path) -> Iterator[Session]:
    person, terminal = os.openpty()
    process = subprocess.Popen(
        COMMAND,
        env={**unmeasured(), "TMPDIR": str(folder)},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield Session(process, person, terminal)
        finally:
            process.kill()
            os.close(person)
            os.close(terminal)


def is_waiting_for_enter(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ICANON)


def living_in(folder: Path) -> list[int]:
    """The processes that work in a folder, whoever started them."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((each / "cwd").readlink()).startswith(str(folder)):
                found.append(int(each.name))
    return found


def faults(admin: str) -> list[tuple[str, int]]:
    rules = json.loads(fetched(f"{admin}/faults")[2])["faults"]
    return [(rule["service"], rule["status"]) for rule in rules]


def test_it_stays_until_ctrl_c_with_a_console_and_faults_by_key(tmp_path: Path) -> None:
    with playing(tmp_path) as session:
        session.until("Ctrl-C ends it all.")
        urls = dict(URL.findall(session.printed))
        assert set(urls) == {"console", "relay", "local cloud"}
        assert b"oms-relay console" in fetched(urls["console"])[2]
        assert b"oms_relay_messages_received_total" in fetched(f"{urls['relay']}/metrics")[2]
        assert not is_waiting_for_enter(session.terminal)
        session.press("1")
        session.until("> OMS answers 503, for 30 s.")
        assert faults(urls["local cloud"]) == [("oms", 503)]
        session.press("c")
        session.until("> No fault of a key is on.")
        assert faults(urls["local cloud"]) == []
        assert sorted(living_in(tmp_path)) == sorted(children_of(session.process.pid))
        assert len(living_in(tmp_path)) == 2
        assert session.interrupted() == (0, END)
        assert is_waiting_for_enter(session.terminal)
    assert living_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_it_starts_leaves_nothing_either(tmp_path: Path) -> None:
    with playing(tmp_path) as session:
        session.until("Starting the relay")
        assert session.interrupted() == (0, END)
    assert living_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_relay_that_ends_is_told_and_ends_the_session(tmp_path: Path) -> None:
    with playing(tmp_path) as session:
        session.until("Ctrl-C ends it all.")
        relay, _ = children_of(session.process.pid)
        os.kill(relay, signal.SIGKILL)
        session.until("The logs are in ")
        assert session.process.wait() == 1
    assert "The relay ended by itself with exit code -9." in session.printed
    assert living_in(tmp_path) == []
