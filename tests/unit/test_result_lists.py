"""OMS's lists of failed and skipped copies: rows in any of the forms they may have, and who reads them."""

from __future__ import annotations

import asyncio
from unittest import mock
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.arrival import Bench
from doubles.build import change, failure
from doubles.clock import EPOCH, HandClock, settle
from worker.arrival import follow, result_lists
from worker.arrival.result_lists import READER_SECONDS, ROOM_SECONDS, failed_key, skipped_key
from worker.errors import Blame, CallFailed, Outcome
from worker.flow.post import Verdict

TIMES = [
    "2026-01-02 03:04:05",
    "2026-01-02T03:04:05Z",
    "2026-01-02T03:04:05.678+08:00",
    "2026/01/02 03:04:05",
    "1767323045000",
    '"2026-01-02 03:04:05"',
]
SEPARATORS = ["\t", ",", " ", ";", "|", ", ", '","']
NAMES = ["a.txt", "dir/a b.txt", "a,b;c|d\te", "中文 +%41~", '"quoted"', "x" * 1000, "🙂"]
FAILED = "oms/sync_task/task/failed_object_lists/sub"
SKIPPED = "oms/sync_task/task/skip_object_lists/sub"


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("name", NAMES)
def test_a_failed_row_is_read_by_its_encoded_name(time: str, separator: str, name: str) -> None:
    row = separator.join((time, quote(name, safe=""), name, "RequestTimeout", "The copy failed."))
    assert failed_key(row) == name


def test_slashes_and_plus_signs_may_stand_in_an_encoded_name() -> None:
    assert failed_key("2026-01-02 03:04:05\ta/b%20c\ta/b c\tCode") == "a/b c"
    row = f"2026-01-02 03:04:05\t{quote_plus('a b/c')}\ta b/c\tCode"
    assert failed_key(row) == "a b/c"


def test_a_name_with_a_line_break_is_read_up_to_it() -> None:
    assert failed_key("2026-01-02 03:04:05\ta%0Ab\ta") == "a\nb"


@pytest.mark.parametrize(
    "row",
    [
        "",
        "time,object,size",
        "2026-01-02 03:04:05",
        "2026-01-02 03:04:05\ta.txt",
        "2026-01-02 03:04:05\ta.txt\tb.txt\tCode",
        "a.txt\ta.txt\tCode",
        "2026-01-02 03:04:05\ta%0Ab\t",
    ],
)
def test_what_is_no_failed_row_is_none(row: str) -> None:
    assert failed_key(row) is None


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith('"')])
def test_a_skipped_row_is_read_from_both_ends(time: str, separator: str, name: str) -> None:
    assert skipped_key(separator.join((time, name, "12345"))) == name


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("name", [" a", "a ", "  a", "a, b", "\u3000a", " a  "])
def test_blanks_around_a_name_are_kept_or_the_row_is_not_read(
    time: str, separator: str, name: str
) -> None:
    found = skipped_key(separator.join((time, name, "12345")))
    is_ambiguous = separator == " " and name == " a  "
    assert found == (None if is_ambiguous else name)


@pytest.mark.parametrize("row", ["", "2026-01-02 03:04:05\ta.txt", "a.txt\t5", "\t\t", "1 2 3"])
def test_what_is_no_skipped_row_is_none(row: str) -> None:
    assert skipped_key(row) is None


@given(st.text(min_size=1, max_size=40))
def test_no_row_is_misread(name: str) -> None:
    try:
        encoded = quote(name, safe="")
    except UnicodeEncodeError:
        return
    for separator in SEPARATORS:
        row = separator.join(("2026-01-02 03:04:05", encoded, name, "Code"))
        assert failed_key(row.partition("\n")[0]) in (name, None)


async def test_every_new_row_is_suspected_once() -> None:
    bench = Bench()
    bench.listed(f"{FAILED}/1.failed_list.txt", "a", "b")
    bench.listed(f"{SKIPPED}/1.skip_list.txt", "c", is_failed=False)
    await bench.lists.look()
    assert sorted(bench.suspects) == ["a", "b", "c"]
    await bench.lists.look()
    bench.listed(f"{FAILED}/1.failed_list.txt", "d")
    bench.listed(f"{FAILED}/2.failed_list.txt", "e")
    await bench.lists.look()
    assert sorted(bench.suspects) == ["a", "b", "c", "d", "e"]


async def test_a_row_that_is_still_being_written_is_read_whole_later() -> None:
    bench = Bench()
    name = f"{FAILED}/1.failed_list.txt"
    row = bench.row("a/long name", is_failed=True)
    bench.append(name, row[:25])
    await bench.lists.look()
    assert bench.suspects == []
    bench.append(name, row[25:])
    await bench.lists.look()
    assert bench.suspects == ["a/long name"]
    assert bench.heard.count("suspects_unfollowed_total") == 0


async def test_a_last_row_that_is_none_is_told_once_it_does_not_grow() -> None:
    bench = Bench()
    bench.append(f"{FAILED}/1.failed_list.txt", "something else")
    for told in (0, 1, 1):
        await bench.lists.look()
        assert bench.heard.count("suspects_unfollowed_total") == told


async def test_a_last_row_without_a_line_break_counts() -> None:
    bench = Bench()
    bench.append(f"{FAILED}/1.failed_list.txt", bench.row("a", is_failed=True).rstrip("\n"))
    await bench.lists.look()
    assert bench.suspects == ["a"]


async def test_rows_of_an_unknown_form_are_told_and_left_alone() -> None:
    bench = Bench()
    name = f"{FAILED}/1.failed_list.txt"
    bench.append(name, "something else\n\n")
    bench.append(name, b"2026-01-02 03:04:05\t%FF\t\xff\tCode\n")
    bench.listed(name, "a")
    await bench.lists.look()
    assert bench.suspects == ["a"]
    told = [line["event"] for line in bench.heard.lines]
    assert len([each for each in told if "cannot be read" in each]) == 2


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("part_bytes", [7, 64, 1024 * 1024])
async def test_a_list_in_utf_16_is_read(encoding: str, part_bytes: int) -> None:
    # In these names stand the bytes of a line's end, and characters of two units.
    keys = ["a", "dir/a b\u0a00\u000b.txt", "中文\u0aaa🙂", "\u0d0a", "last"]
    bench, name = Bench(), f"{FAILED}/1.failed_list.txt"
    bench.destination.part_bytes = part_bytes
    rows = [bench.row(key, is_failed=True) for key in keys]
    data = "".join(rows).encode(encoding)
    end = data.index("last".encode("utf-16-be" if encoding.endswith("be") else "utf-16-le"))
    bench.append(name, data[: end - 7])
    await bench.lists.look()
    assert sorted(bench.suspects) == sorted(keys[:-1])
    bench.append(name, data[end - 7 :])
    await bench.lists.look()
    assert sorted(bench.suspects) == sorted(keys)
    assert bench.heard.count("suspects_unfollowed_total") == 0


@pytest.mark.parametrize("encoding", ["utf-32", "cp037", "utf-8-sig", "gb18030"])
async def test_a_list_in_any_other_encoding_is_read_or_told_and_counted(encoding: str) -> None:
    bench, name = Bench(), f"{SKIPPED}/1.skip_list.txt"
    bench.append(name, bench.row("é~", is_failed=False).encode(encoding))
    await bench.lists.look()
    # Without the end of a line it may still be written.
    await bench.lists.look()
    unread = bench.heard.count("suspects_unfollowed_total")
    assert bench.suspects == (["é~"] if not unread else [])
    assert bool(unread) is (encoding != "utf-8-sig")
    assert bool(bench.heard.lines) is bool(unread)


async def test_of_more_lists_than_are_looked_at_the_rest_is_told_and_not_remembered() -> None:
    bench = Bench()
    for number in range(5):
        bench.listed(f"{FAILED}/{number}.failed_list.txt", f"k{number}")
        bench.listed(f"{SKIPPED}/{number}.skip_list.txt", f"s{number}", is_failed=False)
    with mock.patch.object(result_lists, "LISTS_MAX", 3):
        await bench.lists.look()
        await bench.lists.look()
    assert sorted(bench.suspects) == ["k0", "k1", "k2"]
    assert len(bench.lists._seen) == 3
    (line,) = [line for line in bench.heard.lines if "more lists" in line["event"]]
    assert line["most"] == 3


async def test_suspects_take_half_of_the_places_and_wait_for_more() -> None:
    bench, clock = Bench(), HandClock()
    bench.lists._clock = clock
    bench.listed(f"{FAILED}/1.failed_list.txt", *"abcd")
    with mock.patch.object(follow, "FOLLOWED_MAX", 4):
        looking = asyncio.create_task(bench.lists.look())
        await settle()
        assert bench.suspects == ["a", "b"]
        for key in "xyz":
            bench.follower.accepted(Verdict(change(key), Outcome.ACCEPTED, EPOCH))
        # The other half is for what is followed by chance.
        assert bench.suspects == ["a", "b", "x", "y"]
        assert bench.heard.count("arrivals_total", outcome="unknown") == 1
        for key in "xyab":
            del bench.follower._followed[key]
            clock.advance(ROOM_SECONDS)
            await settle()
        await looking
    assert bench.suspects == ["c", "d"]


async def test_a_list_is_read_by_one_of_two_relays() -> None:
    one, two = Bench.pair()
    one.listed(f"{FAILED}/1.failed_list.txt", "a", "b")
    await one.lists.look()
    await two.lists.look()
    assert (sorted(one.suspects), two.suspects) == (["a", "b"], [])
    # The second one asks once more later, and hears that the first one has come to the end.
    two.clock.now += READER_SECONDS
    await two.lists.look()
    assert two.suspects == []


async def test_the_rows_of_a_reader_that_died_are_read_by_another() -> None:
    one, two = Bench.pair()
    one.listed(f"{FAILED}/1.failed_list.txt", "a", "b")
    one.destination.fail("read", failure(Blame.PASSING, service="obs"))
    with pytest.raises(CallFailed):
        await one.lists.look()
    await two.lists.look()
    assert two.suspects == []
    two.clock.now += READER_SECONDS
    await two.lists.look()
    assert sorted(two.suspects) == ["a", "b"]


async def test_a_part_that_could_not_be_read_is_read_at_the_next_look() -> None:
    bench = Bench()
    bench.listed(f"{FAILED}/1.failed_list.txt", "a", "b")
    for _ in range(3):
        bench.destination.fail("read", failure(Blame.PASSING, service="obs"))
        with pytest.raises(CallFailed):
            await bench.lists.look()
    await bench.lists.look()
    assert sorted(bench.suspects) == ["a", "b"]


async def test_a_list_that_was_replaced_by_a_shorter_one_is_read_anew() -> None:
    bench = Bench()
    name = f"{FAILED}/1.failed_list.txt"
    bench.listed(name, "a", "b")
    await bench.lists.look()
    bench.destination.texts[name] = b""
    bench.listed(name, "c")
    await bench.lists.look()
    assert sorted(bench.suspects) == ["a", "b", "c"]


def test_a_row_of_many_blanks_is_read_in_one_pass() -> None:
    row = f"2026-01-02 03:04:05\tx{' ' * 200_000}x\t5"
    assert skipped_key(row) == f"x{' ' * 200_000}x"


async def test_without_the_log_bucket_no_list_is_read() -> None:
    bench = Bench()
    bench.listed(f"{FAILED}/1.failed_list.txt", "a")
    bench.store.fail("put", *[failure(Blame.SERVICE, service="oss", status=403)] * 9)
    with pytest.raises(CallFailed):
        await bench.lists.look()
    assert bench.suspects == []


async def test_old_lists_are_left_alone() -> None:
    bench = Bench()
    bench.listed(f"{FAILED}/1.failed_list.txt", "a")
    bench.clock.now += 3 * 86_400
    bench.listed(f"{FAILED}/2.failed_list.txt", "b")
    await bench.lists.look()
    assert bench.suspects == ["b"]


async def test_a_long_list_is_read_in_parts() -> None:
    bench = Bench()
    bench.destination.part_bytes = 100
    keys = [f"dir/{number}" for number in range(50)]
    bench.listed(f"{FAILED}/1.failed_list.txt", *keys)
    await bench.lists.look()
    assert sorted(bench.suspects) == sorted(keys)
