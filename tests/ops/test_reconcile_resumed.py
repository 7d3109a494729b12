"""Comparisons in many ranges, stopped and killed anywhere and gone on with: one account, no event twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.ops import CommandLine, bodies, objects
from harness.two_sides import HOUR, put_both, put_copy, put_source
from localcloud.cloud import LocalCloud
from worker.clouds.mns import MnsClient
from worker.clouds.obs import ObsClient
from worker.clouds.oss import OssClient
from worker.commands import reconcile_destination
from worker.events.decode import decode
from worker.operate import helpers
from worker.operate.bookmark import FileShelf, NotResumable, alone_with
from worker.operate.destination_reconcile import Manner
from worker.ports import Page

NAMES = 240
PAGE = 10
SIGNS = "=?~+*-!"


class Killed(BaseException):
    """The process is no more."""


def furnish(cloud: LocalCloud) -> None:
    for number in range(NAMES):
        key = f"photos/{number * 7919 % 1000:03}/{number}.jpg"
        if number % 11 == 0:
            put_source(cloud, key, age=HOUR)
        elif number % 13 == 0:
            put_copy(cloud, key)
        elif number % 17 == 0:
            put_source(cloud, key, b"12345")
            put_copy(cloud, key, b"123")
        else:
            put_both(cloud, key)


@pytest.fixture
def many_pages(relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A bucket of many small pages, in ranges that are split as soon as they may be."""
    for client in (OssClient, ObsClient):
        whole = client.list

        def small(self: Any, *asked: Any, whole: Any = whole, **more: Any) -> AsyncGenerator[Page]:
            found: AsyncGenerator[Page] = whole(self, *asked, **{"keys_max": PAGE} | more)
            return found

        monkeypatch.setattr(client, "list", small)
    monkeypatch.setattr(reconcile_destination, "Manner", partial(Manner, split_after_pages=4))
    monkeypatch.setattr(reconcile_destination, "SENDS_AT_ONCE", 2)
    monkeypatch.setattr(FileShelf, "seconds", 0.0)
    relayctl.within(furnish)
    return relayctl


def compared(line: CommandLine, *arguments: str) -> Any:
    return line("reconcile", "source", *arguments, **line.cloud.settings(with_destination=True))


def account(printed: str) -> dict[str, int]:
    rows = (
        row.split() for row in printed.splitlines() if row[:2] in [f"{sign} " for sign in SIGNS]
    )
    return {row[0]: int(row[1]) for row in rows if row[1].isdigit()}


def rows(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if '"is_complete"' not in line]


def test_many_lanes_find_what_one_finds_and_tell_it_in_order(
    many_pages: CommandLine, tmp_path: Path
) -> None:
    found = {}
    for lanes, *more in (("1",), ("8",), ("8", "--unordered")):
        path = tmp_path / f"{lanes}{len(more)}.jsonl"
        done = compared(many_pages, "--lanes", lanes, "--report", str(path), *more)
        assert done.exit_code == 1
        found[lanes, len(more)] = (account(done.stdout), rows(path))
    (one, in_order), (many, also), (_, as_found) = found.values()
    assert one == many
    assert one["+"] > 15
    assert in_order == also
    assert [json.loads(each)["key"] for each in also] == sorted(
        json.loads(each)["key"] for each in also
    )
    assert as_found != also
    assert sorted(as_found) == sorted(also)


def test_two_processes_find_what_one_finds(
    many_pages: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compared(many_pages, "--report", str(tmp_path / "one.jsonl"))
    two = tmp_path / "two.jsonl"
    for name, value in many_pages.cloud.settings(with_destination=True).items():
        monkeypatch.setenv(name, value)
    done = compared(many_pages, "--lanes", "2", "--processes", "2", "--report", str(two))
    assert done.exit_code == 1
    assert account(done.stdout) == account(expected.stdout)
    assert rows(two) == rows(tmp_path / "one.jsonl")


@pytest.mark.parametrize("bytes_read", [0, 500])
def test_a_process_that_dies_ends_it_openly(
    many_pages: CommandLine, monkeypatch: pytest.MonkeyPatch, bytes_read: int
) -> None:
    dying = f"import sys; sys.stdin.buffer.read({bytes_read})"
    monkeypatch.setattr(helpers, "COMMAND", ("-S", "-c", dying))
    failed = compared(many_pages, "--lanes", "2", "--processes", "2")
    assert failed.exit_code == 1
    assert "a process that compared for this one has ended" in failed.stderr
    assert "It ended before the last name" in failed.stdout


@pytest.mark.parametrize("is_kept_first", [True, False])
def test_killed_again_and_again_it_comes_to_the_same_account(
    many_pages: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_kept_first: bool,
) -> None:
    straight = tmp_path / "straight.jsonl"
    expected = compared(many_pages, "--lanes", "4", "--report", str(straight))
    state, path = tmp_path / "state", tmp_path / "report.jsonl"
    put = FileShelf.put
    puts = kills = 0

    async def put_and_die(self: FileShelf, body: bytes) -> None:
        nonlocal puts
        puts += 1
        if puts % 5 == 0:
            if is_kept_first:
                await put(self, body)
            raise Killed
        await put(self, body)

    monkeypatch.setattr(FileShelf, "put", put_and_die)
    arguments = ("--lanes", "4", "--state", str(state), "--report", str(path))
    while True:
        try:
            done = compared(many_pages, *arguments)
            break
        except Killed:
            kills += 1
            assert kills < 50
            # What was written after the last state is told again.
            with path.open("a") as file:
                file.write('{"key": "half a li')
    assert kills >= 3
    assert done.exit_code == 1
    assert account(done.stdout) == account(expected.stdout)
    assert "This goes on with the comparison that began at" in done.stdout
    assert sorted(rows(path)) == sorted(rows(straight))
    assert not state.exists()


def test_a_state_is_a_few_kib_and_no_range_is_read_twice(
    many_pages: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, asked = tmp_path / "state", Counter[str]()
    list_page = OssClient._list_page
    pages = 0

    async def counted(self: OssClient, bucket: str, query: Any) -> Page:
        nonlocal pages
        page = await list_page(self, bucket, query)
        if query.get("max-keys") == str(PAGE):
            asked.update(each.key for each in page.objects)
            pages += 1
            if pages == 15:
                os.kill(os.getpid(), signal.SIGINT)
        return page

    monkeypatch.setattr(OssClient, "_list_page", counted)
    stopped = compared(many_pages, "--lanes", "4", "--state", str(state))
    assert stopped.exit_code == 130
    assert "The same command goes on from there." in stopped.stdout
    assert state.stat().st_size < 4096
    done = compared(many_pages, "--lanes", "4", "--state", str(state))
    assert done.exit_code == 1
    # Each lane has two pages in hand and one on its way, and a split leaves one more.
    twice = sum(1 for count in asked.values() if count > 1)
    assert twice <= 2 * 4 * 3 * PAGE
    assert sum(account(done.stdout).values()) == NAMES


def test_after_ctrl_c_it_names_where_it_stopped_and_resumes_from_the_log_bucket(
    many_pages: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compared(many_pages)
    serve, pages = many_pages.cloud.obs.serve, 0

    async def interrupt(call: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return await serve(call)

    nothing = compared(many_pages, "--resume")
    assert nothing.exit_code == 2
    assert "there is nothing to go on from" in nothing.stderr
    monkeypatch.setattr(many_pages.cloud.obs, "serve", interrupt)
    stopped = compared(many_pages)
    assert stopped.exit_code == 130
    said = " ".join(stopped.stdout.split())
    assert "The first name that is left comes after photos/" in said
    assert "--resume, with the same options, goes on from there." in said
    assert sum(account(stopped.stdout).values()) < NAMES
    assert [name for name in many_pages.within(objects) if "reconcile/state-" in name]
    done = compared(many_pages, "--resume")
    assert done.exit_code == 1
    assert account(done.stdout) == account(expected.stdout)
    assert not [name for name in many_pages.within(objects) if "reconcile/state-" in name]


def test_what_was_sent_before_a_stop_is_not_sent_again(
    many_pages: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = MnsClient.send
    sent = 0

    async def stop_at_some(self: MnsClient, body: str) -> str:
        nonlocal sent
        sent += 1
        if sent in (4, 9, 20):
            os.kill(os.getpid(), signal.SIGINT)
        return await send(self, body)

    monkeypatch.setattr(MnsClient, "send", stop_at_some)
    command = ("--send", "--yes", "--lanes", "4", "--state", str(tmp_path / "state"))
    codes: list[int] = []
    while not codes or codes[-1] == 130:
        codes.append(compared(many_pages, *command).exit_code)
        assert len(codes) < 9
    assert codes == [130, 130, 130, 1]
    keys = [event.key for body in many_pages.within(bodies) for event in decode(body)]
    assert len(keys) == len(set(keys)) == sent
    expected = account(compared(many_pages).stdout)
    assert sent == expected["+"] + expected["*"]


def test_records_that_were_compared_are_not_compared_again_after_a_stop(
    relayctl: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_events(cloud: LocalCloud) -> None:
        cloud.oss.rules.clear()
        for number in range(60):
            put_source(cloud, f"{number:03}", age=HOUR if number % 3 else 3 * HOUR)

    relayctl.within(lose_events)
    command = ("reconcile", "source", "--since", "2h", "--send", "--yes")
    send, sent = MnsClient.send, 0

    async def stop_at_some(self: MnsClient, body: str) -> str:
        nonlocal sent
        sent += 1
        if sent in (1, 20):
            os.kill(os.getpid(), signal.SIGINT)
        return await send(self, body)

    monkeypatch.setattr(MnsClient, "send", stop_at_some)
    state = ("--state", str(tmp_path / "state"))
    stopped = [relayctl(*command, *state), relayctl(*command, *state)]
    assert [each.exit_code for each in stopped] == [130, 130]
    assert "It ended before the last name, after 0" in stopped[1].stdout
    assert "goes on from there" in stopped[1].stdout
    other = relayctl(*command[:-2], *state)
    assert other.exit_code == 2
    assert "--send was True and is False" in other.stderr
    done = relayctl(*command, *state)
    assert done.exit_code == 4, "20 are older than --since"
    assert "40 of 40 gaps were sent" in done.stdout
    said = " ".join(done.stdout.split())
    assert "Not looked at: 20 objects that changed before --since and 0 after" in said
    keys = [event.key for body in relayctl.within(bodies) for event in decode(body)]
    assert len(keys) == len(set(keys)) == sent == 40
    assert not (tmp_path / "state").exists()
    nothing = relayctl("reconcile", "source", "--resume")
    assert nothing.exit_code == 2
    assert "there is nothing to go on from" in nothing.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--key", "photos/"), "--key was '' and is 'photos/'"),
        (("--deep",), "--deep was False and is True"),
        (("--sample", "5"), "leave out --state and --resume"),
        (("--delete-extra", "--dry-run"), "leave out --state and --resume"),
        (("--resume",), "--resume is without a file"),
    ],
)
def test_the_state_of_another_comparison_is_refused(
    many_pages: CommandLine, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    state = tmp_path / "state"
    many_pages.within(lambda cloud: cloud.obs.buckets.clear())
    assert compared(many_pages, "--state", str(state)).exit_code == 1
    kept = state.read_bytes()
    refused = compared(many_pages, "--state", str(state), *arguments)
    assert refused.exit_code == 2
    assert why in " ".join(refused.stderr.replace("│", " ").split())
    assert state.read_bytes() == kept


@pytest.mark.parametrize("other", ["destination", "records"])
def test_a_file_of_state_is_for_one_run_at_a_time(
    many_pages: CommandLine, tmp_path: Path, other: str
) -> None:
    state = tmp_path / "state"
    with alone_with(state):
        refused = compared(many_pages, "--with", other, "--state", str(state))
    assert refused.exit_code == 2
    assert "another run is at work with the state" in " ".join(refused.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    killed = (
        "import os, pathlib, sys; from worker.operate.bookmark import alone_with\n"
        "with alone_with(pathlib.Path(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(state)], check=False)
    assert [each.name for each in tmp_path.iterdir()] == ["state.lock"]
    with alone_with(state), pytest.raises(NotResumable), alone_with(state):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"version": 1}'])
def test_what_is_no_state_is_refused(many_pages: CommandLine, tmp_path: Path, body: bytes) -> None:
    state = tmp_path / "state"
    state.write_bytes(body)
    refused = compared(many_pages, "--state", str(state))
    assert refused.exit_code == 2
    assert "holds no state of a comparison" in refused.stderr
    assert state.read_bytes() == body


def test_a_report_without_its_state_is_not_written_over(
    many_pages: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "report.jsonl"
    path.write_text("mine\n")
    refused = compared(many_pages, "--state", str(tmp_path / "s"), "--report", str(path))
    assert refused.exit_code == 2
    assert "no state that it belongs to" in refused.stderr
    assert path.read_text() == "mine\n"
