"""deploy/systemd: the unit is valid and tight, the installation repeatable, and systemd is told."""

from __future__ import annotations

import asyncio
import os
import re
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
OPERATOR_KEY = ROOT / "operator-key.conf"
CONSOLE = ROOT / "oms-relay-console.service"
# 1.1 by systemd 252; the rest is the network, which the relay needs.
EXPOSURE_MAX = 1.5
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANALYZE), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(params=["oms-relay@1.service", "oms-relay-console.service"])
def instance(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Instance 1 of the relay, or the console, with a Python that this machine has."""
    name: str = request.param
    unit = tmp_path / name
    text = (ROOT / name.replace("@1", "@")).read_text()
    unit.write_text(text.replace("/opt/oms-relay/bin/python", sys.executable))
    return unit


@needs_systemd
@pytest.mark.parametrize("is_old", [False, True], ids=["new", "before-250"])
def test_systemd_knows_every_directive(instance: Path, *, is_old: bool) -> None:
    if is_old:
        drop_in = instance.with_name(f"{instance.name}.d") / "10-before-250.conf"
        drop_in.parent.mkdir()
        drop_in.write_text((ROOT / "before-250.conf").read_text().replace("oms-relay\n", "root\n"))
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


def test_the_console_has_a_port_that_no_relay_has_and_asks_one_that_a_relay_has() -> None:
    options = environment(CONSOLE)["CONSOLE_OPTIONS"].split()
    ports = {environment(instance=number)["RELAY_ADMIN_PORT"] for number in range(1, 10)}
    assert options[:2] == ["--port", "8090"]
    assert "8090" not in ports
    assert options[2] == "--worker"
    assert options[3].rpartition(":")[2] in ports


@pytest.mark.parametrize(
    "path", [UNIT, ALIBABA_KEY, CONSOLE, OPERATOR_KEY], ids=lambda path: path.name
)
def test_secrets_come_as_credentials_and_never_as_values(path: Path) -> None:
    files = {value for name, value in environment(path).items() if name.endswith("_FILE")}
    assert files == {f"%d/{name}" for name in credentials(path)}
    assert all(
        re.match("/etc/oms-relay/(credentials|operator)/", each)
        for each in credentials(path).values()
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


def install(root: Path, *arguments: str, **named: str) -> subprocess.CompletedProcess[str]:
    """Install under a root, for a machine with systemd 252 unless told otherwise."""
    own = {"DESTDIR": str(root), "PYTHON": sys.executable, "SYSTEMD_VERSION": "252"}
    return subprocess.run(
        ["/bin/sh", INSTALL, *arguments],
        env={"PATH": os.defpath} | own | named,
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
    assert found["etc/oms-relay/operator"] == "drwx------"
    assert found["etc/oms-relay/credentials/console_token"] == "-rw-------"
    assert found["etc/systemd/system/oms-relay-console.service"] == "-rw-r--r--"
    assert found["usr/local/bin/oms-relay"] == "-rwxr-xr-x"
    assert not [name for name in found if "before-250" in name]
    assert "oms-relay@{1..4}" in done.stdout


def test_the_console_gets_a_token_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    tokens = set()
    for root in (tmp_path / "one", tmp_path / "one", tmp_path / "other"):
        install(root, "--without-python")
        tokens.add((root / "etc" / "oms-relay" / "credentials" / "console_token").read_text())
    assert len(tokens) == 2
    assert all(re.fullmatch("[0-9a-f]{48}", token) for token in tokens)


@pytest.mark.parametrize("version", ["239", "249"])
def test_an_older_systemd_is_served_by_a_user_who_reads_the_secrets(
    tmp_path: Path, version: str
) -> None:
    done = install(tmp_path, "--without-python", SYSTEMD_VERSION=version)
    assert done.returncode == 0, done.stderr
    assert f"systemd {version} hands over no credentials" in done.stdout
    found = {name: mode for name, (mode, _) in installed(tmp_path).items()}
    assert found["etc/oms-relay/credentials"] == "drwxr-x---"
    assert found["etc/oms-relay/credentials/console_token"] == "-rw-r-----"
    units = tmp_path / "etc" / "systemd" / "system"
    for unit, files in ((UNIT, ("hw_ak", "hw_sk")), (CONSOLE, ("hw_ak", "hw_sk", "console_token"))):
        drop_in = units / f"{unit.name}.d" / "10-before-250.conf"
        named = [each.split("=", 1) for each in directives(drop_in)["Environment"]]
        folder = "/etc/oms-relay/credentials"
        assert [value for _, value in named] == [f"{folder}/{name}" for name in files]
        # Every name that stands for a credential in the unit is given another place.
        own = {k for k, v in environment(unit).items() if v.startswith("%d/")}
        assert {name for name, _ in named} == own
        assert directives(drop_in)["LoadCredential"] == [""]
        assert directives(drop_in)["DynamicUser"] == ["no"]
    assert install(tmp_path, "--without-python").returncode == 0
    found = {name: mode for name, (mode, _) in installed(tmp_path).items()}
    assert not [name for name in found if name.endswith("before-250.conf")]
    assert found["etc/oms-relay/credentials"] == "drwx------"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"SYSTEMD_VERSION": "238"}, "systemd 238 is too old: 239"),
        ({"SYSTEMD_VERSION": "none"}, "no systemd here"),
        ({"PYTHON": "python2.0"}, "no Python 3.11 or newer"),
    ],
)
def test_what_the_machine_lacks_is_said_before_anything_is_changed(
    tmp_path: Path, named: dict[str, str], said: str
) -> None:
    done = install(tmp_path, **named)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert said in done.stderr
    assert not installed(tmp_path)


def test_all_that_it_lacks_is_said_at_once(tmp_path: Path) -> None:
    told = install(tmp_path, SYSTEMD_VERSION="230", PYTHON="python2.0").stderr
    assert "systemd 230" in told
    assert "Python 3.11" in told


def test_an_uninstallation_keeps_settings_and_secrets_unless_told_otherwise(tmp_path: Path) -> None:
    install(tmp_path, "--without-python", SYSTEMD_VERSION="239")
    wanted = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir()
    (wanted / "oms-relay@1.service").symlink_to("../oms-relay@.service")
    (wanted / "other.service").write_text("")
    (tmp_path / "opt" / "oms-relay" / "bin").mkdir(parents=True)
    assert install(tmp_path, "--uninstall").returncode == 0
    files = {name for name, (mode, _) in installed(tmp_path).items() if mode[0] != "d"}
    kept = {"etc/oms-relay/relay.env", "etc/oms-relay/credentials/console_token"}
    assert files == kept | {"etc/systemd/system/multi-user.target.wants/other.service"}
    assert install(tmp_path, "--uninstall", "--purge").returncode == 0
    files = {name for name, (mode, _) in installed(tmp_path).items() if mode[0] != "d"}
    assert files == {"etc/systemd/system/multi-user.target.wants/other.service"}
    assert install(tmp_path, "--uninstall").returncode == 0


def test_a_command_on_the_host_has_the_settings_and_secrets_of_its_relays(tmp_path: Path) -> None:
    wrapper = tmp_path / "oms-relay"
    etc = tmp_path / "etc"
    for name in ("credentials/hw_ak", "credentials/hw_sk", "credentials/access_key_id"):
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        (etc / name).write_text("the relays'")
    (etc / "operator").mkdir()
    (etc / "operator" / "access_key_id").write_text("mine")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$*"\nenv | grep _FILE= | sort\n')
    program.chmod(0o755)
    text = (ROOT / "oms-relay.sh").read_text()
    text = text.replace("/opt/oms-relay/bin/oms-relay", str(program))
    wrapper.write_text(text.replace("/etc/oms-relay", str(etc)))
    command = ["/bin/sh", str(wrapper), "dead", "show", "a b"]
    clean = {"PATH": os.defpath}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"--env-file {etc}/relay.env dead show a b",
        f"ALIBABA_CLOUD_ACCESS_KEY_ID_FILE={etc}/operator/access_key_id",
        f"HW_AK_FILE={etc}/credentials/hw_ak",
        f"HW_SK_FILE={etc}/credentials/hw_sk",
    ]


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
        manual = tmp_path / "usr" / "local" / "share" / "man" / "man1" / "oms-relay.1"
        assert manual.read_text().startswith(".TH OMS")
        folder = tmp_path / "usr" / "local" / "share" / "bash-completion" / "completions"
        assert "complete -o" in (folder / "oms-relay").read_text()
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
