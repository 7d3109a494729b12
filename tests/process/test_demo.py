"""The demo as a user runs it: a command, an account, an exit code, and nothing left running."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import pytest

from harness.processes import children_of, unmeasured
from localcloud.cloud import LocalCloud
from localcloud.demo.relay import RelayFailedError, RelayProcess

COMMAND = [sys.executable, "-W", "error", "-m", "localcloud", "demo"]
ROW = re.compile(r"^ ([✓✗·]) +(\S.*?)  +(\S+)(?:  +(.*?))? *$", re.MULTILINE)


def account_of(output: str) -> dict[str, tuple[str, str]]:
    """Return mark and number of every line by what it is about."""
    return {what: (mark, found) for mark, what, found, _ in ROW.findall(output)}


def run(folder: Path, *options: str) -> tuple[int, str]:
    environment = {**unmeasured(), "TMPDIR": str(folder), "PYTHONUTF8": "1"}
    ended = subprocess.run(
        [*COMMAND, *options], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.stderr == ""
    return ended.returncode, ended.stdout


def test_its_account_adds_up_under_faults(tmp_path: Path) -> None:
    code, output = run(tmp_path, "--objects", "200", "--seed", "3")
    account = account_of(output)
    assert code == 0, output
    assert {mark for mark, _ in account.values()} == {"✓", "·"}
    assert account["objects written"] == ("·", "202")
    assert account["events lost by OSS"] == ("✓", "0")
    assert account["failed records"] == ("✓", "2")
    assert account["dead letters: undecodable"] == ("✓", "1")
    assert account["queue empty"] == ("✓", "yes")
    assert int(account["announced again"][1]) > 0
    assert account["arrived at the destination"][0] == "✓"
    assert account["proved by checksums"] == ("✓", account["arrived at the destination"][1])
    assert account["destination identical to source"] == ("✓", "yes")
    assert account["relay's exit code after SIGTERM"] == ("✓", "0")
    assert "Everything adds up" in output
    assert re.search(r"^ +\d+\.\d s  written \d+", output, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_its_account_adds_up_although_the_relay_is_killed(tmp_path: Path) -> None:
    code, output = run(tmp_path, "--objects", "200", "--no-faults", "--kill")
    account = account_of(output)
    assert code == 0, output
    assert account["relay's own counters"][0] == "·"
    assert re.search(r"gone with the killed processes \(3\)", output)
    assert account["destination identical to source"] == ("✓", "yes")
    assert account["dead letters: rejected"] == ("✓", "0")


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**unmeasured(), "TMPDIR": str(folder)}
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the children")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_relay(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as process:
        assert process.stdout is not None
        seen = list(takewhile(lambda line: "  written " not in line, process.stdout))
        assert process.poll() is None, seen
        relays = children_of(process.pid)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert rest.endswith("Stopped, and the relay too: nothing is left running.\n")
    assert len(relays) == 1
    assert not Path(f"/proc/{relays[0]}").exists()
    assert list(tmp_path.iterdir()) == []


async def test_a_relay_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    async with LocalCloud() as cloud:
        cloud.prepare()
        settings = {**cloud.settings(), "RELAY_BATCH_KEYS": "many"}
        with pytest.raises(RelayFailedError, match="ended by itself with exit code 2") as failed:
            async with RelayProcess(settings, tmp_path):
                pass
    assert "RELAY_BATCH_KEYS" in str(failed.value)


async def test_real_settings_never_reach_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_BATCH_KEYS", "many")
    monkeypatch.setenv("MNS_DEAD_LETTER_QUEUE", "a-real-one")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("RELAY_POLLERS=none\n")
    folder = tmp_path / "demo"
    folder.mkdir()
    async with LocalCloud() as cloud:
        cloud.prepare()
        async with RelayProcess(cloud.settings(), folder) as relay:
            assert await relay.stop() == 0
