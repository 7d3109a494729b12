"""The account of the demo: what is right passes, and every single thing that is wrong is named."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from localcloud.__main__ import app
from localcloud.demo import command
from localcloud.demo.account import account, wrong
from localcloud.demo.facts import Facts, Kept, Sink, Source
from localcloud.demo.relay import RelayFailedError, samples
from localcloud.demo.screen import Screen
from localcloud.demo.workload import steps

METRICS = """\
# HELP oms_relay_messages_received_total Messages received from MNS.
oms_relay_messages_received_total{queue="demo"} 9.0
oms_relay_events_decoded_total{kind="created",queue="demo"} 7.0
oms_relay_events_decoded_total{kind="removed",queue="demo"} 1.0
oms_relay_keys_merged_total{queue="demo"} 2.0
oms_relay_events_repeated_total{queue="demo"} 1.0
oms_relay_keys_posted_total{outcome="accepted",queue="demo"} 4.0
oms_relay_keys_posted_total{outcome="rejected",queue="demo"} 1.0
oms_relay_arrivals_total{outcome="arrived",queue="demo"} 4.0
oms_relay_arrivals_total{outcome="resent",queue="demo"} 1.0
oms_relay_arrivals_proved_total{queue="demo"} 4.0
oms_relay_arrivals_pending{queue="demo"} 0.0
oms_relay_keys_posted_created{outcome="accepted",queue="demo"} 1.7e+09
"""
# Four keys, one of them refused, one overwritten, one deleted and read in two ways, one event twice.
RIGHT = Facts(
    source=Source(
        keys=frozenset({"a", "照片 %41", "gone+1", "refused"}),
        writes=5,
        deletions=1,
        live=3,
        events_announced=7,
        events_lost=0,
        announced_twice=1,
    ),
    sink=Sink(posts=4, keys=7, answers_lost=1, differing=(), copies_lost=1),
    kept=Kept(
        success=frozenset({"a", "照片 %41", "gone+1", "gone 1"}),
        failed=frozenset({"refused"}),
        dead_letters={"rejected": 1, "undecodable": 1},
    ),
    refused={"refused": 1},
    undecodable=1,
    messages_left=0,
    relay=samples(METRICS),
    kills=0,
    exit_code=0,
)


def changed(part: str, **fields: Any) -> Facts:
    return replace(RIGHT, **{part: replace(getattr(RIGHT, part), **fields)})


def metric(name: str, value: float) -> Facts:
    assert RIGHT.relay is not None
    return replace(RIGHT, relay={**RIGHT.relay, f"oms_relay_{name}": value})


def test_what_adds_up_is_right() -> None:
    assert wrong(account(RIGHT)) == []


def test_a_killed_relay_has_no_counters_to_check() -> None:
    lines = account(replace(RIGHT, relay=None, kills=2))
    assert wrong(lines) == []
    assert [line.must_be for line in lines if line.what == "relay's own counters"] == [
        "gone with the killed processes (2)"
    ]


@pytest.mark.parametrize(
    ("facts", "what", "differs"),
    [
        (changed("source", events_announced=6), "events announced", "-1 off"),
        (changed("source", events_lost=1), "events lost by OSS", "+1 off"),
        (metric("messages_received_total", 7), "messages received", "1 short"),
        (
            metric("keys_merged_total", 0),
            "posted + merged + delivered again",
            "7 changes were decoded",
        ),
        (
            metric("keys_merged_total", 99),
            "posted + merged + delivered again",
            "7 changes were decoded",
        ),
        (changed("sink", keys=4), "keys accepted by OMS", "-1 keys are more than"),
        (changed("sink", keys=16), "keys accepted by OMS", "11 keys are more than"),
        (changed("kept", success=frozenset({"a"})), "success records", "no record of 'gone+1'"),
        (
            changed("kept", success=RIGHT.kept.success | {"refused"}),
            "success records",
            "no such object: 'refused'",
        ),
        (changed("kept", failed=frozenset()), "failed records", "missing: 'refused'"),
        (changed("kept", dead_letters={}), "dead letters: undecodable", "-1 off"),
        (
            changed("kept", dead_letters={**RIGHT.kept.dead_letters, "max-deliveries": 1}),
            "dead letters: max-deliveries",
            "+1 off",
        ),
        (metric("arrivals_pending", 2), "arrived at the destination", "2 are still followed"),
        (
            metric('arrivals_total{outcome="given_up"}', 1),
            "arrived at the destination",
            "1 were given up",
        ),
        (metric("arrivals_proved_total", 3), "proved by checksums", "-1 off"),
        (replace(RIGHT, messages_left=2), "messages deleted", "-2 off"),
        (replace(RIGHT, messages_left=2), "queue empty", "2 messages are left"),
        (
            changed("sink", differing=("a", "b", "c", "d")),
            "destination identical to source",
            "4 differ, such as 'a', 'b', 'c' and 1 more",
        ),
        (replace(RIGHT, exit_code=1), "relay's exit code after SIGTERM", "did not stop well"),
    ],
)
def test_what_is_wrong_is_named(facts: Facts, what: str, differs: str) -> None:
    found = {line.what: line.differs for line in wrong(account(facts))}
    assert differs in found[what]


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "✗"), ("ascii", "XX")])
def test_the_table_crosses_out_what_is_wrong(encoding: str, mark: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    Screen(Console(file=out)).account(account(replace(RIGHT, messages_left=2)))
    out.seek(0)
    rows = [line.strip(" |").split() for line in out if "queue empty" in line]
    assert rows[0][0] == mark


@pytest.mark.parametrize("result", [False, RelayFailedError("The relay ended by itself.")])
def test_a_demo_that_does_not_add_up_ends_with_1_and_names_the_log(
    result: bool | RelayFailedError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(*_: object) -> bool:
        if isinstance(result, RelayFailedError):
            raise result
        return result

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(tmp_path))
    ended = CliRunner().invoke(app, ["demo"])
    assert ended.exit_code == 1
    assert str(tmp_path / "relay.log") in ended.output.replace("\n", "")


def test_a_seed_repeats_every_step_in_the_order_of_each_key() -> None:
    planned = steps(200, seed=4, refused=("no",))
    assert planned == steps(200, seed=4, refused=("no",))
    assert planned != steps(200, seed=5, refused=("no",))
    assert len({step.key for step in planned}) == 201
    deleted: set[str] = set()
    for step in planned:
        assert step.key not in deleted
        deleted |= {step.key} if step.data is None else set()
    assert deleted
