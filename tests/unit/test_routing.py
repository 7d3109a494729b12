from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.build import route
from worker.flow.routing import route_of
from worker.flow.source import Source
from worker.ports import TaskState

ROUTES = [
    route(Source("films"), "all"),
    route(Source("films"), "new", "2026/"),
    route(Source("films"), "newest", "2026/12/"),
    route(Source("music"), "songs", "songs/"),
]


@pytest.mark.parametrize(
    ("bucket", "key", "name"),
    [
        ("films", "a", "all"),
        ("films", "2026", "all"),
        ("films", "2026/a", "new"),
        ("films", "2026/12/a", "newest"),
        ("films", "songs/a", "all"),
        ("music", "songs/a", "songs"),
        ("music", "songs", None),
        ("music", "2026/a", None),
        ("stills", "a", None),
    ],
)
def test_the_longest_prefix_of_the_bucket_wins(bucket: str, key: str, name: str | None) -> None:
    found = route_of(ROUTES, bucket, key)
    assert (found.name if found else None) == name


@given(st.permutations(ROUTES), st.sampled_from(["2026/12/a", "2026/a", "a"]))
def test_their_order_does_not_matter(routes: list[object], key: str) -> None:
    assert route_of(routes, "films", key) is route_of(ROUTES, "films", key)  # type: ignore[type-var]


def test_the_only_route_takes_all_until_its_bucket_is_known() -> None:
    source = Source()
    only = route(source)
    assert route_of([only], "any", "a") is only
    source.learn(TaskState("SYNCHRONIZING", {"src_bucket": "films"}))
    assert route_of([only], "any", "a") is None


def test_a_bucket_that_the_route_names_is_not_replaced_by_what_its_task_says() -> None:
    source = Source("films")
    source.learn(TaskState("SYNCHRONIZING", {"src_bucket": "music"}))
    assert (source.is_foreign("films"), source.is_foreign("music")) == (False, True)
