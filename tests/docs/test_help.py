"""Every example in the help of every command does what it shows, against a local cloud."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from harness.dockerfile import ROOT
from harness.documents import spans
from harness.grammar import COMMANDS, examples, refusal
from harness.ops import CommandLine, command_line, pulse, put_letter, put_object, put_pulse
from harness.programs import answered, running
from harness.reader import reading
from harness.relay import free_port
from localcloud.cloud import LocalCloud
from worker.cli import commands

SHOWN = [each for _, each in examples(COMMANDS["worker"], "oms-relay")]
GOES_ON = re.compile(r" (run|status|console)\b")
HERE = [each for each in SHOWN if not GOES_ON.search(each)]
SERVED = {
    "run": r'"status": ?"ready"',
    "status": r"(?s)queue +\d+ waiting.*\(oss-events\).*SYNCHRONIZING.*http://127\.0\.0\.1:\d+ +ready",
    "console": r"(?s)<title>.*console\.css",
}
ID = 0x1F6E2A << 104
# What each example prints, and through jq where it is shown so.
PRINTED = {
    "oms-relay doctor": r"\n2\d ok, 3 skipped\.\n$",
    "oms-relay doctor --post photos/2026/cat.jpg": r"\n2\d ok, 2 skipped\.\n$",
    """oms-relay doctor --json | jq '.checks[] | select(.verdict == "failure")'""": r"^$",
    'oms-relay pause --for 2h --reason "the destination is being moved"': r"^The fleet is paused until 20",
    "oms-relay pause": r"^The fleet is paused until `oms-relay resume`",
    "oms-relay resume": r"^The fleet was not paused",
    "oms-relay dead groups": r"\b7 letters in 2 groups",
    "oms-relay dead groups --since 24h --key photos/": r"\b6 letters in 1 group\b",
    "oms-relay dead list --cause rejected --since 24h": r"^ID +GROUP(.*\n){7}$",
    "oms-relay dead list --limit 0 --json | jq -r .id": r"^([0-9A-F]{32}\n){7}$",
    "oms-relay dead show 1F6E2A": r"1F6E2A0{26}",
    "oms-relay dead show 1F6E2A --json | jq .content": r'"key": "films/a\.jpg"',
    "oms-relay dead redrive --group a1f3c2 --dry-run": r"^6 would be redriven\.\n",
    "oms-relay dead redrive --group a1f3c2 --canary 5": r"(?m)^5 redriven\.$",
    "oms-relay dead redrive --since 24h --rate 50/s --yes": r"^7 redriven\.\n$",
    'oms-relay dead archive --cause undecodable --reason "test events"': r"(?m)^1 archived\.$",
    "oms-relay dead archive 1F6E2A --yes": r"^1 archived\.\n$",
    "oms-relay dead unarchive 1F6E2A": r"(?m)^1 brought back\.$",
    "oms-relay dead unarchive --cause undecodable --since 7d --dry-run": r"^1 would be brought back\.\n",
    "oms-relay records find photos/2026/cat.jpg": r"accepted",
    "oms-relay records find photos/2026/cat.jpg --since 7d --json": r'^{"key": "photos/2026/cat.jpg".*\n$',
    "oms-relay reconcile my-photos": r"\n\+ +0 without a record\n",
    "oms-relay reconcile my-photos --key 2026/ --since 7d --show gone --limit 0 --json": r"^$",
    "oms-relay reconcile my-photos --send --rate 100/s --yes": r"\n0 of 0 gaps were sent",
    "oms-relay reconcile my-photos --with destination --sample 1000 --report gaps.jsonl": (
        r"\nProved: 1 of 1 objects of the source \(100 %\), 5 B of 5 B\.\n"
    ),
    "oms-relay reconcile my-photos --with destination --delete-extra --dry-run": (
        r"\nThere is nothing to delete\.\n"
    ),
    "oms-relay records compact": r"^0 log objects with 0 lines became 0 runs; 0 runs were merged\.\n$",
    "oms-relay records failed --since 24h": r"photos/dog\.jpg",
    "oms-relay records failed --key photos/ --limit 0 --json": r'^{"key": "photos/dog.jpg".*\n$',
}


def inhabited(cloud: LocalCloud) -> None:
    """Make what the examples name: an object with a record, a refused key, and letters of today."""
    now = datetime.now(UTC)
    today = {"day": f"{now:%Y-%m-%d}", "died_at": now.isoformat()}
    for number in range(6):
        put_letter(cloud, number, **today)
    about = {"bucket": {"name": "source"}, "object": {"key": "films/a.jpg"}}
    event = {"eventName": "ObjectCreated:PutObject", "eventTime": now.isoformat(), "oss": about}
    body = json.dumps({"events": [event]})
    put_letter(cloud, ID, cause="undecodable", error="no JSON", body=body, **today)
    cloud.oss.rules.clear()
    # Older than what `reconcile` leaves out because it may be on its way.
    stored = cloud.oss.put("my-photos", "photos/2026/cat.jpg", b"a cat")
    cloud.oss.buckets["my-photos"].put(replace(stored, modified_at=stored.modified_at - 600))
    cloud.obs.write("destination", "photos/2026/cat.jpg", b"a cat")
    for folder, outcome, key in (
        ("success_object", "accepted", "photos/2026/cat.jpg"),
        ("failed_object", "rejected", "photos/dog.jpg"),
    ):
        record = {
            "key": key,
            "outcome": outcome,
            "posted_at": now.isoformat(),
            "reason": "OMS.0064",
        }
        put_object(cloud, f"{folder}/{key}", json.dumps(record).encode())


@pytest.fixture
def relayctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The commands in this process, with somebody at a terminal to answer."""
    monkeypatch.chdir(tmp_path)
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("worker.commands.frame.sys", terminal)
    with command_line(source_bucket="my-photos") as line:
        line.within(inhabited)
        line.within(lambda cloud: put_pulse(cloud, pulse(1)))
        yield line
    structlog.reset_defaults()


def piped(printed: str, program: str) -> str:
    """What another program makes of it."""
    done = subprocess.run(
        shlex.split(program), input=printed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", HERE)
def test_an_example_does_what_it_shows(relayctl: CommandLine, example: str) -> None:
    if "unarchive" in example:
        assert relayctl("dead", "archive", "1F6E2A", "--yes").exit_code == 0
    [group] = relayctl.lines("dead", "groups", "--cause", "rejected")
    command, _, program = example.replace("a1f3c2", group["group"]).partition(" | ")
    if program and not shutil.which("jq"):
        pytest.skip("no jq on this machine")
    settings = relayctl.cloud.settings(with_destination="--with destination" in example)
    result = CliRunner().invoke(commands, shlex.split(command)[1:], env=settings, input="y\n")
    assert result.exit_code == 0, result.output
    printed = piped(result.stdout, program) if program else result.stdout
    assert re.search(PRINTED[example], printed), printed


def fields(relayctl: CommandLine, *command: str) -> set[str]:
    [printed, *_] = relayctl.lines(*command)
    return set(printed)


def compared(relayctl: CommandLine) -> dict[str, Any]:
    settings = relayctl.cloud.settings(with_destination=True)
    [printed] = relayctl.lines("reconcile", "my-photos", "--show", "proved", **settings)
    return printed


def test_the_document_of_commands_names_every_field_of_json(relayctl: CommandLine) -> None:
    document = ROOT / "docs" / "cli.md"
    found = {
        "doctor": fields(relayctl, "doctor") | {"name", "verdict", "detail", "fix"},
        "status": fields(relayctl, "status"),
        "dead show": fields(relayctl, "dead", "show", "1F6E2A"),
        "dead groups": fields(relayctl, "dead", "groups"),
        "dead redrive": fields(relayctl, "dead", "redrive", "--dry-run"),
        "reconcile": {"key", "state", "changed_at", "recorded_at", "message_id"},
        "reconcile --with destination": set(compared(relayctl)),
        "records find": fields(relayctl, "records", "find", "photos/2026/cat.jpg"),
    }
    in_code = set(re.findall(r"\w+", " ".join(spans(document))))
    assert {name: names for name, each in found.items() if (names := each - in_code)} == {}
    tables = re.findall(
        r"^\| field \|.*\n\|---.*\n((?:\|.*\n)+)", document.read_text(), re.MULTILINE
    )
    told = {name for table in tables for name in re.findall(r"`(\w+)`", first_cells(table))}
    # With one route there are no `routes`.
    assert told == found["status"] | found["dead show"] | {"routes"}


def first_cells(table: str) -> str:
    return " ".join(row.split("|")[1] for row in table.splitlines())


async def test_examples_that_go_on_serve_until_they_are_stopped(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    cloud.prepare()
    shown = [each for each in SHOWN if GOES_ON.search(each)]
    assert [GOES_ON.findall(each)[0] for each in shown] == ["run"] * 2 + ["status"] * 2 + [
        "console"
    ] * 3
    async with reading(cloud, tmp_path) as reader:
        for example in shown:
            printed = await reader.type(example)
            [kind] = GOES_ON.findall(example)
            assert re.search(SERVED[kind], printed), printed


async def test_the_local_cloud_serves_as_its_help_shows(tmp_path: Path) -> None:
    port = str(free_port())
    shown = [each for name, each in examples(COMMANDS["localcloud"], "") if not name]
    *serving, look, demo, play = [each.replace("9000", port) for each in shown]
    async with AsyncExitStack() as stack:
        for each in serving:
            words = shlex.split(each)
            assert words[:3] == ["python", "-m", "localcloud"]
            process = await stack.enter_async_context(
                running(Path(sys.executable), *words[1:], folder=tmp_path)
            )
            assert process.stdout is not None
            first = await process.stdout.readline()
            assert ("MNS_QUEUE" in json.loads(first)) if "--json" in each else b"is ready" in first
        assert look.startswith("curl ")
        state = json.loads(await answered(f"http://{look.split()[1]}"))
    assert state["queues"]["oss-events"] == {"active": 0, "inactive": 0, "delayed": 0}
    assert demo == "python -m localcloud demo"
    assert play == "python -m localcloud play"


@pytest.mark.parametrize(("command", "number"), [("demo", 5), ("play", 4)])
def test_the_examples_of_what_takes_long_are_understood(command: str, number: int) -> None:
    """tests/process/test_demo.py and test_play.py run them."""
    shown = [each for _, each in examples(COMMANDS["localcloud"], "") if command in each]
    assert len(shown) == number
    assert [refusal(each) for each in shown] == [None] * number
