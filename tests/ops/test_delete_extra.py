"""Deletion of what the source has no more: what has to be so before a single object goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harness.disk import no_room
from harness.ops import CommandLine, calls
from harness.two_sides import QUESTION, comparing, put_both, put_copy, put_source
from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from localcloud.identity import HUAWEI
from worker.cli import commands
from worker.errors import CallFailed
from worker.operate.delete_extra import Deletion, Deletions, Extras, Fate
from worker.operate.destination_reconcile import Judged, Standing
from worker.ports import Listed

STEPS = ("--with", "destination", "--delete-extra")


def extras(cloud: LocalCloud) -> None:
    put_both(cloud, "a", "z")
    put_copy(cloud, "gone/1")
    put_copy(cloud, "gone/2")


def left(relayctl: CommandLine) -> list[str]:
    keys: list[str] = relayctl.within(lambda cloud: cloud.obs.keys("destination"))
    return keys


def run(relayctl: CommandLine, *arguments: str, **settings: str) -> Result:
    named = relayctl.cloud.settings(with_destination=True) | settings
    return relayctl("reconcile", "source", *STEPS, *arguments, **named)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.jsonl"


def test_nothing_goes_without_being_asked_for(relayctl: CommandLine) -> None:
    relayctl.within(extras)
    settings = relayctl.cloud.settings(with_destination=True)
    looked = relayctl("reconcile", "source", "--yes", **settings)
    assert looked.exit_code == 0
    assert "-           2" in looked.stdout
    assert left(relayctl) == ["a", "gone/1", "gone/2", "z"]


def test_a_dry_run_shows_what_would_go(relayctl: CommandLine) -> None:
    relayctl.within(extras)
    dry = run(relayctl, "--dry-run")
    assert dry.exit_code == 0
    assert [line.split()[-1] for line in dry.stdout.splitlines() if line[:4] == "-  2"] == [
        "gone/1",
        "gone/2",
    ]
    assert "2 objects of destination/ would be deleted. Nothing was changed" in dry.stdout
    assert left(relayctl) == ["a", "gone/1", "gone/2", "z"]


def test_what_is_extra_goes_and_each_deletion_stands_in_the_report(
    relayctl: CommandLine, report: Path
) -> None:
    relayctl.within(extras)
    done = run(relayctl, "--yes", "--report", str(report))
    assert done.exit_code == 0
    assert "2 of 2 objects deleted." in done.stdout
    assert left(relayctl) == ["a", "z"]
    found = [(each["action"], each["key"]) for each in lines(report) if "action" in each]
    assert found == [
        *(("deleting", "gone/1"), ("deleted", "gone/1")),
        *(("deleting", "gone/2"), ("deleted", "gone/2")),
    ]


@pytest.mark.parametrize(("answer", "number"), [("n", 4), ("y", 2)])
def test_somebody_is_asked_how_many_may_go(
    relayctl: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    report: Path,
    answer: str,
    number: int,
) -> None:
    relayctl.within(extras)
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("worker.commands.frame.sys", terminal)
    command = ["reconcile", "source", *STEPS, "--report", str(report)]
    settings = relayctl.cloud.settings(with_destination=True)
    result = CliRunner().invoke(commands, command, env=settings, input=answer)
    assert "Delete these 2 objects of destination/ for good?" in result.stderr
    assert result.exit_code == (0 if answer == "y" else 1)
    assert len(left(relayctl)) == number


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--yes",), "--delete-extra needs --report FILE"),
        (("--report", "r", "--yes", "--since", "1h"), "--delete-extra needs all objects"),
        (("--report", "r", "--yes", "--until", "1h"), "--delete-extra needs all objects"),
        (("--report", "r", "--yes", "--send"), "are two runs"),
        (("--report", "r"), "asks before it acts"),
    ],
)
def test_what_is_not_safe_is_refused(
    relayctl: CommandLine, arguments: tuple[str, ...], why: str
) -> None:
    relayctl.within(extras)
    refused = run(relayctl, *arguments)
    assert refused.exit_code == 2
    assert why in " ".join(refused.stderr.replace("│", " ").split())
    assert len(left(relayctl)) == 4


def test_an_empty_source_makes_nothing_extra(relayctl: CommandLine, report: Path) -> None:
    relayctl.within(lambda cloud: put_copy(cloud, "a"))
    refused = run(relayctl, "--yes", "--report", str(report))
    assert refused.exit_code == 1
    assert "the source lists no object in source/" in refused.stderr
    assert left(relayctl) == ["a"]
    assert lines(report)[-1]["action"] == "refused"


def test_an_empty_prefix_of_the_source_makes_nothing_extra(
    relayctl: CommandLine, report: Path
) -> None:
    relayctl.within(extras)
    refused = run(relayctl, "--yes", "--report", str(report), "--key", "gone/")
    assert refused.exit_code == 1
    assert "the source lists no object in source/gone/" in refused.stderr
    assert len(left(relayctl)) == 4


def test_more_than_are_allowed_are_none(relayctl: CommandLine, report: Path) -> None:
    relayctl.within(extras)
    refused = run(relayctl, "--yes", "--report", str(report), "--delete-max", "1")
    assert refused.exit_code == 1
    assert "2 objects are extra, and --delete-max allows 1: nothing was deleted" in refused.stderr
    assert len(left(relayctl)) == 4
    assert lines(report)[-1]["action"] == "refused"
    allowed = run(relayctl, "--yes", "--report", f"{report}.2", "--delete-max", "2")
    assert allowed.exit_code == 0
    assert left(relayctl) == ["a", "z"]


def test_another_destination_than_the_tasks_is_refused(relayctl: CommandLine, report: Path) -> None:
    def elsewhere(cloud: LocalCloud) -> None:
        put_both(cloud, "a")
        put_copy(cloud, "gone", bucket="another")

    relayctl.within(elsewhere)
    refused = run(relayctl, "--yes", "--report", str(report), OBS_BUCKET="another")
    assert refused.exit_code == 2
    assert "not from source to another: nothing may be deleted" in refused.stderr
    assert relayctl.within(lambda cloud: cloud.obs.keys("another")) == ["gone"]


def test_a_task_that_cannot_be_asked_forbids_it(relayctl: CommandLine, report: Path) -> None:
    relayctl.within(extras)
    relayctl.within(lambda cloud: cloud.faults.add(Fault("oms", "ShowSyncTask", status=403)))
    refused = run(relayctl, "--yes", "--report", str(report), OBS_BUCKET="destination")
    assert refused.exit_code == 2
    assert "whether the sync task copies between these two buckets is not known" in refused.stderr
    assert len(left(relayctl)) == 4


def test_a_comparison_that_ended_early_deletes_nothing(
    relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch, report: Path
) -> None:
    def fill(cloud: LocalCloud) -> None:
        extras(cloud)
        put_both(cloud, *(f"m/{number:04}" for number in range(1500)))

    relayctl.within(fill)
    oss, pages = relayctl.cloud.oss, 0
    serve = oss.serve

    async def end_after_the_first_page(call: Any) -> Any:
        nonlocal pages
        pages += oss.operation(call) == "ListObjectsV2"
        if pages == 2:
            oss.buckets.pop("source", None)
        return await serve(call)

    monkeypatch.setattr(oss, "serve", end_after_the_first_page)
    failed = run(relayctl, "--yes", "--report", str(report))
    assert failed.exit_code == 1
    assert "-           2" in failed.stdout
    assert "It ended before the last name" in failed.stdout
    assert {"gone/1", "gone/2"} < set(left(relayctl))
    assert not [each for each in lines(report) if "action" in each]


def test_a_right_that_is_missing_is_met_once_and_named(relayctl: CommandLine, report: Path) -> None:
    def deny(cloud: LocalCloud) -> None:
        extras(cloud)
        cloud.huawei.add(replace(HUAWEI, denied=("obs:object:DeleteObject",)))

    relayctl.within(deny)
    denied = run(relayctl, "--yes", "--report", str(report))
    assert denied.exit_code == 1
    assert "grant obs:object:DeleteObject on destination" in denied.stderr
    assert "0 of 2 objects deleted; 1 kept; 1 not tried." in denied.stdout
    assert relayctl.within(lambda cloud: calls(cloud, "obs", "DeleteObject")) == 1
    assert lines(report)[-1]["action"] == "kept"


def test_a_report_without_room_keeps_every_object(relayctl: CommandLine, report: Path) -> None:
    relayctl.within(extras)
    with no_room():
        refused = run(relayctl, "--yes", "--report", str(report))
    assert refused.exit_code == 2
    assert "cannot be written" in refused.stderr
    assert len(left(relayctl)) == 4


def test_json_has_a_line_for_each_deletion(relayctl: CommandLine, report: Path) -> None:
    relayctl.within(extras)
    done = run(relayctl, "--yes", "--report", str(report), "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each.get("action"), each["key"]) for each in found] == [
        *((None, "gone/1"), (None, "gone/2")),
        *(("deleted", "gone/1"), ("deleted", "gone/2")),
    ]


async def deleted(
    cloud: LocalCloud, before: Callable[[LocalCloud], Any], found: list[Judged] | None = None
) -> list[tuple[str, Fate, str]]:
    """Compare, change something, then delete what was extra."""
    async with comparing(cloud) as (clients, comparison):
        gathered = Extras()
        async for each in comparison.findings():
            gathered.add(each)
        before(cloud)
        assert clients.destination is not None
        said: list[Deletion] = []
        deletions = Deletions(clients, clients.destination, QUESTION, said.append)
        done = [each async for each in deletions.run(found or gathered.found)]
    assert [each for each in said if each.fate is not Fate.DELETING] == done
    return [(each.extra.key, each.fate, each.why) for each in done]


async def test_what_the_source_has_again_is_kept(cloud: LocalCloud) -> None:
    cloud.prepare()
    extras(cloud)
    done = await deleted(cloud, lambda cloud: put_source(cloud, "gone/1"))
    assert done == [
        ("gone/1", Fate.KEPT, "the source has it again"),
        ("gone/2", Fate.DELETED, ""),
    ]
    assert cloud.obs.keys("destination") == ["a", "gone/1", "z"]


async def test_what_cannot_be_looked_up_is_kept(cloud: LocalCloud) -> None:
    cloud.prepare()
    extras(cloud)
    denied = Fault("oss", "GetObject", status=403)
    done = await deleted(cloud, lambda cloud: cloud.faults.add(denied))
    assert [fate for _, fate, _ in done] == [Fate.KEPT, Fate.KEPT]
    assert all("could not be looked at: oss GetObject answered 403" in why for *_, why in done)
    assert calls(cloud, "obs", "DeleteObject") == 0


async def test_a_source_bucket_that_is_gone_meanwhile_deletes_nothing(cloud: LocalCloud) -> None:
    """A HEAD would say no more than 404 there, for every object."""
    cloud.prepare()
    extras(cloud)
    done = await deleted(cloud, lambda cloud: cloud.oss.buckets.pop("source"))
    assert [fate for _, fate, _ in done] == [Fate.KEPT, Fate.KEPT]
    assert calls(cloud, "obs", "DeleteObject") == 0


async def test_a_key_that_is_refused_meanwhile_ends_it_with_one_call(cloud: LocalCloud) -> None:
    cloud.prepare()
    extras(cloud)
    with pytest.raises(CallFailed, match="HeadObject answered 403"):
        await deleted(cloud, lambda cloud: cloud.huawei.add(replace(HUAWEI, secret="another one")))
    assert calls(cloud, "obs", "HeadObject") == 1
    assert calls(cloud, "obs", "DeleteObject") == 0


async def test_what_somebody_has_written_since_is_kept(cloud: LocalCloud) -> None:
    cloud.prepare()
    extras(cloud)
    done = await deleted(cloud, lambda cloud: put_copy(cloud, "gone/1", b"another"))
    assert done[0] == ("gone/1", Fate.KEPT, "somebody has written it since it was compared")
    assert "gone/1" in cloud.obs.keys("destination")


async def test_what_is_gone_already_is_said(cloud: LocalCloud) -> None:
    cloud.prepare()
    extras(cloud)
    done = await deleted(cloud, lambda cloud: cloud.obs.remove("destination", "gone/1"))
    assert done[0] == ("gone/1", Fate.KEPT, "it is gone already")


@pytest.mark.parametrize("key", ["oms/sync_task/1/list.txt", "oms/", "folder/"])
async def test_what_oms_wrote_and_folders_never_go(cloud: LocalCloud, key: str) -> None:
    cloud.prepare()
    put_both(cloud, "a")
    put_copy(cloud, key, b"" if key.endswith("/") else b"content")
    assert await deleted(cloud, lambda _: None) == []
    # Not even if it were handed over.
    stored = cloud.obs.read("destination", key)
    assert stored is not None
    listed = Listed(key, stored.size, stored.modified_at, stored.etag)
    extra = Judged(key, Standing.EXTRA, None, listed)
    [(_, fate, _)] = await deleted(cloud, lambda _: None, [extra])
    assert fate is Fate.KEPT
    assert cloud.obs.keys("destination") == ["a", key]


async def test_a_deletion_without_an_answer_is_unknown(cloud: LocalCloud) -> None:
    cloud.prepare()
    extras(cloud)
    failing = Fault("obs", "DeleteObject", status=503)
    done = await deleted(cloud, lambda cloud: cloud.faults.add(failing))
    assert [fate for _, fate, _ in done] == [Fate.UNKNOWN, Fate.UNKNOWN]


async def test_a_stop_leaves_the_rest(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_both(cloud, "a")
    for number in range(30):
        put_copy(cloud, f"gone/{number:02}")
    async with comparing(cloud) as (clients, comparison):
        gathered = Extras()
        async for each in comparison.findings():
            gathered.add(each)
        assert clients.destination is not None
        deletions = Deletions(clients, clients.destination, QUESTION, lambda _: clients.stop.set())
        done = [each async for each in deletions.run(gathered.found)]
    assert [each.fate for each in done] == [Fate.DELETED]
    assert len(cloud.obs.keys("destination")) == 30
