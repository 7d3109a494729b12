from __future__ import annotations

import pytest

from doubles.build import Heard, event, route
from worker.events.event import Kind, ObjectEvent
from worker.events.keys import KeyEncoding, KeyReader
from worker.flow.selection import Selected, Selection
from worker.flow.source import Source


class Bench:
    """A selection over a source bucket that holds the given objects; None means it may not be asked."""

    def __init__(self, objects: set[str] | None = None, encoding: KeyEncoding = "auto") -> None:
        self.heard = Heard()
        self.objects = objects
        self.source = Source()
        reader = KeyReader(encoding, self.exists, 10)
        self.selection = Selection(
            reader, encoding, "logs", [route(self.source)], self.heard.journal
        )

    async def exists(self, bucket: str, key: str) -> bool | None:
        assert bucket == "films"
        return None if self.objects is None else key in self.objects


def test_only_changes_are_selected_and_every_event_is_counted() -> None:
    bench = Bench()
    events = [event(kind, kind=kind) for kind in Kind]
    selected = bench.selection.select(events).changes
    assert {each.event.kind for each in selected} == {
        Kind.CREATED,
        Kind.MODIFIED,
        Kind.REPLICATED,
        Kind.UNKNOWN,
    }
    assert all(bench.heard.count("events_decoded_total", kind=kind) == 1 for kind in Kind)


def test_our_own_records_are_ignored_with_a_loud_warning() -> None:
    bench = Bench()
    own = event("oms_source_record/task/success_object/a", bucket="logs")
    assert bench.selection.select([own]).changes == []
    (line,) = bench.heard.lines
    assert line["log_level"] == "warning"
    assert "LOG_BUCKET" in line["event"]
    assert line["key"] == own.key
    assert bench.heard.count("own_records_ignored_total") == 1


@pytest.mark.parametrize(
    ("encoding", "key"),
    [
        ("raw", "oms_source_record/task/success_object/a%20b"),
        ("url", "oms_source_record%2Ftask%2Fsuccess_object%2Fa"),
        ("url", "oms_source_record/task/success_object/a+b"),
        ("auto", "oms_source_record%2Ftask%2Fsuccess_object%2Fa"),
        ("auto", "oms_source_record/task/success_object/a%20b"),
        ("auto", "oms_source_record%2ftask%2fsuccess_object%2f%E7%85%A7"),
    ],
)
def test_our_own_records_are_ignored_however_their_keys_are_written(
    encoding: KeyEncoding, key: str
) -> None:
    bench = Bench(encoding=encoding)
    assert bench.selection.select([event(key, bucket="logs")]).changes == []
    assert bench.heard.count("own_records_ignored_total") == 1


def test_a_key_that_is_no_record_under_the_encoding_that_was_set_is_selected() -> None:
    key = "oms_source_record%2Ftask%2Fsuccess_object%2Fa"
    selected = Bench(encoding="raw").selection.select([event(key, bucket="logs")]).changes
    assert [each.key for each in selected] == [key]


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("films", "oms_source_record/a"),
        ("films", "oms_source_record%2Fa"),
        ("logs", "oms_source_recordings/a"),
        ("logs", "oms_source_recordings%2Fa"),
    ],
)
def test_what_only_looks_like_our_own_record_is_selected(bucket: str, key: str) -> None:
    choice = Bench().selection.select([event(key, bucket=bucket)])
    assert len([*choice.changes, *choice.unclear]) == 1


def test_a_key_that_reads_one_way_needs_no_look() -> None:
    choice = Bench().selection.select([event("plain.txt")])
    assert [(each.event, each.key) for each in choice.changes] == [
        (event("plain.txt"), "plain.txt")
    ]
    assert choice.unclear == []


def test_a_key_that_reads_two_ways_has_to_be_resolved() -> None:
    choice = Bench().selection.select([event("plain.txt"), event("a%20b")])
    assert choice.unclear == [Selected(event("a%20b"), ("a%20b", "a b"))]
    assert len(choice.changes) == 1


@pytest.mark.parametrize(
    ("objects", "keys"),
    [
        ({"a b"}, ["x", "a b"]),
        ({"a%20b"}, ["x", "a%20b"]),
        ({"a b", "a%20b"}, ["x", "a%20b", "a b"]),
        (set(), ["x", "a%20b", "a b"]),
        (None, ["x", "a%20b", "a b"]),
    ],
)
async def test_the_source_bucket_settles_an_ambiguous_key_and_in_doubt_both_are_posted(
    objects: set[str] | None, keys: list[str]
) -> None:
    bench = Bench(objects)
    choice = bench.selection.select([event("x"), event("a%20b")])
    await bench.selection.resolve(choice)
    assert [each.key for each in choice.changes] == keys
    assert not choice.unclear
    assert not choice.unrouted


@pytest.mark.parametrize(("encoding", "key"), [("raw", "a%20b"), ("url", "a b")])
def test_with_a_known_encoding_no_key_is_ambiguous(encoding: KeyEncoding, key: str) -> None:
    selected = Bench(encoding=encoding).selection.select([event("a%20b")]).changes
    assert [each.key for each in selected] == [key]


@pytest.mark.parametrize("known", ["", "films"])
def test_changes_of_another_bucket_are_told_apart_once_the_source_is_known(known: str) -> None:
    bench = Bench()
    bench.source.bucket = known
    events = [event("a", bucket="films"), event("a", bucket="music"), event("b", bucket="music")]
    choice = bench.selection.select(events)
    if not known:
        assert len(choice.changes) == 3
        assert choice.unrouted == ()
        return
    assert [each.event.bucket for each in choice.changes] == ["films"]
    assert choice.unrouted == ("music",)
    assert bench.heard.count("foreign_events_total") == 2
    (line,) = bench.heard.lines
    assert (line["log_level"], line["bucket"], line["source_bucket"]) == ("error", "music", "films")


class Routed:
    """A selection among three routes, two of them parts of one bucket."""

    def __init__(self, objects: set[str] | None = None) -> None:
        self.heard = Heard()
        self.objects = objects
        self.looked: list[tuple[str, str]] = []
        self.routes = [
            route(Source("films"), "all"),
            route(Source("films"), "new", "2026/"),
            route(Source("music"), "songs", "songs of/"),
        ]
        reader = KeyReader("auto", self.exists, 10)
        self.selection = Selection(reader, "auto", "logs", self.routes, self.heard.journal)

    async def exists(self, bucket: str, key: str) -> bool | None:
        self.looked.append((bucket, key))
        return None if self.objects is None else key in self.objects

    async def choose(self, *events: ObjectEvent) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
        choice = self.selection.select(events)
        await self.selection.resolve(choice)
        return [(each.route.name, each.key) for each in choice.changes], choice.unrouted


async def test_each_change_goes_to_the_route_of_its_bucket_and_longest_prefix() -> None:
    found = await Routed().choose(
        event("a"), event("2026/a"), event("2025/a"), event("songs of/a", bucket="music")
    )
    assert found == (
        [("all", "a"), ("new", "2026/a"), ("all", "2025/a"), ("songs", "songs of/a")],
        (),
    )


async def test_a_change_that_no_route_takes_is_told_loudly_and_never_looked_up() -> None:
    bench = Routed()
    found = await bench.choose(
        event("a", bucket="stills"), event("b+c", bucket="music"), event("a")
    )
    assert found == ([("all", "a")], ("stills", "music"))
    assert bench.looked == []
    assert bench.heard.count("foreign_events_total") == 2
    assert {(line["log_level"], line["bucket"]) for line in bench.heard.lines} == {
        ("error", "stills"),
        ("error", "music"),
    }


@pytest.mark.parametrize(
    ("objects", "changes", "unrouted"),
    [
        ({"songs of/a"}, [("songs", "songs of/a")], ()),
        ({"songs+of/a"}, [], ("music",)),
        (None, [("songs", "songs of/a")], ("music",)),
    ],
)
async def test_where_a_key_may_be_one_that_no_route_takes_the_message_is_kept_for_people(
    objects: set[str] | None, changes: list[tuple[str, str]], unrouted: tuple[str, ...]
) -> None:
    assert await Routed(objects).choose(event("songs+of/a", bucket="music")) == (changes, unrouted)
