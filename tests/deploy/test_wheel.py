"""The wheel holds what it must, and from an environment of its own it does the whole job."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zipfile import ZipFile

import oss2
import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

from harness import wheel
from harness.dockerfile import ROOT
from harness.programs import LIMIT_SECONDS, answered, fetched, local_cloud, running
from harness.relay import free_port
from harness.until import TICK_SECONDS
from worker import __version__

KEYS = [f"photos/{number:03d} a+b %41 照片.jpg" for number in range(100)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(built: Path) -> Path:
    """The `bin` of an environment with the wheel and its pinned dependencies, and nothing else."""
    return wheel.install(built, built.parents[1])


def metadata(built: Path) -> Metadata:
    with ZipFile(built) as opened:
        (name,) = (each for each in opened.namelist() if each.endswith(".dist-info/METADATA"))
        return Metadata.from_email(opened.read(name), validate=True)


def test_it_holds_the_program_with_all_its_files_and_nothing_else(built: Path) -> None:
    with ZipFile(built) as opened:
        held = {each for each in opened.namelist() if ".dist-info/" not in each}
        described = {Path(each).name for each in opened.namelist() if ".dist-info/" in each}
    assert held == {each for each in wheel.belonging() if each.startswith("worker/")}
    for each in ("py.typed", "console/templates/base.html", "console/static/console.css"):
        assert f"worker/{each}" in held
    assert described == {"METADATA", "WHEEL", "entry_points.txt", "LICENSE", "RECORD"}


def test_its_metadata_are_valid_and_say_what_the_project_says(built: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = metadata(built)
    assert (found.name, str(found.version)) == ("oms-relay", __version__)
    assert str(found.requires_python) == project["requires-python"]
    assert found.license_expression == "Apache-2.0"
    assert found.license_files == ["LICENSE"]
    assert found.description_content_type == "text/markdown"
    assert found.description == (ROOT / "README.md").read_text()
    assert found.author == "The oms-relay maintainers"
    assert {"oss", "oms", "migration"} <= set(found.keywords or ())
    asked = {each for each in found.requires_dist or () if "extra ==" not in str(each.marker)}
    assert asked == {Requirement(each) for each in project["dependencies"]}


def test_no_document_and_no_manifest_names_another_version() -> None:
    named = re.compile(r"oms-relay[:=@ ]v?(\d+\.\d+\.\d+)|newTag: (\S+)|image\.version=\"(.*?)\"")
    found = [
        (name, "".join(each))
        for name in wheel.belonging()
        if name.endswith((".md", ".yaml", ".sh", "Dockerfile"))
        for each in named.findall((ROOT / name).read_text())
    ]
    assert len(found) > 3
    assert [each for each in found if each[1] != __version__] == []
    newest = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]


def said(programs: Path, folder: Path, *command: str) -> str:
    """What one of its programs prints, elsewhere than in the tree."""
    found = [str(programs / command[0]), *command[1:]]
    done = subprocess.run(found, cwd=folder, env={}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_its_environment_is_what_was_pinned_and_knows_no_checkout(
    programs: Path, tmp_path: Path
) -> None:
    python = programs / "python"
    assert wheel.installed(python) == wheel.wanted()
    code = "import worker.settings as s; print(s.__file__)"
    place = said(programs, tmp_path, "python", "-W", "error", "-c", code)
    assert Path(place).is_relative_to(programs.parent)
    code = "from importlib.util import find_spec as f; print(f('localcloud'), f('settings'))"
    assert said(programs, tmp_path, "python", "-c", code) == "None None"
    assert said(programs, tmp_path, "oms-relay", "--version") == f"oms-relay {__version__}"


async def settled(admin: str) -> dict[str, Any]:
    """Wait until the queue is empty and everything is copied; return what the local cloud saw."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            state: dict[str, Any] = json.loads(await answered(f"{admin}/state"))
            waiting = sum(state["queues"]["oss-events"].values())
            if not waiting and state["copies"]["destination"] == len(KEYS):
                return state
            await asyncio.sleep(TICK_SECONDS)


def content(number: int) -> bytes:
    return f"content {number}".encode()


def copied(admin: str) -> dict[str, bytes]:
    """What OMS has copied to the destination, by key."""
    return {key: fetched(f"{admin}/copies/destination/{quote(key)}")[2] for key in KEYS}


def bucket(settings: dict[str, str], name: str) -> Any:
    auth = oss2.Auth(
        settings["ALIBABA_CLOUD_ACCESS_KEY_ID"], settings["ALIBABA_CLOUD_ACCESS_KEY_SECRET"]
    )
    return oss2.Bucket(auth, settings["OSS_ENDPOINT"], name)


def recorded(settings: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Every record in the log bucket by its key, read by the official client."""
    log = bucket(settings, settings["LOG_BUCKET"])
    names = [
        each.key
        for each in oss2.ObjectIterator(log)
        if not each.key.endswith("probe/relay.json") and "/fleet/" not in each.key
    ]
    assert all("/success_object/" in each for each in names), names
    bodies = [json.loads(log.get_object(each).read()) for each in names]
    return {each["key"]: each for each in bodies}


async def test_a_hundred_objects_go_all_the_way(programs: Path, tmp_path: Path) -> None:
    port = free_port()
    async with local_cloud(tmp_path) as told:
        settings = {**told, "RELAY_ADMIN_PORT": str(port), "RELAY_SHUTDOWN_GRACE_SECONDS": "5"}
        async with running(programs / "oms-relay", "run", folder=tmp_path, **settings):
            source = bucket(told, "source")
            for number, key in enumerate(KEYS):
                source.put_object(key, content(number))
            state = await settled(told["LOCALCLOUD_ADMIN"])
            records, copies = recorded(told), copied(told["LOCALCLOUD_ADMIN"])
    (task,) = state["tasks"].values()
    assert task["monthly_acceptance_request"] == len(KEYS)
    assert task["monthly_success_object"] == len(KEYS)
    assert set(state["calls"]["oms"]["CreateSyncEvents"]) == {"200"}
    assert {key: each["outcome"] for key, each in records.items()} == dict.fromkeys(
        KEYS, "accepted"
    )
    assert copies == {key: content(number) for number, key in enumerate(KEYS)}
    assert set(state["calls"]["mns"]["BatchDeleteMessage"]) == {"204"}
    first = json.loads((tmp_path / "log").read_text().splitlines()[0])
    assert (first["action"], first["version"]) == ("start", __version__)


async def test_its_console_has_pages_with_their_looks(programs: Path, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = ("-m", "worker", "console", "--port", str(port))
    async with (
        local_cloud(tmp_path) as told,
        running(programs / "python", *words, folder=tmp_path, **told),
    ):
        page = (await answered(url)).decode()
        parts = {name: path for path, name in re.findall(r'"(/static/[^/"]+/([^"]+))"', page)}
        assert set(parts) == {"console.css", "console.js", "icon.svg"}
        for name, path in parts.items():
            status, kind, content = await asyncio.to_thread(fetched, url + path)
            assert (status, content) == (200, (ROOT / "worker/console/static" / name).read_bytes())
            assert kind.startswith(("text/css", "text/javascript", "image/svg+xml"))
    assert "<h1" in page
