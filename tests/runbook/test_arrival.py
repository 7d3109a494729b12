"""Copies arrive late or not at all, or nobody can see whether they do; messages go on all the same."""

from __future__ import annotations

from itertools import count

import pytest

from harness import account
from harness.incident import Incident, deny
from harness.runbook_cases import case
from localcloud.cloud import TASK_ID, LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import HUAWEI
from localcloud.oms import Consistency
from localcloud.oms.task import Statistic
from worker.arrival import follow

WRONG = "a-wrong-secret"
ODD_LIST = f"oms/sync_task/{TASK_ID}/failed_object_lists/other/1.failed_list.txt"


def lose(cloud: LocalCloud, how: str, times: int | None = None) -> None:
    cloud.faults.add(Fault("oms", "CopyObject", Action.CUSTOM, name=how, times=times))


def arrived(incident: Incident, count: int) -> None:
    incident.until(lambda: incident.relay.arrivals("arrived") >= count, f"{count} to have arrived")


def given_up(incident: Incident) -> None:
    incident.until(
        lambda: account.dead_letters(incident.line.cloud, "not_arrived"), "a letter: not_arrived"
    )


def letters(incident: Incident) -> str:
    (group,) = incident.lines("dead", "groups")
    return incident.ask("dead", "groups") + incident.ask("dead", "show", group["sample_id"])


def without_a_bucket(cloud: LocalCloud) -> None:
    """Take the destination bucket away, and let no copy make it anew."""
    lose(cloud, "copy_lost")
    cloud.obs.buckets.clear()


def unseen(incident: Incident, words: str) -> str:
    """Messages go on while the destination cannot be looked at; return what `status` says."""
    incident.send("a")
    incident.works()
    obs = incident.relay.breaker("obs")
    incident.until(lambda: obs.is_open and words in str(obs.failure), words)
    incident.wait(incident.relay.settle())
    return incident.status()


def seen_again(incident: Incident) -> None:
    obs = incident.relay.breaker("obs")
    incident.line.loop.call_soon_threadsafe(obs.probe_now)
    arrived(incident, 1)


def many_are_owed(cloud: LocalCloud) -> None:
    task = cloud.oms.tasks[TASK_ID]
    task.count(Statistic.REQUEST, 500, cloud.oms.clock.now() - 3600)


@case("`1 late`, `1 resent, 0 given up`", follows=True)
def test_a_copy_is_lost(incident: Incident) -> None:
    incident.works()
    incident.cloud(lambda cloud: lose(cloud, "copy_lost", 1))
    incident.send("a")
    incident.until(lambda: incident.relay.arrivals("resent") == 1, "the key to be announced again")
    incident.shows(incident.status())
    arrived(incident, 1)


@case("`0 of 1, 1 unknown`", follows=True)
def test_whether_a_copy_is_late_or_lost_cannot_be_seen(incident: Incident) -> None:
    incident.works()
    incident.cloud(lambda cloud: lose(cloud, "copy_lost", 1))
    incident.cloud(lambda cloud: deny(cloud, "oss:GetObject"))
    incident.send("a")
    incident.until(lambda: incident.relay.arrivals("unknown") == 1, "a key to be given over")
    incident.shows(incident.status() + incident.logged())
    incident.cloud(deny)
    incident.send("b")
    arrived(incident, 1)


@case(
    "`not_arrived`, `OMS skips an object of equal size`",
    prepare={"consistency_check": Consistency.SIZE_LAST_MODIFIED},
    follows=True,
)
def test_an_overwrite_of_equal_size_is_skipped_in_silence(incident: Incident) -> None:
    incident.cloud(lambda cloud: setattr(cloud.oms.copier, "copy_seconds", 60.0))
    incident.send("a")
    cloud = incident.line.cloud
    incident.until(lambda: cloud.oms.copier.is_copying, "the first copy to be under way")
    incident.cloud(lambda cloud: cloud.oss.put("source", "a", b"b"))
    incident.until(lambda: incident.relay.metric("messages_deleted") == 2, "both events")

    def finish(cloud: LocalCloud) -> None:
        cloud.oms.clock.offset_seconds += 60.0
        cloud.oms.copier.copy_seconds = 0.0

    incident.cloud(finish)
    given_up(incident)
    assert "1 given up" in incident.status()
    incident.shows(letters(incident))

    def let_it_compare_contents(cloud: LocalCloud) -> None:
        cloud.oms.tasks[TASK_ID].consistency_check = Consistency.CRC64

    incident.cloud(let_it_compare_contents)
    assert "1 redriven" in incident.ask("dead", "redrive", "--cause", "not_arrived", "--yes")
    arrived(incident, 1)


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the relay wait for no hours from one announcement to the next."""
    monkeypatch.setattr(follow, "WAITS_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(follow, "PATIENCE_ANNOUNCING", 0.0)
    monkeypatch.setattr(follow, "PATIENCE_GIVING_UP", 0.0)


@pytest.mark.usefixtures("_soon")
@case("`not_arrived`, `announced ... times`", follows=True)
def test_what_is_announced_again_and_again_is_never_copied(incident: Incident) -> None:
    incident.cloud(lambda cloud: lose(cloud, "copy_lost"))
    incident.send("a")
    given_up(incident)
    assert incident.relay.arrivals("resent") == 3
    incident.shows(letters(incident))
    incident.cloud(lambda cloud: cloud.faults.clear())
    assert "1 redriven" in incident.ask("dead", "redrive", "--cause", "not_arrived", "--yes")
    arrived(incident, 1)


@pytest.mark.usefixtures("_soon")
@case("`not_arrived`, `overwritten again and again`", follows=True)
def test_what_is_overwritten_all_the_time_is_never_copied(incident: Incident) -> None:
    incident.cloud(lambda cloud: lose(cloud, "copy_lost"))
    numbers = count()

    def is_given_up_while_it_is_overwritten() -> bool:
        cloud = incident.line.cloud
        cloud.oss.put("source", "a", f"{next(numbers):08}".encode())
        return bool(account.dead_letters(cloud, "not_arrived"))

    incident.until(is_given_up_while_it_is_overwritten, "a letter: not_arrived")
    incident.shows(letters(incident))
    incident.cloud(lambda cloud: cloud.faults.clear())
    assert "redriven" in incident.ask("dead", "redrive", "--cause", "not_arrived", "--yes")
    arrived(incident, 1)


@case("`failed copies`, `announces again what OMS lists as failed`", follows=True)
def test_failed_copies_are_announced_again(incident: Incident) -> None:
    incident.works()
    incident.cloud(lambda cloud: lose(cloud, "copy_fails", 1))
    incident.send("a")
    incident.until(lambda: incident.relay.arrivals("resent") == 1, "the key to be announced again")
    incident.shows(incident.status() + incident.ask("doctor"))
    arrived(incident, 1)


@case("the log: `a row of OMS's lists cannot be read`", follows=True)
def test_a_list_of_oms_has_a_form_that_is_not_known(incident: Incident) -> None:
    rows = b"2026-09-22 10:00:00\ta%2Fb\tanother name\tNoSuchKey\n"
    incident.cloud(lambda cloud: cloud.obs.write("destination", ODD_LIST, rows))
    incident.until(lambda: "cannot be read" in incident.logged(), "the row to be told")
    incident.shows(incident.logged() + incident.ask("doctor"))
    incident.send("a")
    arrived(incident, 1)


@case(
    "`obs cannot be used`, `SignatureDoesNotMatch`",
    settings={"OBS_AK": HUAWEI.access_key, "OBS_SK": WRONG},
    follows=True,
)
def test_the_secret_of_the_destination_is_wrong(incident: Incident) -> None:
    incident.shows(unseen(incident, "SignatureDoesNotMatch"))


@case(
    "`obs cannot be used`, `AccessDenied`",
    lambda cloud: deny(cloud, "obs:bucket:ListBucket"),
    follows=True,
)
def test_the_destination_may_not_be_listed(incident: Incident) -> None:
    incident.shows(unseen(incident, "AccessDenied"))
    incident.cloud(deny)
    seen_again(incident)


@case(
    "the log: `refused without a code`",
    lambda cloud: deny(cloud, "obs:object:GetObject"),
    follows=True,
)
def test_objects_of_the_destination_may_not_be_read(incident: Incident) -> None:
    incident.send("a")
    incident.works()
    incident.until(lambda: "refused without a code" in incident.logged(), "the refusal")
    incident.shows(incident.logged() + incident.ask("doctor"))
    incident.cloud(deny)
    incident.send("b")
    incident.until(lambda: incident.relay.arrivals("arrived") > 0, "a key to have arrived")


@case(
    "`obs cannot be used`, `404 NoSuchBucket`",
    without_a_bucket,
    follows=True,
)
def test_the_destination_bucket_does_not_exist(incident: Incident) -> None:
    incident.shows(unseen(incident, "NoSuchBucket"))
    incident.cloud(lambda cloud: cloud.obs.create_bucket("destination"))
    incident.until(lambda: not incident.relay.breaker("obs").is_open, "the bucket to be found")


@case(
    "`obs cannot be used`, `copies to another bucket`",
    settings={"OBS_BUCKET": "nowhere"},
    follows=True,
)
def test_the_destination_bucket_is_another_one(incident: Incident) -> None:
    incident.shows(unseen(incident, "copies to another bucket"))


@case(
    "`obs cannot be used`, `obs ListObjects gave no answer`",
    settings={"OBS_ENDPOINT": "http://127.0.0.1:9"},
    follows=True,
)
def test_the_endpoint_of_the_destination_leads_nowhere(incident: Incident) -> None:
    incident.shows(unseen(incident, "gave no answer"))


@case(
    "`obs cannot be used`, `the destination bucket is not known`",
    lambda cloud: deny(cloud, "oms:synctask:get"),
    follows=True,
)
def test_nobody_says_which_bucket_is_the_destination(incident: Incident) -> None:
    obs = incident.relay.breaker("obs")
    incident.until(lambda: "not known" in str(obs.failure), "the reason")
    incident.works()
    incident.send("a")
    incident.wait(incident.relay.settle())
    incident.shows(incident.status())


@case(
    "`the destination is taken to be`",
    lambda cloud: deny(cloud, "oms:synctask:get"),
    settings={"OBS_BUCKET": "destination"},
    follows=True,
)
def test_only_a_setting_names_the_destination(incident: Incident) -> None:
    incident.works()
    incident.send("a")
    arrived(incident, 1)
    incident.shows(incident.status())


@case(
    "`copy backlog`, `500 objects at most`, and more each 5 minutes",
    many_are_owed,
    follows=True,
)
def test_oms_copies_more_slowly_than_objects_change(incident: Incident) -> None:
    found = incident.relay.metrics.registry.get_sample_value
    incident.until(lambda: found("oms_relay_copy_backlog_objects") == 500, "a look")
    incident.shows(incident.status())


@case(
    "`copy backlog unknown`, `ListSyncTaskStatistic` in the log",
    lambda cloud: deny(cloud, "oms:synctask:statistics"),
    follows=True,
)
def test_the_statistics_of_oms_may_not_be_read(incident: Incident) -> None:
    incident.works()
    incident.until(lambda: "ListSyncTaskStatistic" in incident.logged(), "the refusal")
    incident.shows(incident.status() + incident.logged())
