from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
import typer.main
from rich.console import Console

from doubles.build import failure
from harness.ops import (
    CommandLine,
    bodies,
    message_id,
    objects,
    oss_event,
    pulse,
    put_letter,
    put_object,
    put_pulse,
)
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import ALIBABA, Identity
from localcloud.oms.task import Statistic
from worker.cli import commands
from worker.commands import frame
from worker.commands.status import drawn
from worker.commands.terminal import shown, span, time_shown
from worker.ledger.names import record_name
from worker.ledger.pulse import PulseState, Rates
from worker.operate import status
from worker.operate.status import QueueStatus, Status
from worker.operate.workers import Sample, WorkerStatus

COMMANDS = [
    *(["doctor"], ["status"], ["records", "find"], ["records", "failed"], ["records", "compact"]),
    *(["dead", name] for name in ("groups", "list", "show", "redrive", "archive", "unarchive")),
]
LETTER_FIELDS = {
    *("id", "cause", "day", "is_archived", "group", "error", "keys", "key_errors", "attempts"),
    *("worker", "enqueued_at", "died_at", "moved_at", "redriven_as", "reason"),
}
RECORD_FIELDS = {
    *("key", "outcome", "name", "posted_at", "event_time", "etag", "message_id"),
    *("oms_request_id", "attempts", "reason"),
}


def letters(cloud: LocalCloud, count: int = 3) -> None:
    for number in range(1, count + 1):
        put_letter(cloud, number)


def plain(text: str) -> None:
    """Output that is piped has no colours, no frames, and nothing behind the end of a line."""
    assert "\x1b" not in text
    assert not set(text) & set("─│┃━┏┓└┘╭╮")
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_examples(relayctl: CommandLine, command: list[str]) -> None:
    result = relayctl(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"oms-relay {' '.join(command)}" in result.stdout


def test_a_look_at_the_status_does_not_wait_for_a_service_that_is_down(
    relayctl: CommandLine,
) -> None:
    wait = {"Retry-After": "60"}
    relayctl.within(lambda cloud: cloud.faults.add(Fault("*", status=429, headers=wait)))
    result = relayctl("status")
    assert result.exit_code == 1
    assert result.stdout.count("answered 429") == 6


def test_the_next_step_for_what_cannot_be_read_is_the_archive(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: put_letter(cloud, 1, cause="undecodable"))
    assert "oms-relay dead archive --group" in relayctl("dead", "groups").stdout
    assert "oms-relay dead archive" in relayctl("dead", "show", message_id(1)).stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_settings_that_cannot_be_read_are_listed_whole_with_code_2(
    relayctl: CommandLine, command: list[str]
) -> None:
    argument = ["x"] if command[-1] in {"show", "find"} else []
    yes = ["--yes"] if command[-1] in {"redrive", "archive", "unarchive"} else []
    result = relayctl(*command, *argument, *yes, MNS_QUEUE="", LOG_BUCKET="UPPER")
    assert result.exit_code == 2
    assert "MNS_QUEUE is not set" in result.stderr
    assert "LOG_BUCKET" in result.stderr
    assert "Traceback" not in result.output


def test_groups_are_shown_with_the_next_step(relayctl: CommandLine) -> None:
    relayctl.within(letters)
    relayctl.within(lambda cloud: put_letter(cloud, 9, cause="undecodable", error="no\x07 JSON\n"))
    result = relayctl("dead", "groups")
    assert result.exit_code == 0
    plain(result.stdout)
    assert "4 letters in 2 groups" in result.stdout
    assert "no\\x07 JSON\\n" in result.stdout
    assert f"oms-relay dead show {message_id(1)[:12]}" in result.stdout
    groups = relayctl.lines("dead", "groups", "--cause", "rejected")
    assert [group["count"] for group in groups] == [3]
    assert groups[0].keys() == {
        *("group", "cause", "error", "count", "first_seen", "last_seen", "sample_id", "sample_key")
    }


def test_an_empty_store_says_so(relayctl: CommandLine) -> None:
    assert "Nothing to do" in relayctl("dead", "groups").stdout
    assert "No dead letters match" in relayctl("dead", "list").stdout
    assert "No archived letters match" in relayctl("dead", "list", "--archived").stdout
    assert "No failed records match" in relayctl("records", "failed").stdout
    assert relayctl.lines("dead", "list") == []
    result = relayctl("dead", "redrive", "--yes")
    assert (result.exit_code, "Nothing was done" in result.stdout) == (0, True)


def test_a_list_has_a_limit_and_says_so(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: letters(cloud, 60))
    result = relayctl("dead", "list")
    assert result.stdout.count("photos/") == 50
    assert "--limit 0 shows all" in result.stdout
    plain(result.stdout)
    lines = relayctl.lines("dead", "list", "--limit", "0")
    assert len(lines) == 60
    assert all(line.keys() == LETTER_FIELDS for line in lines)
    assert lines[0]["keys"] == ["photos/1.jpg"]


def test_a_letter_is_shown_whole(relayctl: CommandLine) -> None:
    body = {
        "events": [{"eventName": "ObjectCreated:PutObject", "oss": {"object": {"key": "猫\x07"}}}]
    }
    keys = [{"key": "猫\x07😀", "error": "refused"}]
    relayctl.within(lambda cloud: put_letter(cloud, 0xABC, body=json.dumps(body), keys=keys))
    result = relayctl("dead", "show", "0" * 29)
    assert result.exit_code == 0
    plain(result.stdout)
    for text in (message_id(0xABC), "猫\\x07😀", "refused", "ObjectCreated:PutObject", "worker-1"):
        assert text in result.stdout
    [line] = relayctl.lines("dead", "show", message_id(0xABC))
    assert line.keys() == LETTER_FIELDS | {"body", "content"}
    assert line["body"] == json.dumps(body)
    assert line["content"] == body["events"]


def test_a_letter_that_is_not_there_has_a_code_of_its_own(relayctl: CommandLine) -> None:
    result = relayctl("dead", "show", "FFFF")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "`oms-relay dead list` shows the ids" in result.stderr


def test_redrive_tells_what_it_did(relayctl: CommandLine) -> None:
    relayctl.within(letters)
    before = relayctl.within(objects)
    result = relayctl("dead", "redrive", "--dry-run")
    assert (result.exit_code, relayctl.within(objects)) == (0, before)
    assert "3 would be redriven" in result.stdout
    assert "Nothing was changed" in result.stdout
    result = relayctl("dead", "redrive", "--canary", "1", "--yes")
    assert "1 redriven." in result.stdout
    assert "run it again" in result.stdout
    lines = relayctl.lines("dead", "redrive", message_id(2), "--yes", "--rate", "100/s")
    assert [line["id"] for line in lines] == [message_id(2)]
    assert lines[0].keys() == {"id", "cause", "day", "outcome", "message_id", "detail"}
    assert lines[0]["outcome"] == "done"
    assert relayctl.within(bodies) == ["body 1", "body 2"]


def test_archive_and_unarchive_tell_what_they_did(relayctl: CommandLine) -> None:
    relayctl.within(letters)
    result = relayctl("dead", "archive", "--yes", "--reason", "test events")
    assert "3 archived." in result.stdout
    assert "test events" in relayctl("dead", "show", message_id(1)).stdout
    assert len(relayctl.lines("dead", "list", "--archived")) == 3
    assert "3 brought back." in relayctl("dead", "unarchive", "--yes").stdout
    assert len(relayctl.lines("dead", "list")) == 3


@pytest.mark.parametrize("verb", ["redrive", "archive", "unarchive"])
def test_nobody_to_ask_means_nothing_is_done(relayctl: CommandLine, verb: str) -> None:
    relayctl.within(letters)
    before = relayctl.within(objects)
    result = relayctl("dead", verb)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert relayctl.within(objects) == before


def test_a_denied_right_ends_a_redrive_with_the_account_and_code_1(relayctl: CommandLine) -> None:
    relayctl.within(letters)
    rights = Identity(ALIBABA.access_key, ALIBABA.secret, allowed=("oss:*",))
    relayctl.within(lambda cloud: cloud.alibaba.add(rights))
    result = relayctl("dead", "redrive", "--yes")
    assert result.exit_code == 1
    assert "1 kept as they are" in result.stdout
    assert "AccessDenied" in result.stderr
    assert "Next: grant mns:SendMessage on acs:mns:*:*:/queues/oss-events/messages" in result.stderr
    assert "Traceback" not in result.output


def test_a_letter_that_cannot_be_sent_is_named_with_code_1(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: put_letter(cloud, 1, body="x" * 70_000))
    result = relayctl("dead", "redrive", "--yes")
    assert result.exit_code == 1
    assert f"{message_id(1)[:12]} kept: mns SendMessage answered 400" in result.stdout


@pytest.mark.parametrize("key", ["plain", "猫/😀", "..", "a\x07b", "x" * 1023])
def test_records_of_a_key_are_found(relayctl: CommandLine, key: str) -> None:
    record = {"key": key, "outcome": "accepted", "posted_at": "2026-09-22T10:00:00.000+00:00"}

    def put(cloud: LocalCloud) -> None:
        assert cloud.prepared is not None
        name = record_name(cloud.prepared.task_id, "success_object", key)
        cloud.oss.put(cloud.prepared.log_bucket, name, json.dumps(record).encode())

    relayctl.within(put)
    result = relayctl("records", "find", key)
    assert result.exit_code == 0, result.output
    assert "accepted" in result.stdout
    plain(result.stdout)
    [line] = relayctl.lines("records", "find", key)
    assert line.keys() == RECORD_FIELDS
    assert line["key"] == key


def test_records_in_logs_are_found_if_the_relay_writes_them_or_a_time_is_given(
    relayctl: CommandLine,
) -> None:
    line = {"key": "k", "outcome": "accepted", "posted_at": "2026-09-22T10:00:00.000+00:00"}
    body = json.dumps(line, separators=(",", ":")).encode()
    relayctl.within(lambda cloud: put_object(cloud, "log/2026/09/22/10/w-1.jsonl", body))
    times = ("--since", "2026-09-22T09:00", "--until", "2026-09-22T11:00")
    assert relayctl("records", "find", "k").exit_code == 3
    assert relayctl("records", "find", "k", RELAY_RECORD_LAYOUT="log").exit_code == 3
    assert len(relayctl.lines("records", "find", "k", *times)) == 1
    assert "no record of" in relayctl("records", "find", "other", *times).stderr


def test_failed_records_are_listed(relayctl: CommandLine) -> None:
    for number in range(60):
        record = {"key": f"k{number:02}", "outcome": "rejected", "reason": "no"}
        relayctl.within(
            lambda cloud, n=number, r=record: put_object(  # type: ignore[misc]
                cloud, f"failed_object/k{n:02}", json.dumps(r).encode()
            )
        )
    result = relayctl("records", "failed")
    plain(result.stdout)
    assert result.stdout.count(" k") == 50
    assert "--limit 0 shows all" in result.stdout
    lines = relayctl.lines("records", "failed", "--key", "k1", "--limit", "0")
    assert [each["key"] for each in lines] == [f"k1{n}" for n in range(10)]
    assert lines[0].keys() == RECORD_FIELDS


def test_the_doctor_prints_a_line_for_each_check_and_its_fix(relayctl: CommandLine) -> None:
    result = relayctl("doctor")
    assert result.exit_code == 0
    plain(result.stdout)
    assert re.search(r"^ok +oss\.write ", result.stdout, re.MULTILINE)
    assert re.search(r"^\d+ ok, 3 skipped\.$", result.stdout, re.MULTILINE)
    result = relayctl("doctor", MNS_QUEUE="nowhere")
    assert result.exit_code == 1
    assert result.stdout.endswith(" 1 failure, 7 skipped.\nFailure: mns.queue.\n")
    assert re.search(
        r"^failure mns\.queue .*\n(?: .*\n)* +fix create the queue", result.stdout, re.MULTILINE
    )


def test_the_doctor_in_json(relayctl: CommandLine) -> None:
    [found] = relayctl.lines("doctor")
    assert found.keys() == {"checks", "counts"}
    assert all(each.keys() == {"name", "verdict", "detail", "fix"} for each in found["checks"])
    assert found["counts"].keys() == {"ok", "warning", "failure", "skipped"}
    result = relayctl("doctor", "--json", MNS_QUEUE="", HW_SK="")
    assert result.exit_code == 2
    problems = json.loads(result.stdout)["checks"]
    assert [each["name"] for each in problems] == ["settings", "settings"]
    assert "MNS_QUEUE is not set" in problems[0]["detail"]


def test_no_secret_is_ever_printed(relayctl: CommandLine) -> None:
    secret = "do-not-print-me"
    for settings in ({"HW_SK": secret}, {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret}):
        for command in (["doctor"], ["status"], ["doctor", "--json"], ["status", "--json"]):
            assert secret not in relayctl(*command, **settings).output


def test_status_in_words_and_in_json(relayctl: CommandLine) -> None:
    relayctl.within(letters)
    relayctl.within(lambda cloud: cloud.mns.publish("oss-events", "hello"))
    relayctl.within(lambda cloud: put_pulse(cloud, pulse(1)))
    result = relayctl("status")
    assert result.exit_code == 0
    plain(result.stdout)
    for text in ("1 waiting", "3 rejected", "SYNCHRONIZING", "of the 4 d after which MNS forgets"):
        assert text in result.stdout
    [found] = relayctl.lines("status")
    assert found.keys() == {
        *("at", "queue", "dead_letter_queue", "dead_letters", "task", "workers", "errors"),
        *("events", "is_log_source", "arrival", "levels", "last_account", "fleet"),
        *("are_more_dead", "needs_you", "brake"),
    }
    assert (found["needs_you"], found["are_more_dead"]) == ([], False)
    assert found["queue"]["active"] == 1
    assert found["task"].keys() == {
        *("status", "accepted", "succeeded", "failed", "skipped", "source_bucket")
    }
    assert found["queue"]["visible"] == 1
    assert found["events"] == {
        "source": "source", "peeked": 1, "unread": 1, "foreign": 0, "buckets": [],
    }  # fmt: skip
    assert found["is_log_source"] is False


def test_status_tells_of_events_of_other_buckets_and_of_a_log_bucket_that_is_the_source(
    relayctl: CommandLine,
) -> None:
    relayctl.within(lambda cloud: cloud.mns.publish("oss-events", oss_event("other", "a")))
    relayctl.within(lambda cloud: cloud.oss.put("source", "b", b"b"))
    result = relayctl("status", LOG_BUCKET="source")
    words = " ".join(result.stdout.split())
    assert "events 1 of 2 peeked bring events of other; the task copies source" in words
    assert "log bucket is the bucket that the task copies: set LOG_BUCKET to another" in words
    assert "log bucket" not in relayctl("status").stdout


def test_status_says_unknown_where_mns_does_not_count(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: setattr(cloud.mns.behaviour, "counters_read_zero", True))
    assert "0 waiting, 0 in hand, 0 delayed (oss-events)" in relayctl("status").stdout
    relayctl.within(lambda cloud: cloud.oss.put("source", "b", b"b"))
    words = " ".join(relayctl("status").stdout.split())
    assert "how many wait is unknown: MNS's counters all read 0; 1 visible (oss-events)" in words
    found = json.loads(relayctl("status", "--json").stdout)
    assert [found["queue"][each] for each in ("active", "inactive", "delayed")] == [None] * 3
    for number in range(16):
        relayctl.within(lambda cloud, n=number: cloud.oss.put("source", f"k{n}", b"b"))  # type: ignore[misc]
    assert "16 or more visible" in " ".join(relayctl("status").stdout.split())


def test_status_says_unknown_where_the_queue_or_the_task_cannot_be_read(
    relayctl: CommandLine,
) -> None:
    assert "unknown: no message is visible" in relayctl("status").stdout
    relayctl.within(lambda cloud: cloud.faults.add(Fault("mns", "BatchPeekMessage", status=403)))
    assert "unknown: the queue or the task could not be read" in relayctl("status").stdout


def stop_task(cloud: LocalCloud) -> None:
    next(iter(cloud.oms.tasks.values())).stop()


def fail_a_copy(cloud: LocalCloud) -> None:
    task = next(iter(cloud.oms.tasks.values()))
    task.count(Statistic.FAILURE, 270, cloud.oms.clock.now())


def deny_listings(cloud: LocalCloud) -> None:
    cloud.faults.add(Fault("oss", "ListObjectsV2", status=403))


def test_the_exit_code_and_the_last_line_of_status_tell_whether_somebody_is_needed(
    relayctl: CommandLine,
) -> None:
    def told() -> tuple[int, str]:
        result = relayctl("status")
        return result.exit_code, result.stdout.splitlines()[-1].strip()

    assert told() == (1, "verdict        needs you: fleet")
    relayctl.within(lambda cloud: put_pulse(cloud, pulse(1)))
    assert told() == (0, "verdict        the relay works; not known: arrival")
    refused = pulse(2, PulseState.NOT_READY)
    for act, name in (
        (lambda cloud: put_pulse(cloud, refused), "worker"),
        (fail_a_copy, "failed copies, worker"),
        (stop_task, "OMS task, failed copies, worker"),
        (deny_listings, "dead letters, OMS task, failed copies, fleet"),
    ):
        relayctl.within(act)
        assert told() == (1, f"verdict        needs you: {name}")


def test_what_cannot_be_listed_keeps_its_name_and_its_place_and_is_not_none(
    relayctl: CommandLine,
) -> None:
    well = relayctl("status", MNS_DEAD_LETTER_QUEUE="gone").stdout
    assert "\ndead letters   none" in well
    assert "\ndead queue     mns GetQueueAttributes answered 404" in well
    relayctl.within(deny_listings)
    text = relayctl("status").stdout
    assert "\ndead letters   oss ListObjectsV2 answered 403" in text
    assert "none" not in text
    found = json.loads(relayctl("status", "--json").stdout)
    assert found["dead_letters"] is None
    assert found["needs_you"] == ["dead letters", "fleet"]


def test_a_service_that_hangs_keeps_no_other_part_waiting(
    relayctl: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "PART_SECONDS", 0.2)
    relayctl.within(lambda cloud: cloud.faults.add(Fault("oms", action=Action.HANG, seconds=60.0)))
    text = relayctl("status").stdout
    assert "0 waiting, 0 in hand" in text
    assert "OMS task       oms ShowSyncTask gave no answer: not all of it came within" in text


def test_a_worker_that_is_no_url_is_refused(relayctl: CommandLine) -> None:
    refused = relayctl("status", "--worker", "127.0.0.1:8080")
    assert refused.exit_code == 2
    assert "is no URL" in refused.stderr


def test_status_tells_which_part_could_not_be_read(relayctl: CommandLine) -> None:
    relayctl.within(lambda cloud: cloud.faults.add(Fault("oms", action=Action.STATUS, status=404)))
    result = relayctl("status", "--worker", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "0 waiting" in result.stdout
    assert "ShowSyncTask answered 404" in result.stdout
    assert "does not answer: Connection refused" in result.stdout


def test_a_worker_is_told_with_its_rates_and_reasons() -> None:
    sample = Sample(
        "http://10.0.0.1:8080",
        0.0,
        is_ready=False,
        reasons=("oms ShowSyncTask answered 404; check SYNC_URL",),
        services={"mns": "closed", "oms": "open"},
        in_flight=7,
        keys_waiting=3.0,
        oldest_in_hand_seconds=75.0,
    )
    queue = QueueStatus("q", 5, 6, 7, 86_400, 80_000.0)
    board = Status(
        0.0,
        queue,
        None,
        {"rejected": 100_000},
        None,
        (WorkerStatus(sample, Rates(2.0, 84.0, 83.5, 84.0, 0.0, 1.25)),),
        {"task": failure()},
    )
    out = Console(width=100, record=True, file=io.StringIO())
    out.print(drawn(board))
    text = " ".join(out.export_text().split())
    for each in (
        "5 waiting, 6 in hand, 7 delayed (q)",
        "22 h 13 min, 93% of the 1 d",
        "100000+ rejected",
        "http://10.0.0.1:8080 NOT READY (mns works, oms cannot be used)",
        "verdict needs you: oldest, OMS task, worker",
        "in 84.0/s, out 83.5/s, lag 1.2 s, in flight 7, keys waiting 3, oldest in hand 1 min 15 s",
        "oms ShowSyncTask answered 404; check SYNC_URL",
    ):
        assert each in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["dead", "list", "--since", "5x"], "length of time"),
        (["dead", "redrive", "--rate", "fast"], "no rate"),
        (["dead", "redrive", "--rate", "0"], "no rate"),
        (["dead", "redrive", "--rate", "99999999/s"], "no rate"),
        (["dead", "redrive", "--rate", "0.5/h"], "no rate"),
        (["dead", "list", "--cause", "bad-luck"], "undecodable"),
        (["dead", "list", "--key", "\udcff"], "UTF-8"),
        (["records", "failed", "--key", "\udcff"], "UTF-8"),
        (["records", "find", "\udcff"], "UTF-8"),
    ],
)
def test_arguments_that_cannot_be_used_are_told_with_code_2(
    relayctl: CommandLine, arguments: list[str], why: str
) -> None:
    result = relayctl(*arguments)
    assert result.exit_code == 2
    assert why in result.stderr


@pytest.mark.parametrize(
    ("text", "per_second"), [("5/s", 5), ("300/m", 5), ("18000/h", 5), ("0.5", 0.5), ("7", 7)]
)
def test_rates_are_read(text: str, per_second: float) -> None:
    assert frame.rate(text) == per_second


def test_times_are_read() -> None:
    assert frame.time_option("2026-09-22T10:00:00Z") == frame.time_option("2026-09-22 12:00+02:00")
    assert frame.time_option("2026-09-22") == frame.time_option("2026-09-22T00:00Z")
    assert frame.time_option("1d") == pytest.approx(frame.time_option("24h"), abs=10)
    assert frame.time_option("60m") == pytest.approx(frame.time_option("3600s"), abs=10)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (349_200, "4 d 1 h"),
        (3600, "1 h"),
    ],
)
def test_lengths_of_time_are_shown(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_text_is_shown_on_one_line() -> None:
    assert shown("a\x07\r\n猫😀\ud800") == "a\\x07\\r\\n猫😀\\ud800"
    assert time_shown("2026-09-22T12:00:00+02:00") == "2026-09-22 10:00:00"
    assert time_shown("someday") == "someday"


def test_every_option_has_a_help_text() -> None:
    def walk(command: Any, path: str) -> None:
        for parameter in command.params:
            assert getattr(parameter, "help", ""), f"{path} {parameter.name}"
        for name, child in getattr(command, "commands", {}).items():
            walk(child, f"{path} {name}")

    walk(typer.main.get_command(commands), "oms-relay")
