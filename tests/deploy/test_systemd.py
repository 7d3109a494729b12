"""deploy/systemd: the unit is valid and tight, the installation repeatable, and systemd is told."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from harness.relay import free_port
from harness.unit import ROOT, UNIT, credentials, directives, environment, seconds
from localcloud.cloud import LocalCloud
from worker.commands.frame import EXIT_TO_MEND
from worker.settings import load_settings

INSTALL = ROOT / "install.sh"
ALIBABA_KEY = ROOT / "alibaba-key.conf"
# 1.1 by systemd 252; the rest is the network, which the relay needs.
EXPOSURE_MAX = 1.5
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANALYZE), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """The unit of instance 1, with a Python that this machine has."""
    unit = tmp_path / "oms-relay@1.service"
    unit.write_text(UNIT.read_text().replace("/opt/oms-relay/bin/python", sys.executable))
    return unit


@needs_systemd
def test_systemd_knows_every_directive(instance: Path) -> None:
    done = analyze("verify", "--man=no", instance)
    assert not done.stdout + done.stderr
    assert done.returncode == 0


@needs_systemd
def test_little_of_the_machine_is_exposed(instance: Path) -> None:
    limit = f"--threshold={EXPOSURE_MAX * 10:.0f}"
    done = analyze("security", "--offline=true", "--no-pager", limit, instance)
    assert done.returncode == 0, done.stdout


def test_the_times_fit_the_relay() -> None:
    grace = load_settings(settings_of_unit(), dotenv=None).shutdown_grace_seconds
    assert seconds("TimeoutStopSec") >= grace + 5
    assert directives()["Type"] == ["notify"]
    assert seconds("WatchdogSec") >= 30


def test_a_fault_of_the_settings_is_not_tried_again_and_again() -> None:
    assert directives()["RestartPreventExitStatus"] == [str(EXIT_TO_MEND)]
    assert directives()["Restart"] == ["on-failure"]
    wanted = {128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert {int(code) for code in directives()["SuccessExitStatus"][0].split()} == wanted


def test_every_instance_has_a_port_of_its_own() -> None:
    ports = {environment(instance=number)["RELAY_ADMIN_PORT"] for number in range(1, 10)}
    assert ports == {str(port) for port in range(8081, 8090)}
    # systemd takes the file's value over the unit's.
    assert "RELAY_ADMIN_PORT" not in dotenv_values(ROOT / "relay.env")


@pytest.mark.parametrize("path", [UNIT, ALIBABA_KEY], ids=lambda path: path.name)
def test_secrets_come_as_credentials_and_never_as_values(path: Path) -> None:
    files = {value for name, value in environment(path).items() if name.endswith("_FILE")}
    assert files == {f"%d/{name}" for name in credentials(path)}
    assert all(
        each.startswith("/etc/oms-relay/credentials/") for each in credentials(path).values()
    )
    assert not {"HW_AK", "HW_SK", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"} & set(
        dotenv_values(ROOT / "relay.env")
    )


def settings_of_unit() -> dict[str, str]:
    """What the relay would find in its environment, with secrets as values."""
    found = {name: value or "" for name, value in dotenv_values(ROOT / "relay.env").items()}
    unit = {k: v for k, v in environment().items() if not k.endswith("_FILE")}
    return {**unit, **found, "HW_AK": "ak", "HW_SK": "sk"}


def test_the_settings_that_are_installed_start_a_relay() -> None:
    found = load_settings(settings_of_unit(), dotenv=None)
    assert found.admin_port == 8081
    assert not found.warnings


def install(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", INSTALL, *arguments],
        env={"PATH": os.defpath, "DESTDIR": str(root), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def installed(root: Path) -> dict[str, tuple[str, bytes]]:
    return {
        str(path.relative_to(root)): (
            stat.filemode(path.stat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    }


def test_files_are_installed_for_root_alone(tmp_path: Path) -> None:
    done = install(tmp_path, "--without-python")
    assert done.returncode == 0, done.stderr
    found = {name: mode for name, (mode, _) in installed(tmp_path).items()}
    assert found["etc/oms-relay/relay.env"] == "-rw-------"
    assert found["etc/oms-relay/credentials"] == "drwx------"
    assert found["etc/systemd/system/oms-relay@.service"] == "-rw-r--r--"
    assert "oms-relay@{1..4}" in done.stdout


def test_a_second_installation_changes_nothing_but_loose_modes(tmp_path: Path) -> None:
    install(tmp_path, "--without-python")
    settings = tmp_path / "etc" / "oms-relay" / "relay.env"
    settings.write_text("MNS_QUEUE=mine\n")
    secret = tmp_path / "etc" / "oms-relay" / "credentials" / "hw_sk"
    secret.write_text("secret")
    secret.chmod(0o600)
    before = installed(tmp_path)
    settings.chmod(0o644)
    secret.chmod(0o644)
    assert install(tmp_path, "--without-python").returncode == 0
    assert installed(tmp_path) == before


def test_a_wrong_argument_installs_nothing(tmp_path: Path) -> None:
    done = install(tmp_path, "--now")
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert not installed(tmp_path)


@pytest.mark.timeout(900)
def test_the_whole_is_installed_and_installed_again(tmp_path: Path, is_long: bool) -> None:
    if not is_long:
        pytest.skip("installs everything anew: only with --long")
    for _ in range(2):
        done = install(tmp_path)
        assert done.returncode == 0, done.stderr
        program = tmp_path / "opt" / "oms-relay"
        script = (program / "bin" / "oms-relay").read_text()
        assert script.startswith("#!/opt/oms-relay/bin/python\n")
        command = [str(program / "bin" / "python"), "-m", "worker", "--version"]
        subprocess.run(command, check=True, cwd=tmp_path)
        assert [path.name for path in program.parent.iterdir()] == ["oms-relay"]


async def until(line: socket.socket, state: str) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while state not in (await loop.sock_recv(line, 4096)).decode().splitlines():
            pass


async def test_systemd_hears_that_the_relay_is_up_alive_and_stopping(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    cloud.prepare()
    environ = {**cloud.settings(), **environment(directory=str(tmp_path)), "PATH": os.defpath}
    for name in credentials():
        (tmp_path / name).write_text(environ.pop(name.upper()) + "\n")
    environ |= {"RELAY_ADMIN_PORT": str(free_port()), "RELAY_SHUTDOWN_GRACE_SECONDS": "5"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.setblocking(False)
        line.bind(str(tmp_path / "notify"))
        environ |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        command = (sys.executable, "-m", "worker", "run")
        relay = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=environ, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await until(line, "READY=1")
            await until(line, "STATUS=ready")
            await until(line, "WATCHDOG=1")
            relay.send_signal(signal.SIGTERM)
            await until(line, "STOPPING=1")
            assert await relay.wait() == 0
        finally:
            if relay.returncode is None:
                relay.kill()
                await relay.wait()
