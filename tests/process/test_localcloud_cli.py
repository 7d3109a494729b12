"""The command line of the local cloud, as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

COMMAND = [sys.executable, "-W", "error", "-m", "localcloud"]


@contextmanager
def running(*options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    with running("--json") as process:
        told = json.loads(first_line(process))
        with urllib.request.urlopen(told["LOCALCLOUD_ADMIN"] + "/state") as response:
            state = json.load(response)
        assert list(state["queues"]) == [told["MNS_QUEUE"]]
        assert told["LOG_BUCKET"] in state["buckets"]
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")


def test_it_prints_lines_for_an_env_file() -> None:
    with running() as process:
        assert first_line(process).startswith("# The local cloud is ready.")
        name, _, value = first_line(process).strip().partition("=")
        assert (name, value[:17]) == ("MNS_ENDPOINT", "http://127.0.0.1:")


def test_it_can_start_empty() -> None:
    with running("--json", "--no-prepare") as process:
        assert set(json.loads(first_line(process))) == {
            "MNS_ENDPOINT",
            "OSS_ENDPOINT",
            "OMS_ENDPOINT",
            "LOCALCLOUD_OBS",
            "LOCALCLOUD_ADMIN",
        }


def test_it_names_the_destination_as_a_setting_where_it_is_asked_to() -> None:
    with running("--json", "--with-destination") as process:
        told = json.loads(first_line(process))
    assert told["OBS_ENDPOINT"] == told["LOCALCLOUD_OBS"]
    with running("--json") as process:
        assert "OBS_ENDPOINT" not in json.loads(first_line(process))


def test_a_port_in_use_is_told_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = ["--oss-port", str(taken.getsockname()[1])]
        ended = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("Nothing is served: ")
    assert "Choose other ports." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_shows_examples() -> None:
    ended = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "python -m localcloud --json" in ended.stdout
    assert "demo" in ended.stdout


def test_it_runs_without_the_relay() -> None:
    code = (
        "import sys, localcloud.__main__\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(bool(found & {'worker', 'settings'}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
