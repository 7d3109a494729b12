from __future__ import annotations

from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.events.keys import KeyEncoding, KeyReader, quote_for_oms, readings

KEYS = st.text(st.characters(codec="utf-8"), min_size=1)
TRICKY = st.text(st.sampled_from("a+%/ 42eF日\x00"), min_size=1)
SAFE = "ABCXYZabcxyz0189-_.~%"


@pytest.mark.parametrize(
    ("key", "url", "auto"),
    [
        ("photos/2025/a.jpg", "photos/2025/a.jpg", ("photos/2025/a.jpg",)),
        ("a!$&'()*,;=:@[]#?~", "a!$&'()*,;=:@[]#?~", ("a!$&'()*,;=:@[]#?~",)),
        ("a+b", "a b", ("a+b", "a b")),
        ("a%20b", "a b", ("a%20b", "a b")),
        ("a%2Fb%2fc", "a/b/c", ("a%2Fb%2fc", "a/b/c")),
        ("%E6%97%A5.txt", "日.txt", ("%E6%97%A5.txt", "日.txt")),
        ("%2541", "%41", ("%2541", "%41")),
        ("日%20.txt", "日 .txt", ("日%20.txt",)),
        ("a b+c", "a b c", ("a b+c",)),
        ("a\x01+c", "a\x01 c", ("a\x01+c",)),
        ("100%", "100%", ("100%",)),
        ("100%+x%2", "100%+x%2", ("100%+x%2",)),
        ("%zz+%20", "%zz+%20", ("%zz+%20",)),
        ("%FF+", "%FF+", ("%FF+",)),
        ("%ED%A0%80", "%ED%A0%80", ("%ED%A0%80",)),
        *((f"{char}%20", f"{char} ", (f"{char}%20",)) for char in '"<>\\^`{|}\x7f'),
    ],
)
def test_a_key_is_read_by_its_encoding(key: str, url: str, auto: tuple[str, ...]) -> None:
    assert readings(key, "raw") == (key,)
    assert readings(key, "url") == (url,)
    assert readings(key, "auto") == auto


@given(KEYS | TRICKY)
def test_auto_always_holds_the_true_name_however_oss_writes_it(name: str) -> None:
    assert name in readings(name, "auto")
    for safe in ("", "/", "/!$&'()*,;=:@~"):
        assert name in readings(quote_plus(name, safe=safe), "auto")
        assert readings(quote_plus(name, safe=safe), "url") == (name,)
        assert name in readings(quote(name, safe=safe), "auto")


@given(KEYS | TRICKY, st.sampled_from(["raw", "url", "auto"]))
def test_readings_are_one_or_two_different_names(key: str, encoding: KeyEncoding) -> None:
    found = readings(key, encoding)
    assert 1 <= len(found) <= 2
    assert len(set(found)) == len(found)
    assert all(found)


@given(KEYS | TRICKY)
def test_what_oms_gets_is_encoded_once_and_means_the_same_to_every_decoder(key: str) -> None:
    quoted = quote_for_oms(key)
    assert unquote(quoted, errors="strict") == unquote_plus(quoted, errors="strict") == key
    assert all(char.isascii() and (char.isalnum() or char in "-_.~%") for char in quoted)


def test_slashes_pluses_and_percents_are_encoded_for_oms() -> None:
    assert quote_for_oms("a b/c+d%41~日") == "a%20b%2Fc%2Bd%2541~%E6%97%A5"


class Bucket:
    """Source buckets that note each look: names that exist, or None where looking is denied."""

    def __init__(self, *names: str) -> None:
        self.names: set[str] | None = set(names)
        self.looks: list[tuple[str, str]] = []

    async def exists(self, bucket: str, key: str) -> bool | None:
        self.looks.append((bucket, key))
        return None if self.names is None else key in self.names


def reader(bucket: Bucket, encoding: KeyEncoding = "auto", remembered_max: int = 10) -> KeyReader:
    return KeyReader(encoding, bucket.exists, remembered_max)


@pytest.mark.parametrize(("encoding", "name"), [("raw", "a+b"), ("url", "a b")])
async def test_a_fixed_encoding_never_looks(encoding: KeyEncoding, name: str) -> None:
    bucket = Bucket()
    assert await reader(bucket, encoding).read("films", "a+b") == (name,)
    assert bucket.looks == []


async def test_a_key_with_one_reading_needs_no_look() -> None:
    bucket = Bucket()
    assert await reader(bucket).read("films", "日+.txt") == ("日+.txt",)
    assert bucket.looks == []


@pytest.mark.parametrize("name", ["a+b", "a b"])
async def test_the_only_reading_that_exists_is_taken(name: str) -> None:
    bucket = Bucket(name)
    assert await reader(bucket).read("films", "a+b") == (name,)
    assert bucket.looks == [("films", "a+b"), ("films", "a b")]


@pytest.mark.parametrize("names", [("a+b", "a b"), ()])
async def test_all_readings_are_posted_if_both_or_neither_exist(names: tuple[str, ...]) -> None:
    bucket = Bucket(*names)
    assert await reader(bucket).read("films", "a+b") == ("a+b", "a b")


async def test_all_readings_are_posted_where_looking_is_denied() -> None:
    bucket = Bucket()
    bucket.names = None
    assert await reader(bucket).read("films", "a+b") == ("a+b", "a b")
    assert len(bucket.looks) == 1


async def test_a_verdict_is_remembered_for_its_bucket_and_key_alone() -> None:
    bucket = Bucket("a b", "c d")
    keys = reader(bucket)
    await keys.read("films", "a+b")
    bucket.looks.clear()
    assert await keys.read("films", "a+b") == ("a b",)
    assert bucket.looks == [("films", "a+b")]
    bucket.looks.clear()
    await keys.read("other", "a+b")
    await keys.read("films", "c+d")
    assert len(bucket.looks) == 4


async def test_a_verdict_that_fell_while_the_object_was_gone_does_not_lose_it_later() -> None:
    bucket = Bucket("a b")
    keys = reader(bucket)
    assert await keys.read("films", "a+b") == ("a b",)
    bucket.names = {"a b", "a+b"}
    assert "a+b" in await keys.read("films", "a+b")
    bucket.names = {"a+b"}
    assert await keys.read("films", "a+b") == ("a+b",)


@pytest.mark.parametrize(("remembered_max", "looks"), [(0, 2), (1, 2), (2, 1)])
async def test_the_least_recently_used_verdict_is_forgotten(
    remembered_max: int, looks: int
) -> None:
    bucket = Bucket("a b", "c d", "e f")
    keys = reader(bucket, remembered_max=remembered_max)
    for key in ("a+b", "c+d", "a+b", "e+f"):
        await keys.read("films", key)
    bucket.looks.clear()
    await keys.read("films", "a+b")
    assert len(bucket.looks) == looks
