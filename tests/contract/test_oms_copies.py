"""What becomes of copies: parts, checksums, trouble on demand, and the lists of results."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from doubles.clock import until
from doubles.source import Source, stored
from localcloud.clock import Clock
from localcloud.faults import Action, Fault, Faults
from localcloud.identity import HUAWEI, Identities
from localcloud.obs import ObsService
from localcloud.oms import Consistency, Copying, OmsService, Statistic
from localcloud.oms.copying import Fate, Luck
from localcloud.storage.stored import Described, StoredObject

TASK = "31e9b7e6-6ffb-452f-9842-6ce354d99d75"
NOW = 1_767_323_045.0
SHOWN = "2026-01-02 11:04:05"
KINDS = ("failed", "success", "skip")


class Copies:
    """OMS between a source and OBS at a fixed instant, fed without HTTP."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = Clock(lambda: NOW)
        self.faults, identities = Faults(random.Random(1)), Identities(HUAWEI)
        self.source = Source()
        self.obs = ObsService(self.clock, self.faults, identities)
        self.oms = OmsService(self.clock, self.faults, identities, self.source.read, self.obs, seed)
        self.task = self.oms.create_task(
            TASK, "project", "src", "dst", consistency_check=Consistency.CRC64
        )

    def put(self, key: str, data: bytes = b"1", at: float = NOW - 60) -> None:
        self.source.put("src", key, data, at)

    async def copy(self, *keys: str) -> None:
        assert self.oms.copier.accept(self.task, keys, 0.0)
        await self.oms.drained()

    def copied(self) -> list[str]:
        return [key for key in self.obs.keys("dst") if not key.startswith("oms/")]

    def count(self, statistic: Statistic) -> int:
        return self.task.monthly(statistic, NOW)

    def files(self, kind: str) -> dict[str, list[str]]:
        """The lists of one kind: rows by name."""
        folder = f"oms/sync_task/{TASK}/{kind}_object_lists/"
        return {key: self.text(key).splitlines() for key in self.obs.keys("dst", folder)}

    def text(self, key: str) -> str:
        return self.read(key).data.decode()

    def read(self, key: str) -> StoredObject:
        found = self.obs.read("dst", key)
        assert found is not None
        return found


@pytest.fixture
async def copies() -> AsyncIterator[Copies]:
    copies = Copies()
    copies.oms.copier.start()
    yield copies
    await copies.oms.copier.stop()


async def test_a_copy_is_stamped_by_the_destination(copies: Copies) -> None:
    copies.put("a")
    copies.obs.clock = Clock(lambda: NOW + 30)
    await copies.copy("a")
    assert copies.read("a").modified_at == NOW + 30


async def test_a_big_object_is_copied_in_parts_so_that_the_etags_differ(copies: Copies) -> None:
    copies.oms.copying.part_bytes = 2
    copies.put("small", b"12")
    copies.put("big", b"123")
    await copies.copy("small", "big")
    small, big = copies.read("small"), copies.read("big")
    assert small.etag == stored("small", b"12", 0).etag
    assert big.etag.endswith("-2")
    assert (big.data, big.crc64) == (b"123", stored("big", b"123", 0).crc64)
    await copies.copy("big")
    assert copies.count(Statistic.SKIP) == 1, "equal checksums are enough"


async def test_metadata_travels_and_the_class_changes_as_the_task_says(copies: Copies) -> None:
    about = Described("image/png", {"who": "me"}, "Archive")
    copies.source.place("src", StoredObject("a", b"1", "", NOW, about))
    await copies.copy("a")
    assert copies.read("a").described == Described("image/png", {}, "STANDARD")
    copies.obs.remove("dst", "a")
    copies.task.enable_metadata_migration = True
    copies.task.dst_storage_policy = "IA"
    await copies.copy("a")
    assert copies.read("a").described == Described("image/png", {"who": "me"}, "WARM")


@pytest.mark.parametrize("missing", ["source", "copy", "service"])
async def test_where_a_checksum_is_missing_an_overwrite_during_a_copy_is_skipped(
    copies: Copies, missing: str
) -> None:
    copies.oms.copying.leaves_crc64 = missing != "copy"
    copies.obs.behaviour.crc64_header = "" if missing == "service" else "x-obs-hash-crc64ecma"
    copies.source.put("src", "a", b"v1", NOW - 60, has_crc64=missing != "source")
    await copies.copy("a")
    copies.source.put("src", "a", b"v2", NOW - 30, has_crc64=missing != "source")
    await copies.copy("a")
    assert copies.read("a").data == b"v1"
    assert copies.count(Statistic.SKIP) == 1


async def test_a_share_of_copies_fails_and_is_listed(copies: Copies) -> None:
    copies.oms.copying.fail_share = 1.0
    copies.oms.copying.fail_error = "AccessDenied"
    copies.put("目录/a")
    await copies.copy("目录/a")
    assert copies.copied() == []
    assert copies.count(Statistic.FAILURE) == 1
    (rows,) = copies.files("failed").values()
    encoded = quote("目录/a", safe="")
    assert rows == [f"{SHOWN}\t{encoded}\t目录/a\tAccessDenied\tThe copy failed."]


async def test_a_share_of_copies_is_lost_in_silence(copies: Copies) -> None:
    copies.oms.copying.lose_share = 1.0
    copies.put("a")
    await copies.copy("a", "missing")
    assert copies.obs.keys("dst") == []
    assert {copies.count(statistic) for statistic in Statistic} == {0}


async def test_one_copy_is_lost_by_a_fault(copies: Copies) -> None:
    copies.faults.add(Fault("oms", "CopyObject", Action.CUSTOM, name="copy_lost", times=1))
    for key in ("a", "b"):
        copies.put(key)
    await copies.copy("a", "b")
    assert copies.copied() == ["b"]


async def test_a_share_of_copies_comes_late_with_the_content_of_then(copies: Copies) -> None:
    copies.oms.copying.late_share = 1.0
    copies.oms.copying.late_seconds = 100.0
    for key in ("a", "b"):
        copies.put(key, b"old")
    await copies.copy("a", "b")
    assert (copies.copied(), copies.oms.copier.late) == ([], 2)
    copies.put("a", b"new")
    copies.clock.offset_seconds = 99.0
    await asyncio.sleep(0)
    assert copies.copied() == []
    copies.clock.offset_seconds = 100.0
    await until(lambda: copies.oms.copier.late == 0)
    assert (copies.text("a"), copies.text("b")) == ("new", "old")
    assert copies.count(Statistic.SUCCESS) == 2


async def test_late_copies_survive_a_stop(copies: Copies) -> None:
    copies.oms.copying.late_share = 1.0
    copies.put("a")
    await copies.copy("a")
    await copies.oms.copier.stop()
    copies.clock.offset_seconds = 60.0
    assert copies.copied() == []
    copies.oms.copier.start()
    await until(lambda: copies.copied() == ["a"])


async def outcome(seed: int, batches: list[list[str]]) -> dict[str, list[str]]:
    copies = Copies(seed)
    copying = copies.oms.copying
    copying.fail_share, copying.lose_share, copying.late_share = 0.3, 0.3, 0.1
    copies.oms.copier.start()
    for batch in batches:
        for key in batch:
            copies.put(key)
        await copies.copy(*batch)
    await copies.oms.copier.stop()
    failed = [row.split("\t")[2] for rows in copies.files("failed").values() for row in rows]
    return {"copied": copies.copied(), "failed": sorted(failed)}


async def test_the_same_seed_strikes_the_same_keys_in_whatever_order_they_come() -> None:
    keys = [f"k{number:03}" for number in range(100)]
    first = await outcome(1, [keys])
    assert first == await outcome(1, [keys[50:], keys[:50]])
    assert first != await outcome(2, [keys])
    assert 10 < len(first["copied"]) < 60
    assert 10 < len(first["failed"]) < 60


def test_a_key_that_is_announced_again_has_another_chance() -> None:
    luck, copying = Luck(1), Copying(lose_share=0.5)
    fates = [luck.draw("k", copying) for _ in range(50)]
    assert {Fate.LOST, Fate.COPIED} == set(fates)
    assert fates == [luck.draw("k", copying) for luck in [Luck(1)] for _ in range(50)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"fail_share": -0.1},
        {"lose_share": 1.1},
        {"fail_share": 0.5, "lose_share": 0.6},
        {"late_seconds": float("inf")},
        {"lists_after_seconds": -1.0},
        {"part_bytes": -1},
        {"list_separator": ""},
    ],
)
def test_switches_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Copying(**wrong)


async def test_every_result_is_listed_under_its_documented_name(copies: Copies) -> None:
    for key in ("a b", "c"):
        copies.put(key, b"123")
    await copies.copy("a b", "gone")
    await copies.copy("a b", "c")
    names = [name for kind in KINDS for name in copies.files(kind)]
    folder = f"oms/sync_task/{TASK}"
    stamp = int(NOW * 1000)
    assert names == [
        f"{folder}/failed_object_lists/sync-subtask-1/{stamp}.failed_list.txt",
        f"{folder}/success_object_lists/sync-subtask-1/{stamp + 1}.success_list.txt",
        f"{folder}/success_object_lists/sync-subtask-1/{stamp + 2}.success_list.txt",
        f"{folder}/skip_object_lists/sync-subtask-1/{stamp + 3}.skip_list.txt",
    ]
    assert copies.text(names[0]) == (
        f"{SHOWN}\tgone\tgone\tNoSuchKey\tThe specified key does not exist.\n"
    )
    assert copies.text(names[1]) == f"{SHOWN}\ta b\t3\n"
    assert copies.text(names[3]) == f"{SHOWN}\ta b\t3\n"
    assert copies.read(names[0]).described.content_type == "text/plain"


async def test_columns_are_parted_as_it_is_set(copies: Copies) -> None:
    copies.oms.copying.list_separator = ","
    copies.put("a,b")
    await copies.copy("a,b", "c")
    (success,), (failed,) = copies.files("success").values(), copies.files("failed").values()
    assert success == [f"{SHOWN},a,b,1"]
    assert failed == [f"{SHOWN},c,c,NoSuchKey,The specified key does not exist."]


async def test_lists_come_late(copies: Copies) -> None:
    copies.oms.copying.lists_after_seconds = 300.0
    copies.put("a")
    await copies.copy("a")
    assert copies.files("success") == {}
    copies.clock.offset_seconds = 300.0
    await until(lambda: copies.files("success") != {})
    (rows,) = copies.files("success").values()
    assert rows == [f"{SHOWN}\ta\t1"], "the time is that of the copy"


async def test_a_list_that_is_due_does_not_wait_for_one_that_is_late(copies: Copies) -> None:
    copies.oms.copying.lists_after_seconds = 300.0
    copies.put("a")
    await copies.copy("a")
    copies.oms.copying.lists_after_seconds = 0.0
    await copies.copy("a")
    assert (copies.files("success"), len(copies.files("skip"))) == ({}, 1)


async def test_lists_never_come(copies: Copies) -> None:
    copies.oms.copying.lists_after_seconds = None
    copies.put("a")
    await copies.copy("a", "missing")
    copies.clock.offset_seconds = 1e6
    await copies.copy("a")
    assert copies.obs.keys("dst") == ["a"]
