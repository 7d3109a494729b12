"""Commands as processes: on a terminal, under Ctrl-C, and killed at the worst moment."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.ops import CommandLine, bodies, objects, put_letter
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.commands import frame

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 30


def letters(count: int) -> Callable[[LocalCloud], None]:
    def put(cloud: LocalCloud) -> None:
        for number in range(count):
            put_letter(cloud, number)

    return put


@contextmanager
def started(
    relayctl: CommandLine, *arguments: str, terminal: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command as a process; with `terminal` its input and errors are that terminal's."""
    environment = {**os.environ, **relayctl.cloud.settings(), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_until(terminal: int, text: str) -> str:
    seen = ""
    while text not in seen:
        seen += os.read(terminal, 4096).decode()
    return seen


def counts(relayctl: CommandLine) -> tuple[int, int, int]:
    """Messages in the queue, letters left, letters put away."""
    names = list(relayctl.within(objects))
    folders = [
        sum(name.startswith(f"{each}/") for name in names) for each in ("dead_letter", "archived")
    ]
    return len(relayctl.within(bodies)), folders[0], folders[1]


def test_ctrl_c_finishes_what_is_in_hand_and_tells_what_is_done(relayctl: CommandLine) -> None:
    relayctl.within(letters(60))
    with started(relayctl, "dead", "redrive", "--yes", "--rate", "600/m") as process:
        wait_for(lambda: counts(relayctl)[0] >= 2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS_MAX)
    sent, left, archived = counts(relayctl)
    assert process.returncode == 130
    assert sent == archived == 60 - left
    assert 2 <= sent < 60
    assert f"{sent} redriven" in out
    assert "Stopped before the end" in out
    assert "Finishing what is in hand" in err
    assert "Traceback" not in err


def test_a_second_ctrl_c_leaves_at_once_and_tells_all_the_same(relayctl: CommandLine) -> None:
    relayctl.within(letters(3))
    hang = Fault("mns", "*SendMessage", Action.HANG, seconds=600)
    relayctl.within(lambda cloud: cloud.faults.add(hang))
    with started(relayctl, "dead", "redrive", "--yes") as process:
        wait_for(lambda: any(name.startswith("moving/") for name in relayctl.within(objects)))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "Finishing" in process.stderr.readline()
        # What comes within a moment counts as one signal with the first.
        heard_at = time.monotonic()
        wait_for(lambda: time.monotonic() > heard_at + frame.SAME_SECONDS)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 130
    assert "stand where they stood" in out
    assert "Traceback" not in err
    assert counts(relayctl)[1] == 3


def test_killed_between_send_and_move_a_rerun_loses_nothing(relayctl: CommandLine) -> None:
    relayctl.within(letters(5))
    hang = Fault("oss", "DeleteObject", Action.HANG, seconds=600)
    relayctl.within(lambda cloud: cloud.faults.add(hang))
    with started(relayctl, "dead", "redrive", "--yes") as process:
        wait_for(lambda: counts(relayctl)[2] == 1)
        process.kill()
        process.communicate()
    relayctl.within(lambda cloud: cloud.faults.clear())
    result = relayctl("dead", "redrive", "--yes")
    assert "4 redriven; 1 had been sent before" in result.stdout
    assert counts(relayctl) == (5, 0, 5)


def test_on_a_terminal_it_asks_with_the_impact_and_a_no_changes_nothing(
    relayctl: CommandLine,
) -> None:
    relayctl.within(letters(7))
    before = relayctl.within(objects)
    for answer, code, sent in (("n\n", 1, 0), ("y\n", 0, 7)):
        ours, theirs = pty.openpty()
        with started(relayctl, "dead", "redrive", terminal=theirs) as process:
            asked = read_until(ours, "[y/N]")
            assert "redrive 7 of these 7 letters?" in asked
            assert "OMS.0064" in asked
            os.write(ours, answer.encode())
            out, _ = process.communicate(timeout=SECONDS_MAX)
        os.close(theirs)
        os.close(ours)
        assert process.returncode == code
        assert counts(relayctl)[0] == sent
        assert (relayctl.within(objects) == before) is (sent == 0)
        assert ("7 redriven" in out) is (sent == 7)


def test_status_watches_until_ctrl_c(relayctl: CommandLine) -> None:
    with started(relayctl, "status", "--watch", "--every", "1", "--json") as process:
        assert process.stdout is not None
        assert all('"queue"' in process.stdout.readline() for _ in range(2))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS_MAX)
    assert (process.returncode, err) == (0, "")


def test_what_is_piped_is_a_line_for_each_row_however_long(relayctl: CommandLine) -> None:
    key = "photos/" + "long " * 60 + "end.jpg"
    error = {"key": key, "error": "OMS.0064 " + "because " * 40 + "of that"}
    relayctl.within(lambda cloud: put_letter(cloud, 1, keys=[error]))
    printed = relayctl("dead", "list").stdout
    assert [key in line for line in printed.splitlines()] == [False, True]
    story = relayctl("dead", "show", "000000").stdout
    assert f"\n  key          {key}\n  refused      {error['error']}\n" in story
    assert "\nkey" not in story


def sized(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))


def test_a_wide_terminal_is_used_to_its_edge(relayctl: CommandLine) -> None:
    key = "photos/" + "x" * 110 + ".jpg"
    relayctl.within(lambda cloud: put_letter(cloud, 1, keys=[{"key": key, "error": "e"}]))
    ours, theirs = pty.openpty()
    sized(theirs, 220)
    environment = {
        **os.environ,
        **relayctl.cloud.settings(),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "COLUMNS": "",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "dead", "list"], env=environment, stdout=theirs
    ):
        seen = read_until(ours, ".jpg")
    os.close(theirs)
    os.close(ours)
    assert key in seen


@pytest.mark.parametrize(
    "arguments", [["status"], ["doctor"], ["dead", "list"], ["dead", "list", "--json"]]
)
def test_a_full_disk_is_told_in_one_line(relayctl: CommandLine, arguments: list[str]) -> None:
    relayctl.within(letters(3))
    environment = {**os.environ, **relayctl.cloud.settings(), "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("oms-relay: the output is not complete")
    assert len(done.stderr.splitlines()) == 1


def test_what_an_old_encoding_cannot_show_is_an_escape(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: put_letter(cloud, 1, keys=[{"key": "\u732b.jpg", "error": "e"}]))
    environment = {**os.environ, **relayctl.cloud.settings(), "PYTHONPATH": str(ROOT)}
    environment |= {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "dead", "list"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u732b.jpg" in done.stdout
