from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from harness.ops import DIED_AT, calls, connected, message_id, put_letter, put_object
from localcloud.cloud import LocalCloud
from worker.ledger.letter import Letter, Place, Ref, fingerprint, kind
from worker.operate.letters import GROUPS_MAX, LetterFilter, Letters
from worker.operate.redrive import Moves


@pytest.fixture(autouse=True)
def _prepared(cloud: LocalCloud) -> None:
    cloud.prepare()


async def ids(letters: Letters, wanted: LetterFilter, place: Place = Place.DEAD) -> list[int]:
    return [int(letter.ref.message_id, 16) async for letter in letters.read(wanted, place)]


async def test_letters_are_grouped_by_cause_and_kind_of_error_the_largest_first(
    cloud: LocalCloud,
) -> None:
    for number in range(3):
        put_letter(cloud, number, died_at=f"2026-09-22T10:00:0{number}.000+00:00")
    put_letter(cloud, 7, cause="undecodable", error="'abc' is neither JSON, XML nor Base64")
    put_letter(cloud, 8, error="oms CreateSyncEvents answered 400 OMS.1003: Constraint violated.")
    async with connected(cloud) as clients:
        groups = await Letters(clients).groups()
    assert [(each.cause, each.count) for each in groups[:1]] == [("rejected", 3)]
    assert sorted(each.count for each in groups) == [1, 1, 3]
    first = groups[0]
    assert (first.first_seen[17:23], first.last_seen[17:23]) == ("00.000", "02.000")
    assert (first.sample_id, first.sample_key) == (message_id(0), "photos/0.jpg")
    assert "OMS.0064" in first.error


def bury(cloud: LocalCloud, number: int, error: str, *, cause: str = "rejected") -> None:
    """Put a letter and its entry in the index, as the relay does."""
    name = put_letter(cloud, number, cause=cause, error=error)
    ref = Ref.parse(name)
    assert ref is not None
    died_at = datetime.fromisoformat(DIED_AT).timestamp()
    put_object(cloud, ref.index_name(error, died_at), b"")


async def test_groups_come_from_names_alone(cloud: LocalCloud) -> None:
    for number in range(200):
        bury(cloud, number, f"oms X answered 400 OMS.{number % 3}: no", cause="rejected")
    for number in range(300, 305):
        put_letter(cloud, number, cause="undecodable", error="old letters have no entry")
    async with connected(cloud) as clients:
        groups = await Letters(clients).groups()
        reads = calls(cloud, "oss", "GetObject")
        chosen = [each async for each in Letters(clients).read(LetterFilter(group=groups[0].group))]
        more = calls(cloud, "oss", "GetObject") - reads
    assert [each.count for each in groups] == [67, 67, 66, 5]
    assert {each.first_seen for each in groups} == {DIED_AT}
    # One of each group, and those without an entry.
    assert reads == 3 + 5
    assert len(chosen) == 67
    assert more == 67 + 5


async def test_an_index_of_letters_that_have_moved_counts_none(cloud: LocalCloud) -> None:
    for number in range(50):
        bury(cloud, number, "no")
    async with connected(cloud) as clients:
        moves = [m async for m in Moves(clients).archive(LetterFilter(ids=(message_id(7),)))]
        [group] = await Letters(clients).groups()
        [archived] = await Letters(clients).groups(place=Place.ARCHIVED)
    assert (len(moves), group.count, archived.count) == (1, 49, 1)


async def test_every_filter_leaves_out_what_is_not_wanted(cloud: LocalCloud) -> None:
    put_letter(cloud, 1, day="2026-09-20")
    put_letter(cloud, 2, day="2026-09-21")
    put_letter(cloud, 3, day="2026-09-22")
    put_letter(cloud, 4, day="2026-09-22", cause="max-deliveries", error="no answer")
    put_letter(cloud, 5, keys=[{"key": "other/猫😀.jpg", "error": "no"}])
    noon = datetime(2026, 9, 21, 12, tzinfo=UTC).timestamp()
    async with connected(cloud) as clients:
        letters = Letters(clients)
        group = fingerprint("max-deliveries", "no answer")
        assert await ids(letters, LetterFilter()) == [4, 1, 2, 3, 5]
        assert await ids(letters, LetterFilter(cause="rejected")) == [1, 2, 3, 5]
        assert await ids(letters, LetterFilter(group=group)) == [4]
        assert await ids(letters, LetterFilter(key_prefix="other/猫")) == [5]
        assert await ids(letters, LetterFilter(since=noon)) == [4, 3, 5]
        assert await ids(letters, LetterFilter(until=noon)) == [1, 2]
        assert await ids(letters, LetterFilter(since=noon - 86_400, until=noon)) == [2]
        assert await ids(letters, LetterFilter(cause="no-such-cause")) == []
        assert await ids(letters, LetterFilter(ids=(message_id(3), message_id(4)))) == [4, 3]


@pytest.mark.no_cover
async def test_thousands_of_letters_are_read_page_by_page(cloud: LocalCloud) -> None:
    for number in range(2_300):
        put_letter(cloud, number)
    async with connected(cloud) as clients:
        letters = Letters(clients)
        assert await ids(letters, LetterFilter()) == list(range(2_300))
        assert await letters.counts() == {"rejected": 2_300}
        assert await letters.counts(count_max=500) == {"rejected": 500}
    # Three pages of 1,000 names for the reading and three for the first count, one for the second.
    pages = [each for each in cloud.oss.served if "max-keys=1000" in each.target]
    assert len([each for each in pages if "delimiter" not in each.target]) == 7


async def test_a_letter_is_found_by_its_id_how_it_begins_or_where_it_stands(
    cloud: LocalCloud,
) -> None:
    put_letter(cloud, 0xAB1, day="2026-09-20")
    put_letter(cloud, 0xAB1, day="2026-09-22")
    name = put_letter(cloud, 0xAB2, cause="undecodable")
    put_object(cloud, name.replace("dead_letter/", "archived/"), b'{"body": "x", "error": "old"}')
    async with connected(cloud) as clients:
        letters = Letters(clients)
        assert [each.ref.day for each in await letters.find(message_id(0xAB1))] == [
            "2026-09-20",
            "2026-09-22",
        ]
        assert len(await letters.find("0" * 29)) == 4
        [one] = await letters.find(f"rejected/2026-09-20/{message_id(0xAB1)}")
        assert one.ref.day == "2026-09-20"
        dead, archived = await letters.find(message_id(0xAB2))
        assert (dead.ref.place, archived.ref.place) == (Place.DEAD, Place.ARCHIVED)
        assert archived.error == "old"
        assert await letters.find("FFFF") == []


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"body": 5, "keys": 7}',
        b'{"body": "x", "keys": ["k"]}',
        b'{"body": "x", "died_at": "yesterday"}',
        b'{"body": "x", "attempts": "many"}',
        b"[" * 100_000,
    ],
)
async def test_a_damaged_letter_is_shown_as_damaged_and_sinks_no_other(
    cloud: LocalCloud, stored: bytes
) -> None:
    put_letter(cloud, 1)
    put_object(cloud, f"dead_letter/rejected/2026-09-22/{message_id(2)}.json", stored)
    async with connected(cloud) as clients:
        sound, damaged = [each async for each in Letters(clients).read()]
    assert sound.body == "body 1"
    assert damaged.body is None
    assert "damaged" in damaged.error
    assert damaged.moved(0.0) == stored


async def test_objects_that_are_no_letters_are_left_alone(cloud: LocalCloud) -> None:
    put_object(cloud, "dead_letter/rejected/notes.txt", b"hello")
    put_object(cloud, "dead_letter/readme", b"hello")
    async with connected(cloud) as clients:
        assert await Letters(clients).groups() == []


@pytest.mark.no_cover
async def test_groups_are_bounded_and_the_rest_is_counted_together(cloud: LocalCloud) -> None:
    words = [
        f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}"
        for n in range(GROUPS_MAX + 5)
    ]
    for number, word in enumerate(words):
        put_letter(cloud, number, error=f"failure of {word}")
    async with connected(cloud) as clients:
        groups = await Letters(clients).groups()
    assert len(groups) == GROUPS_MAX + 1
    assert (groups[0].group, groups[0].count, groups[0].error) == ("rejected", 5, "(other errors)")


def test_errors_of_one_kind_have_one_fingerprint() -> None:
    alike = [
        "oms CreateSyncEvents answered 400 OMS.0064: bad key 'a/1.jpg' (request 00ab)",
        "oms CreateSyncEvents answered 400 OMS.0064: bad key 'b\\'2.jpg' (request 00cd)",
    ]
    assert len({fingerprint("rejected", each) for each in alike}) == 1
    assert kind(alike[0]) == "oms CreateSyncEvents answered 400 OMS.0064: bad key '…'"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("oms X answered 400 OMS.0064: no", "oms X answered 400 OMS.1003: no"),
        ("oms X answered 400 OMS.0064: no", "oms X answered 404 OMS.0064: no"),
        ("event 0: eventName is empty", "event 0: oss is missing or null, not an object"),
    ],
)
def test_other_errors_have_other_fingerprints(one: str, other: str) -> None:
    assert fingerprint("rejected", one) != fingerprint("rejected", other)
    assert fingerprint("rejected", one) != fingerprint("undecodable", one)


async def test_any_body_survives_a_move_and_back(cloud: LocalCloud) -> None:
    odd = "\x00\r\n\t \ud800 猫😀 ]]> & <a> \ufffe"
    put_letter(cloud, 1, body=odd)
    async with connected(cloud) as clients:
        [letter] = [each async for each in Letters(clients).read()]
    moved = Letter.parse(letter.ref.at(Place.ARCHIVED), letter.moved(5.0, "NEW", "why"), 0.0)
    assert (moved.body, moved.redriven_as, moved.reason) == (odd, "NEW", "why")
    assert moved.moved_at == "1970-01-01T00:00:05.000+00:00"
    assert json.loads(moved.restored(6.0)) == json.loads(letter.stored)
    assert moved.died_at == DIED_AT
