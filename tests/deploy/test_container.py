"""deploy/container: the Dockerfile keeps its rules, and its steps make an environment that runs the relay."""

from __future__ import annotations

import asyncio
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from harness import dockerfile
from harness.relay import free_port
from harness.wheel import installed, pins, wanted
from localcloud.cloud import LocalCloud
from worker import __version__

ROOT = dockerfile.ROOT
HEALTHCHECK = ROOT / "deploy" / "container" / "healthcheck.py"


def hashes(name: str) -> dict[str, list[str]]:
    blocks = re.split(r"\n(?=\S)", (ROOT / name).read_text())
    return {re.split(r"\[|==", each)[0]: re.findall(r"sha256:\w{64}", each) for each in blocks}


@pytest.mark.parametrize("name", ["constraints-runtime.txt", "constraints-build.txt"])
def test_the_image_installs_a_part_of_what_is_tested(name: str) -> None:
    tested = {(package, version) for package, version, _ in pins("constraints.txt")}
    found = {(package, version) for package, version, _ in pins(name)}
    assert found
    assert found < tested, "run make lock"
    everything, part = hashes("constraints.txt"), hashes(name)
    assert all(part[package] == everything[package] for package, _ in found)
    assert all(part.values())


def test_the_image_has_no_tools_of_developers() -> None:
    names = {package for package, _, _ in pins("constraints-runtime.txt")}
    assert not names & {
        "pytest",
        "mypy",
        "ruff",
        "uv",
        "pip",
        "setuptools",
        "hatchling",
        "hypothesis",
    }
    assert {"aiohttp", "oss2", "aliyun-mns-sdk", "alibabacloud-credentials"} <= names


@pytest.mark.parametrize("name", ["", "-runtime", "-build"])
def test_no_index_is_named(name: str) -> None:
    text = (ROOT / f"constraints{name}.txt").read_text()
    assert "://" not in text
    assert "index" not in text.replace("importlib", "")


def test_all_stages_have_one_exact_python() -> None:
    names = {step.rest.split()[-1] for step in dockerfile.of("FROM") if " AS " in step.rest}
    images = [step.rest.split()[0] for step in dockerfile.of("FROM")]
    images = [image for image in images if image not in names]
    tags = [image.partition("@")[0] for image in images]
    assert all(re.fullmatch(r"python:3\.11\.\d+(-slim)?-bookworm", tag) for tag in tags)
    assert len({tag.replace("-slim", "") for tag in tags}) == 1


def test_the_last_stage_only_copies() -> None:
    last = max(step.stage for step in dockerfile.steps())
    names = {step.name for step in dockerfile.steps() if step.stage == last}
    assert "RUN" not in names
    assert "ADD" not in {step.name for step in dockerfile.steps()}


def test_a_changed_line_of_code_changes_only_the_last_layers() -> None:
    """Packages come from a stage that has seen no code, and before all that has."""
    copied = [step for step in dockerfile.of("COPY") if "--from" in step.rest]
    assert [step.rest.split()[0] for step in copied] == ["--from=packages", "--from=program"]
    first = {step.rest for step in dockerfile.steps() if step.stage == 0 and step.name == "COPY"}
    assert first == {"constraints-build.txt constraints-runtime.txt ./"}


def test_the_image_says_what_it_is() -> None:
    (step,) = dockerfile.of("LABEL")
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', step.rest))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels == {
        "title": project["name"],
        "description": project["description"],
        "version": __version__,
        "licenses": project["license"],
        "authors": project["authors"][0]["name"],
    }


def test_the_user_is_a_number_above_those_of_systems() -> None:
    (user,) = dockerfile.of("USER")
    assert re.fullmatch(r"\d{5}:\d{5}", user.rest)


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD"])
def test_the_relay_is_started_without_a_shell(name: str) -> None:
    (step,) = dockerfile.of(name)
    assert json.loads(step.rest) == {"ENTRYPOINT": ["python", "-m", "worker"], "CMD": ["run"]}[name]


def test_the_health_check_needs_no_shell_and_no_curl() -> None:
    (step,) = dockerfile.of("HEALTHCHECK")
    command = json.loads(step.rest.partition("CMD ")[2])
    assert command == ["python", "/opt/relay/healthcheck.py"]


def test_packages_are_installed_by_hash_or_from_what_was_built() -> None:
    for step in dockerfile.of("RUN"):
        for command in step.rest.split("&&"):
            if " pip " in command:
                assert "--require-hashes" in command or "--no-index" in command


def test_the_image_holds_no_setting_that_is_secret() -> None:
    text = dockerfile.DOCKERFILE.read_text()
    assert not re.search(r"HW_|ALIBABA_|_SK\b|SECRET|TOKEN|PASSWORD", text, re.IGNORECASE)
    assert not dockerfile.of("ARG")


def test_what_is_copied_is_sent_to_the_engine_and_nothing_else() -> None:
    copied = [
        name
        for step in dockerfile.of("COPY")
        if "--from" not in step.rest
        for name in step.rest.split()[:-1]
    ]
    assert all((ROOT / name).exists() and dockerfile.is_sent(name) for name in copied)
    for name in (".env", ".git/config", "tests/conftest.py", ".venv/bin/python", "secrets/hw_sk"):
        assert not dockerfile.is_sent(name)
    assert not dockerfile.is_sent("worker/__pycache__/app.cpython-311.pyc")
    assert dockerfile.is_sent("worker/clouds/oms.py")


def test_a_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert linter, "run make setup"
    done = subprocess.run(
        [linter, dockerfile.DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert not done.stdout
    assert done.returncode == 0


async def asked(status: int, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Any:
    """The exit code of the health check against a server that answers with a status."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(status=status, text="said")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        monkeypatch.setenv("RELAY_ADMIN_PORT", str(port))
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        process = await _python(str(HEALTHCHECK))
    finally:
        await runner.cleanup()
    return process


async def _python(script: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, stdout=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1"])
async def test_the_health_check_says_what_healthz_says(
    monkeypatch: pytest.MonkeyPatch, status: int, code: int, host: str
) -> None:
    assert await asked(status, monkeypatch, RELAY_ADMIN_HOST=host) == code


def test_without_an_answer_the_container_is_unhealthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELAY_ADMIN_PORT", str(free_port()))
    assert runpy.run_path(str(HEALTHCHECK))["main"]() == 1
    assert "no answer" in capsys.readouterr().out


def test_an_admin_server_that_is_off_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_ADMIN_PORT", "0")
    assert runpy.run_path(str(HEALTHCHECK))["main"]() == 0


class Buildah:
    """Debian's buildah with a store of its own, as root and without an engine."""

    def __init__(self, folder: Path) -> None:
        self._own = ("--root", f"{folder}/store", "--runroot", f"{folder}/run")

    def __call__(self, *arguments: object) -> str:
        command = ["buildah", *self._own, "--storage-driver", "vfs", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def stand_in(self, root: Path) -> None:
        """Let a folder stand for the base images: no registry of images need be in reach."""
        made = self("from", "scratch")
        self("copy", "-q", made, root, "/")
        for step in dockerfile.of("FROM"):
            image = step.rest.split()[0]
            if ":" in image:
                self("commit", "-q", made, f"localhost/{image}")
        self("rm", made)


PACKAGES = (
    "python3.11,python3-distutils,python3-venv,python3.11-venv,python-is-python3,ca-certificates,gcc,"
    "python3.11-dev,libc6-dev"
)


@pytest.mark.timeout(1800)
def test_buildah_makes_the_image(is_long: bool, tmp_path: Path) -> None:
    if not is_long:
        pytest.skip("builds the image: only with --long")
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install {program})")
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    if os.geteuid() or not sources.exists():
        pytest.skip("needs root and Debian")
    (mirror, *_) = re.findall(r"^URIs: (\S+)", sources.read_text(), re.MULTILINE)
    base = tmp_path / "base"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", base, mirror],
        capture_output=True,
        check=True,
    )
    buildah = Buildah(tmp_path)
    buildah.stand_in(base)
    shared = [each for each in ("/etc/ssl/certs", "/etc/pip.conf") if Path(each).exists()]
    volumes = [word for each in shared for word in ("-v", f"{each}:{each}:ro")]
    build = ("bud", "--isolation", "chroot", "--layers", *volumes, "-f", dockerfile.DOCKERFILE)
    buildah(*build, "--format", "docker", "-t", "relay", ".")
    made = json.loads(buildah("inspect", "--type", "image", "relay"))["Docker"]["config"]
    assert made["Healthcheck"]["Test"] == ["CMD", "python", "/opt/relay/healthcheck.py"]
    assert made["User"] == "10001:10001"
    assert made["Labels"]["org.opencontainers.image.version"] == __version__
    running = buildah("from", "relay")
    said = buildah("run", "--isolation", "chroot", running, "--", "oms-relay", "--version")
    assert said == f"oms-relay {__version__}"


@pytest.mark.timeout(900)
async def test_the_steps_of_the_image_make_a_relay_that_runs(
    cloud: LocalCloud, is_long: bool, tmp_path: Path
) -> None:
    if not is_long:
        pytest.skip("installs everything anew: only with --long")
    dockerfile.replay(tmp_path)
    python = tmp_path / "opt" / "relay" / "bin" / "python"
    assert installed(python) == wanted()
    assert _version(python, tmp_path) == f"oms-relay {__version__}"
    cloud.prepare()
    cloud.oss.put("source", "a.jpg", b"a")
    await _runs(python, cloud, tmp_path)


def _version(python: Path, folder: Path) -> str:
    command = [str(python), "-m", "worker", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.strip()


async def _runs(python: Path, cloud: LocalCloud, folder: Path) -> None:
    environment = {**cloud.settings(), "RELAY_ADMIN_PORT": str(free_port()), "PATH": os.defpath}
    environment["RELAY_SHUTDOWN_GRACE_SECONDS"] = "5"
    relay = await asyncio.create_subprocess_exec(
        python,
        "-m",
        "worker",
        "run",
        cwd=folder,
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        while not cloud.oms.posts or len(cloud.mns.queue("oss-events")):
            assert relay.returncode is None
            await asyncio.sleep(0.05)
        check = await asyncio.create_subprocess_exec(
            python, HEALTHCHECK, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        assert await check.wait() == 0
        relay.send_signal(signal.SIGTERM)
        assert await relay.wait() == 0
